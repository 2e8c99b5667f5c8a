//! Tests of the governor without a provider: time is paused, and no database is available.

use std::sync::Mutex as StdMutex;

use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::*;
use crate::limits::Used;

const CALLER: Caller = Caller {
    owner_id: 1,
    weight: 1.0,
};
const USED: Used = Used {
    tokens: None,
    microusd: None,
};

/// The governor of a model whose provider has responded before.
fn governor(max: u32) -> Arc<Governor> {
    let governor = unheard(max);
    governor.note_announced(Announced::default());
    governor
}

/// The governor of a model whose provider has never responded.
fn unheard(max: u32) -> Arc<Governor> {
    let settings = GovernorSettings {
        max,
        patience: Duration::from_mins(10),
        first_patience: Duration::from_mins(2),
        worker_id: Uuid::nil(),
        pool: PgPoolOptions::new()
            .connect_lazy("postgres://127.0.0.1:1/none")
            .unwrap(),
    };
    Governors::new(settings).of(Uuid::nil(), "test", "model", None)
}

async fn acquire(governor: &Arc<Governor>) -> Permit {
    governor.acquire(CALLER, &CallSize::default).await.unwrap()
}

fn number(governor: &Governor) -> f64 {
    governor.lock().bound.number()
}

/// Makes calls of 100 ms each until the governor allows this many concurrent ones.
async fn open_to(governor: &Arc<Governor>, wanted: u32) {
    let calls = (0..4 * wanted).map(|_| {
        let governor = Arc::clone(governor);
        tokio::spawn(async move {
            while number(&governor) < f64::from(wanted) {
                let permit = acquire(&governor).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                permit.succeeded(None, USED);
            }
        })
    });
    futures::future::join_all(calls).await;
}

fn silence() -> Failure {
    Failure {
        kind: CallErrorKind::Connect,
        pause: None,
        is_first: true,
    }
}

