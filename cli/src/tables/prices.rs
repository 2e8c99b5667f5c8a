//! The table of prices of models.

use opb_core::models::{self, CurrentPrice, PriceSource};

use super::{
    Report,
    layout::{Column, Table},
};
use crate::text;

/// The prices in force.
pub fn prices(prices: &[CurrentPrice]) -> Report {
    let mut table = Table::new([
        Column::name("model", 20),
        Column::right("input"),
        Column::right("cached").optional(4),
        Column::right("output"),
        Column::right("reasoning").optional(3),
        Column::right("longest answer").optional(2),
        Column::new("source").optional(1),
    ]);
    let dollars = |price: Option<i64>| price.map_or_else(|| "-".to_owned(), exact_dollars);
    for price in prices {
        let limit = price.max_output_tokens.map(i64::from);
        let model = format!("{}:{}", price.provider, price.model);
        table.add_row([
            text::plain(&model).into(),
            exact_dollars(price.input_microusd_per_mtok).into(),
            dollars(price.cached_input_microusd_per_mtok).into(),
            exact_dollars(price.output_microusd_per_mtok).into(),
            dollars(price.reasoning_microusd_per_mtok).into(),
            limit.map_or_else(|| "-".to_owned(), text::count).into(),
            match price.source {
                PriceSource::Shipped => "shipped",
                PriceSource::Litellm => "litellm",
                PriceSource::Hand => "set by hand",
            }
            .into(),
        ]);
    }
    let mut report = Report::from(table);
    report.line("Dollars per million tokens; the longest answer in tokens.");
    report
}

/// Dollars with micro-dollar precision: prices of single tokens are small.
fn exact_dollars(microusd: i64) -> String {
    models::dollars(microusd).replace('$', "")
}
