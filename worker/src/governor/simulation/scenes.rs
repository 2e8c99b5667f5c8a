//! The scenes: all known kinds of providers, small and large runs, one worker and many.

use std::time::Duration;

use super::{provider::Kind, run::Scene};

/// Lengths of language models' responses differ by a factor of ten: 95 of 100 are within it.
const LANGUAGE: f64 = 0.6;
const PATIENCE: Duration = Duration::from_mins(1);
const SECOND: Option<Duration> = Some(Duration::from_secs(1));

const ONE_SLOT: Kind = Kind::Slots {
    count: 1,
    queue: usize::MAX,
};
const FOUR_SLOTS: Kind = Kind::Slots {
    count: 4,
    queue: usize::MAX,
};

/// The names of the scenes with several workers.
const MANY: [(usize, [&str; 5]); 2] = [
    (
        4,
        [
            "4 workers, elastic",
            "4 workers, refuses at 256",
            "4 workers, 600 calls/min announced",
            "4 workers, 600 calls/min not announced",
            "4 workers, one slot of 0.2 s",
        ],
    ),
    (
        16,
        [
            "16 workers, elastic",
            "16 workers, refuses at 256",
            "16 workers, 600 calls/min announced",
            "16 workers, 600 calls/min not announced",
            "16 workers, one slot of 0.2 s",
        ],
    ),
];

const fn scene(name: &'static str, kind: Kind, seconds: f64, scatter: f64, calls: usize) -> Scene {
    Scene {
        name,
        kind,
        seconds,
        scatter,
        head: 1.0,
        calls,
        workers: 1,
        max: 256.0,
        wish: None,
        patience: PATIENCE,
        change: None,
    }
}

const fn bucket(rate: f64, capacity: f64, by_token: bool, announces: bool) -> Kind {
    Kind::Bucket {
        rate,
        capacity,
        by_token,
        announces,
    }
}

/// The requirements for a scene.
pub(super) struct Goal {
    pub(super) scene: &'static str,
    /// Duration relative to the ideal one.
    pub(super) slower: f64,
    pub(super) refused_percent: f64,
    /// Mean measured latency relative to the provider's own: of all responses, and of the second half.
    pub(super) latencies: [f64; 2],
    /// Maximum number of calls that time out. No evaluation may be lost because of that.
    pub(super) late: u32,
}

