//! Learns from refusals: the backoff after one, and the pace where the provider limits requests per time.

use std::time::Duration;

use super::bound::Ticket;

/// The pause after a refusal; doubled with each further one without a response in between.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// After the pause, one, two, four, … more calls may start, each after this interval.
const COMING_BACK: Duration = Duration::from_millis(110);
/// Fewer responses between two refusals are few; after this many such rounds in a row, calls are paced.
const FEW_ANSWERS: u32 = 50;
const OFTEN: u32 = 2;
/// The initial pace as a fraction of the measured throughput; the factors by which a refusal lowers and a response
/// raises it.
const FIRST_PART: f64 = 0.9;
const SLOWER_SOON: f64 = 0.85;
const SLOWER: f64 = 0.95;
const FASTER: f64 = 1.0005;
const FASTER_AFTER_MANY: f64 = 1.0025;
/// Minimum pace, in calls per second.
const SLOWEST: f64 = 0.02;

/// The state of refusals of one model.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Calls before this ticket started before the last reduction; their refusals are no new information.
    round: Ticket,
    /// The limit does not fall below this in the current round.
    floor: f64,
    /// Consecutive rounds without a response in between.
    in_row: u32,
    /// While calls return gradually: how many were in flight, and since when.
    coming_back: Option<(f64, Duration)>,
    answers: u32,
    at: Option<Duration>,
    /// Consecutive rounds with few responses before each.
    often: u32,
    spread: Option<Spread>,
}

/// Pacing of calls.
#[derive(Debug)]
struct Spread {
    /// Calls per second.
    pace: f64,
    /// When the next one may start.
    next: Duration,
    /// Whether calls start as fast as the pace allows: only then do responses show that more would be accepted.
    is_felt: bool,
}

impl Refusals {
    /// The state for a provider that is back: refusals of calls before `next` are ignored.
    pub(super) fn anew(next: Ticket) -> Self {
        Self {
            round: next,
            ..Self::default()
        }
    }

    /// Forgets the pace and the pause; refusals of calls before `next` are ignored.
    pub(super) fn forget(&mut self, next: Ticket) {
        *self = Self::anew(next);
    }

    /// The pace, if calls are paced and refusals come often all the same.
    pub(super) fn often_at_pace(&self) -> Option<f64> {
        let spread = self.spread.as_ref()?;
        (self.often >= OFTEN).then_some(spread.pace)
    }

    /// Replaces the pace, from now on and without a pause.
    pub(super) fn set_pace(&mut self, pace: f64) {
        if let Some(spread) = &mut self.spread {
            spread.pace = pace;
            spread.next = Duration::ZERO;
        }
        self.coming_back = None;
        self.in_row = 0;
    }

    /// When the next call may start, if calls are paced.
    pub(super) fn next_call(&self, now: Duration) -> Option<Duration> {
        let next = self.spread.as_ref()?.next;
        (now < next).then_some(next)
    }

    /// A call is about to start: schedules the next one.
    pub(super) fn granted(&mut self, now: Duration) {
        if let Some(spread) = &mut self.spread {
            let step = Duration::from_secs_f64(1.0 / spread.pace);
            spread.is_felt = now < spread.next + step;
            spread.next = spread.next.max(now) + step;
        }
    }

    pub(super) fn answered(&mut self, ticket: Ticket) {
        if ticket >= self.round {
            self.in_row = 0;
        }
        self.answers += 1;
        if let Some(spread) = self.spread.as_mut().filter(|spread| spread.is_felt) {
            spread.pace *= if self.answers > 4 * FEW_ANSWERS {
                FASTER_AFTER_MANY
            } else {
                FASTER
            };
        }
    }

    /// A call was refused while `number` were allowed. Returns whether that is new information: the call started after
    /// the last reduction. All calls before `next` have started.
    pub(super) fn refused(
        &mut self,
        ticket: Ticket,
        next: Ticket,
        number: f64,
        now: Duration,
    ) -> bool {
        if ticket < self.round {
            return false;
        }
        self.round = next;
        self.floor = number / 2.0;
        self.in_row += 1;
        self.spread_over_time(now);
        true
    }

    /// The lowest limit that the current round of refusals may lead to.
    pub(super) fn floor(&self) -> f64 {
        self.floor
    }

    /// Starts a pause, which is returned, after which calls return gradually.
    pub(super) fn pause(&mut self, running: f64, now: Duration) -> Duration {
        let factor = 1 << self.in_row.saturating_sub(1).min(12);
        let pause = (FIRST_PAUSE * factor).min(LONGEST_PAUSE);
        self.come_back(running, now + pause);
        pause
    }

    /// Lets the number of calls grow only gradually beyond `running`, from `since`.
    pub(super) fn come_back(&mut self, running: f64, since: Duration) {
        self.coming_back = Some((running, since));
    }

    /// The limit while calls return gradually, and when to check again.
    pub(super) fn coming_back(&self, now: Duration) -> Option<(f64, Duration)> {
        let (running, since) = self.coming_back?;
        let waited = now.saturating_sub(since).as_secs_f64() / COMING_BACK.as_secs_f64();
        Some((running + waited.exp2(), now + COMING_BACK / 4))
    }

    /// Starts or adjusts pacing if refusals are frequent, whatever the limit.
    fn spread_over_time(&mut self, now: Duration) {
        let answers = std::mem::take(&mut self.answers);
        let Some(before) = self.at.replace(now) else {
            return;
        };
        let seconds = now.saturating_sub(before).as_secs_f64().max(0.001);
        let are_few = answers < FEW_ANSWERS;
        self.often = if are_few { self.often + 1 } else { 0 };
        match &mut self.spread {
            Some(spread) => {
                let part = if are_few { SLOWER_SOON } else { SLOWER };
                spread.pace = (spread.pace * part).max(SLOWEST);
            }
            None if self.often >= OFTEN && answers > 0 => {
                let pace = FIRST_PART * f64::from(answers) / seconds;
                self.spread = Some(Spread {
                    pace: pace.max(SLOWEST),
                    next: now,
                    is_felt: false,
                });
            }
            None => {}
        }
    }
}
