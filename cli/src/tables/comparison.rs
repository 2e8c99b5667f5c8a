//! Comparisons of columns.

use opb_core::{
    comparisons::{ComparedColumn, ComparisonTable, Flip, FlipDirection},
    library::Page,
    stats::{Comparison, Verdict},
};

use super::{align_right, parameters::Parameters, table};
use crate::text;

/// How much of an output is shown.
const OUTPUT_CHARACTERS: usize = 40;

/// Columns, and what may be said of each pair.
pub fn comparison(found: &ComparisonTable) -> String {
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
    let heading = format!(
        "{label} on {}{} ({} items, intervals at {:.0} %{provisional})",
        text::plain(&found.benchmark),
        parameters.title(),
        found.item_count,
        found.confidence * 100.0
    );
    let mut columns = table(&[
        "",
        "prompt",
        "model",
        "score",
        "$ per pass",
        "p50 ms",
        "p95 ms",
        "errors",
    ]);
    for (index, column) in found.columns.iter().enumerate() {
        columns.add_row(column_row(index, column, &parameters.own[index]));
    }
    align_right(&mut columns, &[0, 4, 5, 6, 7]);
    let mut pairs = table(&[
        "pair",
        "verdict",
        "difference",
        "p adjusted",
        "won/even/lost",
        "could see",
        "items needed",
    ]);
    for comparison in &found.comparisons {
        pairs.add_row(pair_row(comparison));
    }
    align_right(&mut pairs, &[3, 4, 5, 6]);
    let mut lines = vec![
        heading,
        columns.to_string(),
        pairs.to_string(),
        format!(
            "`could see` is the smallest difference that the shared items find with 80 % power; `items needed` find {:.1} points.",
            found.smallest_difference * 100.0
        ),
    ];
    if found.simulated {
        lines.push(
            "SIMULATED: no model was called; these numbers say nothing about any real model."
                .to_owned(),
        );
    }
    lines.join("\n")
}

/// A page of flips.
pub fn flips(page: &Page<Flip>) -> String {
    if page.items.is_empty() {
        return "no item flipped".to_owned();
    }
    let mut table = table(&[
        "item",
        "flip",
        "expected",
        "baseline said",
        "candidate said",
    ]);
    for flip in &page.items {
        let direction = match flip.direction {
            FlipDirection::Gained => "gained",
            FlipDirection::Lost => "lost",
        };
        let expected = flip.expected.as_ref().map(ToString::to_string);
        table.add_row(vec![
            text::plain(&flip.item),
            direction.to_owned(),
            shortened(expected.as_deref()),
            shortened(flip.baseline_output.as_deref()),
            shortened(flip.candidate_output.as_deref()),
        ]);
    }
    let more = if page.next_cursor.is_some() {
        "\nthere are more; --flips takes up to 100, and POST /api/v1/compare/flips pages through all"
    } else {
        ""
    };
    format!("{table}{more}")
}

fn column_row(index: usize, column: &ComparedColumn, parameters: &str) -> Vec<String> {
    let score = column
        .score
        .as_ref()
        .map(|score| text::score(score.mean, score.interval.low, score.interval.high));
    let latency = |index: usize| {
        text::millis(
            column
                .latency
                .get(index)
                .map(|percentile| percentile.latency_ms),
        )
    };
    // Far below 2⁶³ micro-dollars, and a fraction of one is not shown.
    #[expect(clippy::cast_possible_truncation, reason = "an amount of money")]
    let cost = column
        .cost_per_pass
        .as_ref()
        .map(|cost| text::dollars(cost.microusd.round() as i64));
    vec![
        (index + 1).to_string(),
        text::plain(&column.prompt),
        match parameters {
            "" => text::plain(&column.model),
            parameters => format!("{} {parameters}", text::plain(&column.model)),
        },
        score.unwrap_or_else(|| "-".to_owned()),
        cost.unwrap_or_else(|| "-".to_owned()),
        latency(0),
        latency(1),
        format!(
            "{}/{}",
            text::count(column.errors),
            text::count(column.evaluations)
        ),
    ]
}

fn pair_row(pair: &Comparison) -> Vec<String> {
    let verdict = match pair.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifferenceShown => "no difference shown",
        Verdict::TooFewItems => "too few items",
    };
    let points = |share: f64| format!("{:+.1}", share * 100.0);
    let interval = pair
        .interval
        .map(|interval| format!(" [{}, {}]", points(interval.low), points(interval.high)));
    let p_value = if pair.p_adjusted < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        format!("{:.4}", pair.p_adjusted)
    };
    vec![
        format!("{} vs {}", pair.candidate + 1, pair.baseline + 1),
        verdict.to_owned(),
        format!(
            "{}{}",
            points(pair.difference),
            interval.unwrap_or_default()
        ),
        p_value,
        format!("{}/{}/{}", pair.wins, pair.ties, pair.losses),
        pair.detectable_difference
            .map_or_else(|| "-".to_owned(), |share| format!("{:.1}", share * 100.0)),
        pair.items_needed
            .map_or_else(|| "-".to_owned(), |items| items.to_string()),
    ]
}

fn shortened(output: Option<&str>) -> String {
    let text = text::plain(output.unwrap_or("-"));
    if text.chars().count() <= OUTPUT_CHARACTERS {
        return text;
    }
    let start: String = text.chars().take(OUTPUT_CHARACTERS - 1).collect();
    format!("{start}…")
}
