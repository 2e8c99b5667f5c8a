//! Tests every formula against scipy 1.17.1 and statsmodels 0.15.0; each case names the reference function.

use std::time::Instant;

use proptest::prelude::*;

use super::student::{t_quantile, two_sided_p};
use super::*;

mod comparisons;
mod courses;
mod intervals;
mod order;
mod step;

#[track_caller]
fn close(found: f64, expect: f64) {
    assert!(
        (found - expect).abs() <= 1e-9 * expect.abs().max(1.0),
        "{found} is not {expect}"
    );
}

#[track_caller]
fn close_interval(found: Interval, low: f64, high: f64) {
    close(found.low, low);
    close(found.high, high);
}

/// `statsmodels.stats.proportion.proportion_confint(…, method="wilson")`
#[test]
fn wilson_intervals() {
    let check = |successes, n, confidence, low, high| {
        close_interval(wilson(successes, n, confidence), low, high);
    };
    check(0, 1, 0.95, 0.0, 0.793_450_685_622_762_6);
    check(0, 10, 0.95, 0.0, 0.277_532_799_862_889_2);
    check(10, 10, 0.95, 0.722_467_200_137_110_7, 1.0);
    check(
        7,
        10,
        0.95,
        0.396_778_147_461_145_37,
        0.892_208_732_593_698_9,
    );
    check(
        81,
        263,
        0.95,
        0.255_288_519_878_274_2,
        0.366_209_576_982_800_04,
    );
    check(
        500,
        1000,
        0.99,
        0.459_407_005_212_084_83,
        0.540_592_994_787_915_1,
    );
    check(1, 3, 0.9, 0.078_265_726_333_728_36, 0.746_466_131_718_776);
    check(
        999_999,
        1_000_000,
        0.95,
        0.999_994_335_088_195_7,
        0.999_999_823_475_423_3,
    );
    check(0, 0, 0.95, 0.0, 1.0);
}

/// `scipy.stats.t.interval(confidence, n - 1, loc=mean, scale=scipy.stats.sem(values))`
#[test]
fn mean_intervals() {
    let check = |values: &[f64], confidence, expect, low, high| {
        close(mean(values), expect);
        close_interval(mean_interval(values, confidence), low, high);
    };
    check(
        &[1.0, 2.0, 3.0, 4.0, 5.0],
        0.95,
        3.0,
        1.036_756_838_522_442_8,
        4.963_243_161_477_557,
    );
    check(
        &[0.2, 0.9],
        0.95,
        0.55,
        -3.897_171_657_661_142_6,
        4.997_171_657_661_142,
    );
    check(
        &[0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0],
        0.99,
        0.625,
        -0.015_339_875_968_722_216,
        1.265_339_875_968_722_2,
    );
    check(
        &[10.5, 11.25, 9.75, 10.0, 12.5, 8.0],
        0.9,
        10.333_333_333_333_334,
        9.088_000_108_521_921,
        11.578_666_558_144_747,
    );
    let everything = Interval {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };
    assert_eq!((mean(&[]), mean_interval(&[], 0.95)), (0.0, everything));
    assert_eq!(
        (
            mean(&[f64::NAN, 2.0]),
            mean_interval(&[f64::NAN, 2.0], 0.95)
        ),
        (2.0, everything)
    );
    assert_eq!(
        everything.within(0.0, 1.0),
        Interval {
            low: 0.0,
            high: 1.0
        }
    );
    let groups = [
        vec![1.0, 0.0, 1.0],
        vec![0.0; 3],
        vec![1.0; 3],
        vec![1.0, 0.0],
        vec![],
    ];
    close_interval(
        clustered_mean_interval(&groups, 0.95),
        -0.121_342_980_267_439_17,
        1.204_676_313_600_772_5,
    );
}

