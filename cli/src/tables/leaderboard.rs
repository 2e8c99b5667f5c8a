//! Tables of leaderboards: of one benchmark, as effects, over time, and over all benchmarks.

use opb_core::{
    leaderboards::{
        BoardKind, Course, Effect, Leaderboard, LeaderboardEffects, LeaderboardHistory, ModelDrift,
        OverallLeaderboard, Standing,
    },
    stats::FrontierPlace,
};

use super::{
    Report, SIMULATED,
    layout::{Cell, Column, Table},
    parameters::{Parameters, model},
};
use crate::text;

const OVERLAPPING: &str = "Overlapping ranks: this many items cannot separate them.";

/// A leaderboard with a heading.
pub fn leaderboard(board: &Leaderboard) -> Report {
    let both = board.standings.iter().chain(&board.provisional);
    let parameters = Parameters::of(both.map(|standing| Some(&standing.parameters)));
    let heading = heading(
        "leaderboard of",
        &board.benchmark,
        (board.board, board.item_count),
        board.simulated,
        board.confidence,
        &parameters,
    );
    let mut report = Report::of(heading);
    if board.standings.is_empty() && board.provisional.is_empty() {
        report.line("no results yet");
        return report;
    }
    let (ended, open) = parameters.own.split_at(board.standings.len());
    let mut table = standings(&board.standings, ended);
    let shows = |place: FrontierPlace| {
        let mut all = board.standings.iter();
        all.any(|standing| standing.frontier == place)
    };
    let has_mark = shows(FrontierPlace::On) || shows(FrontierPlace::Perhaps);
    if has_mark && (shows(FrontierPlace::Off) || shows(FrontierPlace::Perhaps)) {
        table.explain("frontier", "Frontier: `*` no other entry is better on score, cost and latency at once; `(*)` not certain.");
    }
    report.table(table);
    if board.standings.len() > 1 {
        report.line(OVERLAPPING);
    }
    if board.standings.iter().any(|it| it.stopped_early) {
        report.line("`†` stopped early, when its place in its run was decided: the order is certain, the score is slightly biased.");
    }
    if !board.provisional.is_empty() {
        report.line("PROVISIONAL, runs that have not ended:");
        report.table(standings(&board.provisional, open));
    }
    if let Some(notice) = &board.notice {
        report.line(format!("NOTE: {notice}"));
    }
    if board.simulated {
        report.line(SIMULATED);
    }
    report
}

fn standings(standings: &[Standing], parameters: &[String]) -> Table {
    let mut table = Table::new([
        Column::right("rank"),
        Column::new("frontier").optional(5),
        Column::name("prompt", 14),
        Column::name("model", 16),
        Column::name("parameters", 14),
        Column::new("score"),
        Column::right("trend").optional(4),
        Column::right("$ / 1,000").optional(7),
        Column::right("$ / pass").optional(2),
        Column::right("p50 ms").optional(3),
        Column::right("p95 ms").optional(6),
        Column::right("errors").optional(8),
    ]);
    // A mark that all have says nothing.
    let frontier_differs = standings
        .iter()
        .any(|standing| standing.frontier != FrontierPlace::On);
    for (standing, parameters) in standings.iter().zip(parameters) {
        table.add_row(row(standing, parameters, frontier_differs));
    }
    table
}

fn row(standing: &Standing, parameters: &str, frontier_differs: bool) -> Vec<Cell> {
    let place = match standing.frontier {
        _ if !frontier_differs => "",
        FrontierPlace::On => "*",
        FrontierPlace::Perhaps => "(*)",
        FrontierPlace::Off => "",
    };
    let figures = &standing.figures;
    let score = text::score(figures.score, figures.score_low, figures.score_high);
    let early = if standing.stopped_early { " †" } else { "" };
    let per_pass = figures.cost_per_pass_microusd;
    vec![
        text::rank(standing.rank_low, standing.rank_high).into(),
        place.into(),
        text::plain(&standing.prompt).into(),
        text::plain(&standing.model).into(),
        parameters.into(),
        format!("{score}{early}").into(),
        standing.trend.map_or_else(none, points).into(),
        money(figures.cost_per_1000_microusd),
        per_pass.map_or_else(none, text::small_dollars).into(),
        text::millis(figures.latency_p50_ms).into(),
        text::millis(figures.latency_p95_ms).into(),
        errors(standing.errors, standing.evaluations),
    ]
}

