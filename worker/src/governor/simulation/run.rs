//! One run in virtual time: workers take calls from a shared pool, and one provider serves them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::{
    super::bound::Ticket,
    control::{Control, TOKENS},
    provider::{Kind, Provider, Reception},
    random::Random,
};

/// Duration of a refusal.
const REFUSAL: Duration = Duration::from_millis(5);
/// Backoff and attempts of calls that time out, as in `crate::call`.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);
const ATTEMPTS: u32 = 5;
/// Maximum number of events, to detect a run that does not end.
const MOST_EVENTS: u64 = 3_000_000;

/// A provider, the calls and the workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Average seconds to serve a call.
    pub(super) seconds: f64,
    /// Standard deviation of the logarithms of these times.
    pub(super) scatter: f64,
    /// Fraction of that time until the response starts.
    pub(super) head: f64,
    pub(super) calls: usize,
    pub(super) workers: usize,
    /// Maximum number of concurrent calls of a worker.
    pub(super) max: f64,
    /// The pause requested by refusals.
    pub(super) wish: Option<Duration>,
    /// The timeout until the response starts.
    pub(super) patience: Duration,
    /// When the provider changes, into which kind, and its average seconds to serve a call then.
    pub(super) change: Option<(f64, Kind, f64)>,
}

/// The result of a scene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    pub(super) refused: u32,
    /// As a fraction of all calls.
    pub(super) refused_part: f64,
    /// Calls that timed out, and evaluations lost because of that.
    pub(super) late: u32,
    pub(super) lost: u32,
    /// Mean latency of responses as measured, and as served by the provider.
    pub(super) told: f64,
    pub(super) own: f64,
    /// The same for the calls that started in the second half.
    pub(super) late_told: f64,
    pub(super) late_own: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Change,
    Refused(usize),
    Returned(usize),
    /// A granted call starts, if nothing delays it.
    Enters(usize),
    /// These refer to the attempt with this number.
    Head(usize, u32),
    Finished(usize, u32),
    Late(usize, u32),
    Ask(usize),
}

struct Call {
    /// Its length relative to the average.
    size: f64,
    own: f64,
    worker: usize,
    ticket: Ticket,
    began: Duration,
    refusals: u32,
    /// The number of times that it was started.
    attempt: u32,
    is_heard: bool,
    timeouts: u32,
}

struct Worker {
    control: Box<dyn Control>,
    held: u32,
    /// Those of them that are about to start.
    entering: u32,
    asks_at: Option<Duration>,
}

struct Run<'a> {
    scene: &'a Scene,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    provider: Provider,
    seconds: f64,
    calls: Vec<Call>,
    pool: VecDeque<usize>,
    workers: Vec<Worker>,
    refused: u32,
    late: u32,
    lost: u32,
    answers: Vec<(f64, f64)>,
}

/// Simulates a scene.
pub(super) fn play(scene: &Scene, seed: u64, control: &dyn Fn() -> Box<dyn Control>) -> Outcome {
    let mut random = Random::new(seed);
    let calls = (0..scene.calls).map(|_| Call {
        size: random.around_one(scene.scatter),
        own: 0.0,
        worker: 0,
        ticket: 0,
        began: Duration::ZERO,
        refusals: 0,
        attempt: 0,
        is_heard: false,
        timeouts: 0,
    });
    let worker = |_| Worker {
        control: control(),
        held: 0,
        entering: 0,
        asks_at: None,
    };
    let mut run = Run {
        scene,
        now: Duration::ZERO,
        events: BinaryHeap::new(),
        count: 0,
        provider: Provider::new(scene.kind),
        seconds: scene.seconds,
        calls: calls.collect(),
        pool: (0..scene.calls).collect(),
        workers: (0..scene.workers).map(worker).collect(),
        refused: 0,
        late: 0,
        lost: 0,
        answers: Vec::new(),
    };
    if let Some((at, _, _)) = scene.change {
        run.schedule(Duration::from_secs_f64(at), Event::Change);
    }
    run.fill_all();
    while scene.calls > run.answers.len() + run.lost as usize {
        let Some(Reverse((at, _, event))) = run.events.pop() else {
            panic!("{}: nothing happens any more", scene.name);
        };
        assert!(run.count < MOST_EVENTS, "{}: no end", scene.name);
        run.now = at;
        run.handle(event);
    }
    run.outcome()
}