/// `scipy.stats.t.ppf(p, df)` and `2 * scipy.stats.t.sf(abs(t), df)`
#[test]
fn student() {
    let check = |probability, freedom, expect| close(t_quantile(probability, freedom), expect);
    check(0.975, 1.0, 12.706_204_736_174_694);
    check(0.975, 2.0, 4.302_652_729_749_462);
    check(0.8, 3.0, 0.978_472_312_363_304_2);
    check(0.995, 5.0, 4.032_142_983_555_228);
    check(0.975, 29.0, 2.045_229_642_132_703);
    check(0.975, 999.0, 1.962_341_461_133_449_3);
    check(0.975, 1e6, 1.959_966_356_814_107);
    check(0.9999, 4.0, 13.033_671_720_896_821);
    check(0.95, 49.0, 1.676_550_892_616_853_5);
    let check = |t, freedom, expect: f64| {
        let found = two_sided_p(t, freedom);
        assert!(
            (found - expect).abs() <= 1e-9 * expect,
            "{found} is not {expect}"
        );
    };
    check(0.0, 3.0, 1.0);
    check(1.0, 1.0, 0.5);
    check(2.5, 7.0, 0.040_992_218_585_752_89);
    check(10.0, 4.0, 0.000_562_003_622_715_991);
    check(30.0, 999.0, 1.672_827_213_117_141e-141);
    check(0.001, 10.0, 0.999_221_783_374_741);
    check(-2.2, 15.0, 0.043_895_575_127_496_48);
    check(5.0, 1e5, 5.742_701_678_641_679e-7);
}

/// `numpy.quantile(values, q)`
#[test]
fn quantiles_of_type_7() {
    let found = quantiles(
        &[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.5],
        [0.0, 0.05, 0.5, 0.95, 1.0],
    )
    .expect("values");
    for (found, expect) in found.into_iter().zip([1.0, 1.0, 3.75, 7.65, 9.0]) {
        close(found, expect);
    }
    assert_eq!(quantiles(&[7.0], [0.5, 0.95]), Some([7.0, 7.0]));
    assert_eq!(quantiles(&[f64::NAN], [0.5]), None);
}

/// `statsmodels.stats.multitest.multipletests(p, method="fdr_bh")[1]`
#[test]
fn adjusts_many_tests() {
    let check = |p_values: &[f64], expect: &[f64]| {
        let found = benjamini_hochberg(p_values);
        assert_eq!(found.len(), expect.len());
        found
            .iter()
            .zip(expect)
            .for_each(|(found, expect)| close(*found, *expect));
    };
    check(&[0.01, 0.04, 0.03, 0.005], &[0.02, 0.04, 0.04, 0.02]);
    check(&[0.05], &[0.05]);
    check(&[0.2, 0.2, 0.2], &[0.2, 0.2, 0.2]);
    check(
        &[0.9, 0.001, 0.5, 0.02, 0.02, 0.7, 1.0],
        &[
            1.0,
            0.007,
            0.875,
            0.046_666_666_666_666_67,
            0.046_666_666_666_666_67,
            0.98,
            1.0,
        ],
    );
    check(&[0.0, 1.0], &[0.0, 1.0]);
    check(&[], &[]);
}

fn some(values: &[f32]) -> Vec<Option<f32>> {
    values.iter().copied().map(Some).collect()
}

/// Pass/fail entries: items won by a, won by b, and shared.
fn pass_fail(only_a: usize, only_b: usize, items: usize) -> (Vec<Option<f32>>, Vec<Option<f32>>) {
    let side = |won: std::ops::Range<usize>, other: std::ops::Range<usize>| {
        let score = |at: usize| {
            Some(
                if won.contains(&at) || (!other.contains(&at) && at.is_multiple_of(2)) {
                    1.0
                } else {
                    0.0
                },
            )
        };
        (0..items).map(score).collect()
    };
    let (a, b) = (0..only_a, only_a..only_a + only_b);
    (side(a.clone(), b.clone()), side(b, a))
}

