//! Workers on a real Postgres: whatever happens to them, every evaluation is recorded exactly once.

mod harness;
mod killed;
mod pausing;
mod runs;
mod stopping;
