//! Leaderboards: one benchmark's, split into effects, over time, and over all benchmarks.

use opb_core::{
    leaderboards::{
        BoardKind, Course, Effect, Leaderboard, LeaderboardEffects, LeaderboardHistory, ModelDrift,
        OverallEntry, OverallLeaderboard, Standing,
    },
    stats::FrontierPlace,
};
use serde_json::Value;

use super::{align_right, table};
use crate::text;

const SIMULATED: &str =
    "SIMULATED: no model was called; these numbers say nothing about any real model.";

/// A leaderboard with a heading.
pub fn leaderboard(board: &Leaderboard) -> String {
    let heading = heading(
        "leaderboard of",
        &board.benchmark,
        (board.board, board.item_count),
        board.simulated,
        board.confidence,
    );
    if board.standings.is_empty() && board.provisional.is_empty() {
        return format!("{heading}\nno results yet");
    }
    let mut lines = vec![heading];
    if !board.standings.is_empty() {
        lines.push(standings(&board.standings));
        lines.push(
            "Entries whose ranks overlap cannot be told apart for sure by this many items."
                .to_owned(),
        );
        lines.push(
            "`*` nobody is better on score, cost and latency at once; `(*)` perhaps somebody is."
                .to_owned(),
        );
    }
    if board
        .standings
        .iter()
        .any(|standing| standing.stopped_early)
    {
        lines.push(
            "`†` stopped early, when its place in its run was decided: the order is sure, the score leans a little."
                .to_owned(),
        );
    }
    if !board.provisional.is_empty() {
        lines.push("PROVISIONAL, runs that have not ended:".to_owned());
        lines.push(standings(&board.provisional));
    }
    if board.simulated {
        lines.push(SIMULATED.to_owned());
    }
    lines.join("\n")
}

fn standings(standings: &[Standing]) -> String {
    let mut table = table(&[
        "rank",
        "",
        "prompt",
        "model",
        "score",
        "trend",
        "$ per 1,000",
        "$ per pass",
        "p50 ms",
        "p95 ms",
        "errors",
    ]);
    for standing in standings {
        table.add_row(row(standing));
    }
    align_right(&mut table, &[0, 5, 6, 7, 8, 9, 10]);
    table.to_string()
}

fn row(standing: &Standing) -> Vec<String> {
    let place = match standing.frontier {
        FrontierPlace::On => "*",
        FrontierPlace::Perhaps => "(*)",
        FrontierPlace::Off => "",
    };
    let cost = standing.cost_per_1000_microusd;
    vec![
        text::rank(standing.rank_low, standing.rank_high),
        place.to_owned(),
        text::plain(&standing.prompt),
        model(&standing.model, Some(&standing.parameters)),
        text::score(standing.score, standing.score_low, standing.score_high)
            + if standing.stopped_early { " †" } else { "" },
        standing.trend.map_or_else(|| "-".to_owned(), points),
        cost.map_or_else(|| "-".to_owned(), text::dollars),
        standing
            .cost_per_pass_microusd
            .map_or_else(|| "-".to_owned(), small_dollars),
        text::millis(standing.latency_p50_ms),
        text::millis(standing.latency_p95_ms),
        format!(
            "{}/{}",
            text::count(standing.errors),
            text::count(standing.evaluations)
        ),
    ]
}

/// What prompts do, or what models do, the other one averaged out.
pub fn effects(found: &LeaderboardEffects, of_models: bool) -> String {
    let what = if of_models {
        "models, prompts averaged, on"
    } else {
        "prompts, models averaged, on"
    };
    let heading = heading(
        what,
        &found.benchmark,
        (found.board, found.item_count),
        found.simulated,
        found.confidence,
    );
    if let Some(reason) = &found.reason {
        return format!("{heading}\n{}", text::plain(reason));
    }
    let mut table = table(&[
        "rank",
        if of_models { "model" } else { "prompt" },
        "score",
        "effect",
        "standings",
    ]);
    let lines = if of_models {
        &found.models
    } else {
        &found.prompts
    };
    for effect in lines {
        table.add_row(effect_row(effect));
    }
    align_right(&mut table, &[0, 3, 4]);
    let explained = found.explained.map_or_else(String::new, |share| {
        format!(
            " Prompt and model together explain {:.0} % of the differences; the rest is how they suit each other.",
            share * 100.0
        )
    });
    let mut lines = vec![
        heading,
        table.to_string(),
        format!(
            "By the {} items that every standing has a score for.{explained}",
            found.items
        ),
    ];
    if found.simulated {
        lines.push(SIMULATED.to_owned());
    }
    lines.join("\n")
}

fn effect_row(effect: &Effect) -> Vec<String> {
    vec![
        text::rank(effect.rank_low, effect.rank_high),
        model(&effect.name, effect.parameters.as_ref()),
        text::score(effect.score, effect.score_low, effect.score_high),
        points(effect.effect),
        effect.standings.to_string(),
    ]
}

/// The courses of standings, and models that drift.
pub fn history(found: &LeaderboardHistory) -> String {
    let label = if found.simulated {
        "SIMULATED history"
    } else {
        "History"
    };
    let mut lines = vec![format!(
        "{label} of {} ({})",
        text::plain(&found.benchmark),
        whose(found.board)
    )];
    if found.courses.is_empty() {
        lines.push("no results yet".to_owned());
    }
    for course in &found.courses {
        lines.push(course_table(course));
    }
    lines.extend(found.models.iter().map(drift_line));
    if found.simulated {
        lines.push(SIMULATED.to_owned());
    }
    lines.join("\n")
}

