//! The faults that can be simulated, and when they occur.

use std::fmt;
use std::str::FromStr;

use super::hash::{Draws, combine};

/// A kind of failure of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// 429 with `Retry-After`.
    RateLimitWithRetryAfter,
    /// 429 without `Retry-After`.
    RateLimit,
    /// 500.
    ServerError,
    /// 503 or 529.
    Overloaded,
    /// No response.
    Hang,
    /// The correct body, at one byte per second.
    SlowStream,
    /// A truncated body.
    TruncatedJson,
    /// 200 with invalid JSON.
    Garbage,
    /// A body of hundreds of megabytes.
    HugeBody,
    /// The connection is closed without a response.
    Reset,
}

impl Fault {
    /// All faults, in the order of declaration, so that `fault as usize` is the index.
    pub const ALL: [Self; 10] = [
        Self::RateLimitWithRetryAfter,
        Self::RateLimit,
        Self::ServerError,
        Self::Overloaded,
        Self::Hang,
        Self::SlowStream,
        Self::TruncatedJson,
        Self::Garbage,
        Self::HugeBody,
        Self::Reset,
    ];

    /// The name in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimitWithRetryAfter => "rate_limit_with_retry_after",
            Self::RateLimit => "rate_limit",
            Self::ServerError => "server_error",
            Self::Overloaded => "overloaded",
            Self::Hang => "hang",
            Self::SlowStream => "slow_stream",
            Self::TruncatedJson => "truncated_json",
            Self::Garbage => "garbage",
            Self::HugeBody => "huge_body",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// An unknown name of a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called {0:?}; there are: {names}", names = Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == name.trim())
            .ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

/// Which faults occur, and how often.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultPlan {
    /// The fraction of draws with a fault, 0 to 1.
    pub rate: f64,
    /// The faults to choose from, with equal probability.
    pub kinds: Vec<Fault>,
    /// Determines which draws have a fault.
    pub seed: u64,
}

impl FaultPlan {
    /// Returns the fault of this draw, if any; deterministic for the same index.
    ///
    /// A server passes its request counter, a client a hash of request and attempt.
    #[must_use]
    pub fn pick(&self, draw_index: u64) -> Option<Fault> {
        if self.rate <= 0.0 || self.kinds.is_empty() {
            return None;
        }
        let mut draws = Draws::new(combine(&[self.seed, draw_index]));
        if draws.uniform() < self.rate {
            draws.pick(&self.kinds).copied()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.to_string().parse(), Ok(fault));
            assert_eq!(fault as usize, place);
        }
        let error = "flood".parse::<Fault>().unwrap_err().to_string();
        assert!(
            error.starts_with("no fault is called \"flood\"; there are: rate_limit_with"),
            "{error}"
        );
    }

    #[test]
    fn the_rate_is_kept_and_every_kind_comes() {
        let plan = FaultPlan {
            rate: 0.2,
            kinds: Fault::ALL.to_vec(),
            seed: 5,
        };
        let hits: Vec<Fault> = (0..10_000).filter_map(|index| plan.pick(index)).collect();
        assert!((1_850..2_150).contains(&hits.len()), "{}", hits.len());
        assert!(Fault::ALL.iter().all(|fault| hits.contains(fault)));
        let again: Vec<Fault> = (0..10_000).filter_map(|index| plan.pick(index)).collect();
        assert_eq!(hits, again);
        let other = FaultPlan { seed: 6, ..plan };
        assert_ne!(
            hits,
            (0..10_000)
                .filter_map(|index| other.pick(index))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn none_and_all_are_exact() {
        let plan = |rate| FaultPlan {
            rate,
            kinds: vec![Fault::Hang],
            seed: 1,
        };
        assert!((0..1_000).all(|index| plan(0.0).pick(index).is_none()));
        assert!((0..1_000).all(|index| plan(1.0).pick(index) == Some(Fault::Hang)));
        assert_eq!(
            FaultPlan {
                rate: 1.0,
                kinds: vec![],
                seed: 1
            }
            .pick(1),
            None
        );
    }
}
