//! Tests of step detection. `make simulate-coverage` checks the error rates at length.

use super::*;

/// Runs of `items` items, each of which passes with probability `passes`.
fn runs(count: usize, items: usize, passes: f32, state: &mut u64) -> Vec<Vec<Option<f32>>> {
    let mut run = || -> Vec<Option<f32>> {
        let score = |state: &mut u64| if noise(state) < passes { 1.0 } else { 0.0 };
        (0..items).map(|_| Some(score(state))).collect()
    };
    (0..count).map(|_| run()).collect()
}

#[test]
fn a_drop_of_five_points_is_told_within_the_expected_runs() {
    let (mut told, mut off) = (Vec::new(), Vec::new());
    for seed in 1..=20 {
        let mut state = seed;
        let mut course = runs(20, 300, 0.80, &mut state);
        assert_eq!(find_step(&course, Direction::Down, 0.02, 10_000.0), None);
        let runs_needed = (1..=30).find_map(|needed| {
            course.extend(runs(1, 300, 0.75, &mut state));
            let step = find_step(&course, Direction::Down, 0.02, 10_000.0)?;
            off.push(step.at.abs_diff(20));
            assert!(step.before > step.after + 0.02 && step.evidence >= 10_000.0);
            assert_eq!(find_step(&course, Direction::Up, 0.02, 10_000.0), None);
            Some(needed)
        });
        told.push(runs_needed.expect("told at last"));
    }
    told.sort_unstable();
    off.sort_unstable();
    assert!(off[9] <= 2, "most moments are found nearly: {off:?}");
    // In theory the evidence grows by (0.05·0.04 - 0.04²/2)/σ² = 2.25 per run, with σ² = 0.8·0.2/300 and 0.04 the
    // nearest
    // step size, and has to reach ln 10,000, plus ln 5 for the other sizes: 4.8 runs if the level before were known;
    // from 20 runs, 4.8·20/(20 - 4.8) = 6.3. Rounding up and the larger of two noise estimates add to it: the median is
    // at most eight, and nearly all are within twice the theory.
    assert!(told[9] <= 8 && told[18] <= 13, "{told:?}");
}

#[test]
fn a_thousand_quiet_runs_raise_no_more_false_alarms_than_stated() {
    let mut state = 5;
    let mut course = Vec::new();
    let mut alarms = 0;
    for _ in 0..1_000 {
        course.extend(runs(1, 100, 0.8, &mut state));
        if course.len() > 60 {
            course.remove(0);
        }
        if find_step(&course, Direction::Down, 0.02, 1_000.0).is_some() {
            alarms += 1;
            course.clear();
        }
    }
    assert!(alarms <= 1, "{alarms}");
}

#[test]
fn what_is_no_step_is_not_told() {
    let flat = |score: f32, count: usize| vec![vec![Some(score); 50]; count];
    let find = |course: &[Vec<Option<f32>>]| find_step(course, Direction::Down, 0.02, 10_000.0);
    assert_eq!(find(&[]), None);
    assert_eq!(find(&flat(0.8, 40)), None, "nothing ever varies");
    assert_eq!(
        find(&[flat(0.8, 10), flat(0.79, 20)].concat()),
        None,
        "a drop that does not matter"
    );
    let step = find(&[flat(0.8, 10), flat(0.7, 20)].concat()).expect("a step");
    assert_eq!(step.at, 10);
    assert!((step.before - step.after - 0.1).abs() < 1e-6, "{step:?}");
    // Hard items that fail make the mean rise and fall; the shared items do not move.
    let mut course = runs(20, 300, 0.8, &mut 3);
    for (at, run) in course.iter_mut().enumerate().skip(10) {
        run[..at * 3].fill(None);
    }
    assert_eq!(find(&course), None);
    for run in &mut course {
        run.fill(None);
    }
    assert_eq!(find(&course), None, "no item has a score in every run");
}
