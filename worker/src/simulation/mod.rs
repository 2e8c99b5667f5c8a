//! Simulated language models: plausible responses without a model.
//!
//! They allow demonstrations, tests and load tests offline and free of charge. Everything here is pure: no I/O, no
//! clock, no unseeded randomness. The same input gives the same reply on every platform and with every compiler, so
//! neither hashes of the standard library nor `libm` functions are used.
//!
//! A simulated result must never pass for a measured one: wherever it is shown, it is labelled `simulated`.

mod answer;
mod answer_key;
mod embedding;
mod faults;
mod filler;
mod hash;
mod item;
mod manner;
mod models;
mod number;
mod reply;

pub use answer_key::{Answer, AnswerKey};
pub use embedding::{EMBEDDING_DIMENSIONS, embed};
pub use faults::{Fault, FaultPlan, UnknownFault};
pub use hash::stable_hash;
pub use models::{LatencyProfile, MODELS, Purpose, SimulatedModel, find_model};
pub use reply::{Reply, Request, estimate_tokens, reply};