/// Margins are above the worst of forty seeds. Several workers at one slot have no goal: each starts with two calls or
/// more, and the first response comes when all have opened.
pub(super) const GOALS: &[Goal] = &[
    goal("60 calls of 2 s, at most 32 set", 1.13, 0.0, [1.01, 1.01]),
    goal("60 calls of 2 s, refuses at 32", 1.22, 4.0, [1.01, 1.01]),
    goal("60 calls of 0.2 s, at most 32 set", 1.75, 0.0, [1.01, 1.01]),
    goal("elastic, 1,000 of 2 s", 1.34, 0.0, [1.01, 1.01]),
    goal("elastic, 1,000 of about 2 s", 1.13, 0.0, [1.01, 1.01]),
    goal("elastic, 1,000 of 2 s, streamed", 1.15, 0.0, [1.01, 1.01]),
    goal(
        "elastic, 1,000 of about 15 s, streamed",
        1.03,
        0.0,
        [1.01, 1.01],
    ),
    goal("elastic, 1,000 of about 30 s", 1.15, 0.0, [1.01, 1.01]),
    goal("elastic, 10,000 of about 2 s", 1.03, 0.0, [1.01, 1.01]),
    goal("elastic, 1,000 of about 0.2 s", 2.2, 0.0, [1.01, 1.01]),
    goal("elastic, 1,000 of about 60 s", 1.2, 0.0, [1.01, 1.01]),
    goal("refuses at 32, 1,000 of about 2 s", 1.25, 0.6, [1.01, 1.01]),
    goal("the same, asks to wait 1 s", 1.35, 0.6, [1.01, 1.01]),
    goal(
        "refuses at 256, 5,000 of about 2 s",
        1.04,
        0.0,
        [1.01, 1.01],
    ),
    goal("the same, up to 1,000 set", 1.04, 1.0, [1.01, 1.01]),
    goal("600 calls/min announced", 1.1, 0.0, [1.01, 1.01]),
    goal("600 calls/min not announced", 1.1, 3.0, [1.01, 1.01]),
    goal("150,000 tokens/min announced", 1.07, 0.0, [1.01, 1.01]),
    goal("150,000 tokens/min not announced", 1.15, 3.0, [1.01, 1.01]),
    goal(
        "refuses 1 in 20 at random, of about 2 s",
        9.0,
        6.5,
        [1.01, 1.01],
    ),
    goal(
        "refuses 1 in 7 at random, of about 2 s",
        9.0,
        17.0,
        [1.01, 1.01],
    ),
    goal(
        "refuses 1 in 14 at random, of 0.02 s",
        9.0,
        9.0,
        [1.01, 1.01],
    ),
    goal(
        "4 workers, 600 calls/min not announced",
        1.15,
        4.0,
        [1.01, 1.01],
    ),
    goal(
        "16 workers, 600 calls/min not announced",
        1.2,
        9.0,
        [1.01, 1.01],
    ),
    goal("one slot, 60 of 0.2 s", 1.01, 0.0, [1.1, 1.05]),
    goal("one slot, 240 of about 0.2 s", 1.01, 0.0, [6.0, 1.1]),
    Goal {
        late: 5,
        ..goal("one slot, 240 of about 1 s", 1.05, 0.0, [6.0, 1.1])
    },
    Goal {
        late: 35,
        ..goal("one slot, 240 of about 5 s", 1.1, 0.0, [2.5, 1.3])
    },
    Goal {
        late: 50,
        ..goal("one slot, 240 of about 20 s", 1.1, 0.0, [1.3, 1.2])
    },
    Goal {
        late: 100,
        ..goal("four slots, 500 of about 5 s", 1.4, 0.0, [3.0, 2.0])
    },
    goal(
        "one slot, 240 of about 5 s, streamed",
        1.01,
        0.0,
        [1.25, 1.1],
    ),
    goal("four slots, 1,000 of about 0.2 s", 1.35, 0.0, [7.0, 2.5]),
    Goal {
        late: 90,
        ..goal(
            "four slots, 500 of about 5 s, streamed",
            1.45,
            0.0,
            [8.0, 1.25],
        )
    },
    goal(
        "four slots, refuses beyond 64 waiting",
        1.35,
        1.0,
        [3.0, 2.5],
    ),
    goal("batches, half as fast at 16", 1.3, 0.0, [12.0, 14.0]),
    goal("elastic, then refuses at 32", 1.2, 1.5, [1.01, 1.01]),
    goal("refuses at 32, then elastic", 1.15, 0.1, [1.01, 1.01]),
    goal("elastic, then four slots", 1.15, 0.0, [2.5, 11.0]),
    goal("four slots, then elastic", 4.5, 0.0, [1.2, 1.1]),
    goal("elastic, answers thrice as long", 1.2, 0.0, [1.01, 1.01]),
    goal("4 workers, elastic", 1.06, 0.0, [1.01, 1.01]),
    goal("4 workers, refuses at 256", 1.2, 1.0, [1.01, 1.01]),
    goal(
        "4 workers, 600 calls/min announced",
        1.04,
        1.0,
        [1.01, 1.01],
    ),
    goal("16 workers, elastic", 1.1, 0.0, [1.01, 1.01]),
    goal("16 workers, refuses at 256", 1.06, 1.0, [1.01, 1.01]),
    goal(
        "16 workers, 600 calls/min announced",
        1.08,
        1.0,
        [1.01, 1.01],
    ),
];

const fn goal(scene: &'static str, slower: f64, refused_percent: f64, latencies: [f64; 2]) -> Goal {
    Goal {
        scene,
        slower,
        refused_percent,
        latencies,
        late: 0,
    }
}

/// Returns all scenes.
pub(super) fn scenes() -> Vec<Scene> {
    [
        small_runs(),
        that_answer(),
        that_refuse(),
        that_queue(),
        that_change(),
        of_many_workers(),
    ]
    .concat()
}

