//! `opb demo`: from nothing to a leaderboard.

use crate::site::Site;

#[test]
fn the_demonstration_ends_with_a_leaderboard() {
    let site = Site::new();
    let printed = site.check(&["demo"], 0);
    for expect in [
        "SIMULATED leaderboard of first-steps@1",
        "960 of 960",
        "/api/docs",
        "make up",
        "simulated:strong",
    ] {
        assert!(printed.out.contains(expect), "{expect}: {}", printed.out);
    }
    assert!(printed.err.contains("960"), "{}", printed.err);
    assert_eq!(site.processes(), Vec::<u32>::new());
}

#[test]
fn the_demonstration_uses_a_bank_that_serves() {
    let site = Site::new();
    let up = site.up(&[]);
    let shown = site.check(&["demo", "--json"], 0);
    assert!(shown.err.contains(&up.url), "{}", shown.err);
    let shown = shown.json();
    assert_eq!(shown["run"]["state"], "completed");
    let groups = shown["leaderboard"]["standings"].as_array().unwrap();
    let groups = groups
        .iter()
        .map(|standing| standing["tie_group"].as_i64().unwrap());
    // A first leaderboard is worth a look: some are surely better than others, and some cannot be told apart.
    let distinct: std::collections::BTreeSet<i64> = groups.collect();
    assert!((2..16).contains(&distinct.len()), "{distinct:?}");
}
