//! Scheduler processes on a real Postgres.

mod exactly_once;
mod traces;
