//! The domain on a real Postgres.

mod backlog;
mod leases;
mod mending;
mod publishing;
mod sealing;
mod submitting;
