//! What a version holds, measured: by the same recipe whether it comes in one piece or in parts.

use std::{collections::BTreeSet, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use super::{
    Definition, Item,
    check::{check_size, check_totals},
};
use crate::{Error, Result, paging::json_bytes, scorers::ScorerSpec};

/// What a version holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// SHA-256 over the hash of the scorers and the hashes of all items in order, each of one line of JSON.
    pub hash: Vec<u8>,
    /// How many items.
    pub item_count: usize,
    /// Bytes of scorers and items as JSON, and of what the definition says of itself if that was taken in.
    pub size_bytes: u64,
    /// The variables that every item has.
    pub(super) variables: Vec<String>,
}

impl Content {
    /// Checks that it is not more than one version holds.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        check_totals(self.item_count, self.size_bytes).map_err(|wrong| Error::Invalid(vec![wrong]))
    }

    /// The hash in hex, as the API shows it.
    #[must_use]
    pub fn hex(&self) -> String {
        self.hash.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Measures what a version holds while its items go by, without keeping them.
#[derive(Debug, Clone)]
pub struct Measure {
    hash: Sha256,
    item_count: usize,
    size_bytes: u64,
    variables: Variables,
}

impl Measure {
    /// What a definition takes, without its items.
    pub(super) fn of(definition: &Definition) -> Result<Self> {
        let mut measure = Self::new(&definition.scorers)?;
        measure.size_bytes +=
            (json_bytes(&definition.source) + definition.description.len()) as u64;
        Ok(measure)
    }

    /// A version of these scorers, without items yet.
    ///
    /// # Errors
    /// A scorer does not serialise.
    pub fn new(scorers: &[ScorerSpec]) -> Result<Self> {
        let (scorers, size_bytes) = hash_scorers(scorers)?;
        Ok(Self {
            hash: Sha256::new_with_prefix(scorers),
            item_count: 0,
            size_bytes,
            variables: Variables::default(),
        })
    }

    /// Takes in the next item, and returns its bytes as JSON.
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

    /// All that went by.
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

/// The variables that all items have that went by.
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

/// The hash of a version's scorers, and their bytes as JSON.
pub(super) fn hash_scorers(scorers: &[ScorerSpec]) -> Result<([u8; 32], u64)> {
    hash(&scorers)
}

/// The hash of an item, and its bytes as JSON.
pub(super) fn hash_item(item: &Item) -> Result<([u8; 32], u64)> {
    hash(item)
}

fn hash(part: &impl serde::Serialize) -> Result<([u8; 32], u64)> {
    let json = serde_json::to_vec(part)
        .map_err(|error| Error::Internal(format!("a benchmark does not serialise: {error}")))?;
    Ok((Sha256::digest(&json).into(), json.len() as u64))
}
