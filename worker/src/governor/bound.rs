//! The limit of concurrent calls to a model: opens within seconds, and is corrected when it proves wrong.
//!
//! Uses no clock and makes no calls: events are passed in with their times (since any fixed start), and `admits`
//! returns whether another call may start. There are two kinds of providers, and only probing can distinguish them.
//!
//! *Providers that refuse* report overload, most of them within milliseconds. So the limit opens by time instead of by
//! round trips while nothing is refused: slow start (Jacobson, 1988) without its clock. A refused call reveals the
//! provider's limit exactly: the number of calls in flight when it started. The limit stays below, and probes one more
//! from time to time, as CUBIC does near the last loss (RFC 9438). See `refusals`.
//!
//! *Providers that queue* (with one or a few slots) only become slower. So the limit starts at two for a moment, opens
//! to a few until the first response starts, and then opens only while responses take as long as those that started
//! beside fewer calls. See `tries`.
//!
//! The constants were tuned with `simulation`, whose providers are simpler than real ones; `make bench-governor` shows
//! their effect on each kind.

use std::{collections::VecDeque, f64::consts::LN_2, time::Duration};

use opb_core::models::LearnedConcurrency;

use super::{
    chance::{CallEnd, Chance},
    levels::felt,
    refusals::Refusals,
    tries::{Phase, Times, Tries},
};

/// The initial limit, and how long it holds without a response.
const FIRST: f64 = 2.0;
const LISTENING: Duration = Duration::from_millis(220);
/// The time in which the limit doubles; once responses have arrived sooner, a fraction of their time.
const DOUBLING: Duration = Duration::from_millis(110);
const DOUBLINGS_PER_ANSWER: f64 = 4.0;
/// Minimum growth per second: a refusal takes milliseconds, so hardly more than one call is lost meanwhile.
const MORE_PER_SECOND: f64 = 100.0;
const MORE_PER_SECOND_ONCE_HEARD: f64 = 400.0;
/// The cap until the first response starts: until then, a slow provider and a queue look the same.
const SILENT: f64 = 32.0;
/// The limit after a timeout, as a fraction of the calls that were answered during the one that timed out.
const IN_TIME: f64 = 0.75;
/// Maximum time that one step of growth accounts for.
const LONGEST_STEP: Duration = Duration::from_millis(20);
/// The cap once responses have started, as a multiple of the number of calls proven to be answered concurrently.
const AHEAD: f64 = 16.0;
/// The same if responses take more than `SLOW` seconds: calls that wait for each other may exceed their timeout.
const SLOW: f64 = 3.0;
const AHEAD_IF_SLOW: f64 = 4.0;
/// While less than this fraction of an announced limit remains, growth is slower by this factor.
const SCARCE: f64 = 0.5;
const SLOWER_WHEN_SCARCE: f64 = 10.0;

/// Identifies a call.
pub(super) type Ticket = u64;

/// Whether another call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Now,
    /// Not before a call ends, or before this time.
    Wait(Option<Duration>),
}

/// Finds how many calls may be in flight.
#[derive(Debug)]
pub(super) struct Bound {
    max: f64,
    pub(super) number: f64,
    pub(super) phase: Phase,
    calls: VecDeque<Call>,
    /// Number of responses so far.
    answers: u64,
    pub(super) next: Ticket,
    first_began: Option<Duration>,
    /// When the limit last held a call back.
    held_back: Option<Duration>,
    /// It did so because it must not open further until a response starts.
    is_at_most: bool,
    /// Maximum number of calls proven to be answered concurrently.
    pub(super) proven: f64,
    /// Whether headers announce a limit of requests or tokens, and whether little of it remains.
    is_announced: bool,
    is_scarce: bool,
    pub(super) times: Times,
    /// Calls above this number were refused.
    pub(super) ceiling: f64,
    pub(super) tries: Tries,
    pub(super) refusals: Refusals,
    pub(super) chance: Chance,
}