/// `scipy.stats.ttest_rel(a, b)` with its `confidence_interval(0.95)`; the detectable difference is
/// `(scipy.stats.t.ppf(.975, n-1) + scipy.stats.t.ppf(.8, n-1)) * scipy.stats.sem(a - b)`
#[test]
fn paired_t() {
    let check = |a: &[Option<f32>],
                 b: &[Option<f32>],
                 items,
                 [difference, low, high, p_value, detectable]: [f64; 5]| {
        let found = paired_difference(a, b);
        close(found.difference, difference);
        close_interval(found.interval.expect("spread"), low, high);
        close(found.p_value, p_value);
        close(found.detectable_difference.expect("spread"), detectable);
        assert_eq!(found.shared_items, items);
    };
    let a = some(&[0.9, 0.8, 0.75, 0.6, 0.95, 0.7]);
    let b = some(&[0.85, 0.7, 0.8, 0.5, 0.75, 0.6]);
    let expect = [
        0.083_333_323_399_225_88,
        -0.002_352_742_895_943_990_6,
        0.169_019_389_694_395_74,
        0.054_490_129_138_373_436,
        0.116_337_527_463_502_1,
    ];
    check(&a, &b, 6, expect);
    // Items that one side lacks are ignored.
    check(
        &[&a[..], &[None, Some(0.3), Some(f32::NAN)]].concat(),
        &[&b[..], &[Some(1.0), None, Some(1.0)]].concat(),
        6,
        expect,
    );
    check(
        &some(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]),
        &some(&[1.5, 1.0, 2.0, 4.25, 3.0, 5.0]),
        6,
        [
            0.791_666_666_666_666_6,
            -0.236_789_184_165_130_95,
            1.820_122_517_498_464,
            0.104_747_064_229_378_75,
            1.396_353_175_777_521_2,
        ],
    );
}

/// `statsmodels.stats.contingency_tables.mcnemar(…, exact=True)`, `scipy.stats.binomtest`
#[test]
fn pass_or_fail_is_tested_exactly() {
    let check = |only_a, only_b, items, p_value| {
        let (a, b) = pass_fail(only_a, only_b, items);
        let (found, turned) = (paired_difference(&a, &b), paired_difference(&b, &a));
        close(found.p_value, p_value);
        close(turned.p_value, p_value);
        let interval = found.interval.expect("an interval");
        assert_eq!(
            interval.low <= 0.0 && interval.high >= 0.0,
            p_value >= 0.05,
            "{interval:?} and p {p_value} agree"
        );
        close_interval(
            turned.interval.expect("an interval"),
            -interval.high,
            -interval.low,
        );
        found
    };
    check(9, 2, 28, 0.065_429_687_5);
    check(5, 0, 5, 0.0625);
    check(12, 12, 41, 1.0);
    check(1, 0, 18, 1.0);
    check(20, 4, 41, 0.001_543_879_508_972_168);
    check(3, 8, 28, 0.226_562_5);
    check(30, 10, 100, 0.002_221_433_773_229_364_3);
    check(700, 600, 5000, 0.006_015_793_861_044_939_5);
    // Agresti & Min by hand with `scipy.stats.norm.ppf(.975)`; the first is extended to 0.
    close_interval(
        check(9, 2, 50, 0.065_429_687_5)
            .interval
            .expect("an interval"),
        0.0,
        0.259_951_721_551_144_1,
    );
    close_interval(
        check(0, 0, 20, 1.0).interval.expect("an interval"),
        -0.089_089_272_024_547_92,
        0.089_089_272_024_547_92,
    );
}

#[test]
fn little_data_claims_little() {
    let check = |a: &[f32], b: &[f32], difference: f64, p_value: f64| {
        let found = paired_difference(&some(a), &some(b));
        assert_eq!((found.difference, found.p_value), (difference, p_value));
        assert_eq!((found.interval, found.detectable_difference), (None, None));
    };
    check(&[], &[], 0.0, 1.0);
    check(&[0.75], &[0.25], 0.5, 1.0);
    check(&[0.5, 0.25, 0.75], &[0.5, 0.25, 0.75], 0.0, 1.0); // the same everywhere
    check(&[0.75, 0.5], &[0.5, 0.25], 0.25, 0.5); // always better by a quarter: a sign test, not certainty
    check(&[0.75; 10], &[0.5; 10], 0.25, 0.001_953_125);
}

