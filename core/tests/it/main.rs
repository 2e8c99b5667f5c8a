//! The domain on a real Postgres.

mod backlog;
mod budgets;
mod estimating;
mod leases;
mod library;
mod mending;
mod prices;
mod publishing;
mod sealing;
mod submitting;
