//! Tests of effects, rankings over benchmarks, the frontier, series over time, and repeated tries.

use super::*;

/// `statsmodels.api.OLS` with sum contrasts of both factors.
#[test]
fn two_effects_are_split() {
    let cells = vec![
        vec![Some(0.9), Some(0.7), Some(0.5)],
        vec![Some(0.8), Some(0.65), None],
        vec![Some(0.7), Some(0.4), Some(0.35)],
    ];
    let found = two_way(&cells).expect("a fit");
    let all = [found.rows, found.columns].concat();
    let expect = [
        0.091_666_666_666_666_62,
        0.033_333_333_333_333_41,
        -0.125,
        0.191_666_666_666_666_5,
        -0.025,
        -0.166_666_666_666_666_3,
    ];
    close(found.grand, 0.608_333_333_333_333);
    all.iter()
        .zip(expect)
        .for_each(|(found, expect)| close(*found, expect));
    close(found.explained.expect("variance"), 0.964_743_589_743_589_9);
    // Two blocks without shared rows or columns cannot be compared, and neither can an empty row.
    let blocks = vec![vec![Some(1.0), None], vec![None, Some(0.5)]];
    assert_eq!(two_way(&blocks), None);
    assert_eq!(two_way(&[vec![Some(1.0)], vec![None]]), None);
    assert_eq!(two_way(&[]), None);
    assert_eq!(
        two_way(&[vec![Some(0.5)]]).expect("one cell").explained,
        None
    );
}

#[test]
fn benchmarks_are_put_together() {
    let scores = [
        vec![Some(0.9), Some(0.5), Some(0.5)],
        vec![Some(0.2), None, Some(0.4)],
        vec![None, Some(0.7), None],
    ];
    // Won 2 of 2 and 0 of 1; half of 2; half of 2 and 1 of 1. The last benchmark has no opponents.
    assert_eq!(
        mean_win_rates(&scores),
        [Some(0.5), Some(0.25), Some(0.625)]
    );
    let normalised = normalised_means(&scores, &[0.5, 0.25, 0.0]);
    close(normalised[0].expect("scores"), 0.4); // 0.8 and, below the floor, 0
    close(normalised[1].expect("scores"), 0.35);
    close(normalised[2].expect("scores"), 0.1);
    assert!(mean_win_rates(&[]).is_empty());
}

#[test]
fn the_frontier_knows_doubt() {
    use FrontierPlace::{Off, On, Perhaps};
    let offer = |quality: f64, half: f64, cost: Option<f64>| Offer {
        quality: Estimate {
            value: quality,
            interval: Interval {
                low: quality - half,
                high: quality + half,
            },
        },
        cost: cost.map(|value| Estimate {
            value,
            interval: Interval {
                low: value,
                high: value,
            },
        }),
        latency: None,
    };
    let check = |offers: &[Offer], expect: &[FrontierPlace]| assert_eq!(frontier(offers), expect);
    let best = offer(0.9, 0.02, Some(10.0));
    check(
        &[
            best,
            offer(0.8, 0.02, Some(5.0)),
            offer(0.89, 0.02, Some(20.0)),
            offer(0.7, 0.02, Some(20.0)),
            offer(0.7, 0.02, Some(10.0)),
        ],
        &[On, On, Perhaps, Off, Off],
    );
    check(&[best, best], &[On, On]); // equals do not beat each other
    check(&[best, offer(0.1, 0.0, None)], &[On, On]); // an unknown cost cannot lose
    check(&[], &[]);
}

