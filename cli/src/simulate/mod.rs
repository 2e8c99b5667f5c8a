//! `opb simulate`: an OpenAI-compatible server whose models are simulated.
//!
//! It stands in for a provider in demonstrations, load measurements and tests of what providers do wrong.
//! Every reply says that it is simulated: the header `x-simulated`, and `system_fingerprint` where the format has it.
//! It must never call a real model, and nothing it says is a measurement of one.

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
