//! A simulator of workers and providers in virtual time: pure, seeded, and the same on every machine.
//!
//! Compares controls of the number of concurrent calls: the current one (`Bound`), the previous one (`before`), and one
//! that knows the provider (`Ideal`). Calls start in the order of `Governor::dispatch` and are cancelled when they time
//! out. The breaker is not simulated, so there is no scene of an outage.

mod before;
mod control;
mod provider;
mod random;
mod run;
mod scenes;
mod tests;
