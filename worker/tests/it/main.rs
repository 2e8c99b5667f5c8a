//! Workers on a real Postgres: whatever happens to them, every evaluation is recorded exactly once.
#![expect(
    clippy::disallowed_methods,
    reason = "children of tests need what the tests need"
)]

mod answers;
mod budgets;
mod early;
mod fairness;
mod harness;
mod images;
mod killed;
mod kinds;
mod limits;
mod misbehaviour;
mod outage;
mod pausing;
mod reopened;
mod runs;
mod stand_in;
mod stopping;
mod traces;
