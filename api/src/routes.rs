//! The handlers, by noun, with the bodies that only the HTTP door knows.
//! A handler is called `<verb>_<resource>`, and that is its operation id.

pub mod api_keys;
pub(crate) mod audit;
pub mod auth;
pub mod benchmarks;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod leaderboards;
pub mod models;
pub mod operations;
pub(crate) mod prompts;
pub mod runs;
