//! The HTTP door on a real Postgres, over real HTTP.

mod api_keys;
mod attacks;
mod auth;
mod benchmarks;
mod contributions;
mod dialects;
mod evaluations;
mod events;
mod exchange;
mod headers;
mod inert;
mod invalid;
mod library;
mod models;
mod openapi;
mod operations;
mod privacy;
mod program;
mod prompts;
mod reads;
mod runs;
mod search;
mod server;
mod sessions;
mod throttle;
