//! Work that keeps a processor busy: rendering, comparing, reading what a stranger sent. It is done away from the
//! threads that serve connections, a few pieces at a time, and never by somebody who holds a connection to Postgres.
//!
//! A piece of work cannot be stopped from outside, so it must be bounded by itself; its turn lasts until it ends, also
//! when whoever asked for it has gone.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{Error, Result};

/// How long somebody waits for a turn before being told to come back later.
const PATIENCE: Duration = Duration::from_secs(5);

/// The turns of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Computing {
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Computing {
    /// So many pieces of work run at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once.max(1))),
            patience: PATIENCE,
        }
    }

    /// Does a piece of work when it is its turn. The future must be awaited without a connection in hand: whoever waits
    /// here with one keeps it from others.
    ///
    /// # Errors
    /// [`Error::Busy`] when no turn came in time, [`Error::Internal`] when the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(self.patience, turn).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Error::Busy);
        };
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worked
            .await
            .map_err(|error| Error::Internal(format!("a computation ended early: {error}")))
    }
}

/// What was loaded from the database and has only to be computed. Whoever reads it has a connection; whoever computes it
/// has given that back.
#[must_use = "nothing is computed yet"]
pub struct Loaded<T>(Box<dyn FnOnce() -> Result<T> + Send>);

impl<T> Loaded<T> {
    /// What is left to compute.
    pub fn new(compute: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self(Box::new(compute))
    }

    /// Computes it here and now; on a thread that others wait for, hand it to [`Computing::finish`].
    ///
    /// # Errors
    /// Those of the computation.
    pub fn compute(self) -> Result<T> {
        (self.0)()
    }
}

impl Computing {
    /// Computes what was loaded when it is its turn.
    ///
    /// # Errors
    /// Those of [`Self::run`] and of the computation.
    pub async fn finish<T: Send + 'static>(&self, loaded: Loaded<T>) -> Result<T> {
        self.run(|| loaded.compute()).await?
    }
}

impl Default for Computing {
    /// As many turns as there are processors.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, usize::from))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_abandoned_turn_lasts_until_its_work_ends() {
        let computing = Computing::new(1);
        let hasty = Computing {
            patience: Duration::ZERO,
            ..computing.clone()
        };
        let (end, ended) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let mut work = Box::pin(computing.run(move || {
            let _ = begun.send(());
            let _ = ended.recv();
        }));
        tokio::select! {
            _ = &mut work => panic!("the work ends when it is told to"),
            begun = begins => begun.unwrap(),
        }
        drop(work);
        assert!(matches!(hasty.run(|| ()).await, Err(Error::Busy)));
        end.send(()).unwrap();
        assert_eq!(computing.run(|| 7).await.unwrap(), 7);
    }
}
