//! Workers on a real Postgres: whatever happens to them, every evaluation is recorded exactly once.

mod budgets;
mod harness;
mod killed;
mod misbehaviour;
mod pausing;
mod reopened;
mod runs;
mod stand_in;
mod stopping;