#[derive(Debug)]
struct Call {
    ticket: Ticket,
    began: Duration,
    /// Number of calls in flight when it started, including itself.
    number: f64,
    /// Number of responses until then.
    answers: u64,
    is_heard: bool,
}

impl Bound {
    /// Creates a bound with at most `max` concurrent calls.
    pub(super) fn new(max: f64) -> Self {
        let max = max.max(1.0);
        Self {
            max,
            number: FIRST.min(max),
            phase: Phase::Opening,
            calls: VecDeque::new(),
            answers: 0,
            next: 0,
            first_began: None,
            held_back: None,
            is_at_most: false,
            proven: 1.0,
            is_announced: false,
            is_scarce: false,
            times: Times::default(),
            ceiling: f64::INFINITY,
            tries: Tries::default(),
            refusals: Refusals::default(),
            chance: Chance::default(),
        }
    }

    /// Starts with the number that earlier workers found, unless this one has made calls itself.
    pub(super) fn begin_with(&mut self, learned: LearnedConcurrency) {
        if self.next > 0 {
            return;
        }
        self.number = f64::from(learned.calls).clamp(1.0, self.max);
        if learned.is_limit {
            self.phase = self.tries.hold();
        } else {
            self.proven = self.number;
        }
    }

    /// The number that the calls so far have shown to be possible. `None` until concurrent calls were answered.
    pub(super) fn learned(&self) -> Option<LearnedConcurrency> {
        let (number, is_limit) = match &self.phase {
            _ if self.chance.is_trying() => (self.chance.number_before()?, true),
            Phase::Opening => (self.number.min(self.proven), false),
            Phase::Holding { .. } => (self.number, true),
            Phase::Trying(this) => (this.from(), !this.was_opening()),
        };
        if self.answers == 0 || !is_limit && number < FIRST {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounds are small numbers")]
        let calls = number.max(1.0) as i32;
        Some(LearnedConcurrency { calls, is_limit })
    }

    /// The current limit of concurrent calls.
    pub(super) fn number(&self) -> f64 {
        self.number
    }

    /// Returns whether another call may start beside the `held` ones, which are in flight or about to start.
    pub(super) fn admits(&mut self, now: Duration, held: u32) -> Entry {
        if let Some(next) = self.refusals.next_call(now) {
            return Entry::Wait(Some(next));
        }
        self.grow(now);
        let (number, more_at) = self.allowed(now);
        if f64::from(held) < number.floor() {
            self.held_back = None;
            return Entry::Now;
        }
        self.held_back = Some(now);
        self.is_at_most = matches!(self.phase, Phase::Opening) && self.number >= self.most_open();
        Entry::Wait(more_at)
    }

    /// Another call is about to start.
    pub(super) fn granted(&mut self, now: Duration) {
        self.refusals.granted(now);
    }

    /// A call starts.
    pub(super) fn began(&mut self, now: Duration) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.first_began.get_or_insert(now);
        self.calls.push_back(Call {
            ticket,
            began: now,
            number: self.running() + 1.0,
            answers: self.answers,
            is_heard: false,
        });
        ticket
    }

    /// The response to a call starts. Returns whether the limit may open further because of it.
    pub(super) fn heard(&mut self, ticket: Ticket, now: Duration) -> bool {
        let Ok(index) = self.find(ticket) else {
            return false;
        };
        let call = &mut self.calls[index];
        if std::mem::replace(&mut call.is_heard, true) {
            return false;
        }
        let (number, time) = (call.number, felt(now.saturating_sub(call.began)));
        self.note_head(ticket, number, time);
        let opens = matches!(self.phase, Phase::Opening) && self.most_open() > self.number;
        let opens = opens && std::mem::take(&mut self.is_at_most);
        if opens {
            // The time until now does not count as waiting.
            self.held_back = self.held_back.map(|_| now);
        }
        opens
    }

