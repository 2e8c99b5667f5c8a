//! Tables for people. Every table of simulated results says so.
//!
//! A table module defines the contents; `layout` fits them to the screen.

mod alerts;
mod comparison;
mod estimate;
mod keys;
pub mod layout;
mod leaderboard;
mod library;
pub mod parameters;
mod prices;
mod providers;
mod run;
mod runs;
mod schedules;
#[cfg(test)]
mod tests;
mod webhooks;

pub use alerts::{alert, alerts};
pub use comparison::{comparison, flips};
pub use estimate::estimate;
pub use keys::keys;
pub use layout::Report;
pub use leaderboard::{effects, history, leaderboard, overall};
pub use library::{benchmark, benchmarks, imports, models, prompt, prompts};
pub use prices::prices;
pub use providers::{limits, presets, providers};
pub use run::{evaluation, run_columns, run_groups};
pub use runs::{run_summary, runs};
pub use schedules::{schedule, schedules};
pub use webhooks::{attempts, webhook, webhooks};

use crate::text;

const SIMULATED: &str =
    "SIMULATED: no model was called; these numbers say nothing about any real model.";

/// The REST name of an enum's value.
fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    let word = word.as_ref().and_then(|word| word.as_str());
    text::plain(word.unwrap_or_default())
}
