//! What refusals teach: when to come back after one, and at which pace where calls a minute are what is limited.

use std::time::Duration;

use super::bound::Ticket;

/// How long no call begins after a refusal; doubled with each that follows without an answer between.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// After it calls come back one, two, four, … in addition, each time after so long.
const COMING_BACK: Duration = Duration::from_millis(110);
/// Fewer answers than that between two refusals are few; so often in a row, and calls are spread over time.
const FEW_ANSWERS: u32 = 50;
const OFTEN: u32 = 2;
/// The pace in parts of what was answered before; by how much it falls with a refusal and rises with an answer.
const FIRST_PART: f64 = 0.9;
const SLOWER_SOON: f64 = 0.85;
const SLOWER: f64 = 0.95;
const FASTER: f64 = 1.0005;
const FASTER_AFTER_MANY: f64 = 1.0025;
/// No fewer calls a second than that.
const SLOWEST: f64 = 0.02;

/// What refusals have taught of one provider.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Calls before this one began before the last reduction: what they are told is known already.
    round: Ticket,
    /// The number does not fall below that in this round.
    floor: f64,
    /// Rounds without an answer between.
    in_row: u32,
    /// Calls come back one after the other: how many ran, and since when.
    coming_back: Option<(f64, Duration)>,
    answers: u32,
    at: Option<Duration>,
    /// Rounds in a row with few answers before each.
    often: u32,
    spread: Option<Spread>,
}

/// Calls are spread over time.
#[derive(Debug)]
struct Spread {
    /// Calls a second.
    pace: f64,
    /// When the next may begin.
    next: Duration,
    /// Calls come as fast as that: only then answers say that more would be accepted.
    is_felt: bool,
}

impl Refusals {
    /// Those of a provider that is back: what was told to calls before `next` is forgotten.
    pub(super) fn anew(next: Ticket) -> Self {
        Self {
            round: next,
            ..Self::default()
        }
    }

    /// When the next call may begin, if calls are spread over time.
    pub(super) fn next_call(&self, now: Duration) -> Option<Duration> {
        let next = self.spread.as_ref()?.next;
        (now < next).then_some(next)
    }

    /// A call may begin: the next one after its time.
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

    /// A call was refused while `number` were allowed. True when that is news: the call began after the last reduction,
    /// all calls before `next` have begun before this one.
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

    /// The least number that this round of refusals may lead to.
    pub(super) fn floor(&self) -> f64 {
        self.floor
    }

    /// Lets calls come back one after the other after a pause, which is returned.
    pub(super) fn pause(&mut self, running: f64, now: Duration) -> Duration {
        let factor = 1 << self.in_row.saturating_sub(1).min(12);
        let pause = (FIRST_PAUSE * factor).min(LONGEST_PAUSE);
        self.come_back(running, now + pause);
        pause
    }

    /// Lets more than `running` begin only one after the other from then on.
    pub(super) fn come_back(&mut self, running: f64, since: Duration) {
        self.coming_back = Some((running, since));
    }

    /// How many may run while calls come back, and when to look again.
    pub(super) fn coming_back(&self, now: Duration) -> Option<(f64, Duration)> {
        let (running, since) = self.coming_back?;
        let waited = now.saturating_sub(since).as_secs_f64() / COMING_BACK.as_secs_f64();
        Some((running + waited.exp2(), now + COMING_BACK / 4))
    }

    /// Spreads calls over time once refusals come often, whatever the number.
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
