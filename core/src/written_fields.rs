//! Deserializers for fields of files that people write: a field that is left empty is absent.

use serde::{Deserialize, Deserializer};

/// The value of a field, or its default where nothing is written: `description:` in YAML, `null` in JSON.
///
/// # Errors
/// Those of the value.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
