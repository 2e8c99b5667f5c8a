//! The domain on a real Postgres.

mod budgets;
mod estimating;
mod backlog;
mod leases;
mod library;
mod mending;
mod publishing;
mod sealing;
mod submitting;
