//! Memory limit of large responses: a thousand calls with endless responses must not exhaust the memory, and one slow
//! provider must not delay the others.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Memory for all large responses of a process, in bytes.
const ALL_BYTES: usize = 24 * 1024 * 1024;
/// Memory for those of one model of a run, in bytes; equal to the maximum size of a response.
const SHARE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes per permit.
const UNIT_BYTES: usize = 1024;

/// Makes large responses wait until there is memory for them.
#[derive(Clone)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    share: Arc<Semaphore>,
}

/// Memory for a large response.
pub(super) struct Place {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Room {
    /// The room of a process.
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL_BYTES / UNIT_BYTES)),
            share: Self::new_share(),
        }
    }

    /// The same room, with a separate share.
    pub(super) fn shared(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            share: Self::new_share(),
        }
    }

    fn new_share() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(SHARE_BYTES / UNIT_BYTES))
    }

    /// Waits for memory for a response of at most `bytes`. Returns how long that took.
    pub(super) async fn take(&self, bytes: usize) -> (Place, Duration) {
        let began = Instant::now();
        let units = u32::try_from(bytes.min(SHARE_BYTES) / UNIT_BYTES).unwrap_or(u32::MAX);
        // The semaphores are never closed. The share comes first, so that no response holds memory while it waits for
        // its share.
        let share = Arc::clone(&self.share).acquire_many_owned(units).await;
        let all = Arc::clone(&self.all).acquire_many_owned(units).await;
        let place = Place {
            _permits: [share.ok(), all.ok()],
        };
        (place, began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const WHOLE: usize = SHARE_BYTES;

    #[tokio::test]
    async fn a_slow_model_leaves_room_for_others() {
        let room = Room::new();
        let (slow, quick) = (room.shared(), room.shared());
        let held = slow.take(WHOLE).await;
        assert!(slow.take(WHOLE / 4).now_or_never().is_none(), "its share");
        for _ in 0..3 {
            assert!(quick.take(WHOLE).now_or_never().is_some());
        }
        drop(held);
        assert!(slow.take(WHOLE / 4).now_or_never().is_some());
    }

    #[tokio::test]
    async fn all_large_answers_together_have_a_bound() {
        let room = Room::new();
        let models = [(); 4].map(|()| room.shared());
        let mut places = Vec::new();
        for model in &models[..3] {
            places.push(model.take(WHOLE).await);
        }
        let mut waits = Box::pin(models[3].take(WHOLE));
        assert!(waits.as_mut().now_or_never().is_none());
        places.pop();
        assert!(waits.now_or_never().is_some());
    }
}
