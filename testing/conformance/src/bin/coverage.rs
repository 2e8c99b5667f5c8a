//! Checks the statistics on simulated runs with a known truth: coverage of intervals, error rates of tests.
//!
//! `coverage [RUNS] [SEED]` prints a table and fails when a line leaves its band; the same seed prints the same table.

use std::process::ExitCode;

use opb_stats::{
    ConfidenceSequence, Interval, Unit, Verdict, bootstrap_interval, change_points, clustered_mean,
    compare, detectable_difference, drifts, mean_interval, paired_difference, quantile_interval,
    ratio_of_means, settled, sign_flip_p, wilson,
};
use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

type Chance = Xoshiro256PlusPlus;

/// The accepted range of a share of the runs.
enum Band {
    /// Between these.
    Within(f64, f64),
    /// Wider than usual because of a known weakness of the method, which the text states.
    Stated(f64, f64, &'static str),
}

const NOMINAL: Band = Band::Within(0.94, 0.96);
const LEVEL: Band = Band::Within(0.0, 0.05);
/// For tests that use their whole level; at 10,000 runs the simulation itself is off by up to 0.4 percentage points.
const WHOLE_LEVEL: Band = Band::Within(0.0, 0.054);

struct Table {
    runs: u32,
    seed: u64,
    lines: u64,
    failed: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let (Ok(runs), Ok(seed)) = (number(10_000), number(1)) else {
        eprintln!("usage: coverage [RUNS] [SEED], both whole numbers");
        return ExitCode::from(2);
    };
    let Ok(runs) = u32::try_from(runs) else {
        eprintln!("coverage: RUNS must be below four thousand million");
        return ExitCode::from(2);
    };
    let mut table = Table {
        runs,
        seed,
        lines: 0,
        failed: false,
    };
    println!("{runs} simulated runs a line, seed {seed}; intervals at 95 %, tests at 5 %\n");
    intervals_of_shares(&mut table);
    intervals_of_means(&mut table);
    intervals_of_others(&mut table);
    equal_prompts(&mut table);
    peeking(&mut table);
    power(&mut table);
    drifting(&mut table);
    if table.failed {
        println!("\nsome lines are outside of their bands");
        return ExitCode::FAILURE;
    }
    println!("\nevery line is within its band");
    ExitCode::SUCCESS
}

impl Table {
    fn heading(text: &str) {
        println!("{text}");
    }

