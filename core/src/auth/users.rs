//! Users: who they are, and looking them up.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{CurrentUser, UserRole};
use crate::{Error, Result};

/// A user as the user sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The user's id.
    pub id: i64,
    /// The user's name, unique without regard to case.
    pub username: String,
    /// The user's email address, unique without regard to case.
    pub email: String,
    /// When the user showed that the address is theirs; absent until then.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// What the user is trusted with.
    pub role: UserRole,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// A user of a list.
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

/// The user of an id.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
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

/// Users by id, from after an id on: all of them for an administrator, and nobody but themselves for everybody else.
///
/// # Errors
/// The database does not answer.
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

/// The administrator that owns what the program itself brings along; made on first use, cannot log in by password.
///
/// # Errors
/// The database does not answer.
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