/// Small runs, which are common.
fn small_runs() -> Vec<Scene> {
    vec![
        Scene {
            max: 32.0,
            ..scene(
                "60 calls of 2 s, at most 32 set",
                Kind::Elastic,
                2.0,
                0.0,
                60,
            )
        },
        scene(
            "60 calls of 2 s, refuses at 32",
            Kind::Refusing(32),
            2.0,
            0.0,
            60,
        ),
        Scene {
            max: 32.0,
            ..scene(
                "60 calls of 0.2 s, at most 32 set",
                Kind::Elastic,
                0.2,
                0.0,
                60,
            )
        },
        scene("12 instant calls", Kind::Elastic, 0.002, 0.0, 12),
    ]
}

/// Providers that serve all calls.
fn that_answer() -> Vec<Scene> {
    vec![
        scene("elastic, 1,000 of 2 s", Kind::Elastic, 2.0, 0.0, 1_000),
        scene(
            "elastic, 1,000 of about 2 s",
            Kind::Elastic,
            2.0,
            LANGUAGE,
            1_000,
        ),
        scene(
            "elastic, 10,000 of about 2 s",
            Kind::Elastic,
            2.0,
            LANGUAGE,
            10_000,
        ),
        scene(
            "elastic, 1,000 of about 0.2 s",
            Kind::Elastic,
            0.2,
            LANGUAGE,
            1_000,
        ),
        Scene {
            head: 0.25,
            ..scene(
                "elastic, 1,000 of 2 s, streamed",
                Kind::Elastic,
                2.0,
                0.0,
                1_000,
            )
        },
        Scene {
            head: 0.02,
            ..scene(
                "elastic, 1,000 of about 15 s, streamed",
                Kind::Elastic,
                15.0,
                LANGUAGE,
                1_000,
            )
        },
        Scene {
            patience: Duration::from_mins(10),
            ..scene(
                "elastic, 1,000 of about 30 s",
                Kind::Elastic,
                30.0,
                LANGUAGE,
                1_000,
            )
        },
        Scene {
            head: 0.02,
            ..scene(
                "elastic, 1,000 of about 60 s",
                Kind::Elastic,
                60.0,
                LANGUAGE,
                1_000,
            )
        },
    ]
}

/// Providers that refuse overload, of concurrent calls or of calls per minute.
fn that_refuse() -> Vec<Scene> {
    vec![
        scene(
            "refuses at 32, 1,000 of about 2 s",
            Kind::Refusing(32),
            2.0,
            LANGUAGE,
            1_000,
        ),
        Scene {
            wish: SECOND,
            ..scene(
                "the same, asks to wait 1 s",
                Kind::Refusing(32),
                2.0,
                LANGUAGE,
                1_000,
            )
        },
        scene(
            "refuses at 256, 5,000 of about 2 s",
            Kind::Refusing(256),
            2.0,
            LANGUAGE,
            5_000,
        ),
        Scene {
            max: 1_000.0,
            ..scene(
                "the same, up to 1,000 set",
                Kind::Refusing(256),
                2.0,
                LANGUAGE,
                5_000,
            )
        },
        scene(
            "600 calls/min announced",
            bucket(10.0, 600.0, false, true),
            2.0,
            LANGUAGE,
            2_000,
        ),
        scene(
            "600 calls/min not announced",
            bucket(10.0, 60.0, false, false),
            2.0,
            LANGUAGE,
            2_000,
        ),
        scene(
            "150,000 tokens/min announced",
            bucket(2_500.0, 150_000.0, true, true),
            2.0,
            LANGUAGE,
            2_000,
        ),
        scene(
            "150,000 tokens/min not announced",
            bucket(2_500.0, 15_000.0, true, false),
            2.0,
            LANGUAGE,
            2_000,
        ),
        scene(
            "refuses 1 in 20 at random, of about 2 s",
            Kind::Fickle(20),
            2.0,
            LANGUAGE,
            2_000,
        ),
        scene(
            "refuses 1 in 7 at random, of about 2 s",
            Kind::Fickle(7),
            2.0,
            LANGUAGE,
            2_000,
        ),
        scene(
            "refuses 1 in 14 at random, of 0.02 s",
            Kind::Fickle(14),
            0.02,
            LANGUAGE,
            1_000,
        ),
    ]
}

