//! Benchmarks: named sets of items and scorers; immutable once published.

mod change;
mod definition;
mod delete;
mod erase;
mod items;
mod pack;
mod publish;
mod read;

pub use change::{BenchmarkChange, change_benchmark};
pub use definition::{Definition, Item};
pub(crate) use delete::erase_deleted;
pub use delete::{Deletion, delete_benchmark, delete_benchmark_version};
pub(crate) use erase::erase_private_benchmarks;
use items::ITEM_RULES;
pub(crate) use items::faulty_item;
pub use pack::{FieldMap, ItemsSource, PackHeader, parse_items};
pub use publish::{CheckedDefinition, publish_benchmark};
pub use read::{
    Benchmark, BenchmarkVersion, StoredItem, find_benchmark, list_benchmarks, list_items,
    resolve_benchmark,
};
