//! The handlers, by noun, with the bodies that only the HTTP door knows.
//! A handler is called `<verb>_<resource>`, and that is its operation id.

pub(crate) mod aliases;
pub mod api_keys;
pub(crate) mod audit;
pub mod auth;
pub mod benchmarks;
pub(crate) mod categories;
pub(crate) mod change_requests;
pub(crate) mod contributions;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod leaderboards;
pub mod models;
pub mod operations;
pub(crate) mod prompts;
pub mod runs;
pub(crate) mod saved_searches;
pub(crate) mod versions;