impl Run<'_> {
    fn schedule(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Change => {
                if let Some((_, kind, seconds)) = self.scene.change {
                    self.seconds = seconds;
                    self.provider.become_kind(kind, self.now.as_secs_f64());
                    for worker in &mut self.workers {
                        worker.control.told(kind);
                    }
                    self.fill_all();
                }
            }
            Event::Ask(number) => {
                self.workers[number].asks_at = None;
                self.fill(number);
            }
            Event::Enters(number) => self.enter(number),
            Event::Head(number, attempt) => {
                let call = &mut self.calls[number];
                if call.attempt != attempt {
                    return;
                }
                call.is_heard = true;
                let (worker, ticket) = (call.worker, call.ticket);
                self.announce(worker);
                self.workers[worker].control.heard(ticket, self.now);
                self.fill(worker);
            }
            Event::Late(number, attempt) => {
                let call = &self.calls[number];
                if call.attempt == attempt && !call.is_heard {
                    self.give_up(number);
                }
            }
            Event::Finished(number, attempt) => {
                if self.calls[number].attempt != attempt {
                    return;
                }
                for next in self.provider.finish() {
                    self.serve(next, 1.0);
                }
                let call = &mut self.calls[number];
                call.attempt += 1;
                let (worker, ticket) = (call.worker, call.ticket);
                let tokens = call.size * TOKENS;
                let latency = self.now.saturating_sub(call.began).as_secs_f64();
                self.answers.push((latency, call.own));
                self.workers[worker].held -= 1;
                let control = &mut self.workers[worker].control;
                control.answered(ticket, self.now, tokens);
                self.fill(worker);
            }
            Event::Refused(number) => {
                let wish = self.scene.wish;
                self.announce(self.calls[number].worker);
                let call = &mut self.calls[number];
                call.attempt += 1;
                call.refusals += 1;
                self.refused += 1;
                let worker = &mut self.workers[call.worker];
                worker.held -= 1;
                worker
                    .control
                    .refused(call.ticket, self.now, wish, call.refusals);
                let delay = worker.control.returns_after(call.refusals);
                self.schedule(self.now + delay, Event::Returned(number));
            }
            Event::Returned(number) => {
                self.pool.push_front(number);
                self.fill_all();
            }
        }
    }

    fn announce(&mut self, worker: usize) {
        let by_token = matches!(self.provider.kind, Kind::Bucket { by_token: true, .. });
        if let Some(remaining) = self.provider.remaining(self.now.as_secs_f64()) {
            let control = &mut self.workers[worker].control;
            control.announced(remaining, by_token, self.now);
        }
    }

    fn fill_all(&mut self) {
        (0..self.workers.len()).for_each(|number| self.fill(number));
    }

    /// The worker cancels the call.
    fn give_up(&mut self, number: usize) {
        for next in self.provider.hung_up(number) {
            self.serve(next, 1.0);
        }
        let call = &mut self.calls[number];
        call.attempt += 1;
        call.timeouts += 1;
        self.late += 1;
        let (worker, timeouts) = (call.worker, call.timeouts);
        self.workers[worker].held -= 1;
        let control = &mut self.workers[worker].control;
        control.timed_out(call.ticket, self.now);
        if timeouts >= ATTEMPTS {
            self.lost += 1;
        } else {
            let delay = (FIRST_BACKOFF * 2_u32.pow(timeouts - 1)).min(LONGEST_BACKOFF);
            self.schedule(self.now + delay, Event::Returned(number));
        }
        self.fill(worker);
    }

    /// Grants as many calls as allowed, like `Governor::dispatch`: they start when all of them are granted.
    fn fill(&mut self, number: usize) {
        let mut going = Vec::new();
        while let Some(next) = self.pool.front().copied() {
            let worker = &mut self.workers[number];
            if worker.entering >= worker.control.entering(self.now) {
                break;
            }
            match worker.control.admits(self.now, worker.held) {
                Ok(()) => {
                    self.pool.pop_front();
                    worker.held += 1;
                    worker.entering += 1;
                    worker.control.granted(self.now);
                    self.calls[next].worker = number;
                    going.push(next);
                }
                Err(until) => {
                    let at = until.map(|until| until.max(self.now + Duration::from_millis(1)));
                    if let Some(at) = at
                        && worker.asks_at.is_none_or(|asks_at| at < asks_at)
                    {
                        worker.asks_at = Some(at);
                        self.schedule(at, Event::Ask(number));
                    }
                    break;
                }
            }
        }
        for call in going {
            self.enter(call);
        }
    }

    /// Starts a granted call, unless something delays it.
    fn enter(&mut self, call: usize) {
        let number = self.calls[call].worker;
        let worker = &mut self.workers[number];
        if let Err(at) = worker.control.passes(self.now) {
            let at = at.max(self.now + Duration::from_millis(1));
            self.schedule(at, Event::Enters(call));
            return;
        }
        worker.entering -= 1;
        let is_bounded = worker.control.entering(self.now) < u32::MAX;
        let ticket = worker.control.began(self.now);
        self.begin(call, number, ticket);
        if is_bounded {
            self.fill(number);
        }
    }

    fn begin(&mut self, number: usize, worker: usize, ticket: Ticket) {
        let call = &mut self.calls[number];
        (call.worker, call.ticket, call.began) = (worker, ticket, self.now);
        (call.attempt, call.is_heard) = (call.attempt + 1, false);
        let (tokens, attempt) = (call.size * TOKENS, call.attempt);
        let patience = self.scene.patience;
        self.schedule(self.now + patience, Event::Late(number, attempt));
        match self
            .provider
            .receive(number, tokens, self.now.as_secs_f64())
        {
            Reception::Served(factor) => self.serve(number, factor),
            Reception::Queued => {}
            Reception::Refused => self.schedule(self.now + REFUSAL, Event::Refused(number)),
        }
    }

    fn serve(&mut self, number: usize, factor: f64) {
        let call = &mut self.calls[number];
        call.own = self.seconds * call.size;
        let (seconds, attempt) = (call.own * factor, call.attempt);
        // The time until a response starts does not depend on its length.
        let head = (self.seconds * self.scene.head).min(seconds);
        self.schedule(
            self.now + Duration::from_secs_f64(head),
            Event::Head(number, attempt),
        );
        self.schedule(
            self.now + Duration::from_secs_f64(seconds),
            Event::Finished(number, attempt),
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "there are few calls")]
    fn outcome(&self) -> Outcome {
        let mean = |answers: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            answers.iter().map(of).sum::<f64>() / answers.len() as f64
        };
        let late = &self.answers[self.answers.len() / 2..];
        Outcome {
            seconds: self.now.as_secs_f64(),
            refused: self.refused,
            late: self.late,
            lost: self.lost,
            refused_part: f64::from(self.refused)
                / (f64::from(self.refused) + self.answers.len() as f64),
            told: mean(&self.answers, |answer| answer.0),
            own: mean(&self.answers, |answer| answer.1),
            late_told: mean(late, |answer| answer.0),
            late_own: mean(late, |answer| answer.1),
        }
    }
}
