//! Tests, power, and the verdicts of a table.

use super::*;

/// `scipy.stats.binomtest(a, a + b).pvalue`; mid-p by summing `scipy.stats.binom.pmf`.
#[test]
fn mcnemar_in_both_forms() {
    let check = |only_a, only_b, exact, mid| {
        for found in [mcnemar(only_a, only_b), mcnemar(only_b, only_a)] {
            close(found.exact_p, exact);
            close(found.mid_p, mid);
        }
    };
    check(9, 2, 0.065_429_687_5, 0.038_574_218_75);
    check(5, 5, 1.0, 0.876_953_125);
    check(0, 0, 1.0, 1.0);
    check(
        30,
        10,
        0.002_221_433_773_229_364_3,
        0.001_450_491_014_111_319_3,
    );
    check(
        1200,
        1100,
        0.038_966_852_683_820_23,
        0.037_074_406_338_548_53,
    );
}

/// `scipy.stats.permutation_test(…, permutation_type="samples")`
#[test]
fn signs_are_flipped() {
    let differences = [0.3, -0.1, 0.25, 0.4, 0.05, -0.2, 0.6, 0.15];
    close(sign_flip_p(&differences, 1), 0.109_375);
    close(
        sign_flip_p(&[&differences[..], &[0.0; 50]].concat(), 1),
        0.109_375,
    ); // equal items say nothing
    let many = [differences; 4].concat();
    let found = sign_flip_p(&many, 1);
    assert!((0.0001..0.0012).contains(&found), "{found}"); // scipy's 200,000 draws say 0.00043
    assert_eq!(sign_flip_p(&many, 1).to_bits(), found.to_bits());
    close(sign_flip_p(&[], 1), 1.0);
    close(sign_flip_p(&[0.5], 1), 1.0);
    close(sign_flip_p(&[0.1; 40], 1), 0.0001); // never zero
}

/// `statsmodels.stats.power.TTestPower().solve_power(…)`, rounded up, is at most one item away.
#[test]
fn power_is_planned() {
    close(
        detectable_difference(0.5, 1000).expect("items"),
        0.044_340_234_235_520_554,
    );
    assert_eq!(detectable_difference(0.5, 1), None);
    let check = |difference, deviation, expect: usize| {
        let found = items_needed(deviation, difference).expect("a number");
        assert!(found.abs_diff(expect) <= 1, "{found} is not {expect}");
        assert_eq!(items_needed(deviation, -difference), Some(found));
    };
    check(0.05, 0.5, 787);
    check(0.05, 0.3, 285);
    check(0.2, 0.4, 34);
    assert_eq!(items_needed(0.5, 0.0), None);
    assert_eq!(items_needed(0.0, 0.1), Some(2));
}

#[test]
fn verdicts() {
    let check = |only_a, only_b, items, expect: Verdict| {
        let (candidate, baseline) = pass_fail(only_a, only_b, items);
        let found = compare(&[baseline, candidate], 0.05, 1);
        let [found] = found.as_slice() else {
            panic!("one pair: {found:?}")
        };
        assert_eq!(found.verdict, expect, "{found:?}");
        assert_eq!((found.wins, found.losses), (only_a, only_b));
        assert_eq!(found.ties, items - only_a - only_b);
        assert_eq!(found.test, Test::Mcnemar);
        found.clone()
    };
    check(60, 20, 400, Verdict::Better);
    check(20, 60, 400, Verdict::Worse);
    check(12, 12, 40, Verdict::TooFewItems);
    check(5, 0, 5, Verdict::TooFewItems);
    check(0, 0, 10, Verdict::TooFewItems); // ten equal answers do not prove that none will ever differ
    check(0, 0, 5000, Verdict::NoDifferenceShown);
    check(50, 50, 5000, Verdict::NoDifferenceShown);
    let found = check(40, 40, 400, Verdict::TooFewItems);
    assert!(
        (600..650).contains(&found.items_needed.expect("a number")),
        "{found:?}"
    );
    assert!(compare(&[], 0.05, 1).is_empty());
    let nothing = compare(&[vec![None; 3], vec![Some(1.0); 3]], 0.05, 1);
    assert_eq!(
        (nothing[0].verdict, nothing[0].shared_items),
        (Verdict::TooFewItems, 0)
    );
    assert_eq!(nothing[0].items_needed, None);
}

/// One difference of three is significant in a single test, but not after the adjustment.
#[test]
fn verdicts_are_adjusted_over_the_table() {
    let (a, b) = pass_fail(15, 4, 60);
    let alone = compare(&[b.clone(), a.clone()], 0.05, 1);
    assert_eq!(alone[0].verdict, Verdict::Better);
    close(alone[0].p_value, 0.019_210_815_429_687_5);
    let many = compare(&[b.clone(), a, b.clone(), b], 0.05, 1);
    let order: Vec<_> = many
        .iter()
        .map(|found| (found.baseline, found.candidate))
        .collect();
    assert_eq!(order, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
    close(many[0].p_adjusted, 0.038_421_630_859_375);
    let (a, b) = pass_fail(14, 4, 60);
    let many = compare(&[b.clone(), a, b.clone(), b], 0.05, 1);
    assert!(
        many[0].p_value < 0.05 && many[0].p_adjusted > 0.05,
        "{:?}",
        many[0]
    );
    assert_eq!(many[0].verdict, Verdict::TooFewItems);
}

#[test]
fn graded_scores_are_permuted_or_tested_by_t() {
    let mut state = 5;
    let mut column = |items: usize| -> Vec<Option<f32>> {
        (0..items).map(|_| Some(noise(&mut state))).collect()
    };
    let few = compare(&[column(30), column(30)], 0.05, 1);
    assert_eq!((few[0].test, few[0].mcnemar), (Test::Permutation, None));
    let many = compare(&[column(300), column(300)], 0.05, 1);
    assert_eq!(many[0].test, Test::Student);
}

/// With three items, Student's interval exceeds the range of possible differences.
#[test]
fn no_difference_is_more_than_all() {
    let (high, low) = ([0.9, 1.0, 1.0].map(Some), [0.0, 0.0, 0.1].map(Some));
    let of = |baseline: &[Option<f32>], candidate: &[Option<f32>]| {
        let found = compare(&[baseline.to_vec(), candidate.to_vec()], 0.05, 1);
        found[0].interval.expect("a spread")
    };
    let (better, worse) = (of(&low, &high), of(&high, &low));
    assert!(better.low > 0.0 && worse.high < 0.0, "{better:?} {worse:?}");
    close(better.high, 1.0);
    close(worse.low, -1.0);
}
