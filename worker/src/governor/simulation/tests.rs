//! The requirements for the governor in each scene, for several seeds.

use std::fmt::Write as _;

use super::{
    before::Before,
    control::{Control, Ideal, Today},
    run::{Scene, play},
    scenes::{GOALS, scenes},
};

fn ideal(scene: &Scene) -> Box<dyn Control> {
    Box::new(Ideal::new(scene.max, scene.kind, scene.workers))
}

fn before(scene: &Scene) -> Box<dyn Control> {
    Box::new(Before::new(scene.max))
}

fn today(scene: &Scene) -> Box<dyn Control> {
    Box::new(Today::new(scene.max))
}

/// `make bench-governor` shows this output.
#[test]
fn every_scene_is_played_side_by_side() {
    let mut table = format!(
        "{:<41}{:>8} | {:>8}{:>6}{:>9}{:>9}{:>9} | {:>8}{:>6}{:>9}{:>9}{:>9}{:>10}\n",
        "time in seconds and × ideal",
        "ideal",
        "before",
        "×",
        "refused",
        "late",
        "latency",
        "today",
        "×",
        "refused",
        "late",
        "latency",
        "2nd half"
    );
    for scene in scenes() {
        let [ideal, before, today] =
            [ideal, before, today].map(|control| play(&scene, 1, &|| control(&scene)));
        let _ = writeln!(
            table,
            "{:<41}{:>8.2} | {:>8.2}{:>6.2}{:>4} {:>3.1}%{:>5}{:>4}{:>9.2} | {:>8.2}{:>6.2}{:>4} {:>3.1}%{:>5}{:>4}{:>9.2}{:>10.2}",
            scene.name,
            ideal.seconds,
            before.seconds,
            before.seconds / ideal.seconds,
            before.refused,
            100.0 * before.refused_part,
            before.late,
            before.lost,
            before.told / before.own,
            today.seconds,
            today.seconds / ideal.seconds,
            today.refused,
            100.0 * today.refused_part,
            today.late,
            today.lost,
            today.told / today.own,
            today.late_told / today.late_own,
        );
    }
    println!(
        "{table}\nrefused: calls, and their part of all; late: calls without an answer in time, and evaluations lost by it; latency: as told ÷ the provider's own, over all calls and over those that ended in the second half"
    );
}

#[test]
fn every_scene_reaches_its_goal() {
    let scenes = scenes();
    for goal in GOALS {
        let scene = scenes.iter().find(|scene| scene.name == goal.scene);
        let scene = scene.unwrap_or_else(|| panic!("no scene {}", goal.scene));
        for seed in 1..=3 {
            let ideal = play(scene, seed, &|| ideal(scene));
            let today = play(scene, seed, &|| today(scene));
            let check = |what: &str, value: f64, most: f64| {
                assert!(
                    value <= most,
                    "{} with seed {seed}: {what} is {value:.3}, not {most} at most",
                    goal.scene
                );
            };
            let [latency, late_latency] = goal.latencies;
            check("time ÷ ideal", today.seconds / ideal.seconds, goal.slower);
            let percent = 100.0 * today.refused_part;
            check("refused percent", percent, goal.refused_percent);
            check("late calls", today.late.into(), goal.late.into());
            check("lost evaluations", today.lost.into(), 0.0);
            check("latency ÷ own", today.told / today.own, latency);
            let late = today.late_told / today.late_own;
            check("latency ÷ own of the second half", late, late_latency);
        }
    }
}

/// A scene is deterministic, or the results above would be meaningless.
#[test]
fn a_seed_is_a_run() {
    let scenes = scenes();
    let scene = &scenes[9];
    let [first, again, other] = [5, 5, 6].map(|seed| play(scene, seed, &|| today(scene)));
    assert_eq!(first, again);
    assert_ne!(first, other);
}
