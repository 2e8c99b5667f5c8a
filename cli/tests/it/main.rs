//! The program `opb` from outside: what it prints, how it ends, and what it leaves behind.
#![expect(
    clippy::disallowed_methods,
    reason = "children of tests need what the tests need"
)]

mod admin;
mod alerts;
mod bank;
mod demo;
mod documents;
mod doors;
mod examples;
mod faults;
mod files;
mod image;
mod imports;
mod leaks;
mod logins;
mod postgres;
mod programs;
mod providers;
mod runs;
mod servers;
mod settings;
mod site;
mod traces;
mod webhooks;
