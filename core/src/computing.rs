//! CPU-bound work, such as rendering, comparing and parsing untrusted input. It runs outside the threads that serve
//! connections, a few jobs at a time, and never while a Postgres connection is held.
//!
//! Work cannot be interrupted, so it must be bounded by itself. Its turn lasts until it ends, even if the caller has
//! gone. Each caller has one turn at a time: many requests of one user wait for each other, never ahead of another
//! user's.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Result};

/// Maximum wait for a turn before the caller is asked to try again later.
const PATIENCE: Duration = Duration::from_secs(5);

/// The identity for which something is computed. Each has one turn at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The user with this id.
    User(i64),
    /// A caller without a login, by network.
    Network(IpAddr),
}

impl Asker {
    /// A caller without a login. A client with one IPv6 address usually has all 2⁶⁴ of its network.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

/// The turns of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Computing {
    turns: Arc<Semaphore>,
    own_turns: OwnTurns,
    patience: Duration,
}

/// The turns of callers who have or wait for one.
#[derive(Debug, Clone, Default)]
struct OwnTurns(Arc<Mutex<HashMap<Asker, Arc<Semaphore>>>>);

/// A caller's own turn; dropping the last one removes the caller from the map.
struct OwnTurn {
    of: OwnTurns,
    asker: Asker,
    turn: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A turn that lasts until it is dropped.
#[must_use = "the turn ends when it is dropped"]
pub struct Turn {
    _process: OwnedSemaphorePermit,
    _own: OwnTurn,
}

impl Computing {
    /// At most `at_once` jobs run at the same time.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once.max(1))),
            own_turns: OwnTurns::default(),
            patience: PATIENCE,
        }
    }

    /// At most `at_once` jobs run at the same time, and callers wait without a time limit.
    #[must_use]
    pub fn patient(at_once: usize) -> Self {
        Self {
            patience: Duration::MAX,
            ..Self::new(at_once)
        }
    }

    /// Runs a job when it is the caller's turn. Do not await the future while holding a connection: a waiting task
    /// would keep it from others.
    ///
    /// # Errors
    /// [`Error::Busy`] if no turn became free in time, [`Error::Internal`] if the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turn = self.turn(asker).await?;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worked
            .await
            .map_err(|error| Error::Internal(format!("a computation ended early: {error}")))
    }

    /// A turn for long work that runs elsewhere, such as a statement that keeps Postgres busy. Do not await the future
    /// while holding a connection. The turn lasts until it is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] if no turn became free in time.
    pub async fn turn(&self, asker: Asker) -> Result<Turn> {
        match tokio::time::timeout(self.patience, self.turns_of(asker)).await {
            Ok(Some((process, own))) => Ok(Turn {
                _process: process,
                _own: own,
            }),
            _ => Err(Error::Busy),
        }
    }

    /// Acquires the caller's own turn, then a turn of the process, so that a caller waiting for its own turn takes none
    /// from others.
    async fn turns_of(&self, asker: Asker) -> Option<(OwnedSemaphorePermit, OwnTurn)> {
        let own = self.own_turns.acquire(asker).await?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        Some((turn, own))
    }
}

impl OwnTurns {
    async fn acquire(&self, asker: Asker) -> Option<OwnTurn> {
        let turn = {
            let mut turns = self.lock();
            let turn = turns.entry(asker);
            Arc::clone(turn.or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        // Created before the wait, so that a cancelled request also removes its entry.
        let mut own = OwnTurn {
            of: self.clone(),
            asker,
            turn,
            permit: None,
        };
        own.permit = Some(Arc::clone(&own.turn).acquire_owned().await.ok()?);
        Some(own)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asker, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnTurn {
    fn drop(&mut self) {
        let mut turns = self.of.lock();
        drop(self.permit.take());
        // Two references are the map's and this one: no other request has or awaits it, and under the lock none can
        // start to.
        if Arc::strong_count(&self.turn) == 2 {
            turns.remove(&self.asker);
        }
    }
}

/// Data loaded from the database with a computation that remains to be done. Loading needs a connection; the
/// computation must run without one.
#[must_use = "nothing is computed yet"]
pub struct Loaded<T>(Box<dyn FnOnce() -> Result<T> + Send>);

impl<T> Loaded<T> {
    /// Wraps the remaining computation.
    pub fn new(compute: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self(Box::new(compute))
    }

    /// Computes it on this thread; on an async thread, use [`Computing::finish`].
    ///
    /// # Errors
    /// Those of the computation.
    pub fn compute(self) -> Result<T> {
        (self.0)()
    }
}

impl Computing {
    /// Computes loaded data when it is the caller's turn.
    ///
    /// # Errors
    /// Those of [`Self::run`] and of the computation.
    pub async fn finish<T: Send + 'static>(&self, asker: Asker, loaded: Loaded<T>) -> Result<T> {
        self.run(asker, || loaded.compute()).await?
    }
}

impl Default for Computing {
    /// One turn per processor.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, usize::from))
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, sync::mpsc};

    use super::*;

    /// A job that runs until it is stopped.
    struct Long {
        end: mpsc::Sender<()>,
        work: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
    }

    async fn begin(computing: &Computing, asker: Asker) -> Long {
        let (end, ended) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let computing = computing.clone();
        let mut work: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let work = move || {
                let _ = begun.send(());
                let _ = ended.recv();
            };
            computing.run(asker, work).await
        });
        tokio::select! {
            _ = &mut work => panic!("the work ends when it is told to"),
            begun = begins => begun.unwrap(),
        }
        Long { end, work }
    }

    fn hasty(computing: &Computing) -> Computing {
        Computing {
            patience: Duration::ZERO,
            ..computing.clone()
        }
    }

    #[tokio::test]
    async fn an_abandoned_turn_lasts_until_its_work_ends() {
        let computing = Computing::new(1);
        let Long { end, work } = begin(&computing, Asker::User(1)).await;
        drop(work);
        let hasty = hasty(&computing);
        let second = hasty.run(Asker::User(2), || ()).await;
        assert!(matches!(second, Err(Error::Busy)));
        end.send(()).unwrap();
        assert_eq!(computing.run(Asker::User(2), || 7).await.unwrap(), 7);
    }

    #[test]
    fn a_stranger_is_known_by_the_network() {
        let at = |address: &str| Asker::at(address.parse().unwrap());
        assert_eq!(at("2001:db8:1:2:3:4:5:6"), at("2001:db8:1:2::9"));
        assert_ne!(at("2001:db8:1:2::9"), at("2001:db8:1:3::9"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[tokio::test]
    async fn many_requests_of_one_user_wait_behind_each_other_and_leave_the_others_their_turn() {
        let computing = Computing::new(2);
        let Long { end, work } = begin(&computing, Asker::User(1)).await;
        let hasty = hasty(&computing);
        let second = hasty.run(Asker::User(1), || ()).await;
        assert!(matches!(second, Err(Error::Busy)));
        assert_eq!(hasty.run(Asker::User(2), || 7).await.unwrap(), 7);
        end.send(()).unwrap();
        work.await.unwrap();
        assert_eq!(computing.run(Asker::User(1), || 8).await.unwrap(), 8);
        assert!(computing.own_turns.lock().is_empty());
    }
}