    /// A call was answered, with this number of output tokens.
    pub(super) fn answered(&mut self, ticket: Ticket, now: Duration, tokens: Option<f64>) {
        self.heard(ticket, now);
        let Some(call) = self.take(ticket) else {
            return;
        };
        self.answers += 1;
        self.refusals.answered(ticket);
        self.note_end(ticket, CallEnd::Accepted);
        let time = by_length(felt(now.saturating_sub(call.began)), tokens);
        self.note_answer(ticket, call.number, time, now);
    }

    /// A call was refused because of overload. Returns how long no other call should start; `None` if other calls have
    /// nothing to do with it.
    pub(super) fn refused(&mut self, ticket: Ticket, now: Duration) -> Option<Duration> {
        let call = self.take(ticket);
        if self.note_end(ticket, CallEnd::Refused) {
            return None;
        }
        if self.refusals.refused(ticket, self.next, self.number, now) {
            self.tries.lengthen_after_refusal(&self.phase);
        }
        if let Some(call) = call {
            let below = (call.number - 1.0).max(self.refusals.floor());
            self.number = self.number.min(below).floor().max(1.0);
        }
        self.ceiling = self.number;
        self.phase = self.tries.hold_after_refusal(now);
        let pause = self.refusals.pause(self.running(), now);
        if let Some(pace) = self.refusals.often_at_pace() {
            self.refused_at_pace(pace);
        }
        Some(pause)
    }

    /// A call timed out. Unlike a refusal, this does not reveal a limit, but how many calls are answered within the
    /// timeout: no more than these should wait for each other.
    pub(super) fn timed_out(&mut self, ticket: Ticket) {
        let Some(call) = self.take(ticket) else {
            return;
        };
        self.note_end(ticket, CallEnd::Unknown);
        if call.number <= FIRST {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "only large numbers lose any")]
        let meanwhile = (self.answers - call.answers) as f64;
        let in_time = (IN_TIME * meanwhile).floor().max(1.0);
        if in_time < self.number {
            self.settle_at(in_time);
        }
    }

    /// A call ended without information about the provider.
    pub(super) fn gone(&mut self, ticket: Ticket) {
        if self.take(ticket).is_some() {
            self.note_end(ticket, CallEnd::Unknown);
        }
    }

    /// Headers announce that this fraction of a limit of requests or tokens remains: such a provider refuses instead of
    /// queueing.
    pub(super) fn announced(&mut self, part_left: f64) {
        self.is_announced = true;
        self.is_scarce = part_left < SCARCE;
        self.proven = self.max;
    }

    /// A response announces no limit.
    pub(super) fn announced_nothing(&mut self) {
        self.is_scarce = false;
    }

    /// The provider is back after it was down: measurements from before say little.
    pub(super) fn reopen(&mut self) {
        self.number = FIRST.min(self.max);
        self.refusals = Refusals::anew(self.next);
        self.chance = Chance::default();
        self.tries = Tries::from_then(self.next);
        self.proven = 1.0;
        self.is_scarce = false;
        self.held_back = None;
        self.phase = Phase::Opening;
        self.times = Times::default();
        self.ceiling = f64::INFINITY;
        self.first_began = None;
    }

    pub(super) fn has_room(&self) -> bool {
        self.number < self.max
    }

    pub(super) fn at_most(&self, number: f64) -> f64 {
        number.min(self.max)
    }

    /// Opens the limit over time while calls wait for it.
    fn grow(&mut self, now: Duration) {
        let (Phase::Opening, Some(held_back)) = (&self.phase, self.held_back) else {
            return;
        };
        let since = held_back.max(self.opens_at(held_back));
        // Time during which something else held calls back does not count.
        let waited = now.saturating_sub(since).min(LONGEST_STEP).as_secs_f64();
        let more = self.number + waited * self.growth();
        self.number = more.min(self.most_open()).max(self.number);
    }

    /// When it may open over time: at once, or after the initial listening period.
    fn opens_at(&self, now: Duration) -> Duration {
        match (self.times.shortest_head(), self.first_began) {
            (None, Some(first)) => now.max(first + LISTENING),
            _ => now,
        }
    }

    fn most_open(&self) -> f64 {
        match self.times.shortest_head() {
            _ if self.is_announced => self.max,
            None => self.max.min(SILENT),
            Some(_) if self.proven < 2.0 => self.max.min(FIRST),
            Some(time) if time > SLOW => self.max.min(AHEAD_IF_SLOW * self.proven),
            Some(_) => self.max.min(AHEAD * self.proven),
        }
    }

    /// Growth per second.
    fn growth(&self) -> f64 {
        let slowest = DOUBLING.as_secs_f64();
        let (least, doubling) = match self.times.shortest_head() {
            Some(time) if !self.is_announced => (
                MORE_PER_SECOND_ONCE_HEARD,
                slowest.min(time / DOUBLINGS_PER_ANSWER),
            ),
            // Others may share the announced limit.
            _ => (MORE_PER_SECOND, slowest),
        };
        let growth = (self.number * LN_2 / doubling).max(least);
        if self.is_scarce {
            growth / SLOWER_WHEN_SCARCE
        } else {
            growth
        }
    }

    /// The current limit, and when it will be higher by time alone.
    fn allowed(&self, now: Duration) -> (f64, Option<Duration>) {
        if let Some((number, later)) = self.refusals.coming_back(now)
            && number < self.number
        {
            return (number, Some(later));
        }
        if !matches!(self.phase, Phase::Opening) || self.number >= self.most_open() {
            return (self.number, None);
        }
        let missing = self.number.floor() + 1.0 - self.number;
        let wait = Duration::from_secs_f64((missing / self.growth()).max(0.001));
        (self.number, Some(self.opens_at(now) + wait))
    }

    #[expect(clippy::cast_precision_loss, reason = "few calls run at once")]
    fn running(&self) -> f64 {
        self.calls.len() as f64
    }

    fn take(&mut self, ticket: Ticket) -> Option<Call> {
        let index = self.find(ticket).ok()?;
        self.calls.remove(index)
    }

    fn find(&self, ticket: Ticket) -> Result<usize, usize> {
        self.calls.binary_search_by_key(&ticket, |call| call.ticket)
    }
}