    /// Prints the share of the runs in which `yes` held.
    fn line(&mut self, what: &str, band: &Band, mut yes: impl FnMut(&mut Chance) -> bool) {
        self.lines += 1;
        let mut chance = Chance::seed_from_u64(self.seed.wrapping_add(self.lines << 32));
        let held = (0..self.runs).filter(|_| yes(&mut chance)).count();
        let share = ratio(held, f64::from(self.runs));
        let (low, high, reason) = match band {
            Band::Within(low, high) => (*low, *high, ""),
            Band::Stated(low, high, reason) => (*low, *high, *reason),
        };
        let outside = share < low || share > high;
        self.failed |= outside;
        let mark = if outside { "OUTSIDE" } else { "" };
        let (share, low, high) = (100.0 * share, 100.0 * low, 100.0 * high);
        println!("  {what:58} {share:6.2} %  ({low:5.1} to {high:5.1})  {mark} {reason}");
    }
}

const LATTICE: &str =
    "successes are whole numbers: coverage swings about 95 % from one true rate to the next";

fn intervals_of_shares(table: &mut Table) {
    Table::heading("Wilson covers the pass rate");
    for (items, rate) in [
        (30, 0.5),
        (100, 0.8),
        (263, 0.3),
        (1000, 0.75),
        (1000, 0.95),
    ] {
        table.line(
            &format!("{items} items, true rate {rate}"),
            &NOMINAL,
            |chance| covers(wilson(passes(chance, items, rate), items, 0.95), rate),
        );
    }
    let swinging = Band::Stated(0.88, 0.99, LATTICE);
    for (items, rate) in [(10, 0.9), (20, 0.99), (50, 0.98)] {
        table.line(
            &format!("{items} items, true rate {rate}"),
            &swinging,
            |chance| covers(wilson(passes(chance, items, rate), items, 0.95), rate),
        );
    }
    table.line("100 items, a new rate for each run", &NOMINAL, |chance| {
        let rate = chance.random_range(0.02..0.98);
        covers(wilson(passes(chance, 100, rate), 100, 0.95), rate)
    });
}

const SKEWED: &str =
    "few and skewed values: both fall short, as theory says, at the rate of 1/√n and 1/n";

fn intervals_of_means(table: &mut Table) {
    Table::heading("t covers the mean score");
    let even = |chance: &mut Chance| chance.random::<f64>();
    // The square of a uniform score: mean 1/3, most answers bad, some good.
    let skewed = |chance: &mut Chance| chance.random::<f64>().powi(2);
    let heavy = |chance: &mut Chance| chance.random::<f64>().powi(6);
    let t = |values: &[f64], truth| covers(mean_interval(values, 0.95), truth);
    for items in [10, 30, 100] {
        let what = format!("{items} items, even scores");
        table.line(&what, &NOMINAL, |chance| t(&draw(chance, items, even), 0.5));
    }
    for items in [100, 1000] {
        let what = format!("{items} items, skewed scores");
        table.line(&what, &NOMINAL, |chance| {
            t(&draw(chance, items, skewed), 1.0 / 3.0)
        });
    }
    let stated = Band::Stated(0.90, 0.95, SKEWED);
    table.line("30 items, very skewed scores", &stated, |chance| {
        t(&draw(chance, 30, heavy), 1.0 / 7.0)
    });
    Table::heading("The BCa bootstrap covers the mean score");
    let bca = |chance: &mut Chance, values: Vec<f64>, truth| {
        let units: Vec<Unit> = values.into_iter().map(Unit::from).collect();
        bootstrap_interval(&units, 0.95, chance.random())
            .is_some_and(|interval| covers(interval, truth))
    };
    for items in [100, 300] {
        let what = format!("{items} items, even scores");
        table.line(&what, &NOMINAL, |chance| {
            let values = draw(chance, items, even);
            bca(chance, values, 0.5)
        });
        let what = format!("{items} items, skewed scores");
        table.line(&what, &NOMINAL, |chance| {
            let values = draw(chance, items, skewed);
            bca(chance, values, 1.0 / 3.0)
        });
    }
    table.line("30 items, very skewed scores", &stated, |chance| {
        let values = draw(chance, 30, heavy);
        bca(chance, values, 1.0 / 7.0)
    });
    Table::heading("Repeats: 100 items, 1 to 8 repeats each, items differ");
    table.line("clustered by item", &NOMINAL, |chance| {
        let groups = repeated(chance, 100);
        clustered_mean(&groups, 0.95).is_some_and(|found| covers(found.interval, 0.5))
    });
    table.line("cluster bootstrap", &NOMINAL, |chance| {
        let groups = repeated(chance, 100);
        let unit = |group: &Vec<f64>| Unit {
            over: group.iter().sum(),
            under: count(group.len()),
        };
        let units: Vec<Unit> = groups.iter().map(unit).collect();
        bootstrap_interval(&units, 0.95, chance.random())
            .is_some_and(|interval| covers(interval, 0.5))
    });
    let ignored = Band::Stated(0.5, 0.9, "shown as a warning: repeats taken for items");
    table.line(
        "t over all values, the repeats taken for items",
        &ignored,
        |chance| t(&repeated(chance, 100).concat(), 0.5),
    );
}

fn intervals_of_others(table: &mut Table) {
    Table::heading("Latency percentiles and cost per correct answer");
    let wide = Band::Stated(
        0.94,
        0.99,
        "order statistics are whole ranks: never too narrow",
    );
    for (calls, share) in [(100, 0.5), (1000, 0.5), (1000, 0.95), (5000, 0.95)] {
        let what = format!("{calls} calls, {:.0}th percentile", share * 100.0);
        table.line(&what, &wide, |chance| {
            // The true quantile of an exponential distribution is known.
            let values = draw(chance, calls, |chance| -chance.random::<f64>().ln());
            let (found, truth) = (quantile_interval(&values, share, 0.95), -(-share).ln_1p());
            found.low.is_some_and(|low| low <= truth)
                && found.high.is_some_and(|high| truth <= high)
        });
    }
    for (items, rate) in [(100, 0.7), (300, 0.4)] {
        let what = format!("Fieller, {items} items of which {rate} are right");
        table.line(&what, &NOMINAL, |chance| {
            let units = draw(chance, items, |chance| Unit {
                over: 100.0 - 40.0 * chance.random::<f64>().ln(),
                under: f64::from(chance.random_bool(rate)),
            });
            let found = ratio_of_means(&units, 0.95).and_then(|ratio| ratio.interval);
            found.is_some_and(|interval| covers(interval, 140.0 / rate))
        });
    }
}

fn equal_prompts(table: &mut Table) {
    Table::heading("Two equal prompts are called different (p below 0.05)");
    for (items, rate) in [(30, 0.8), (100, 0.8), (300, 0.5), (1000, 0.8)] {
        table.line(
            &format!("pass/fail, {items} items, rate {rate}"),
            &WHOLE_LEVEL,
            |chance| {
                let [a, b] = pass_fail_pair(chance, items, [rate, rate]);
                paired_difference(&a, &b).p_value < 0.05
            },
        );
    }
    for items in [10, 30] {
        table.line(
            &format!("graded, {items} items, permutation"),
            &WHOLE_LEVEL,
            |chance| {
                let differences = draw(chance, items, |chance| {
                    chance.random::<f64>().powi(2) - chance.random::<f64>().powi(2)
                });
                sign_flip_p(&differences, chance.random()) < 0.05
            },
        );
    }
    table.line("graded, 200 items, t", &WHOLE_LEVEL, |chance| {
        let [a, b] = graded_pair(chance, 200);
        paired_difference(&a, &b).p_value < 0.05
    });
    Table::heading("Ten equal prompts: any of the 45 pairs is called different");
    table.line("100 items, adjusted", &LEVEL, |chance| {
        let columns = table_of_equals(chance, 10, 100);
        compare(&columns, 0.05, 1)
            .iter()
            .any(|found| matches!(found.verdict, Verdict::Better | Verdict::Worse))
    });
    let ignored = Band::Stated(0.3, 1.0, "shown as a warning: no adjustment");
    table.line("100 items, not adjusted", &ignored, |chance| {
        let columns = table_of_equals(chance, 10, 100);
        compare(&columns, 0.05, 1)
            .iter()
            .any(|found| found.p_value < 0.05)
    });
    Table::heading("A course without a change is given a change point");
    for points in [10, 30, 100] {
        table.line(&format!("{points} runs, known errors"), &LEVEL, |chance| {
            let values = draw(chance, points, normal);
            !change_points(&values, Some(&vec![1.0; points])).is_empty()
        });
    }
}

fn peeking(table: &mut Table) {
    Table::heading("Two equal prompts, looked at after each of 1,000 items");
    table.line(
        "confidence sequence ever excludes 0, pass/fail",
        &LEVEL,
        |chance| {
            let mut sequence = ConfidenceSequence::new(-1.0, 1.0, 0.95);
            (0..1000).any(|_| {
                let difference =
                    f64::from(chance.random_bool(0.8)) - f64::from(chance.random_bool(0.8));
                sequence.observe(difference);
                sequence.excludes(0.0)
            })
        },
    );
    table.line(
        "confidence sequence ever misses a mean score",
        &LEVEL,
        |chance| {
            let mut sequence = ConfidenceSequence::new(0.0, 1.0, 0.95);
            (0..1000).any(|_| {
                sequence.observe(chance.random::<f64>().powi(2));
                sequence.excludes(1.0 / 3.0)
            })
        },
    );
    for equals in [2_usize, 4] {
        let what = format!("{equals} equal columns, one of them settled early");
        table.line(&what, &LEVEL, |chance| {
            settled(&columns_of(chance, &vec![0.8; equals], 1000), equals, 0.95).contains(&true)
        });
    }
    let ignored = Band::Stated(0.2, 0.9, "shown as a warning: a fixed test, peeked at");
    table.line(
        "t-test ever below 0.05, peeked at every 10 items",
        &ignored,
        |chance| {
            let [a, b] = pass_fail_pair(chance, 1000, [0.8, 0.8]);
            (20..=1000)
                .step_by(10)
                .any(|seen| paired_difference(&a[..seen], &b[..seen]).p_value < 0.05)
        },
    );
}

fn power(table: &mut Table) {
    Table::heading("Power: 0.80 is found better than 0.75");
    let any = Band::Stated(0.0, 1.0, "");
    for (items, alike) in [
        (1000, 0.0),
        (1000, 0.5),
        (1000, 0.8),
        (300, 0.5),
        (3000, 0.5),
    ] {
        let what = format!(
            "{items} items, {:.0} % of them answered alike",
            alike * 100.0
        );
        table.line(&what, &any, |chance| {
            let [a, b] = alike_pair(chance, items, [0.80, 0.75], alike);
            let found = paired_difference(&a, &b);
            found.difference > 0.0 && found.p_value < 0.05
        });
    }
    table.line(
        "1000 items, independent, confidence sequence",
        &any,
        |chance| {
            let mut sequence = ConfidenceSequence::new(-1.0, 1.0, 0.95);
            for _ in 0..1000 {
                sequence.observe(
                    f64::from(chance.random_bool(0.80)) - f64::from(chance.random_bool(0.75)),
                );
            }
            sequence.excludes(0.0)
        },
    );
    for (items, rates) in [
        (100, [0.9, 0.5]),
        (200, [0.9, 0.7]),
        (500, [0.9, 0.8]),
        (2000, [0.80, 0.75]),
    ] {
        let [one, other] = rates;
        let what = format!("stopped early by {items} items: {one:.2} and {other:.2}");
        table.line(&what, &any, |chance| {
            settled(&columns_of(chance, &rates, items), 2, 0.95) == [true, true]
        });
    }
    let deviation = (0.8_f64 * 0.2 + 0.75 * 0.25).sqrt();
    if let Some(detectable) = detectable_difference(deviation, 1000) {
        println!(
            "  independent columns at 1,000 items: 80 % power from a difference of {detectable:.4} on"
        );
    }
}

fn drifting(table: &mut Table) {
    Table::heading("A model that is measured again and again");
    // Items of different difficulty, as in a benchmark.
    let run = |chance: &mut Chance, items: usize, shift: f64| -> Column {
        (0..items)
            .map(|item| 0.5 + 0.5 * count(item) / count(items))
            .map(|rate| {
                Some(f32::from(u8::from(
                    chance.random_bool((rate - shift).max(0.0)),
                )))
            })
            .collect()
    };
    table.line(
        "the same model, ever called drifted in 20 later runs of 200 items",
        &LEVEL,
        |chance| {
            let first = run(chance, 200, 0.0);
            let pairs: Vec<_> = (0..20)
                .map(|_| (first.clone(), run(chance, 200, 0.0)))
                .collect();
            drifts(&pairs, 0.95).iter().any(|drift| drift.drifted)
        },
    );
    let any = Band::Stated(0.0, 1.0, "");
    for (items, shift) in [(400, 0.2), (1000, 0.1), (3000, 0.1)] {
        let what = format!(
            "{items} items, {:.0} points worse: found by the next run",
            shift * 100.0
        );
        table.line(&what, &any, |chance| {
            let pair = (run(chance, items, 0.0), run(chance, items, shift));
            drifts(&[pair], 0.95)[0].drifted
        });
    }
}

/// Columns of passes and failures, drawn independently.
fn columns_of(chance: &mut Chance, rates: &[f64], items: usize) -> Vec<Column> {
    let pass = |chance: &mut Chance, rate| Some(f32::from(u8::from(chance.random_bool(rate))));
    rates
        .iter()
        .map(|rate| draw(chance, items, |chance| pass(chance, *rate)))
        .collect()
}

fn covers(interval: Interval, truth: f64) -> bool {
    interval.low <= truth && truth <= interval.high
}

fn draw<T>(chance: &mut Chance, values: usize, one: impl Fn(&mut Chance) -> T) -> Vec<T> {
    (0..values).map(|_| one(chance)).collect()
}

fn passes(chance: &mut Chance, items: u64, rate: f64) -> u64 {
    (0..items)
        .map(|_| u64::from(chance.random_bool(rate)))
        .sum()
}

/// Items of different difficulty, each with some repeats; the overall mean is 0.5.
fn repeated(chance: &mut Chance, items: usize) -> Vec<Vec<f64>> {
    draw(chance, items, |chance| {
        let (rate, repeats) = (chance.random::<f64>(), chance.random_range(1..=8));
        draw(chance, repeats, |chance| {
            f64::from(chance.random_bool(rate))
        })
    })
}

type Column = Vec<Option<f32>>;

fn pass_fail_pair(chance: &mut Chance, items: usize, rates: [f64; 2]) -> [Column; 2] {
    alike_pair(chance, items, rates, 0.0)
}

/// Two columns that share their random draws on a share of the items: there the better one passes whenever the other
/// does.
fn alike_pair(chance: &mut Chance, items: usize, rates: [f64; 2], alike: f64) -> [Column; 2] {
    let (mut a, mut b) = (Column::new(), Column::new());
    for _ in 0..items {
        let luck: [f64; 2] = [chance.random(), chance.random()];
        let second = if chance.random_bool(alike) {
            luck[0]
        } else {
            luck[1]
        };
        a.push(Some(f32::from(u8::from(luck[0] < rates[0]))));
        b.push(Some(f32::from(u8::from(second < rates[1]))));
    }
    [a, b]
}

fn graded_pair(chance: &mut Chance, items: usize) -> [Column; 2] {
    let score = |chance: &mut Chance| Some(chance.random::<f32>().powi(2));
    [draw(chance, items, score), draw(chance, items, score)]
}

fn table_of_equals(chance: &mut Chance, columns: usize, items: usize) -> Vec<Column> {
    let score = |chance: &mut Chance| Some(f32::from(u8::from(chance.random_bool(0.8))));
    draw(chance, columns, |chance| draw(chance, items, score))
}

/// Box & Muller (1958), "A note on the generation of random normal deviates".
fn normal(chance: &mut Chance) -> f64 {
    let (size, angle): (f64, f64) = (1.0 - chance.random::<f64>(), chance.random());
    (-2.0 * size.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn count(values: usize) -> f64 {
    values as f64
}

fn ratio(part: usize, whole: f64) -> f64 {
    count(part) / whole
}
