//! `opb simulate`: an OpenAI-compatible server with simulated models.
//!
//! It replaces a provider in demonstrations, load measurements and tests of provider faults.
//! Every response is marked as simulated: with the header `x-simulated`, and with `system_fingerprint` where the format
//! has it.
//! It must never call a real model, and none of its responses is a measurement of one.

mod answers;
mod chat;
mod embeddings;
mod faults;
mod limiter;
mod models;
mod response;
mod routes;
mod server;
mod settings;
mod stats;
#[cfg(test)]
mod tests;

pub use server::serve;
pub use settings::SimulateSettings;
