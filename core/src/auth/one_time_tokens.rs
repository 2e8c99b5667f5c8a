//! One-time tokens of links: 256 random bits, stored hashed, bound to one purpose, one user and one address.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// The purpose of a token; a token is not valid for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "one_time_token_purpose", rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Set a new password.
    PasswordReset,
    /// Verify an email address.
    EmailVerification,
}

/// A valid token and its user.
pub(super) struct Found {
    pub(super) id: Uuid,
    pub(super) user_id: i64,
    pub(super) username: String,
    /// The user's address.
    pub(super) email: String,
    /// Whether the token was mailed to that address, so that its holder can read that mailbox.
    pub(super) was_mailed: bool,
}

/// Creates a token. `email` is the address that it will be sent to.
pub(super) async fn issue(
    conn: &mut PgConnection,
    purpose: Purpose,
    user_id: i64,
    email: Option<&str>,
    lifetime: Duration,
) -> Result<SecretString> {
    let token = random_secret();
    sqlx::query!(
        "-- one_time_tokens::issue
        insert into one_time_tokens (id, purpose, user_id, secret_hash, email, expires_at)
        values ($1, $2, $3, $4, $5, now() + $6 * interval '1 second')",
        Uuid::now_v7(),
        purpose as Purpose,
        user_id,
        &hash_secret(&token),
        email,
        lifetime.as_secs_f64()
    )
    .execute(conn)
    .await?;
    Ok(token.into())
}

/// Finds a token without consuming it. A mailed token is valid only while its address is the user's.
pub(super) async fn find(conn: &mut PgConnection, purpose: Purpose, token: &str) -> Result<Found> {
    let found = sqlx::query_as!(
        Found,
        r#"-- one_time_tokens::find
        select one_time_tokens.id, users.id as user_id, users.username, users.email,
               one_time_tokens.email is not null as "was_mailed!"
        from one_time_tokens join users on users.id = one_time_tokens.user_id
        where secret_hash = $1 and purpose = $2 and expires_at > now() and users.disabled_at is null
          and (one_time_tokens.email is null or lower(one_time_tokens.email) = lower(users.email))"#,
        &hash_secret(token),
        purpose as Purpose
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(refusal)
}

/// Consumes a token and all others of its user and purpose. Of two concurrent attempts, one is refused.
pub(super) async fn use_up(conn: &mut PgConnection, purpose: Purpose, token: &Found) -> Result<()> {
    let used = sqlx::query!(
        "-- one_time_tokens::use_up (this)
        delete from one_time_tokens where id = $1",
        token.id
    )
    .execute(&mut *conn)
    .await?;
    if used.rows_affected() == 0 {
        return Err(refusal());
    }
    forget(conn, purpose, token.user_id).await
}

/// Invalidates all tokens of a user for this purpose, because they are no longer needed or allowed.
pub(super) async fn forget(conn: &mut PgConnection, purpose: Purpose, user_id: i64) -> Result<()> {
    sqlx::query!(
        "-- one_time_tokens::forget
        delete from one_time_tokens where user_id = $1 and purpose = $2",
        user_id,
        purpose as Purpose
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes expired tokens.
pub(super) async fn delete_expired(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- one_time_tokens::delete_expired
        delete from one_time_tokens
        where id in (select id from one_time_tokens where expires_at < now() order by expires_at limit 1000)"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Generates 256 random bits as URL-safe text.
pub(super) fn random_secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The stored hash of a secret. Timing of a lookup by hash reveals nothing, so no constant-time comparison is needed.
pub(super) fn hash_secret(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

fn refusal() -> Error {
    Error::invalid(
        "token",
        "is wrong, expired or already used; ask for a new link",
    )
}
