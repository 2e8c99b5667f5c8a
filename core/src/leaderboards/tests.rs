//! Tests of summaries against tables of evaluations and figures.

use super::Figures;
use super::standing::family_pattern;
use super::summary::{Counted, Histogram, Summary};

fn answer(item: i32, score: f32, cost_microusd: i64, latency_ms: i32) -> Counted {
    Counted {
        item,
        score: Some(score),
        passed: Some(score >= 1.0),
        cost_microusd: Some(cost_microusd),
        latency_ms: Some(latency_ms),
        output_tokens: Some(10),
        ..Counted::default()
    }
}

/// Forty items with two repeats; every seventh call fails.
fn evaluations() -> Vec<Counted> {
    let tries = (0..40).flat_map(|item| (0..2).map(move |try_| (item, try_)));
    tries
        .map(|(item, try_)| {
            if (item + try_) % 7 == 0 {
                return Counted {
                    item,
                    failed: true,
                    ..Counted::default()
                };
            }
            let score = if (item * 3 + try_) % 4 == 0 { 0.0 } else { 1.0 };
            answer(item, score, 5 + i64::from(item), 100 + item % 9 * 10)
        })
        .collect()
}

#[test]
fn parts_in_any_order_make_the_whole() {
    let all = evaluations();
    let whole = Summary::of(0, 40, all.iter().copied());
    let part = |first: i32, end: i32| {
        let of_part = all.iter().filter(|it| (first..end).contains(&it.item));
        Summary::of(
            first,
            usize::try_from(end - first).unwrap(),
            of_part.copied(),
        )
    };
    let mut parts = [part(0, 13), part(13, 14), part(14, 40)];
    for _ in 0..3 {
        let mut sum = Summary::default();
        for part in &parts {
            sum.take_in(part);
        }
        assert_eq!(sum.item_scores, whole.item_scores);
        assert_eq!(sum.latencies, whole.latencies);
        assert_eq!(sum.sums, whole.sums);
        let (sum, whole) = (sum.figures(2).unwrap(), whole.figures(2).unwrap());
        let score = |it: &Figures| (it.score, it.score_low, it.score_high);
        assert_eq!(score(&sum), score(&whole));
        let latency = |it: &Figures| (it.latency_p50_ms, it.latency_p95_ms);
        assert_eq!(latency(&sum), latency(&whole));
        assert_eq!(sum.interval_method, "clustered");
        let cost = |it: &Figures| it.cost_per_pass_microusd.unwrap();
        assert!((cost(&sum) - cost(&whole)).abs() < 1e-9);
        parts.rotate_left(1);
    }
}

#[test]
fn an_unknown_cost_is_not_free() {
    let mut all = evaluations();
    let known = Summary::of(0, 40, all.iter().copied()).figures(2).unwrap();
    assert!(known.cost_per_pass_microusd.is_some() && known.cost_per_1000_low_microusd.is_some());
    all.iter_mut().find(|it| !it.failed).unwrap().cost_microusd = None;
    let unknown = Summary::of(0, 40, all.iter().copied()).figures(2).unwrap();
    assert!(unknown.cost_per_pass_microusd.is_none());
    assert!(unknown.cost_per_1000_low_microusd.is_none());
    assert!(
        unknown.cost_per_1000_microusd.is_some(),
        "a mean over those that are known"
    );
    for it in &mut all {
        it.cost_microusd = None;
    }
    let none = Summary::of(0, 40, all.into_iter()).figures(2).unwrap();
    assert_eq!(none.cost_per_1000_microusd, None);
}

#[test]
fn what_was_not_scored_has_no_figures() {
    let failed = Counted {
        failed: true,
        ..Counted::default()
    };
    let summary = Summary::of(0, 3, std::iter::repeat_n(failed, 3));
    assert_eq!((summary.sums.evaluations, summary.sums.errors), (3, 3));
    assert!(summary.figures(1).is_none());
    assert!(Summary::default().figures(1).is_none());
}

#[test]
fn the_method_follows_the_scores() {
    let method = |scores: &[f32], repeats: i16| {
        let items = (0..).zip(scores);
        let all = items.map(|(item, score)| answer(item, *score, 1, 1));
        Summary::of(0, scores.len(), all).figures(repeats).unwrap()
    };
    assert_eq!(method(&[0.0, 1.0, 1.0], 1).interval_method, "wilson");
    assert_eq!(method(&[0.0, 0.5, 1.0], 1).interval_method, "student");
    assert_eq!(method(&[0.0, 1.0], 3).interval_method, "clustered");
    let single = method(&[1.0], 3);
    assert_eq!(
        (single.score_low, single.score_high),
        (0.0, 1.0),
        "one item has no spread"
    );
}

#[test]
fn a_histogram_goes_through_its_parts() {
    let summary = Summary::of(0, 40, evaluations().into_iter());
    let (values, counts) = summary.latencies.parts();
    assert_eq!(Histogram::of(&values, &counts), summary.latencies);
    let calls: i32 = counts.iter().sum();
    assert_eq!(
        i64::from(calls),
        summary.sums.evaluations - summary.sums.errors
    );
}

#[test]
fn a_family_ends_where_a_word_does() {
    assert_eq!(family_pattern("GPT-5.1"), r"^gpt\-5\.1($|[^a-z0-9])");
}
