//! Hash, number of items and size of a version's content, computed in the same way for a complete definition and for
//! parts.

use std::{collections::BTreeSet, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use super::{
    Definition, Item,
    check::{check_size, check_totals},
};
use crate::{Error, Result, paging::json_bytes, scorers::ScorerSpec};

/// The measured content of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// SHA-256 over the hash of the scorers and the hashes of all items in order, each hash over one line of JSON.
    pub hash: Vec<u8>,
    /// Number of items.
    pub item_count: usize,
    /// Bytes of scorers and items as JSON, and of the definition's metadata if it was counted.
    pub size_bytes: u64,
    /// The variables that every item has.
    pub(super) variables: Vec<String>,
}

impl Content {
    /// Checks the limits of one version.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        check_totals(self.item_count, self.size_bytes).map_err(|wrong| Error::Invalid(vec![wrong]))
    }

    /// The hash in hexadecimal, as in the API.
    #[must_use]
    pub fn hex(&self) -> String {
        self.hash.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Measures the content of a version incrementally, without keeping the items.
#[derive(Debug, Clone)]
pub struct Measure {
    hash: Sha256,
    item_count: usize,
    size_bytes: u64,
    variables: Variables,
}

impl Measure {
    /// Measures a definition without its items.
    pub(super) fn of(definition: &Definition) -> Result<Self> {
        let mut measure = Self::new(&definition.scorers)?;
        measure.size_bytes +=
            (json_bytes(&definition.source) + definition.description.len()) as u64;
        Ok(measure)
    }

    /// Starts with the scorers of a version, without items.
    ///
    /// # Errors
    /// A scorer cannot be serialized.
    pub fn new(scorers: &[ScorerSpec]) -> Result<Self> {
        let (scorers, size_bytes) = hash_scorers(scorers)?;
        Ok(Self {
            hash: Sha256::new_with_prefix(scorers),
            item_count: 0,
            size_bytes,
            variables: Variables::default(),
        })
    }

    /// Adds the next item; returns its size in bytes of JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an item that is too large.
    pub fn add(&mut self, item: &Item) -> Result<u64> {
        let (hash, size_bytes) = hash_item(item)?;
        check_size(self.item_count, size_bytes).map_err(|wrong| Error::Invalid(vec![wrong]))?;
        self.hash.update(hash);
        self.item_count += 1;
        self.size_bytes += size_bytes;
        self.variables.add(item);
        Ok(size_bytes)
    }

    /// The content measured so far.
    #[must_use]
    pub fn finish(self) -> Content {
        Content {
            hash: self.hash.finalize().to_vec(),
            item_count: self.item_count,
            size_bytes: self.size_bytes,
            variables: self.variables.shared(),
        }
    }
}

/// The variables that all items seen so far have.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(Option<BTreeSet<String>>);

impl Variables {
    pub(super) fn add(&mut self, item: &Item) {
        match &mut self.0 {
            None => self.0 = Some(item.vars.keys().cloned().collect()),
            Some(shared) => shared.retain(|name| item.vars.contains_key(name)),
        }
    }

    pub(super) fn shared(self) -> Vec<String> {
        self.0.unwrap_or_default().into_iter().collect()
    }
}

/// The hash of a version's scorers, and their size in bytes of JSON.
pub(super) fn hash_scorers(scorers: &[ScorerSpec]) -> Result<([u8; 32], u64)> {
    hash(&scorers)
}

/// The hash of an item, and its size in bytes of JSON.
pub(super) fn hash_item(item: &Item) -> Result<([u8; 32], u64)> {
    hash(item)
}

fn hash(part: &impl serde::Serialize) -> Result<([u8; 32], u64)> {
    let json = serde_json::to_vec(part)
        .map_err(|error| Error::Internal(format!("a benchmark does not serialise: {error}")))?;
    Ok((Sha256::digest(&json).into(), json.len() as u64))
}
