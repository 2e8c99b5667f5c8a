//! API keys: long-lived secrets for programs, shown once and stored hashed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CurrentUser, UserRole};
use crate::{Error, Result};

/// What every key begins with.
pub(super) const PREFIX: &str = "opb_";

/// Makes a key for a user. The key itself is returned once and not kept.
///
/// # Errors
/// The database does not answer.
pub async fn create_api_key(
    conn: &mut PgConnection,
    user_id: i64,
    name: &str,
) -> Result<SecretString> {
    let mut bytes = [0_u8; 32];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    let key = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    sqlx::query!(
        "-- api_keys::create_api_key
        insert into api_keys (id, user_id, name, prefix, secret_hash) values ($1, $2, $3, $4, $5)",
        Uuid::now_v7(),
        user_id,
        name,
        &key[..PREFIX.len() + 4],
        &hash(&key)
    )
    .execute(conn)
    .await?;
    Ok(key.into())
}

/// Revokes a user's keys of one name.
///
/// # Errors
/// The database does not answer.
pub async fn revoke_api_keys_named(
    conn: &mut PgConnection,
    user_id: i64,
    name: &str,
) -> Result<()> {
    sqlx::query!(
        "-- api_keys::revoke_api_keys_named
        update api_keys set revoked_at = now() where user_id = $1 and name = $2 and revoked_at is null",
        user_id,
        name
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The user that a key belongs to.
pub(super) async fn authenticate(conn: &mut PgConnection, key: &str) -> Result<CurrentUser> {
    // Looking a hash up tells an attacker nothing about the key, so no constant-time comparison is needed.
    let user = sqlx::query_as!(
        CurrentUser,
        r#"-- api_keys::authenticate
        with used as (
            update api_keys set last_used_at = now()
            where secret_hash = $1 and revoked_at is null and (last_used_at is null or last_used_at < now() - interval '1 minute')
        )
        select users.id, users.username, users.role as "role: UserRole"
        from api_keys join users on users.id = api_keys.user_id
        where api_keys.secret_hash = $1
          and api_keys.revoked_at is null
          and (api_keys.expires_at is null or api_keys.expires_at > now())
          and users.disabled_at is null"#,
        &hash(key)
    )
    .fetch_optional(conn)
    .await?;
    user.ok_or(Error::Unauthenticated(
        "the API key is invalid, expired or revoked",
    ))
}

fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}
