//! What becomes of things that runs may rest on when their owner deletes them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of a thing that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// True when runs rest on it: it takes no more runs, and is readable only for the owners of those. False when it is
    /// erased.
    pub withdrawn: bool,
}
