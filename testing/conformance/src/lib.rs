//! The folder `core/src/stats`, compiled alone in seconds: it needs nothing else of the core, and this proves it.
//!
//! The programs beside this file ask it for `make conformance-stats` and `make simulate-coverage`; nothing ships it.

#[path = "../../../core/src/stats/mod.rs"]
pub mod stats;
