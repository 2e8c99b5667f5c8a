//! Scheduler processes on a real Postgres.
#![expect(
    clippy::disallowed_methods,
    reason = "children of tests need what the tests need"
)]

mod exactly_once;
mod traces;
