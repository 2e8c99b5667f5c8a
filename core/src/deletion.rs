//! The result of deleting something that runs may use.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// True if runs use it: then it takes no more runs, and only the owners of those runs can read it. False if it is
    /// erased.
    pub withdrawn: bool,
}
