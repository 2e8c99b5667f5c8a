//! Users and their lookup.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{CurrentUser, UserRole};
use crate::{Error, Result};

/// A user as seen by themselves.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The user's id.
    pub id: i64,
    /// The user's name, unique ignoring case.
    pub username: String,
    /// The user's email address, unique ignoring case.
    pub email: String,
    /// When the email address was verified; absent until then.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// The user's role.
    pub role: UserRole,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The user's id.
    pub id: i64,
    /// The user's name.
    pub username: String,
    /// The user's email address.
    pub email: String,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// Finds a user by id.
///
/// # Errors
/// [`Error::NotFound`] if there is none.
pub async fn find_user(conn: &mut PgConnection, user_id: i64) -> Result<User> {
    sqlx::query_as!(
        User,
        r#"-- users::find_user
        select id, username, email, email_verified_at, role as "role: UserRole", created_at from users where id = $1"#,
        user_id
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound("the user".into()))
}

/// Lists users by id, after `after`: all enabled ones for an administrator, only themselves for other users.
///
/// # Errors
/// The database does not respond.
pub async fn list_users(
    conn: &mut PgConnection,
    viewer: &CurrentUser,
    after: i64,
    limit: i64,
) -> Result<Vec<ListedUser>> {
    let users = sqlx::query_as!(
        ListedUser,
        r#"-- users::list_users
        select id, username, email, created_at
        from users
        where ($1 or id = $2) and id > $3 and disabled_at is null
        order by id
        limit $4"#,
        viewer.is_admin(),
        viewer.id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

/// Returns the administrator account that owns built-in content, created on first use; it cannot log in with a
/// password.
///
/// # Errors
/// The database does not respond.
pub async fn system_user(conn: &mut PgConnection) -> Result<CurrentUser> {
    let user = sqlx::query_as!(
        CurrentUser,
        r#"-- users::system_user
        insert into users (username, email, role) values ('openpromptbank', 'openpromptbank@localhost', 'admin')
        on conflict (lower(username)) do update set role = users.role
        returning id, username, role as "role: UserRole""#
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}
