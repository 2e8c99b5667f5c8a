//! When a lane looks for tasks: at every ring of the doorbell, and every second besides.
//!
//! apalis' own strategies stop at the first that is ready and leave the others without a waker: a ring that comes
//! together with a tick silences the lane until its next heartbeat. This one reads until nothing is left, and asks to
//! be polled again after a ring, so that a fetch begins after it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use futures::{Stream, StreamExt as _};
use opb_core::doorbell::Doorbell;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

/// How often a lane looks when no bell rings.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Rings and ticks.
pub(crate) struct Wakeups(Pin<Box<dyn Stream<Item = ()> + Send + Sync>>);

impl Wakeups {
    /// From now on.
    pub(crate) fn new(doorbell: &Doorbell) -> Self {
        let rings = BroadcastStream::new(doorbell.subscribe()).map(|_| ());
        let ticks = IntervalStream::new(tokio::time::interval(POLL_INTERVAL)).map(|_| ());
        Self(Box::pin(futures::stream::select(rings, ticks)))
    }
}

impl PollStrategy for Wakeups {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut woken = false;
        while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {
            woken = true;
        }
        if !woken {
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Ready(Some(()))
    }
}
