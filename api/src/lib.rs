//! The HTTP door of OpenPromptBank: it spells the domain's answers in REST, JSON and problem details.
//!
//! This crate must never hold a rule or an SQL statement: both live in `opb-core`.
//! It must never call a model either; whoever submits a run waits for the workers.

mod body;
mod caller;
mod client;
mod dialects;
mod etag;
mod first_admin;
mod headers;
mod middleware;
mod openapi;
mod paging;
mod parameters;
mod problem;
pub mod routes;
mod seats;
mod secret;
mod server;
mod settings;
mod state;

pub use opb_core::auth::Registration;
pub use openapi::document;
pub use paging::PageQuery;
pub use problem::Problem;
pub use server::{router, serve};
pub use settings::{ApiSettings, CorsOrigin};
pub use state::AppState;