/// Normalises a time by response length. The true dependence is unknown, between none and proportional; dividing by the
/// square root of the length halves the scatter in both cases.
fn by_length(time: f64, tokens: Option<f64>) -> f64 {
    /// The part of a call that does not depend on its response, in tokens.
    const BESIDE: f64 = 16.0;
    time / tokens.map_or(1.0, |tokens| (tokens + BESIDE).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The bound of a provider that refuses every eleventh call, so that calls are paced; and the time then.
    fn spread() -> (Bound, Duration) {
        let mut bound = Bound::new(256.0);
        let mut now = Duration::ZERO;
        for _ in 0..3 {
            for _ in 0..10 {
                let ticket = bound.began(now);
                now += SECOND / 10;
                bound.answered(ticket, now, None);
            }
            let ticket = bound.began(now);
            now += bound.refused(ticket, now).unwrap();
        }
        (bound, now)
    }

    #[test]
    fn what_one_worker_found_another_begins_with() {
        let mut first = Bound::new(256.0);
        assert_eq!(first.learned(), None);
        // 40 are answered side by side, and nothing shows a limit.
        first.number = 40.0;
        let tickets: Vec<_> = (0..40).map(|_| first.began(Duration::ZERO)).collect();
        for ticket in &tickets {
            first.answered(*ticket, SECOND, None);
        }
        let open = first.learned().unwrap();
        assert!(!open.is_limit && open.calls >= 2, "{open:?}");
        let mut second = Bound::new(256.0);
        second.begin_with(open);
        assert!((second.number() - f64::from(open.calls)).abs() < 1e-9);
        assert!(matches!(second.phase, Phase::Opening), "it opens further");

        let ticket = first.began(SECOND);
        first.refused(ticket, SECOND);
        let limit = first.learned().unwrap();
        assert!(limit.is_limit);
        let mut third = Bound::new(256.0);
        third.begin_with(limit);
        assert!(
            matches!(third.phase, Phase::Holding { .. }),
            "it stays there"
        );
        // Who has made calls knows better.
        third.began(Duration::ZERO);
        third.begin_with(open);
        assert!((third.number() - f64::from(limit.calls)).abs() < 1e-9);
        let mut bounded = Bound::new(4.0);
        bounded.begin_with(open);
        assert!(bounded.number() <= 4.0);
    }

    #[test]
    fn who_is_back_begins_anew() {
        let (mut bound, mut now) = spread();
        bound.granted(now);
        assert_ne!(bound.admits(now, 0), Entry::Now, "calls are spread");
        let late = bound.began(now);
        bound.reopen();
        assert_eq!(bound.admits(now, 0), Entry::Now);
        assert!((bound.number() - FIRST).abs() < 1e-9);
        // A refusal of an earlier call does not cause pacing.
        bound.refused(late, now);
        now += SECOND;
        for _ in 0..100 {
            bound.granted(now);
            assert_eq!(bound.admits(now, 0), Entry::Now);
        }
    }

    #[test]
    fn calls_are_let_go_at_their_pace_before_they_begin() {
        let (mut bound, now) = spread();
        let now = now + 10 * SECOND;
        assert_eq!(bound.admits(now, 0), Entry::Now);
        bound.granted(now);
        let Entry::Wait(Some(until)) = bound.admits(now, 1) else {
            panic!("the next one goes at the same moment");
        };
        assert!(until > now + SECOND / 20);
    }

    #[test]
    fn a_pace_that_nobody_feels_stays() {
        let (mut bound, mut now) = spread();
        for _ in 0..10_000 {
            now += SECOND;
            bound.granted(now);
            let ticket = bound.began(now);
            bound.answered(ticket, now, None);
        }
        bound.granted(now);
        assert_ne!(bound.admits(now, 0), Entry::Now);
    }

    #[test]
    fn a_time_out_tells_how_many_are_answered_in_time() {
        let mut bound = Bound::new(256.0);
        bound.number = 32.0;
        let tickets: Vec<_> = (0..32).map(|_| bound.began(Duration::ZERO)).collect();
        // One slot of five seconds.
        for (ticket, end) in tickets.iter().zip(1..=12) {
            bound.answered(*ticket, 5 * end * SECOND, None);
        }
        for ticket in &tickets[12..] {
            bound.timed_out(*ticket);
        }
        assert!(bound.number() <= 9.0, "{}", bound.number());
        assert!(bound.number() >= 1.0, "{}", bound.number());
        assert!(bound.ceiling.is_infinite(), "nothing was refused");
    }

    #[test]
    fn a_number_is_whole_after_a_refusal() {
        let mut bound = Bound::new(256.0);
        bound.number = 15.0;
        let tickets: Vec<_> = (0..15).map(|_| bound.began(Duration::ZERO)).collect();
        bound.refused(tickets[14], SECOND);
        bound.refused(tickets[1], SECOND);
        assert!((bound.number() - 7.0).abs() < 1e-9, "{}", bound.number());
        assert!((bound.ceiling - 7.0).abs() < 1e-9, "{}", bound.ceiling);
    }

    #[test]
    fn what_is_scarce_no_longer_slows_nothing() {
        let mut bound = Bound::new(256.0);
        bound.announced(0.1);
        assert!(bound.is_scarce);
        bound.announced_nothing();
        assert!(!bound.is_scarce);
        bound.announced(0.1);
        bound.announced(0.6);
        assert!(!bound.is_scarce);
    }
}
