//! The one place that says who may read and who may change a thing.
//!
//! Queries say it with the SQL functions `can_see` and `is_listed`, which hold the same rule.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Error, Result};

/// What a user is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "user_role", rename_all = "snake_case")]
pub enum UserRole {
    /// May use the library and run benchmarks.
    User,
    /// May also moderate what others contribute.
    Moderator,
    /// May also change providers, users and settings.
    Admin,
}

/// Who may see a thing, from the narrowest to the widest: the smaller of two is the narrower.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    ValueEnum,
    sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "visibility", rename_all = "snake_case")]
pub enum Visibility {
    /// Its owner and administrators.
    #[default]
    Private,
    /// Every logged-in user who knows its address; it is in no list.
    Unlisted,
    /// Everybody, with or without a login.
    Public,
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentUser {
    /// The user's id.
    pub id: i64,
    /// The user's name.
    pub username: String,
    /// What the user is trusted with.
    pub role: UserRole,
}

impl CurrentUser {
    /// True for administrators.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == UserRole::Admin
    }

    /// Refuses whoever is no administrator; `told` says what only those can do.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub(crate) fn require_admin(&self, told: &'static str) -> Result<()> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(Error::Forbidden(told))
        }
    }

    /// True for those who may hide what others contribute: moderators and administrators.
    #[must_use]
    pub fn is_moderator(&self) -> bool {
        matches!(self.role, UserRole::Moderator | UserRole::Admin)
    }
}

/// May this caller read a thing of this owner and visibility?
#[must_use]
pub fn can_read(viewer: Option<&CurrentUser>, owner_id: i64, visibility: Visibility) -> bool {
    match visibility {
        Visibility::Public => true,
        Visibility::Unlisted => viewer.is_some(),
        Visibility::Private => viewer.is_some_and(|user| can_change(user, owner_id)),
    }
}

/// May this caller change a thing of this owner?
#[must_use]
pub fn can_change(user: &CurrentUser, owner_id: i64) -> bool {
    user.id == owner_id || user.is_admin()
}