/// Opens the breaker.
async fn bring_down(governor: &Arc<Governor>) {
    for _ in 0..6 {
        acquire(governor).await.failed(silence());
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    assert!(governor.lock().breaker.down_since().is_some());
}

#[tokio::test(start_paused = true)]
async fn opens_while_nothing_is_refused_and_stays_below_what_was() {
    let governor = governor(1000);
    assert!((number(&governor) - 2.0).abs() < 1e-9, "it begins with two");
    let started = Instant::now();
    let mut running = Vec::new();
    for _ in 0..30 {
        running.push(acquire(&governor).await);
    }
    // No response and no refusal so far.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "30 calls run after {took:?}");
    let last = running.pop().unwrap();
    last.refused(None);
    assert!((number(&governor) - 29.0).abs() < 1e-9, "29 ran before it");
    let first = running.pop().unwrap();
    first.refused(None);
    assert!(
        (number(&governor) - 28.0).abs() < 1e-9,
        "one reduction a round, to the least that was too much"
    );
    drop(running);
    for _ in 0..10 {
        acquire(&governor).await.refused(None);
    }
    assert!((number(&governor) - 1.0).abs() < 1e-9, "never below one");
}

/// F08: our own time limit says nothing of a provider whose answers have begun.
#[tokio::test(start_paused = true)]
async fn answers_that_begin_and_do_not_end_in_time_stop_no_calls() {
    for (kind, is_down) in [
        (CallErrorKind::Timeout, true),
        (CallErrorKind::Unfinished, false),
    ] {
        let governor = governor(1000);
        for _ in 0..10 {
            acquire(&governor)
                .await
                .failed(Failure { kind, ..silence() });
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        let breaker_is_open = governor.lock().breaker.down_since().is_some();
        assert_eq!(breaker_is_open, is_down, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_without_an_answer_between_wait_longer_and_longer() {
    let governor = governor(1000);
    let started = Instant::now();
    for _ in 0..10 {
        // As Azure reportedly does: retry at once.
        acquire(&governor).await.refused(Some(Duration::ZERO));
    }
    let took = started.elapsed();
    assert!(took > Duration::from_secs(25), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn never_more_than_the_bound_and_every_waiter_comes() {
    let governor = governor(4);
    let peak = Arc::new(StdMutex::new((0_u32, 0_u32)));
    let calls = (0..200).map(|number| {
        let (governor, peak) = (Arc::clone(&governor), Arc::clone(&peak));
        tokio::spawn(async move {
            let permit = acquire(&governor).await;
            {
                let mut peak = peak.lock().unwrap();
                peak.0 += 1;
                peak.1 = peak.1.max(peak.0);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            peak.lock().unwrap().0 -= 1;
            if number % 3 == 0 {
                permit.succeeded(None, USED);
            } else {
                drop(permit);
            }
        })
    });
    futures::future::join_all(calls).await;
    assert_eq!(*peak.lock().unwrap(), (0, 4));
}

#[tokio::test]
async fn who_stops_waiting_takes_nobodys_place() {
    let governor = governor(1);
    let first = acquire(&governor).await;
    let mut waiting: Vec<_> = (0..100)
        .map(|_| Box::pin(governor.acquire(CALLER, &CallSize::default)))
        .collect();
    for waiter in &mut waiting {
        assert!(futures::poll!(waiter).is_pending());
    }
    let last = waiting.pop().unwrap();
    drop(first);
    // The first of them was granted already; the others stop waiting.
    drop(waiting);
    assert!(last.await.is_ok());
    assert_eq!(governor.lock().held, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_every_call() {
    let governor = governor(4);
    acquire(&governor)
        .await
        .refused(Some(Duration::from_secs(30)));
    let before = Instant::now();
    let calls = (0..2).map(|_| async { drop(acquire(&governor).await) });
    futures::future::join_all(calls).await;
    assert!(before.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn two_models_of_a_provider_have_bounds_of_their_own_and_one_in_all() {
    let settings = GovernorSettings {
        max: 20,
        patience: Duration::ZERO,
        first_patience: Duration::ZERO,
        worker_id: Uuid::nil(),
        pool: PgPoolOptions::new()
            .connect_lazy("postgres://127.0.0.1:1/none")
            .unwrap(),
    };
    let governors = Governors::new(settings);
    let [one, other] = ["one", "other"].map(|model| governors.of(Uuid::nil(), "test", model, None));
    assert!(Arc::ptr_eq(
        &one,
        &governors.of(Uuid::nil(), "test", "one", None)
    ));
    // Models that are not really called have a governor per owner.
    let [mine, theirs] = [1, 2].map(|owner| governors.of(Uuid::nil(), "test", "one", Some(owner)));
    assert!(!Arc::ptr_eq(&mine, &theirs));
    open_to(&one, 20).await;
    assert!((number(&other) - 2.0).abs() < 1e-9, "the other did nothing");
    open_to(&other, 20).await;
    let mut running = Vec::new();
    for governor in std::iter::repeat_n(&one, 8).chain(std::iter::repeat_n(&other, 12)) {
        running.push(acquire(governor).await);
    }
    let mut next = Box::pin(other.acquire(CALLER, &CallSize::default));
    assert!(futures::poll!(&mut next).is_pending(), "20 calls run");
    running.pop();
    assert!(next.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_stop_while_a_model_is_down_and_go_on_when_it_is_back() {
    let governor = governor(100);
    bring_down(&governor).await;
    assert!(
        governor
            .obstacle()
            .unwrap()
            .contains("test:model has not answered")
    );
    let mut waiting: Vec<_> = (0..10)
        .map(|_| {
            let governor = Arc::clone(&governor);
            tokio::spawn(async move { acquire(&governor).await })
        })
        .collect();
    for _ in 0..4 {
        // One probe at a time, and it fails.
        let (probe, _, rest) = futures::future::select_all(waiting).await;
        assert_eq!(governor.lock().held, 1);
        assert!(probe.unwrap().failed(silence()), "no attempt is used up");
        waiting = rest;
    }
    let (probe, _, mut rest) = futures::future::select_all(waiting).await;
    probe.unwrap().succeeded(None, USED);
    assert_eq!(rest.len(), 5);
    while !rest.is_empty() {
        let (permit, _, others) = futures::future::select_all(rest).await;
        permit.unwrap().succeeded(None, USED);
        rest = others;
    }
    assert_eq!(governor.obstacle(), None);
}

/// Calls until the governor gives the model up, and returns its error.
async fn give_up(governor: &Arc<Governor>) -> String {
    loop {
        match governor.acquire(CALLER, &CallSize::default).await {
            Ok(permit) => assert!(permit.failed(silence())),
            Err(down) => return down.to_string(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_stays_down_is_given_up() {
    let governor = governor(100);
    bring_down(&governor).await;
    let started = Instant::now();
    let down = give_up(&governor).await;
    assert!(down.ends_with("10 minutes"), "{down}");
    assert!(started.elapsed() > Duration::from_mins(9));
    // It is still probed.
    tokio::time::advance(Duration::from_secs(31)).await;
    acquire(&governor).await.succeeded(None, USED);
    acquire(&governor).await.succeeded(None, USED);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answered_is_given_up_early() {
    let governor = unheard(100);
    bring_down(&governor).await;
    let obstacle = governor.obstacle().unwrap();
    assert!(obstacle.contains("after 2 minutes"), "{obstacle}");
    let started = Instant::now();
    let down = give_up(&governor).await;
    assert!(down.contains("2 minutes, and never before"), "{down}");
    assert!(started.elapsed() < Duration::from_mins(3));
    // After any response, even a refusal, the next outage is waited for.
    tokio::time::advance(Duration::from_secs(31)).await;
    let permit = acquire(&governor).await;
    governor.note_announced(Announced::default());
    permit.failed(silence());
    assert!(give_up(&governor).await.ends_with("10 minutes"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_asks_for_too_much_uses_up_its_attempts() {
    let governor = governor(100);
    bring_down(&governor).await;
    let failure = Failure {
        kind: CallErrorKind::Server,
        ..silence()
    };
    assert!(!acquire(&governor).await.failed(failure));
}

/// `remaining` of 600 requests, fully replenished after `reset` seconds.
fn left(remaining: f64, reset: u64) -> Announced {
    Announced {
        requests: Some(crate::providers::Left {
            limit: 600.0,
            remaining,
            reset: Duration::from_secs(reset),
        }),
        tokens: None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_announces_spreads_calls() {
    let governor = governor(100);
    governor.note_announced(left(59.0, 54));
    let started = Instant::now();
    for _ in 0..11 {
        acquire(&governor).await.succeeded(None, USED);
    }
    let took = started.elapsed().as_secs_f64();
    assert!((0.9..1.2).contains(&took), "{took}");
    governor.note_announced(left(500.0, 10));
    let started = Instant::now();
    for _ in 0..100 {
        acquire(&governor).await.succeeded(None, USED);
    }
    assert!(started.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_their_moment_hear_what_comes_in() {
    let governor = governor(100);
    let wait = |calls: usize| {
        let governor = Arc::clone(&governor);
        tokio::spawn(async move {
            let started = Instant::now();
            let calls = (0..calls).map(|_| async { drop(acquire(&governor).await) });
            futures::future::join_all(calls).await;
            started.elapsed().as_secs_f64()
        })
    };
    open_to(&governor, 20).await;
    governor.note_announced(left(59.0, 54));
    let first = acquire(&governor).await;
    let waiting = wait(4);
    tokio::task::yield_now().await;
    // Ten a second, and now one.
    governor.note_announced(left(5.5, 60));
    let took = waiting.await.unwrap();
    assert!((3.9..4.3).contains(&took), "{took}");

    let waiting = wait(1);
    tokio::task::yield_now().await;
    first.refused(Some(Duration::from_secs(30)));
    let took = waiting.await.unwrap();
    assert!((30.0..30.5).contains(&took), "{took}");
}

/// Makes calls whose responses start early and end late.
fn run_calls(
    governor: &Arc<Governor>,
    calls: usize,
    announced: Announced,
) -> Vec<tokio::task::JoinHandle<()>> {
    let head = Duration::from_millis(300);
    let call = |governor: Arc<Governor>| async move {
        let permit = acquire(&governor).await;
        let calling = async {
            tokio::time::sleep(head).await;
            governor.note_announced(announced);
            Arc::clone(&governor).note_answering();
            tokio::time::sleep(Duration::from_mins(1)).await;
        };
        permit.watch(calling).await;
        permit.succeeded(None, USED);
    };
    let calls = (0..calls).map(|_| tokio::spawn(call(Arc::clone(governor))));
    calls.collect()
}

#[tokio::test(start_paused = true)]
async fn heads_of_answers_let_more_begin_before_any_call_ends() {
    for announced in [Announced::default(), left(600.0, 1)] {
        let governor = governor(256);
        let calls = run_calls(&governor, 400, announced);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(governor.lock().held, 256, "no call has ended yet");
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_no_sign_of_life_is_not_flooded() {
    let governor = governor(256);
    let waiting: Vec<_> = (0..400)
        .map(|_| {
            let governor = Arc::clone(&governor);
            tokio::spawn(async move {
                let permit = acquire(&governor).await;
                tokio::time::sleep(Duration::from_hours(1)).await;
                drop(permit);
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(governor.lock().held, 32);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(governor.lock().held, 32);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_spread_over_time_begin_one_after_another() {
    let governor = governor(100);
    open_to(&governor, 20).await;
    // However few are in flight, every eleventh is refused.
    for _ in 0..3 {
        for _ in 0..10 {
            let permit = acquire(&governor).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            permit.succeeded(None, USED);
        }
        acquire(&governor).await.refused(None);
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    let began = Arc::new(StdMutex::new(Vec::new()));
    let calls = (0..10).map(|_| {
        let (governor, began) = (Arc::clone(&governor), Arc::clone(&began));
        tokio::spawn(async move {
            let permit = acquire(&governor).await;
            began.lock().unwrap().push(Instant::now());
            permit.succeeded(None, USED);
        })
    });
    futures::future::join_all(calls).await;
    let began = began.lock().unwrap();
    for two in began.windows(2) {
        let gap = two[1] - two[0];
        assert!(gap > Duration::from_millis(50), "{gap:?}");
    }
}

/// As a provider does that has too much to do for all of its users, and says when to come back.
#[tokio::test(start_paused = true)]
async fn refusals_by_chance_slow_nobody_else() {
    let governor = governor(100);
    let started = Instant::now();
    let wish = Some(Duration::from_secs(20));
    let mut alone = Duration::ZERO;
    for number in 0..40_000 {
        let permit = acquire(&governor).await;
        if number % 20 == 19 {
            alone = permit.refused(wish);
        } else {
            permit.succeeded(None, USED);
        }
    }
    assert_eq!(Some(alone), wish, "only the refused call waits");
    let took = started.elapsed();
    // A pause for every refusal would be eleven hours.
    assert!(took < Duration::from_mins(15), "{took:?}");
    // Once nearly all are refused, that is a reason.
    let started = Instant::now();
    for _ in 0..200 {
        alone = acquire(&governor).await.refused(None);
    }
    assert_eq!(alone, Duration::ZERO);
    assert!(started.elapsed() > Duration::from_mins(30));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_while_a_model_is_down_slows_nothing_when_it_is_back() {
    let governor = governor(100);
    let overloaded = Failure {
        kind: CallErrorKind::Overloaded,
        ..silence()
    };
    let mut probes = 0;
    let ended = Instant::now() + Duration::from_mins(9);
    while Instant::now() < ended {
        acquire(&governor).await.failed(overloaded);
        probes += 1;
    }
    assert!(probes > 10, "{probes}");
    acquire(&governor).await.succeeded(None, USED);
    let started = Instant::now();
    for _ in 0..1000 {
        acquire(&governor).await.succeeded(None, USED);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
