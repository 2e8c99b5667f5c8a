//! Tables for people. Whatever shows simulated results says so.

mod alerts;
mod comparison;
pub mod layout;
mod leaderboard;
pub mod parameters;
mod run;
mod runs;
mod schedules;
mod webhooks;

pub use alerts::{alert, alerts};
pub use comparison::{comparison, flips};
pub use leaderboard::{effects, history, leaderboard, overall};
pub use run::{evaluation, run_columns};
pub use runs::{run_summary, runs};
pub use schedules::{schedule, schedules};
pub use webhooks::{attempts, webhook, webhooks};

use std::io::IsTerminal as _;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use opb_core::{
    models::{CurrentPrice, DeclaredLimits, Preset, PriceSource, Provider, ProviderKind},
    runs::{Basis, Estimate, Interval},
};

use crate::text;

/// The width of a table where there is no terminal to ask; wide enough for every leaderboard.
const WIDTH: u16 = 160;

/// The limits of a provider.
pub fn limits(declared: &[DeclaredLimits]) -> String {
    let mut table = table(&[
        "model",
        "requests / min",
        "tokens / min",
        "at once",
        "$ / day",
        "$ today",
    ]);
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), text::count);
    let money = |money: Option<i64>| money.map_or_else(|| "-".to_owned(), text::dollars);
    for DeclaredLimits {
        limits,
        spent_today_microusd,
    } in declared
    {
        let is_counted = limits.daily_microusd.is_some();
        table.add_row(vec![
            limits
                .model
                .as_deref()
                .map_or_else(|| "all together".to_owned(), text::plain),
            number(limits.requests_per_minute.map(i64::from)),
            number(limits.tokens_per_minute),
            number(limits.concurrent_calls.map(i64::from)),
            money(limits.daily_microusd),
            money(is_counted.then_some(*spent_today_microusd)),
        ]);
    }
    align_right(&mut table, &[1, 2, 3, 4, 5]);
    table.to_string()
}

/// The providers.
pub fn providers(providers: &[Provider]) -> String {
    let mut table = table(&["name", "kind", "base URL", "credential"]);
    for provider in providers {
        table.add_row(vec![
            text::plain(&provider.name),
            name(provider.kind),
            text::plain(provider.base_url.as_deref().unwrap_or("-")),
            text::plain(provider.credential_hint.as_deref().unwrap_or("-")),
        ]);
    }
    table.to_string()
}

/// The presets.
pub fn presets(presets: &[Preset]) -> String {
    let mut table = table(&["name", "kind", "base URL", "credential"]);
    for preset in presets {
        table.add_row(vec![
            text::plain(&preset.name),
            name(preset.kind),
            text::plain(&preset.base_url),
            text::plain(preset.key_variable.as_deref().unwrap_or("-")),
        ]);
    }
    table.to_string()
}

/// The prices in force.
pub fn prices(prices: &[CurrentPrice]) -> String {
    let mut table = table(&[
        "model",
        "input",
        "cached",
        "output",
        "reasoning",
        "longest answer",
        "source",
    ]);
    let dollars = |price: Option<i64>| price.map_or_else(|| "-".to_owned(), exact_dollars);
    for price in prices {
        let limit = price.max_output_tokens.map(i64::from);
        table.add_row(vec![
            format!(
                "{}:{}",
                text::plain(&price.provider),
                text::plain(&price.model)
            ),
            exact_dollars(price.input_microusd_per_mtok),
            dollars(price.cached_input_microusd_per_mtok),
            exact_dollars(price.output_microusd_per_mtok),
            dollars(price.reasoning_microusd_per_mtok),
            limit.map_or_else(|| "-".to_owned(), text::count),
            match price.source {
                PriceSource::Shipped => "shipped".to_owned(),
                PriceSource::Litellm => "litellm".to_owned(),
                PriceSource::Hand => "set by hand".to_owned(),
            },
        ]);
    }
    align_right(&mut table, &[1, 2, 3, 4, 5]);
    format!("{table}\nDollars per million tokens.")
}

/// Dollars to the last micro-dollar: prices of single tokens are small.
fn exact_dollars(microusd: i64) -> String {
    let rest = format!("{:06}", microusd % 1_000_000);
    let digits = rest.trim_end_matches('0').len().max(2);
    format!("{}.{}", microusd / 1_000_000, &rest[..digits])
}

/// The name of a kind, as the API spells it.
fn name(kind: ProviderKind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// What a run would need, and how that is known.
pub fn estimate(estimate: &Estimate) -> String {
    let mut table = table(&["", "at least", "expected", "at most"]);
    let mut add = |name: &str, interval: Interval, show: fn(i64) -> String| {
        table.add_row(vec![
            name.to_owned(),
            show(interval.low),
            show(interval.expected),
            show(interval.high),
        ]);
    };
    add("calls", estimate.calls, text::count);
    add("input tokens", estimate.input_tokens, text::count);
    add("output tokens", estimate.output_tokens, text::count);
    if let Some(cost) = estimate.cost_microusd {
        add("cost", cost, text::dollars);
    }
    add("seconds", estimate.seconds, text::count);
    align_right(&mut table, &[1, 2, 3]);
    let evaluations = text::count(estimate.evaluations);
    let evaluations = if estimate.stop_early {
        format!("{evaluations} evaluations, or fewer: the run stops when its order is decided")
    } else {
        format!("{evaluations} evaluations")
    };
    let mut lines = vec![evaluations, table.to_string()];
    if !estimate.unpriced.is_empty() {
        let models = text::plain(&estimate.unpriced.join(", "));
        lines.push(format!(
            "The cost is unknown: no price is set for {models}."
        ));
    }
    for column in &estimate.columns {
        let basis = match column.basis {
            Basis::SamePromptAndModel => {
                format!("{} recorded evaluations", text::count(column.witnesses))
            }
            Basis::SameModel => format!(
                "{} recorded evaluations of other prompts",
                text::count(column.witnesses)
            ),
            Basis::RoughRule => "a rough rule: nothing is recorded yet".to_owned(),
        };
        lines.push(format!(
            "{} on {}: by {basis}",
            text::plain(&column.prompt),
            text::plain(&column.model)
        ));
    }
    lines.join("\n")
}

fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_width(WIDTH);
    }
    table.set_header(
        headings
            .iter()
            .map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)),
    );
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
