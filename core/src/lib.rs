//! Every rule and every SQL statement of `OpenPromptBank`, by resource.
//!
//! This crate only knows Postgres and nothing else of the outside world: no HTTP, no model provider, no terminal.
//! The crates around it (`api`, `worker`, `scheduler`, `cli`) translate and never decide.
//!
//! `ARCHITECTURE.md` lists the rooms, the lowest first; a room uses nothing that comes after it there.

pub mod alerts;
pub mod auth;
pub mod benchmarks;
pub mod bounds;
pub mod community;
pub mod comparisons;
pub mod computing;
mod copy;
pub mod database;
pub mod deletion;
pub mod doorbell;
mod error;
pub mod exact_json;
pub mod exact_yaml;
pub mod finishing;
pub mod housekeeping;
pub mod leaderboards;
pub mod library;
mod locks;
pub mod mail;
pub mod metrics;
pub mod models;
mod nearest;
pub mod outbound;
pub mod own_data;
pub mod paging;
mod parse_errors;
pub mod processes;
pub mod queue;
pub mod quotas;
pub mod run_columns;
pub mod runs;
pub mod schedules;
pub mod sealed;
pub mod sealing;
pub mod texts;
pub mod user_deletion;
pub mod webhooks;
mod written_fields;

pub use error::{Error, FieldError, Result};
pub use opb_scorers as scorers;
pub use opb_stats as stats;
pub use opb_template as template;