/// Servers that queue calls, or serve all of them more slowly.
fn that_queue() -> Vec<Scene> {
    vec![
        scene("one slot, 60 of 0.2 s", ONE_SLOT, 0.2, 0.0, 60),
        scene("one slot, 240 of about 0.2 s", ONE_SLOT, 0.2, LANGUAGE, 240),
        scene("one slot, 240 of about 1 s", ONE_SLOT, 1.0, LANGUAGE, 240),
        scene("one slot, 240 of about 5 s", ONE_SLOT, 5.0, LANGUAGE, 240),
        scene("one slot, 240 of about 20 s", ONE_SLOT, 20.0, LANGUAGE, 240),
        scene(
            "four slots, 500 of about 5 s",
            FOUR_SLOTS,
            5.0,
            LANGUAGE,
            500,
        ),
        Scene {
            head: 0.05,
            ..scene(
                "one slot, 240 of about 5 s, streamed",
                ONE_SLOT,
                5.0,
                LANGUAGE,
                240,
            )
        },
        scene(
            "four slots, 1,000 of about 0.2 s",
            FOUR_SLOTS,
            0.2,
            LANGUAGE,
            1_000,
        ),
        Scene {
            head: 0.05,
            ..scene(
                "four slots, 500 of about 5 s, streamed",
                FOUR_SLOTS,
                5.0,
                LANGUAGE,
                500,
            )
        },
        scene(
            "four slots, refuses beyond 64 waiting",
            Kind::Slots {
                count: 4,
                queue: 64,
            },
            0.2,
            LANGUAGE,
            1_000,
        ),
        scene(
            "batches, half as fast at 16",
            Kind::Batching(16.0),
            2.0,
            LANGUAGE,
            1_000,
        ),
    ]
}

/// Providers that change during a run.
fn that_change() -> Vec<Scene> {
    vec![
        Scene {
            change: Some((20.0, Kind::Refusing(32), 2.0)),
            ..scene(
                "elastic, then refuses at 32",
                Kind::Elastic,
                2.0,
                LANGUAGE,
                4_000,
            )
        },
        Scene {
            change: Some((20.0, Kind::Elastic, 2.0)),
            ..scene(
                "refuses at 32, then elastic",
                Kind::Refusing(32),
                2.0,
                LANGUAGE,
                10_000,
            )
        },
        Scene {
            change: Some((20.0, FOUR_SLOTS, 0.2)),
            ..scene(
                "elastic, then four slots",
                Kind::Elastic,
                2.0,
                LANGUAGE,
                5_000,
            )
        },
        Scene {
            change: Some((20.0, Kind::Elastic, 2.0)),
            ..scene("four slots, then elastic", FOUR_SLOTS, 0.2, LANGUAGE, 5_000)
        },
        Scene {
            change: Some((20.0, Kind::Elastic, 6.0)),
            ..scene(
                "elastic, answers thrice as long",
                Kind::Elastic,
                2.0,
                LANGUAGE,
                8_000,
            )
        },
    ]
}

/// Several workers that do not coordinate.
fn of_many_workers() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for (workers, [elastic, at_256, announced, unannounced, one_slot]) in MANY {
        let many = |base: Scene| Scene { workers, ..base };
        scenes.extend([
            many(scene(elastic, Kind::Elastic, 2.0, LANGUAGE, 10_000)),
            many(scene(at_256, Kind::Refusing(256), 2.0, LANGUAGE, 10_000)),
            many(scene(
                announced,
                bucket(10.0, 600.0, false, true),
                0.5,
                LANGUAGE,
                2_000,
            )),
            many(scene(
                unannounced,
                bucket(10.0, 60.0, false, false),
                0.5,
                LANGUAGE,
                6_000,
            )),
            many(scene(one_slot, ONE_SLOT, 0.2, LANGUAGE, 3_000)),
        ]);
    }
    scenes
}
