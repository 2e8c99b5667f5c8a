//! Comparisons of columns.

use opb_core::{
    comparisons::{ComparedColumn, ComparisonTable, Flip, FlipDirection},
    paging::Page,
    stats::{Comparison, Verdict},
};

use super::{
    Report, SIMULATED,
    layout::{Cell, Column, Table},
    leaderboard::points,
    parameters::Parameters,
};
use crate::text;

/// Columns, and what may be said of each pair.
pub fn comparison(found: &ComparisonTable) -> Report {
    let label = if found.simulated {
        "SIMULATED comparison"
    } else {
        "Comparison"
    };
    let provisional = if found.provisional {
        "; PROVISIONAL, a run has not ended"
    } else {
        ""
    };
    let parameters = Parameters::of(found.columns.iter().map(|column| Some(&column.parameters)));
    let mut report = Report::of(format!(
        "{label} on {} ({}, intervals at {:.0} %{}{provisional})",
        text::plain(&found.benchmark),
        text::counted(found.item_count, "item"),
        found.confidence * 100.0,
        parameters.title()
    ));
    let mut columns = Table::new([
        Column::right("column"),
        Column::name("prompt", 14),
        Column::name("model", 16),
        Column::name("parameters", 14),
        Column::new("score"),
        Column::right("$ / pass").optional(2),
        Column::right("p50 ms").optional(1),
        Column::right("p95 ms").optional(3),
        Column::right("errors").optional(4),
    ]);
    for (index, (column, parameters)) in found.columns.iter().zip(&parameters.own).enumerate() {
        columns.add_row(column_row(index, column, parameters));
    }
    report.table(columns);
    let repeats = repeats(found);
    if !repeats.is_empty() {
        report
            .line("Repeats: pass@k is the chance that one of k answers passes, pass^k that all do");
        report.table(repeats);
    }
    let mut pairs = Table::new([
        Column::new("pair"),
        Column::new("verdict"),
        Column::new("difference"),
        Column::right("p adjusted").optional(3),
        Column::right("wins/ties/losses").optional(4),
        Column::right("detectable").optional(2),
        Column::right("items needed").optional(1),
    ]);
    for comparison in &found.comparisons {
        pairs.add_row(pair_row(comparison));
    }
    report.table(pairs);
    report.line(format!(
        "`detectable`: the smallest difference that the shared items detect with 80 % power. `items needed`: for a difference of {:.1} points.",
        found.smallest_difference * 100.0
    ));
    if found.simulated {
        report.line(SIMULATED);
    }
    report
}

/// A page of flips.
pub fn flips(page: &Page<Flip>) -> Report {
    if page.items.is_empty() {
        return Report::of("no item flipped");
    }
    let mut table = Table::new([
        Column::name("item", 12),
        Column::new("flip"),
        Column::prose("expected", 10),
        Column::prose("baseline", 12),
        Column::prose("candidate", 12),
    ]);
    for flip in &page.items {
        let direction = match flip.direction {
            FlipDirection::Gained => "gained",
            FlipDirection::Lost => "lost",
        };
        let shown = |text: Option<&str>| Cell::from(text::plain(text.unwrap_or("-")));
        let expected = flip.expected.as_ref().map(ToString::to_string);
        table.add_row([
            text::plain(&flip.item).into(),
            direction.into(),
            shown(expected.as_deref()),
            shown(flip.baseline_output.as_deref()),
            shown(flip.candidate_output.as_deref()),
        ]);
    }
    let mut report = Report::from(table);
    if page.next_cursor.is_some() {
        report.line("There are more: --flips takes up to 100, and POST /api/v1/compare/flips pages through all.");
    }
    report
}

/// pass@k and pass^k of each column, for k of 1, 2, 5 and the number of repeats.
fn repeats(found: &ComparisonTable) -> Table {
    let mut table = Table::new([
        Column::right("column"),
        Column::right("k"),
        Column::right("pass@k"),
        Column::right("pass^k"),
        Column::right("items").optional(1),
    ]);
    for (index, column) in found.columns.iter().enumerate() {
        let last = column.tries.last().map(|tries| tries.k);
        let shown = column
            .tries
            .iter()
            .filter(|tries| [1, 2, 5].contains(&tries.k) || Some(tries.k) == last);
        for tries in shown {
            table.add_row([
                (index + 1).to_string().into(),
                tries.k.to_string().into(),
                format!("{:.1} %", tries.pass_at_k * 100.0).into(),
                format!("{:.1} %", tries.pass_hat_k * 100.0).into(),
                tries.items.to_string().into(),
            ]);
        }
    }
    table
}

fn column_row(index: usize, column: &ComparedColumn, parameters: &str) -> Vec<Cell> {
    let score = column
        .score
        .as_ref()
        .map(|score| text::score(score.mean, score.interval.low, score.interval.high));
    let latency = |index: usize| {
        let percentile = column.latency.get(index);
        Cell::from(text::millis(percentile.map(|found| found.latency_ms)))
    };
    let cost = column.cost_per_pass.as_ref();
    let cost = cost.map(|cost| text::small_dollars(cost.microusd));
    let errors = format!(
        "{}/{}",
        text::count(column.errors),
        text::count(column.evaluations)
    );
    vec![
        (index + 1).to_string().into(),
        text::plain(&column.prompt).into(),
        text::plain(&column.model).into(),
        parameters.into(),
        score.unwrap_or_else(|| "-".to_owned()).into(),
        cost.unwrap_or_else(|| "-".to_owned()).into(),
        latency(0),
        latency(1),
        if column.errors == 0 {
            Cell::idle(errors)
        } else {
            errors.into()
        },
    ]
}

fn pair_row(pair: &Comparison) -> Vec<Cell> {
    let verdict = match pair.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifferenceShown => "no difference shown",
        Verdict::TooFewItems => "too few items",
    };
    let interval = pair
        .interval
        .map(|interval| format!(" [{}, {}]", points(interval.low), points(interval.high)));
    let p_value = if pair.p_adjusted < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        format!("{:.4}", pair.p_adjusted)
    };
    let detectable = pair
        .detectable_difference
        .map(|share| format!("{:.1}", share * 100.0));
    let needed = pair.items_needed.map(|items| items.to_string());
    vec![
        format!("{} vs {}", pair.candidate + 1, pair.baseline + 1).into(),
        verdict.into(),
        format!(
            "{}{}",
            points(pair.difference),
            interval.unwrap_or_default()
        )
        .into(),
        p_value.into(),
        format!("{}/{}/{}", pair.wins, pair.ties, pair.losses).into(),
        detectable.unwrap_or_else(|| "-".to_owned()).into(),
        needed.unwrap_or_else(|| "-".to_owned()).into(),
    ]
}
