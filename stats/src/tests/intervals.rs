//! Tests of the bootstrap and of intervals of clustered values, percentiles and ratios.

use super::*;

/// `scipy.stats.bootstrap(…, method="BCa", n_resamples=200_000)` says 0.2333 to 0.5375.
#[test]
fn the_bootstrap_depends_on_its_seed_alone() {
    let values = [
        0.1, 0.2, 0.2, 0.3, 0.9, 0.4, 0.05, 0.6, 0.15, 0.25, 0.8, 0.35,
    ];
    let units = values.map(Unit::from);
    let found = bootstrap_interval(&units, 0.95, 7).expect("an interval");
    assert!((found.low - 0.2333).abs() < 0.01, "{found:?}");
    assert!((found.high - 0.5375).abs() < 0.02, "{found:?}");
    assert_eq!(bootstrap_interval(&units, 0.95, 7), Some(found));
    assert_ne!(bootstrap_interval(&units, 0.95, 8), Some(found));
    assert_eq!(bootstrap_interval(&units[..1], 0.95, 7), None);
    let same = [Unit::from(0.5); 4];
    close_interval(bootstrap_interval(&same, 0.95, 7).expect("one"), 0.5, 0.5);
    let none_below = [Unit {
        over: 1.0,
        under: 0.0,
    }; 4];
    assert_eq!(bootstrap_interval(&none_below, 0.95, 7), None);
}

/// `statsmodels.api.OLS(values, ones).fit(cov_type="cluster", use_t=True)`
#[test]
fn clusters_widen_the_interval() {
    let groups = [
        vec![1.0, 0.0, 1.0],
        vec![0.0, 0.0],
        vec![],
        vec![1.0; 4],
        vec![0.0, f64::NAN],
        vec![1.0, 0.0],
    ];
    let found = clustered_mean(&groups, 0.95).expect("clusters");
    close(found.mean, 7.0 / 12.0);
    close(found.standard_error, 0.199_161_533_329_166_53);
    close_interval(
        found.interval,
        0.030_372_268_977_881_922,
        1.136_294_397_688_785,
    );
    close(
        found.design_effect.expect("spread"),
        1.795_138_888_888_888_9,
    );
    assert_eq!((found.clusters, found.values), (5, 12));
    assert_eq!(clustered_mean(&[vec![1.0, 0.0]], 0.95), None);
}

/// `scipy.stats.quantile_test(range(n), q=0, p=share).confidence_interval(0.95)`
#[test]
fn percentiles_lie_between_order_statistics() {
    let check = |count: u16, share, low: Option<u16>, high: Option<u16>| {
        let values: Vec<f64> = (0..count).map(f64::from).collect();
        let found = quantile_interval(&values, share, 0.95);
        let expect = (low.map(f64::from), high.map(f64::from));
        assert_eq!((found.low, found.high), expect, "{count} {share}");
    };
    check(100, 0.5, Some(39), Some(60));
    check(100, 0.95, Some(89), Some(99));
    check(40, 0.95, Some(34), None); // too few to bound it from above
    check(1000, 0.95, Some(935), Some(963));
    check(0, 0.5, None, None);
    check(1, 0.5, None, None);
}

/// `scipy.stats.ttest_1samp(over - theta * under, 0)`, solved for p = 0.05.
#[test]
fn the_cost_of_a_pass_counts_the_failures() {
    let costs = [120.0, 80.0, 100.0, 150.0, 90.0, 110.0, 70.0, 130.0];
    let passes = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0];
    let units: Vec<Unit> = costs
        .into_iter()
        .zip(passes)
        .map(|(over, under)| Unit { over, under })
        .collect();
    let found = ratio_of_means(&units, 0.95).expect("a ratio");
    close(found.value, 850.0 / 6.0);
    close_interval(
        found.interval.expect("bounded"),
        97.542_646_449_595_68,
        268.043_375_782_682,
    );
    // One pass of three may as well be none: there is no upper bound.
    let unbounded = ratio_of_means(&units[1..4].iter().rev().copied().collect::<Vec<_>>(), 0.95);
    assert_eq!(unbounded.expect("a ratio").interval, None);
    let no_pass = [Unit {
        over: 5.0,
        under: 0.0,
    }; 3];
    assert_eq!(ratio_of_means(&no_pass, 0.95), None);
    assert_eq!(ratio_of_means(&[], 0.95), None);
}

/// Equal scores on few items must not look certain.
#[test]
fn scores_without_spread_are_not_certain() {
    for (scores, share) in [
        (vec![0.0; 24], 0),
        (vec![1.0; 24], 24),
        (vec![0.5; 24], 12),
        // A sum of weighted scores may leave this instead of 0.
        ([0.0, 1e-17].repeat(12), 0),
    ] {
        let expect = wilson(share, 24, 0.95);
        assert_eq!(score_interval(&scores, 0.95), expect, "{scores:?}");
    }
    let scores = [0.2, 0.4, 0.9];
    let expect = mean_interval(&scores, 0.95).within(0.0, 1.0);
    assert_eq!(score_interval(&scores, 0.95), expect);
    for few in [&[][..], &[0.7]] {
        close_interval(score_interval(few, 0.95), 0.0, 1.0);
    }
}

/// Mean and standard deviation are those of numpy (`ddof=1`).
#[test]
fn scores_summed_up_elsewhere_have_the_same_interval() {
    for (scores, mean, deviation) in [
        (vec![0.2, 0.4, 0.9], 0.5, 0.360_555_127_546_398_9),
        (vec![0.5; 24], 0.5, 0.0),
        (vec![0.7], 0.7, 0.0),
    ] {
        let expect = score_interval(&scores, 0.95);
        let found = score_interval_from(scores.len() as u64, mean, deviation, 0.95);
        close_interval(found, expect.low, expect.high);
    }
}
