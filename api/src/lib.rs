//! The HTTP server of OpenPromptBank: it maps the domain to REST, JSON and problem details, and sends the outbox's
//! mails to the operator's mail server and its messages to webhooks.
//!
//! This crate must never hold a rule or an SQL statement: both belong in `opb-core`.
//! It must never call a model: runs are done by the workers.

mod account_pages;
mod bodies;
mod body;
mod caller;
mod client;
mod dialects;
mod etag;
mod examples;
mod first_admin;
mod headers;
mod import_places;
mod listen;
mod mail;
mod middleware;
mod oidc;
mod openapi;
mod page_file;
mod paging;
mod parameters;
mod prober;
mod problem;
mod replica;
mod response_cache;
pub mod routes;
mod seats;
mod secret;
mod server;
mod settings;
mod state;
mod unread;
mod webhook_sender;

pub use listen::check_address;
pub use mail::MailSettings;
pub use oidc::OidcSettings;
pub use opb_core::auth::Registration;
pub use openapi::document;
pub use paging::PageQuery;
pub use prober::{CheckOutcome, ProviderCheck};
pub use problem::Problem;
pub use replica::Replica;
pub use server::{BELLS, router, serve};
pub use settings::{ApiSettings, CorsOrigin};
pub use state::AppState;
pub use webhook_sender::WebhookSettings;
