//! Models of providers: some refuse overload, some queue it.

use std::collections::VecDeque;

/// The behaviour of a provider.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Serves all calls concurrently.
    Elastic,
    /// Serves all calls concurrently, but refuses one in so many, whatever the load.
    Fickle(u64),
    /// Refuses calls beyond this many concurrent ones.
    Refusing(usize),
    /// Serves `count` calls concurrently; `queue` more wait in order, and further ones are refused.
    Slots { count: usize, queue: usize },
    /// Serves all calls concurrently, more slowly the more there are: at this number, each takes twice its time.
    Batching(f64),
    /// Serves `rate` per second, and at most `capacity` at once; `by_token` counts tokens instead of calls.
    Bucket {
        rate: f64,
        capacity: f64,
        by_token: bool,
        announces: bool,
    },
}

/// The reaction to an incoming call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reception {
    /// Served at once, slower by this factor than alone.
    Served(f64),
    Queued,
    Refused,
}

/// The remainder of an announced limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Remaining {
    pub(super) limit: f64,
    pub(super) left: f64,
    pub(super) reset_seconds: f64,
}

/// The state of a provider.
pub(super) struct Provider {
    pub(super) kind: Kind,
    serving: usize,
    waiting: VecDeque<usize>,
    level: f64,
    filled_at: f64,
    received: u64,
}

impl Provider {
    pub(super) fn new(kind: Kind) -> Self {
        let mut provider = Self {
            kind,
            serving: 0,
            waiting: VecDeque::new(),
            level: 0.0,
            filled_at: 0.0,
            received: 0,
        };
        provider.become_kind(kind, 0.0);
        provider
    }

    /// Changes the behaviour; calls being served continue.
    pub(super) fn become_kind(&mut self, kind: Kind, now: f64) {
        self.kind = kind;
        if let Kind::Bucket { capacity, .. } = kind {
            (self.level, self.filled_at) = (capacity, now);
        }
    }

    pub(super) fn receive(&mut self, call: usize, tokens: f64, now: f64) -> Reception {
        self.received += 1;
        let factor = match self.kind {
            Kind::Fickle(one_in) if scrambled(self.received).is_multiple_of(one_in) => {
                return Reception::Refused;
            }
            Kind::Refusing(most) if self.serving >= most => return Reception::Refused,
            Kind::Elastic | Kind::Fickle(_) | Kind::Refusing(_) => 1.0,
            Kind::Slots { count, queue } => {
                if self.serving >= count {
                    if self.waiting.len() >= queue {
                        return Reception::Refused;
                    }
                    self.waiting.push_back(call);
                    return Reception::Queued;
                }
                1.0
            }
            #[expect(clippy::cast_precision_loss, reason = "few calls are served at once")]
            Kind::Batching(half) => (1.0 + self.serving as f64 / half) / (1.0 + 1.0 / half),
            Kind::Bucket { by_token, .. } => {
                self.fill(now);
                let need = if by_token { tokens } else { 1.0 };
                if self.level < need {
                    return Reception::Refused;
                }
                self.level -= need;
                1.0
            }
        };
        self.serving += 1;
        Reception::Served(factor)
    }

    /// A call is cancelled. Returns the calls that are served next.
    pub(super) fn hung_up(&mut self, call: usize) -> Vec<usize> {
        if let Some(index) = self.waiting.iter().position(|waiting| *waiting == call) {
            self.waiting.remove(index);
            return Vec::new();
        }
        self.finish()
    }

    /// A call is answered. Returns the calls that are served next.
    pub(super) fn finish(&mut self) -> Vec<usize> {
        self.serving -= 1;
        let slots = match self.kind {
            Kind::Slots { count, .. } => count,
            _ => usize::MAX,
        };
        let mut next = Vec::new();
        while self.serving < slots
            && let Some(call) = self.waiting.pop_front()
        {
            self.serving += 1;
            next.push(call);
        }
        next
    }

    pub(super) fn remaining(&mut self, now: f64) -> Option<Remaining> {
        self.fill(now);
        match self.kind {
            Kind::Bucket {
                rate,
                capacity,
                announces: true,
                ..
            } => Some(Remaining {
                limit: capacity,
                left: self.level.floor(),
                reset_seconds: (capacity - self.level) / rate,
            }),
            _ => None,
        }
    }

    fn fill(&mut self, now: f64) {
        if let Kind::Bucket { rate, capacity, .. } = self.kind {
            self.level = (self.level + rate * (now - self.filled_at)).min(capacity);
            self.filled_at = now;
        }
    }
}

/// A number without a pattern from each number (the finaliser of `SplitMix64`).
fn scrambled(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
