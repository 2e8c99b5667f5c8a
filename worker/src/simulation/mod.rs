//! Simulated language models: what a model would have said, without a model.
//!
//! They make demonstrations, tests and load measurements possible offline and for nothing.
//! Everything here is pure: no I/O, no clock, no chance without a seed.
//! The same input gives the same reply on every platform and with every compiler,
//! so no hash of the standard library and no `libm` function takes part.
//!
//! A simulated result must never pass for a measured one: wherever it is shown, it is called `simulated`.

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
