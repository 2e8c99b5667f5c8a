//! Benchmarks: named sets of items and scorers; immutable once published.

mod change;
mod check;
mod content;
mod definition;
mod delete;
mod erase;
mod imports;
mod items;
mod pack;
mod publish;
mod read;

pub use change::{BenchmarkChange, change_benchmark};
pub use content::{Content, Measure};
pub use definition::{Definition, Item};
pub(crate) use delete::erase_deleted;
pub use delete::{delete_benchmark, delete_benchmark_version};
pub(crate) use erase::erase_private_benchmarks;
pub(crate) use imports::expire_imports;
pub use imports::{
    Begun, CheckedImport, CheckedPart, Import, NewImport, OpenImport, PublishImport,
    abandon_import, add_part, begin_import, find_import, list_imports, publish_import,
};
use items::ITEM_RULES;
pub(crate) use items::outdated_check;
pub use pack::{FieldMap, ItemsSource, PackHeader, find_reordered_map, parse_items, read_items};
pub use publish::{CheckedDefinition, publish_benchmark};
pub use read::{
    Benchmark, BenchmarkVersion, StoredItem, find_benchmark, list_benchmarks, list_items,
    resolve_benchmark,
};