fn course_table(course: &Course) -> String {
    let mut table = table(&[
        "measured",
        "score",
        "",
        "$ per 1,000",
        "p95 ms",
        "errors",
        "run",
    ]);
    for point in &course.points {
        let change = if point.change { "another level" } else { "" };
        let cost = point.cost_per_1000_microusd;
        table.add_row(vec![
            text::time(point.measured_at),
            text::score(point.score, point.score_low, point.score_high),
            change.to_owned(),
            cost.map_or_else(|| "-".to_owned(), text::dollars),
            text::millis(point.latency_p95_ms),
            format!(
                "{}/{}",
                text::count(point.errors),
                text::count(point.evaluations)
            ),
            point.run_id.to_string(),
        ]);
    }
    align_right(&mut table, &[3, 4, 5]);
    let model = model(&course.model, Some(&course.parameters));
    format!("{} on {model}\n{table}", text::plain(&course.prompt))
}

fn drift_line(drift: &ModelDrift) -> String {
    let model = model(&drift.model, Some(&drift.parameters));
    let since = text::time(drift.first_measured_at);
    let last = drift
        .runs
        .iter()
        .rfind(|run| run.drifted)
        .or(drift.runs.last());
    let difference = last.map_or_else(String::new, |run| {
        format!(
            " ({} [{}, {}])",
            points(run.difference),
            points(run.low),
            points(run.high)
        )
    });
    if drift.drifted {
        format!("DRIFT: {model} no longer answers as it did on {since}{difference}")
    } else {
        format!("{model}: no drift shown since {since}{difference}")
    }
}

/// The order over all benchmarks.
pub fn overall(board: &OverallLeaderboard) -> String {
    let label = if board.simulated {
        "SIMULATED order"
    } else {
        "Order"
    };
    let heading = format!(
        "{label} over {} benchmarks (intervals at {:.0} %)",
        board.benchmarks.len(),
        board.confidence * 100.0
    );
    if board.entries.is_empty() {
        return format!(
            "{heading}\nno entry was measured on enough of them; {} were left out",
            board.left_out
        );
    }
    let mut table = table(&[
        "rank",
        "prompt",
        "model",
        "normalised mean",
        "win rate",
        "benchmarks",
    ]);
    for entry in &board.entries {
        table.add_row(overall_row(entry, board.benchmarks.len()));
    }
    align_right(&mut table, &[0, 4, 5]);
    let method = &board.method;
    let mut lines = vec![
        heading,
        table.to_string(),
        format!("Normalised mean: {}.", text::plain(&method.normalised_mean)),
        format!("Win rate: {}.", text::plain(&method.mean_win_rate)),
        format!(
            "Shown: {}; {} were left out.",
            text::plain(&method.completeness),
            board.left_out
        ),
    ];
    if board.simulated {
        lines.push(SIMULATED.to_owned());
    }
    lines.join("\n")
}

fn overall_row(entry: &OverallEntry, benchmarks: usize) -> Vec<String> {
    let name = |name: &Option<String>| name.as_deref().map_or_else(|| "-".to_owned(), text::plain);
    vec![
        text::rank(entry.rank_low, entry.rank_high),
        name(&entry.prompt),
        model(
            entry.model.as_deref().unwrap_or("-"),
            entry.parameters.as_ref(),
        ),
        text::score(
            entry.normalised_mean,
            entry.normalised_low,
            entry.normalised_high,
        ),
        entry
            .mean_win_rate
            .map_or_else(|| "-".to_owned(), |rate| format!("{:.0} %", rate * 100.0)),
        format!("{}/{benchmarks}", entry.benchmarks),
    ]
}

fn heading(
    what: &str,
    benchmark: &str,
    (board, items): (BoardKind, i32),
    simulated: bool,
    confidence: f64,
) -> String {
    let mut first = what.chars();
    let label = if simulated {
        format!("SIMULATED {what}")
    } else {
        first.next().map_or_else(String::new, |letter| {
            letter.to_uppercase().collect::<String>() + first.as_str()
        })
    };
    format!(
        "{label} {} ({}, {items} items, intervals at {:.0} %)",
        text::plain(benchmark),
        whose(board),
        confidence * 100.0
    )
}

/// Whose runs a board is made of.
fn whose(board: BoardKind) -> &'static str {
    match board {
        BoardKind::Own => "your runs",
        BoardKind::Public => "public runs",
    }
}

/// A model's name, with its parameters if it has any.
fn model(name: &str, parameters: Option<&Value>) -> String {
    let mut shown = text::plain(name);
    let parameters = parameters.and_then(|parameters| Some((parameters, parameters.as_object()?)));
    if let Some((parameters, _)) = parameters.filter(|(_, object)| !object.is_empty()) {
        shown.push(' ');
        shown.push_str(&text::plain(&parameters.to_string()));
    }
    shown
}

/// A difference of scores in points: `+2.5`.
fn points(difference: f64) -> String {
    format!("{:+.1}", difference * 100.0)
}

/// Dollars of micro-dollars that may be less than one.
fn small_dollars(microusd: f64) -> String {
    format!("${:.6}", microusd / 1e6)
}
