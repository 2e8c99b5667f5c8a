//! Benchmarks: named sets of items and scorers; immutable once published.

mod definition;
mod erase;
mod pack;
mod publish;
mod read;

pub use definition::{Definition, Item};
pub(crate) use erase::erase_private_benchmarks;
pub use pack::{PackHeader, parse_items};
pub use publish::{CheckedDefinition, publish_benchmark};
pub use read::{
    Benchmark, BenchmarkVersion, StoredItem, find_benchmark, list_benchmarks, list_items,
    resolve_benchmark,
};
