//! The domain on a real Postgres.

mod backlog;
mod budgets;
mod estimating;
mod leases;
mod library;
mod mending;
mod publishing;
mod sealing;
mod sharing;
mod submitting;
