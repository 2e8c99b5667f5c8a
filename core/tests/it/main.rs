//! The domain on a real Postgres.

mod budgets;
mod estimating;
mod leases;
mod mending;
mod publishing;
mod sealing;
mod submitting;
