//! The HTTP door on a real Postgres, over real HTTP.
#![expect(
    clippy::disallowed_methods,
    reason = "children of tests need what the tests need"
)]

mod access;
mod administration;
mod alerts;
mod api_keys;
mod attacks;
mod auth;
mod benchmark_texts;
mod benchmarks;
mod boards;
mod bodies;
mod bounds;
mod community;
mod comparisons;
mod contributions;
mod cookie;
mod deletion;
mod dialects;
mod doors;
mod evaluations;
mod events;
mod exchange;
mod headers;
mod identities;
mod import_places;
mod imports;
mod inert;
mod invalid;
mod invitations;
mod library;
mod mailbox;
mod models;
mod names;
mod oidc_provider;
mod one_line;
mod openapi;
mod operations;
mod own_marks;
mod privacy;
mod program;
mod prompts;
mod reads;
mod recovery;
mod replica;
mod run_boards;
mod run_columns;
mod run_deletion;
mod run_results;
mod run_visibility;
mod runs;
mod search;
mod server;
mod sessions;
mod slow;
mod throttle;
mod traces;
mod unpaid;
mod verification;
mod visibility;
mod webhook_addresses;
mod webhooks;
mod world;