/// The effects of prompts, or of models, averaged over the other.
pub fn effects(found: &LeaderboardEffects, of_models: bool) -> Report {
    let what = if of_models {
        "models, averaged over prompts, on"
    } else {
        "prompts, averaged over models, on"
    };
    let effects = if of_models {
        &found.models
    } else {
        &found.prompts
    };
    let parameters = Parameters::of(effects.iter().map(|effect| effect.parameters.as_ref()));
    let heading = heading(
        what,
        &found.benchmark,
        (found.board, found.item_count),
        found.simulated,
        found.confidence,
        &parameters,
    );
    let mut report = Report::of(heading);
    if let Some(reason) = &found.reason {
        report.line(text::plain(reason));
        return report;
    }
    let mut table = Table::new([
        Column::right("rank"),
        Column::name(if of_models { "model" } else { "prompt" }, 20),
        Column::name("parameters", 14),
        Column::new("score"),
        Column::right("effect"),
        Column::right(if of_models { "prompts" } else { "models" }).optional(1),
    ]);
    for (effect, parameters) in effects.iter().zip(&parameters.own) {
        table.add_row(effect_row(effect, parameters));
    }
    report.table(table);
    let explained = found.explained.map_or_else(String::new, |share| {
        format!(
            " Prompt and model together explain {:.0} % of the differences; the rest is how well they suit each other.",
            share * 100.0
        )
    });
    report.line(format!(
        "Effect: points above the average. Based on {} with a score from every entry.{explained}",
        text::counted(found.items, "item")
    ));
    if found.simulated {
        report.line(SIMULATED);
    }
    report
}

fn effect_row(effect: &Effect, parameters: &str) -> Vec<Cell> {
    vec![
        text::rank(effect.rank_low, effect.rank_high).into(),
        text::plain(&effect.name).into(),
        parameters.into(),
        text::score(effect.score, effect.score_low, effect.score_high).into(),
        points(effect.effect).into(),
        effect.standings.to_string().into(),
    ]
}

/// The standings over time, and models that drift.
pub fn history(found: &LeaderboardHistory) -> Report {
    let label = if found.simulated {
        "SIMULATED history"
    } else {
        "History"
    };
    let mut report = Report::of(format!(
        "{label} of {} ({})",
        text::plain(&found.benchmark),
        whose(found.board)
    ));
    if found.courses.is_empty() {
        report.line("no results yet");
    }
    for course in &found.courses {
        let model = model(&course.model, Some(&course.parameters));
        report.line(format!("{} on {model}", text::plain(&course.prompt)));
        report.table(course_table(course));
    }
    for drift in &found.models {
        report.line(drift_line(drift));
    }
    if found.simulated {
        report.line(SIMULATED);
    }
    report
}

