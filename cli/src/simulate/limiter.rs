//! A limit of requests per minute, as a lock-free token bucket.
//!
//! The bucket is one number, the time at which it will be full again (the generic cell rate algorithm), so admitting a
//! request is one compare-and-swap.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WINDOW: Duration = Duration::from_mins(1);

/// A bucket for one minute's requests that refills evenly.
pub(super) struct Limiter {
    limit: u32,
    /// Nanoseconds of refill that one request takes from the bucket.
    cost_ns: u64,
    /// The time at which the bucket is full again, in nanoseconds since the server's start.
    full_at_ns: AtomicU64,
}

/// The limiter's decision about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// Time until the next attempt; zero if admitted.
    pub(super) retry_after: Duration,
    /// The size of the bucket.
    pub(super) limit: u32,
    /// Requests left in the bucket.
    pub(super) remaining: u32,
    /// Time until the bucket is full.
    pub(super) full_after: Duration,
}

impl Limiter {
    pub(super) fn new(requests_per_minute: NonZeroU32) -> Self {
        let limit = requests_per_minute.get();
        Self {
            limit,
            cost_ns: nanos(WINDOW / limit),
            full_at_ns: AtomicU64::new(0),
        }
    }

    /// Takes one request from the bucket at `now`, the time since the server's start.
    pub(super) fn admit(&self, now: Duration) -> Admission {
        let now_ns = nanos(now);
        let capacity_ns = self.cost_ns * u64::from(self.limit);
        let after_this = |full_at: u64| full_at.max(now_ns) + self.cost_ns;
        let taken = self
            .full_at_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                (after_this(full_at) <= now_ns + capacity_ns).then(|| after_this(full_at))
            });
        let (full_at, retry_ns) = match taken {
            Ok(before) => (after_this(before), 0),
            Err(full_at) => (full_at, after_this(full_at) - now_ns - capacity_ns),
        };
        let full_after_ns = full_at.saturating_sub(now_ns);
        let remaining = capacity_ns.saturating_sub(full_after_ns) / self.cost_ns;
        Admission {
            retry_after: Duration::from_nanos(retry_ns),
            limit: self.limit,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_after: Duration::from_nanos(full_after_ns),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(limit: u32) -> Limiter {
        Limiter::new(NonZeroU32::new(limit).unwrap())
    }

    #[test]
    fn a_full_bucket_then_an_even_refill() {
        let limiter = limiter(6);
        for left in (0..6).rev() {
            let admission = limiter.admit(Duration::from_secs(100));
            assert_eq!(
                (admission.retry_after, admission.remaining),
                (Duration::ZERO, left)
            );
        }
        let refused = limiter.admit(Duration::from_secs(101));
        assert_eq!(refused.retry_after, Duration::from_secs(9));
        assert_eq!((refused.limit, refused.remaining), (6, 0));
        assert_eq!(refused.full_after, Duration::from_secs(59));
        assert_eq!(
            limiter.admit(Duration::from_secs(110)).retry_after,
            Duration::ZERO
        );
        assert_eq!(
            limiter.admit(Duration::from_secs(110)).retry_after,
            Duration::from_secs(10)
        );
    }

    #[test]
    fn threads_share_one_bucket() {
        let limiter = limiter(1_000);
        let count = || {
            (0..800)
                .filter(|_| limiter.admit(Duration::from_secs(1)).retry_after.is_zero())
                .count()
        };
        let admitted = std::thread::scope(|scope| {
            let other = scope.spawn(count);
            count() + other.join().unwrap()
        });
        assert_eq!(admitted, 1_000);
    }
}
