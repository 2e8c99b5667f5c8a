//! A simulator of workers and providers in virtual time: pure, seeded, and the same on every machine.
//!
//! It compares the ways to find the number of concurrent calls: today's (`Bound`), the one before (`before`), and one that
//! knows the provider (`Ideal`). Calls are let go in the order of `Governor::dispatch`, and hung up when they are late.
//! There is no breaker here, so no scene of an outage.

mod before;
mod control;
mod provider;
mod random;
mod run;
mod scenes;
mod tests;
