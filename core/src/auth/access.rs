//! The rules for who may read and who may change a resource, in one place.
//!
//! Queries apply the same rules with the SQL functions `can_see` and `is_listed`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Error, Result};

/// The role of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "user_role", rename_all = "snake_case")]
pub enum UserRole {
    /// May use the library and run benchmarks.
    User,
    /// May also moderate the contributions of others.
    Moderator,
    /// May also change providers, users and settings.
    Admin,
}

/// Who may see a resource, ordered from the narrowest to the widest.
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
    /// Every logged-in user who has its address; it is not listed.
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
    /// The user's role.
    pub role: UserRole,
}

impl CurrentUser {
    /// Returns whether the user is an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == UserRole::Admin
    }

    /// Returns an error with the message `told` unless the user is an administrator.
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

    /// Returns whether the user may hide contributions of others: moderators and administrators.
    #[must_use]
    pub fn is_moderator(&self) -> bool {
        matches!(self.role, UserRole::Moderator | UserRole::Admin)
    }
}

/// Returns whether this viewer may read a resource of this owner and visibility.
#[must_use]
pub fn can_read(viewer: Option<&CurrentUser>, owner_id: i64, visibility: Visibility) -> bool {
    match visibility {
        Visibility::Public => true,
        Visibility::Unlisted => viewer.is_some(),
        Visibility::Private => viewer.is_some_and(|user| can_change(user, owner_id)),
    }
}

/// Returns whether this user may change a resource of this owner.
#[must_use]
pub fn can_change(user: &CurrentUser, owner_id: i64) -> bool {
    user.id == owner_id || user.is_admin()
}
