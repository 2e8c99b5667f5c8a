//! The HTTP door on a real Postgres, over real HTTP.

mod api_keys;
mod attacks;
mod auth;
mod benchmarks;
mod dialects;
mod evaluations;
mod events;
mod headers;
mod identities;
mod invalid;
mod mailbox;
mod models;
mod oidc_provider;
mod openapi;
mod operations;
mod privacy;
mod program;
mod prompts;
mod reads;
mod recovery;
mod runs;
mod server;
mod sessions;
mod throttle;
