//! A simulator of workers and providers in virtual time: pure, seeded, and the same on every machine.
//!
//! It compares the ways to find the number of concurrent calls: today's (`Bound`), the one before (`before`), and one that
//! knows the provider (`Ideal`).

mod before;
mod control;
mod provider;
mod random;
mod run;
mod scenes;
mod tests;
