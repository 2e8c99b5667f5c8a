//! The domain on a real Postgres.

mod budgets;
mod leases;
mod mending;
mod publishing;
mod sealing;
mod submitting;
