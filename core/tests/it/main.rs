//! The domain on a real Postgres.

mod access;
mod alerts;
mod backlog;
mod boards;
mod budgets;
mod early;
mod erasing;
mod estimating;
mod imports;
mod leases;
mod library;
mod hidden;
mod mending;
mod prices;
mod publishing;
mod recording;
mod reference;
mod schedules;
mod schema;
mod sealing;
mod sharing;
mod submitting;