/// A small reproducible generator, so that the tests need no other crate.
fn noise(state: &mut u64) -> f32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    f32::from(u16::try_from(*state >> 48).expect("16 bits")) / 65_536.0
}

fn entry(share: f32, items: usize, seed: u64) -> RankEntry {
    let mut state = seed;
    let item_scores: Vec<_> = (0..items)
        .map(|_| Some(if noise(&mut state) < share { 1.0 } else { 0.0 }))
        .collect();
    let score = item_scores
        .iter()
        .flatten()
        .copied()
        .map(f64::from)
        .sum::<f64>();
    RankEntry { score, item_scores }
}

#[test]
fn ranks_are_ranges() {
    let ranges = |entries: &[RankEntry]| -> Vec<(usize, usize, usize)> {
        rank(entries, 0.05)
            .iter()
            .map(|rank| (rank.rank_low, rank.rank_high, rank.tie_group))
            .collect()
    };
    // Two good entries that cannot be separated, a middle one and a bad one, out of order.
    let entries = [
        entry(0.5, 1000, 1),
        entry(0.9, 1000, 2),
        entry(0.2, 1000, 3),
        entry(0.9, 1000, 4),
    ];
    assert_eq!(
        ranges(&entries),
        [(3, 3, 2), (1, 2, 1), (4, 4, 3), (1, 2, 1)]
    );
    // With few items nothing is significant.
    let few: Vec<_> = [0.9, 0.5, 0.7]
        .iter()
        .zip(1..)
        .map(|(share, seed)| entry(*share, 5, seed))
        .collect();
    assert_eq!(ranges(&few), [(1, 3, 1); 3]);
    assert_eq!(ranges(&entries[..1]), [(1, 1, 1)]);
    assert_eq!(ranges(&[]), []);
    // Among many equal entries some pairs differ by chance; the adjustment must not report them.
    let equals: Vec<_> = (0..40).map(|seed| entry(0.5, 500, seed)).collect();
    assert_eq!(ranges(&equals), [(1, 40, 1); 40]);
    let nobody = RankEntry {
        score: f64::NAN,
        item_scores: vec![None; 1000],
    };
    assert_eq!(ranges(&[nobody, entry(0.5, 1000, 1)]), [(1, 2, 1); 2]);
}

#[test]
fn ranks_a_hundred_entries() {
    let entries: Vec<_> = (0_u8..100)
        .map(|at| entry(0.3 + f32::from(at) / 200.0, 1000, u64::from(at)))
        .collect();
    let started = Instant::now();
    let ranks = rank(&entries, 0.05);
    eprintln!("100 entries of 1,000 items: {:?}", started.elapsed());
    assert!(
        ranks
            .iter()
            .all(|rank| rank.rank_low <= rank.rank_high && rank.tie_group >= 1)
    );
    assert!(ranks[0].rank_low > 1 && ranks[99].rank_high < 100);
}

proptest! {
    /// A reversed comparison is the mirror image, and p-values are probabilities.
    #[test]
    fn comparison_is_symmetric(pairs in prop::collection::vec((prop::option::of(0.0..1.0_f32), prop::option::of(0.0..1.0_f32)), 0..40)) {
        let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (found, turned) = (paired_difference(&a, &b), paired_difference(&b, &a));
        prop_assert!((0.0..=1.0).contains(&found.p_value));
        prop_assert!((found.p_value - turned.p_value).abs() < 1e-12);
        prop_assert!((found.difference + turned.difference).abs() < 1e-12);
    }

    /// The adjustment keeps the order and never makes a p-value smaller.
    #[test]
    fn adjustment_is_monotone(p_values in prop::collection::vec(0.0..=1.0_f64, 0..30)) {
        let adjusted = benjamini_hochberg(&p_values);
        for (i, p) in p_values.iter().enumerate() {
            prop_assert!(adjusted[i] >= p - 1e-15 && adjusted[i] <= 1.0);
            for (j, q) in p_values.iter().enumerate() {
                prop_assert!(p > q || adjusted[i] <= adjusted[j]);
            }
        }
    }
}
