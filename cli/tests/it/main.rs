//! The program `opb` from outside: what it prints, how it ends, and what it leaves behind.

mod admin;
mod alerts;
mod bank;
mod demo;
mod documents;
mod examples;
mod faults;
mod image;
mod leaks;
mod postgres;
mod providers;
mod runs;
mod settings;
mod site;
mod traces;
mod webhooks;
