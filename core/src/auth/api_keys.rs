//! API keys: long-lived secrets for programs, shown once and stored hashed.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AuditEvent, Caller, Credential, CurrentUser, Origin, UserRole, audit::record};
use crate::{Error, FieldError, Result, locks::lock_count, texts};

/// The prefix of every key.
pub(super) const PREFIX: &str = "opb_";
/// Maximum number of keys of a user that are not revoked.
const MAX_KEYS: i64 = 100;

/// A permission of a key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[sqlx(type_name = "api_key_scope")]
pub enum ApiKeyScope {
    /// Read prompts and benchmarks.
    #[serde(rename = "prompts:read")]
    #[sqlx(rename = "prompts:read")]
    PromptsRead,
    /// Add prompts and benchmarks, and read them.
    #[serde(rename = "prompts:write")]
    #[sqlx(rename = "prompts:write")]
    PromptsWrite,
    /// Read models, runs and leaderboards.
    #[serde(rename = "runs:read")]
    #[sqlx(rename = "runs:read")]
    RunsRead,
    /// Start and cancel runs, and read what `runs:read` reads.
    #[serde(rename = "runs:write")]
    #[sqlx(rename = "runs:write")]
    RunsWrite,
    /// Act with the owner's role; without it, an administrator's key has the permissions of a user.
    #[serde(rename = "admin")]
    #[sqlx(rename = "admin")]
    Admin,
}

impl ApiKeyScope {
    /// All scopes.
    pub const ALL: [Self; 5] = [
        Self::PromptsRead,
        Self::PromptsWrite,
        Self::RunsRead,
        Self::RunsWrite,
        Self::Admin,
    ];

    /// Returns whether a key with this scope is sufficient for the other one: writing includes reading, and `admin`
    /// includes everything.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        self == needed
            || match self {
                Self::Admin => true,
                Self::PromptsWrite => needed == Self::PromptsRead,
                Self::RunsWrite => needed == Self::RunsRead,
                Self::PromptsRead | Self::RunsRead => false,
            }
    }

    /// The scope's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PromptsRead => "prompts:read",
            Self::PromptsWrite => "prompts:write",
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for ApiKeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for ApiKeyScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.word() == text)
            .ok_or_else(|| {
                let words = Self::ALL.map(Self::word).join(", ");
                format!("there is no scope `{text}`; there are: {words}")
            })
    }
}

/// A key as its owner sees it; the secret is never shown again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// The key's id.
    pub id: Uuid,
    /// The name given by its owner.
    pub name: String,
    /// The first characters of the secret.
    #[schema(example = "opb_xYz1")]
    pub prefix: String,
    /// Its permissions.
    pub scopes: Vec<ApiKeyScope>,
    /// When it expires, if ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// A request for a new key.
