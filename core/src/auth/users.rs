//! Users: registration, login, look-up.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::{CurrentUser, PasswordHasher, UserRole};
use crate::{Error, FieldError, Result};

/// A user as the user sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The user's id.
    pub id: i64,
    /// The user's name, unique without regard to case.
    pub username: String,
    /// The user's email address, unique without regard to case.
    pub email: String,
    /// What the user is trusted with.
    pub role: UserRole,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// What a registration needs.
pub struct NewUser {
    /// 3 to 32 letters, digits, dots, dashes or underscores.
    pub username: String,
    /// An email address.
    pub email: String,
    /// 8 to 128 characters.
    pub password: SecretString,
}

/// Registers a user.
///
/// # Errors
/// [`Error::Invalid`] for a field that breaks a rule or is taken.
pub async fn register(pool: &PgPool, passwords: &PasswordHasher, new: NewUser) -> Result<User> {
    check(&new)?;
    let hash = passwords.hash(new.password).await?;
    let inserted = sqlx::query_as!(
        User,
        r#"-- users::register
        insert into users (username, email, password_hash) values ($1, $2, $3)
        returning id, username, email, role as "role: UserRole", created_at"#,
        new.username,
        new.email,
        hash
    )
    .fetch_one(pool)
    .await
    .map_err(Error::from);
    match inserted {
        Err(error) if error.violates("users_username_key") => {
            Err(Error::invalid("username", "is already taken"))
        }
        Err(error) if error.violates("users_email_key") => {
            Err(Error::invalid("email", "is already registered"))
        }
        other => other,
    }
}

/// Checks a username or email address and a password. Unknown users and wrong passwords get one answer, equally late.
///
/// # Errors
/// [`Error::Unauthenticated`] when the pair is wrong.
pub async fn login(
    pool: &PgPool,
    passwords: &PasswordHasher,
    login: &str,
    password: SecretString,
) -> Result<User> {
    let row = sqlx::query!(
        r#"-- users::login
        select id, username, email, password_hash, role as "role: UserRole", created_at
        from users
        where (lower(username) = lower($1) or lower(email) = lower($1)) and disabled_at is null"#,
        login.replace('\0', "")
    )
    .fetch_optional(pool)
    .await?;
    let hash = row.as_ref().and_then(|row| row.password_hash.clone());
    let matches = passwords.verify(password, hash).await?;
    match row {
        Some(row) if matches => Ok(User {
            id: row.id,
            username: row.username,
            email: row.email,
            role: row.role,
            created_at: row.created_at,
        }),
        _ => Err(Error::Unauthenticated(
            "the username or the password is wrong",
        )),
    }
}

/// The user of an id.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn find_user(conn: &mut PgConnection, user_id: i64) -> Result<User> {
    sqlx::query_as!(
        User,
        r#"-- users::find_user
        select id, username, email, role as "role: UserRole", created_at from users where id = $1"#,
        user_id
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound("the user".into()))
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

/// The caller that a valid token names, if the user still exists and is enabled.
pub(super) async fn current_user(
    conn: &mut PgConnection,
    user_id: i64,
) -> Result<Option<CurrentUser>> {
    let user = sqlx::query_as!(
        CurrentUser,
        r#"-- users::current_user
        select id, username, role as "role: UserRole" from users where id = $1 and disabled_at is null"#,
        user_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

fn check(new: &NewUser) -> Result<()> {
    let mut wrong = Vec::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !(3..=32).contains(&new.username.len()) || !new.username.chars().all(plain) {
        let message = "must have 3 to 32 letters, digits, dots, dashes or underscores";
        wrong.push(FieldError::new("username", message));
    }
    if !looks_like_an_email_address(&new.email) {
        wrong.push(FieldError::new("email", "is not an email address"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

fn looks_like_an_email_address(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else {
        return false;
    };
    let clean = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    text.len() <= 254
        && !name.is_empty()
        && !host.is_empty()
        && text.matches('@').count() == 1
        && host.chars().all(clean)
        && name.chars().all(clean)
}
