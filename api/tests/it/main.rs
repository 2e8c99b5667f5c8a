//! The HTTP door on a real Postgres, over real HTTP.

mod api_keys;
mod attacks;
mod auth;
mod benchmarks;
mod community;
mod dialects;
mod evaluations;
mod events;
mod headers;
mod invalid;
mod models;
mod openapi;
mod operations;
mod privacy;
mod program;
mod prompts;
mod reads;
mod runs;
mod server;
mod sessions;
mod throttle;
