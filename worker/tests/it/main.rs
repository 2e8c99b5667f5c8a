//! Workers on a real Postgres: whatever happens to them, every evaluation is recorded exactly once.

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