pub struct NewApiKey {
    /// The name given by its owner.
    pub name: String,
    /// Its permissions.
    pub scopes: Vec<ApiKeyScope>,
    /// When it expires, if ever.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates a key with all scopes for a user. The secret is returned once and not stored.
///
/// # Errors
/// The database does not respond.
pub async fn create_api_key(
    conn: &mut PgConnection,
    user_id: i64,
    name: &str,
) -> Result<SecretString> {
    let new = NewApiKey {
        name: name.to_owned(),
        scopes: ApiKeyScope::ALL.to_vec(),
        expires_at: None,
    };
    Ok(insert(conn, user_id, new).await?.1)
}

/// Creates a key as requested by a user. The secret is returned once and not stored.
///
/// # Errors
/// [`Error::Invalid`] for an invalid name, no scope or an expiry in the past; [`Error::Forbidden`] for the scope
/// `admin` without the role; [`Error::Conflict`] if the user has too many keys, or one of this name.
pub async fn create_scoped_api_key(
    conn: &mut PgConnection,
    user: &CurrentUser,
    mut new: NewApiKey,
    origin: &Origin,
) -> Result<(ApiKey, SecretString)> {
    new.scopes.sort_unstable();
    new.scopes.dedup();
    check(&new)?;
    if new.scopes.contains(&ApiKeyScope::Admin) && !user.is_admin() {
        return Err(Error::Forbidden(
            "only administrators can create keys with the scope `admin`",
        ));
    }
    let mut tx = conn.begin().await?;
    lock_count(&mut tx, "api_keys", user.id).await?;
    free_name(&mut tx, user.id, &new.name).await?;
    if count_keys(&mut tx, user.id).await? >= MAX_KEYS {
        let message = format!("you have {MAX_KEYS} keys; revoke one first");
        return Err(Error::Conflict(message));
    }
    let (key, secret) = insert(&mut tx, user.id, new).await?;
    let subject = key.id.to_string();
    record(
        &mut tx,
        AuditEvent::ApiKeyCreated,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok((key, secret))
}

/// Lists the keys of a user that are not revoked, newest first; at most a hundred plus those created by the program.
///
/// # Errors
/// The database does not respond.
pub async fn list_api_keys(conn: &mut PgConnection, user: &CurrentUser) -> Result<Vec<ApiKey>> {
    let keys = sqlx::query_as!(
        ApiKey,
        r#"-- api_keys::list_api_keys
        select id, name, prefix, scopes as "scopes: Vec<ApiKeyScope>", expires_at, last_used_at, created_at
        from api_keys
        where user_id = $1 and revoked_at is null
        order by id desc
        limit 1000"#,
        user.id
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Revokes a key of the caller.
///
/// # Errors
/// [`Error::NotFound`] if the caller has no such key.
pub async fn revoke_api_key(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    origin: &Origin,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let revoked = sqlx::query!(
        "-- api_keys::revoke_api_key
        update api_keys set revoked_at = now() where id = $1 and user_id = $2 and revoked_at is null",
        id,
        user.id
    )
    .execute(&mut *tx)
    .await?;
    if revoked.rows_affected() == 0 {
        return Err(Error::NotFound("the API key".into()));
    }
    let subject = id.to_string();
    record(
        &mut tx,
        AuditEvent::ApiKeyRevoked,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Revokes a key that authenticates the request itself.
///
/// # Errors
/// [`Error::Unauthenticated`] if the key is not valid.
pub async fn revoke_current_api_key(
    conn: &mut PgConnection,
    key: &str,
    origin: &Origin,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let revoked = sqlx::query!(
        r#"-- api_keys::revoke_current_api_key
        update api_keys set revoked_at = now()
        from users
        where secret_hash = $1 and revoked_at is null and users.id = user_id
        returning api_keys.id, user_id, username"#,
        &hash(key)
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::Unauthenticated(
        "the API key is invalid, expired or revoked",
    ))?;
    let subject = revoked.id.to_string();
    record(
        &mut tx,
        AuditEvent::ApiKeyRevoked,
        Some(revoked.user_id),
        Some(&revoked.username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Revokes a user's keys with this name.
///
/// # Errors
/// The database does not respond.
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

/// Returns the owner of a key and the key's permissions.
pub(super) async fn authenticate(conn: &mut PgConnection, key: &str) -> Result<Caller> {
    // The lookup is by hash, whose timing reveals nothing about the key, so no constant-time comparison is needed.
    let found = sqlx::query!(
        r#"-- api_keys::authenticate
        with used as (
            update api_keys set last_used_at = now()
            where secret_hash = $1 and revoked_at is null and (last_used_at is null or last_used_at < now() - interval '1 minute')
        )
        select users.id, users.username, users.role as "role: UserRole", api_keys.scopes as "scopes: Vec<ApiKeyScope>"
        from api_keys join users on users.id = api_keys.user_id
        where api_keys.secret_hash = $1
          and api_keys.revoked_at is null
          and (api_keys.expires_at is null or api_keys.expires_at > now())
          and users.disabled_at is null"#,
        &hash(key)
    )
    .fetch_optional(conn)
    .await?;
    let found = found.ok_or(Error::Unauthenticated(
        "the API key is invalid, expired or revoked",
    ))?;
    let role = if found.scopes.contains(&ApiKeyScope::Admin) {
        found.role
    } else {
        UserRole::User
    };
    Ok(Caller {
        user: CurrentUser {
            id: found.id,
            username: found.username,
            role,
        },
        credential: Credential::ApiKey(found.scopes),
    })
}

async fn insert(
    conn: &mut PgConnection,
    user_id: i64,
    new: NewApiKey,
) -> Result<(ApiKey, SecretString)> {
    let mut bytes = [0_u8; 32];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let key = sqlx::query_as!(
        ApiKey,
        r#"-- api_keys::insert
        insert into api_keys (id, user_id, name, prefix, secret_hash, scopes, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        returning id, name, prefix, scopes as "scopes: Vec<ApiKeyScope>", expires_at, last_used_at, created_at"#,
        Uuid::now_v7(),
        user_id,
        new.name,
        &secret[..PREFIX.len() + 4],
        &hash(&secret),
        new.scopes as Vec<ApiKeyScope>,
        new.expires_at
    )
    .fetch_one(conn)
    .await
    .map_err(|error| Error::for_name(error, "api_keys_user_id_name_key", "an API key", &new.name))?;
    Ok((key, secret.into()))
}

/// Frees the name of an expired key.
async fn free_name(tx: &mut PgConnection, user_id: i64, name: &str) -> Result<()> {
    sqlx::query!(
        "-- api_keys::free_name
        update api_keys set revoked_at = expires_at
        where user_id = $1 and name = $2 and revoked_at is null and expires_at <= now()",
        user_id,
        name
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn count_keys(conn: &mut PgConnection, user_id: i64) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"-- api_keys::count_keys
        select count(*) as "count!" from api_keys where user_id = $1 and revoked_at is null"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

fn check(new: &NewApiKey) -> Result<()> {
    let mut wrong = Vec::new();
    wrong.extend(texts::check_line("name", &new.name, 1..=100).err());
    if new.scopes.is_empty() {
        wrong.push(FieldError::new("scopes", "must name at least one scope"));
    }
    if new.expires_at.is_some_and(|at| at <= Utc::now()) {
        wrong.push(FieldError::new("expires_at", "must be in the future"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}
