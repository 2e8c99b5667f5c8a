//! Room for large answers: a thousand calls that are all answered without an end must not take the memory, and one provider
//! that answers slowly must not hold up the others.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Memory for all large answers of a process, in bytes.
const ALL_BYTES: usize = 24 * 1024 * 1024;
/// Memory for those of one model of a run, in bytes; as much as the largest answer.
const SHARE_BYTES: usize = 8 * 1024 * 1024;
/// What a permit stands for.
const UNIT_BYTES: usize = 1024;

/// Where large answers wait until there is memory for them.
#[derive(Clone)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    share: Arc<Semaphore>,
}

/// Memory that a large answer may take.
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

    /// The same room, with a share of its own.
    pub(super) fn shared(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            share: Self::new_share(),
        }
    }

    fn new_share() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(SHARE_BYTES / UNIT_BYTES))
    }

    /// Waits for memory for an answer of at most `bytes`. Returns how long that took.
    pub(super) async fn take(&self, bytes: usize) -> (Place, Duration) {
        let began = Instant::now();
        let units = u32::try_from(bytes.min(SHARE_BYTES) / UNIT_BYTES).unwrap_or(u32::MAX);
        // The semaphores are never closed. The share comes first, so that no answer holds memory while it waits for its share.
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