fn course_table(course: &Course) -> Table {
    let mut table = Table::new([
        Column::new("measured"),
        Column::new("score"),
        Column::new("change").optional(5),
        Column::right("$ / 1,000").optional(4),
        Column::right("p95 ms").optional(3),
        Column::right("errors").optional(2),
        Column::new("run").optional(1),
    ]);
    for point in &course.points {
        table.add_row([
            text::time(point.measured_at).into(),
            text::score(
                point.figures.score,
                point.figures.score_low,
                point.figures.score_high,
            )
            .into(),
            if point.change { "new level" } else { "" }.into(),
            money(point.figures.cost_per_1000_microusd),
            text::millis(point.figures.latency_p95_ms).into(),
            errors(point.errors, point.evaluations),
            point.run_id.to_string().into(),
        ]);
    }
    table
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

/// The overall ranking.
pub fn overall(board: &OverallLeaderboard) -> Report {
    let label = if board.simulated {
        "SIMULATED overall ranking"
    } else {
        "Overall ranking"
    };
    let entries = board.entries.iter();
    let parameters = Parameters::of(entries.map(|entry| entry.parameters.as_ref()));
    let mut report = Report::of(format!(
        "{label} over {} (intervals at {:.0} %{})",
        text::counted(count(board.benchmarks.len()), "benchmark"),
        board.confidence * 100.0,
        parameters.title()
    ));
    let left_out = board.left_out;
    let coverage = board.method.min_coverage * 100.0;
    if board.entries.is_empty() {
        report.line(if left_out == 0 {
            "no results yet".to_owned()
        } else {
            format!(
                "no entry was measured on at least {coverage:.0} % of the benchmarks; {left_out} left out; lower --min-coverage to see them"
            )
        });
        return report;
    }
    let mut table = Table::new([
        Column::right("rank"),
        Column::name("prompt", 14),
        Column::name("model", 16),
        Column::name("parameters", 14),
        Column::new("normalised mean"),
        Column::right("win rate").optional(2),
        Column::right("benchmarks").optional(1),
    ]);
    let name = |name: &Option<String>| name.as_deref().map_or_else(none, text::plain);
    for (entry, parameters) in board.entries.iter().zip(&parameters.own) {
        let rate = entry.mean_win_rate;
        table.add_row([
            text::rank(entry.rank_low, entry.rank_high).into(),
            name(&entry.prompt).into(),
            name(&entry.model).into(),
            parameters.as_str().into(),
            text::score(
                entry.normalised_mean,
                entry.normalised_low,
                entry.normalised_high,
            )
            .into(),
            rate.map_or_else(none, |rate| format!("{:.0} %", rate * 100.0))
                .into(),
            format!("{}/{}", entry.benchmarks, board.benchmarks.len()).into(),
        ]);
    }
    report.table(table);
    let method = &board.method;
    report.line(format!(
        "Normalised mean: {}.",
        text::plain(&method.normalised_mean)
    ));
    report.line(format!("Win rate: {}.", text::plain(&method.mean_win_rate)));
    report.line(format!(
        "Shown: {}; {left_out} left out{}.",
        text::plain(&method.completeness),
        if left_out == 0 {
            ""
        } else {
            " (--min-coverage)"
        }
    ));
    if board.simulated {
        report.line(SIMULATED);
    }
    report
}

fn heading(
    what: &str,
    benchmark: &str,
    (board, items): (BoardKind, i32),
    simulated: bool,
    confidence: f64,
    parameters: &Parameters,
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
        "{label} {} ({}, {}, intervals at {:.0} %{})",
        text::plain(benchmark),
        whose(board),
        text::counted(items, "item"),
        confidence * 100.0,
        parameters.title()
    )
}

/// Whose runs a board includes.
fn whose(board: BoardKind) -> &'static str {
    match board {
        BoardKind::Own => "your runs",
        BoardKind::Public => "public runs",
    }
}

fn none() -> String {
    "-".to_owned()
}

/// Dollars, if there is a price; a price of zero counts.
fn money(microusd: Option<i64>) -> Cell {
    microusd.map_or_else(none, text::dollars).into()
}

/// `2/40`; empty without errors.
fn errors(errors: i64, evaluations: i64) -> Cell {
    let text = format!("{}/{}", text::count(errors), text::count(evaluations));
    if errors == 0 {
        Cell::idle(text)
    } else {
        text.into()
    }
}

/// A difference of scores in points: `+2.5`. Zero is `+0.0`, also if rounded from below.
pub fn points(difference: f64) -> String {
    let points = format!("{:+.1}", difference * 100.0);
    match points.as_str() {
        "-0.0" => "+0.0".to_owned(),
        _ => points,
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
