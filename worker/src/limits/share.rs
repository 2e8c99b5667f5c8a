//! This process's share of a limit of concurrent calls. It is renewed while calls are in flight or waiting.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use opb_core::models::{ShareWish, renew_share};
use tokio::{sync::oneshot, time::Instant};

use super::{Limit, lock};

/// Validity of a share, and its renewal interval.
const VALID: Duration = Duration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(1);
/// Retry interval while nothing was granted.
const RETRY: Duration = Duration::from_millis(200);

/// The calls in flight, and the waiting ones.
#[derive(Default)]
pub(super) struct Share {
    granted: u32,
    valid_until: Option<Instant>,
    running: u32,
    /// Maximum number of calls in flight or waiting since the last renewal.
    peak: u32,
    waiting: VecDeque<oneshot::Sender<bool>>,
    renewed: bool,
}

impl Share {
    fn has_room(&self) -> bool {
        self.running < self.granted && self.valid_until.is_some_and(|until| Instant::now() < until)
    }

    fn wanted(&self) -> u32 {
        self.running + u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    fn let_in(&mut self) {
        while self.has_room() {
            let Some(waiter) = self.waiting.pop_front() else {
                return;
            };
            if waiter.is_closed() {
                continue;
            }
            self.running += 1;
            if waiter.send(true).is_err() {
                self.running -= 1;
            }
        }
    }
}

impl Limit {
    /// Waits until another call may run; returns whether it must leave again.
    pub(super) async fn enter_share(self: &Arc<Self>) -> bool {
        // A waiter that is dropped in the moment it is let in must leave again.
        struct Entering<'a>(&'a Arc<Limit>, Option<oneshot::Receiver<bool>>);
        impl Drop for Entering<'_> {
            fn drop(&mut self) {
                if let Some(mut let_in) = self.1.take() {
                    let_in.close();
                    if let_in.try_recv() == Ok(true) {
                        self.0.leave_share();
                    }
                }
            }
        }
        let (waiter, let_in) = oneshot::channel();
        {
            let mut share = lock(&self.share);
            share.waiting.push_back(waiter);
            share.let_in();
            share.peak = share.peak.max(share.wanted());
            if !share.renewed {
                share.renewed = true;
                tokio::spawn(renew(Arc::clone(self)));
            }
        }
        let mut entering = Entering(self, Some(let_in));
        let counted = match entering.1.as_mut() {
            Some(let_in) => let_in.await.unwrap_or(false),
            None => false,
        };
        entering.1 = None;
        counted
    }

    pub(super) fn leave_share(&self) {
        let mut share = lock(&self.share);
        share.running = share.running.saturating_sub(1);
        share.let_in();
    }
}

/// Renews the share until it is no longer needed.
async fn renew(limit: Arc<Limit>) {
    loop {
        let asked = Instant::now();
        let wish = limit.share_wish();
        let renewed = async {
            let mut conn = limit.pool.acquire().await?;
            renew_share(&mut conn, &limit.key, wish, VALID).await
        };
        let renewed = renewed.await;
        match limit.apply_share(wish, renewed, asked) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return,
        }
    }
}

impl Limit {
    fn share_wish(&self) -> ShareWish {
        let mut share = lock(&self.share);
        share.waiting.retain(|waiter| !waiter.is_closed());
        let wanted = share.wanted().max(share.peak);
        share.peak = share.wanted();
        ShareWish {
            worker_id: self.worker_id,
            running: share.running,
            wanted,
        }
    }

    /// Applies what was granted. Returns when to renew again; `None` if the share is not needed.
    fn apply_share(
        &self,
        wish: ShareWish,
        renewed: opb_core::Result<Option<u32>>,
        asked: Instant,
    ) -> Option<Duration> {
        if let Ok(None) = renewed {
            lock(&self.declared).concurrent_calls = None;
        }
        let mut share = lock(&self.share);
        match renewed {
            Ok(Some(granted)) => {
                share.granted = granted;
                share.valid_until = Some(asked + VALID);
                share.let_in();
            }
            // The limit was removed: all calls may run.
            Ok(None) => {
                for waiter in share.waiting.drain(..) {
                    let _ = waiter.send(false);
                }
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "could not renew the share of concurrent calls of {}",
                    self.subject()
                );
            }
        }
        if share.wanted() == 0 && wish.wanted == 0 {
            share.granted = 0;
            share.renewed = false;
            return None;
        }
        Some(if share.granted == 0 { RETRY } else { RENEWAL })
    }
}