#[test]
fn steps_of_a_course_are_found() {
    const NONE: [usize; 0] = [];
    let mut state = 3;
    let mut course = |levels: &[(usize, f64)]| -> Vec<f64> {
        let points = levels
            .iter()
            .flat_map(|(count, level)| vec![*level; *count]);
        points
            .map(|level| level + 0.02 * f64::from(noise(&mut state)))
            .collect()
    };
    let stepped = course(&[(12, 0.8), (9, 0.6), (15, 0.7)]);
    assert_eq!(change_points(&stepped, None), [12, 21]);
    assert_eq!(change_points(&stepped, Some(&[0.006; 36])), [12, 21]);
    assert_eq!(change_points(&stepped, Some(&[0.5; 36])), NONE); // lost in such errors
    assert_eq!(change_points(&course(&[(40, 0.8)]), None), NONE);
    // One value five errors away is an outlier; two are a step.
    let odd = |values: usize| [vec![0.8; 10], vec![0.9; values], vec![0.8; 10]].concat();
    assert_eq!(change_points(&odd(1), Some(&[0.02; 21])), NONE);
    assert_eq!(change_points(&odd(2), Some(&[0.02; 22])), [10, 12]);
    for few in [&[][..], &[0.5], &[0.5, 0.9], &[0.5; 9]] {
        assert_eq!(change_points(few, None), NONE, "{few:?}");
    }
}

#[test]
fn a_sequence_may_be_looked_at_always() {
    let mut sequence = ConfidenceSequence::new(-1.0, 1.0, 0.95);
    let everything = Interval {
        low: -1.0,
        high: 1.0,
    };
    assert_eq!(sequence.interval(), everything);
    let mut last = everything;
    let mut state = 9;
    let decided = (1..=2000).find(|_| {
        // Better on three items of ten, worse on one.
        let luck = noise(&mut state);
        sequence.observe(if luck < 0.3 {
            1.0
        } else if luck < 0.4 {
            -1.0
        } else {
            0.0
        });
        let now = sequence.interval();
        assert!(
            now.low >= last.low && now.high <= last.high && now.low <= now.high,
            "{now:?}"
        );
        last = now;
        sequence.excludes(0.0)
    });
    assert!(
        (50..800).contains(&decided.expect("decided")),
        "{decided:?}"
    );
    assert!(
        last.low > 0.0 && last.low <= 0.2 && last.high >= 0.2,
        "{last:?}"
    );
    sequence.observe(f64::NAN);
    assert_eq!(sequence.interval(), last);
}

#[test]
fn tries_are_estimated_without_bias() {
    let check = |correct, tries, k, at: Option<f64>, hat: Option<f64>| {
        let found = [pass_at_k(correct, tries, k), pass_hat_k(correct, tries, k)];
        for (found, expect) in found.into_iter().zip([at, hat]) {
            assert_eq!(found.is_some(), expect.is_some());
            close(found.unwrap_or(0.0), expect.unwrap_or(0.0));
        }
    };
    check(2, 5, 1, Some(0.4), Some(0.4));
    check(2, 5, 2, Some(0.7), Some(0.1)); // 1 − 3/10 and 1/10 of the ten pairs
    check(2, 5, 4, Some(1.0), Some(0.0));
    check(0, 5, 3, Some(0.0), Some(0.0));
    check(5, 5, 5, Some(1.0), Some(1.0));
    check(2, 5, 6, None, None);
    check(2, 5, 0, None, None);
    check(6, 5, 1, None, None);
    let check = |correct, wrong: &[usize], k, expect: Option<f64>| {
        assert_eq!(
            majority_at_k(correct, wrong, k).map(|found| (found * 1e9).round()),
            expect.map(|share: f64| (share * 1e9).round())
        );
    };
    check(2, &[1], 1, Some(2.0 / 3.0));
    check(2, &[1], 2, Some(2.0 / 3.0)); // one pair of both, two even votes
    check(2, &[1], 3, Some(1.0));
    check(2, &[1, 1, 1], 5, Some(1.0)); // the wrong ones disagree
    check(2, &[3], 5, Some(0.0)); // the wrong ones agree
    check(1, &[1, 1], 3, Some(1.0 / 3.0));
    check(0, &[2], 1, Some(0.0));
    check(1, &[], 2, None);
}
