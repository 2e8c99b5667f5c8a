//! Tests of early stopping on simulated runs with a known truth.

use super::*;

type Column = Vec<Option<f32>>;

/// Columns of passes and failures at these rates, drawn independently.
fn columns(rates: &[f32], items: usize, state: &mut u64) -> Vec<Column> {
    let column = |rate: &f32| {
        let pass = |_| Some(f32::from(u8::from(noise(state) < *rate)));
        (0..items).map(pass).collect()
    };
    rates.iter().map(column).collect()
}

/// The scores of the first `items` items.
fn seen(columns: &[Column], items: usize) -> Vec<&[Option<f32>]> {
    columns.iter().map(|column| &column[..items]).collect()
}

/// The settled columns after this number of items.
fn look(columns: &[Column], items: usize) -> Vec<bool> {
    settled(&seen(columns, items), columns.len(), 0.95)
}

#[test]
fn what_is_settled_stays_settled() {
    for seed in 0..20 {
        let run = columns(&[0.9, 0.6, 0.55, 0.2], 150, &mut (seed * 7919 + 1));
        let mut before = vec![false; run.len()];
        for items in 0..=150 {
            let now = look(&run, items);
            assert!(before.iter().zip(&now).all(|(before, now)| now >= before));
            before = now;
        }
        assert!(before[3] && !before[1], "{before:?}");
    }
}

/// A check at the end equals checks after every single item, since settled columns stay settled.
#[test]
fn of_a_thousand_runs_of_equal_columns_few_settle_any() {
    let mut state = 11;
    for (count, rate) in [(2, 0.5), (3, 0.8), (5, 0.95)] {
        let wrong = (0..1_000)
            .filter(|_| look(&columns(&vec![rate; count], 400, &mut state), 400).contains(&true))
            .count();
        assert!(wrong <= 50, "{count} columns: {wrong} of 1,000");
    }
}

/// Whether column `one` is better than `other`, by the means of the evaluated items.
fn is_better(run: &[Column], one: usize, other: usize, items: usize) -> bool {
    let sum = |column: usize| run[column][..items].iter().flatten().sum::<f32>();
    sum(one) > sum(other)
}

/// One column settles before the other two are separated, and those continue alone.
#[test]
fn of_a_thousand_runs_few_are_put_in_a_wrong_order() {
    let mut state = 13;
    let (mut wrong, mut dropped) = (0, 0);
    for _ in 0..1_000 {
        let run = columns(&[0.9, 0.55, 0.5], 600, &mut state);
        let mut open = vec![0, 1, 2];
        let mut is_wrong = false;
        for items in (20..=600).step_by(20) {
            let seen: Vec<_> = open.iter().map(|column| &run[*column][..items]).collect();
            let now = settled(&seen, 3, 0.95);
            for (column, _) in open.iter().zip(&now).filter(|(_, settled)| **settled) {
                let others = open.iter().filter(|other| *other != column);
                is_wrong |= others
                    .into_iter()
                    .any(|other| is_better(&run, *column, *other, items) != (column < other));
            }
            let mut now = now.into_iter();
            open.retain(|_| now.next() == Some(false));
            dropped += i32::from(open.len() == 2);
        }
        wrong += i32::from(is_wrong);
    }
    assert!(
        wrong <= 50 && dropped > 1_000,
        "{wrong} of 1,000, {dropped}"
    );
}

#[test]
fn strong_and_weak_are_told_apart_soon() {
    let mut state = 17;
    let mut needed: Vec<usize> = (0..200)
        .map(|_| {
            let run = columns(&[0.9, 0.5], 400, &mut state);
            let needed = (1..=400).find(|items| look(&run, *items) == [true, true]);
            needed.expect("a difference of 40 points shows in 400 items")
        })
        .collect();
    needed.sort_unstable();
    assert!(needed[100] < 100, "the median is {}", needed[100]);
    // With more pairs, each needs more evidence.
    let run = columns(&[0.9, 0.5], 400, &mut state);
    let of_ten = |items| settled(&seen(&run, items), 10, 0.95) == [true, true];
    let alone = (1..=400).find(|items| look(&run, *items) == [true, true]);
    let among_ten = (1..=400).find(|items| of_ten(*items));
    assert!(
        alone.is_some() && among_ten > alone,
        "{alone:?} {among_ten:?}"
    );
}

#[test]
fn only_shared_items_count_and_one_column_is_never_settled() {
    let constant = |score: f32, items: usize| vec![Some(score); items];
    let check = |columns: &[Column], expect: &[bool]| {
        assert_eq!(settled(columns, columns.len(), 0.95), expect);
    };
    check(&[], &[]);
    check(&[constant(1.0, 500)], &[false]);
    check(&[constant(1.0, 500), constant(0.0, 500)], &[true, true]);
    check(&[constant(1.0, 500), constant(1.0, 500)], &[false, false]);
    check(&[constant(1.0, 3), constant(0.0, 3)], &[false, false]);
    // Each has failures where the other has scores: no shared items.
    let odd = |score: f32, rest: usize| -> Column {
        (0..500)
            .map(|item| (item % 2 == rest).then_some(score))
            .collect()
    };
    check(&[odd(1.0, 0), odd(0.0, 1)], &[false, false]);
    check(&[odd(1.0, 0), odd(0.0, 0)], &[true, true]);
    // Two equal columns keep each other open, but not the third.
    let three = [constant(1.0, 500), constant(1.0, 500), constant(0.2, 500)];
    check(&three, &[false, false, true]);
}
