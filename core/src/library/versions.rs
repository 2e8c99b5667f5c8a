//! Versions of prompts: immutable, numbered, content-hashed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::find_prompt;
use crate::{
    Error, Result,
    auth::CurrentUser,
    template::{CompiledPrompt, PromptBody},
};

/// An immutable version of a prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptVersion {
    /// The version's id.
    pub id: Uuid,
    /// The slug of the prompt.
    pub prompt: String,
    /// Counts from 1.
    pub number: i32,
    /// The text or the chat messages.
    #[schema(value_type = PromptBody)]
    pub body: Json<PromptBody>,
    /// What changed.
    pub note: String,
    /// SHA-256 of the body's canonical JSON, in hex.
    pub content_hash: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// What a new version needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPromptVersion {
    /// The text or the chat messages.
    pub body: PromptBody,
    /// What changed.
    #[serde(default)]
    pub note: String,
}

/// Adds a version to a prompt. A version with the same content is returned instead of added again.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for somebody else's prompt, [`Error::Invalid`] for a template that does not compile.
pub async fn add_version(
    conn: &mut PgConnection,
    author: &CurrentUser,
    prompt: &str,
    new: NewPromptVersion,
) -> Result<PromptVersion> {
    let mut tx = conn.begin().await?;
    let prompt = find_prompt(&mut tx, Some(author), prompt).await?;
    // The lock serialises two authors who add a version at once, so that numbers have no gaps and no doubles.
    let owner_id = sqlx::query_scalar!(
        "-- versions::add_version
        select owner_id from prompts where id = $1 for update",
        prompt.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if !crate::auth::can_change(author, owner_id) {
        return Err(Error::Forbidden(
            "only the owner of a prompt can add versions to it",
        ));
    }
    let version = insert(&mut tx, prompt.id, author, new).await?;
    tx.commit().await?;
    Ok(version)
}

/// The versions of a prompt, newest first.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_versions(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
) -> Result<Vec<PromptVersion>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let versions = sqlx::query_as!(
        PromptVersion,
        r#"-- versions::list_versions
        select id, $2 as "prompt!", number, body as "body: Json<PromptBody>", note,
               encode(content_hash, 'hex') as "content_hash!", created_at
        from prompt_versions
        where prompt_id = $1
        order by number desc"#,
        prompt.id,
        prompt.slug
    )
    .fetch_all(conn)
    .await?;
    Ok(versions)
}

/// The version that `slug`, `slug@3` or `slug@alias` names; without a version, the newest.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn resolve_version(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<PromptVersion> {
    let (slug, wanted) = reference.split_once('@').unwrap_or((reference, "latest"));
    let prompt = find_prompt(conn, viewer, slug).await?;
    sqlx::query_as!(
        PromptVersion,
        r#"-- versions::resolve_version
        select id, $3 as "prompt!", number, body as "body: Json<PromptBody>", note,
               encode(content_hash, 'hex') as "content_hash!", created_at
        from prompt_versions
        where prompt_id = $1
          and ($2 = 'latest' or number::text = $2
               or id = (select prompt_version_id from prompt_aliases where prompt_id = $1 and name = $2))
        order by number desc
        limit 1"#,
        prompt.id,
        wanted,
        prompt.slug
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("version `{wanted}` of the prompt `{slug}`")))
}

/// Inserts a version unless its content is there already. The caller holds the prompt's row.
pub(super) async fn insert(
    tx: &mut PgConnection,
    prompt_id: Uuid,
    author: &CurrentUser,
    new: NewPromptVersion,
) -> Result<PromptVersion> {
    if new.note.len() > 2_000 || new.note.contains('\0') {
        return Err(Error::invalid(
            "note",
            "must have at most 2,000 bytes and no NUL",
        ));
    }
    CompiledPrompt::compile(&new.body).map_err(|error| {
        Error::invalid(
            format!("body.{}", error.path),
            format!("line {}: {}", error.line, error.message),
        )
    })?;
    let canonical = serde_json::to_vec(&new.body)
        .map_err(|error| Error::Internal(format!("a prompt body does not serialise: {error}")))?;
    let content_hash = Sha256::digest(&canonical).to_vec();
    sqlx::query!(
        "-- versions::insert
        insert into prompt_versions (id, prompt_id, number, body, content_hash, note, author_id)
        select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6 from prompt_versions where prompt_id = $2
        on conflict (prompt_id, content_hash) do nothing",
        Uuid::now_v7(),
        prompt_id,
        Json(&new.body) as _,
        content_hash,
        new.note,
        author.id
    )
    .execute(&mut *tx)
    .await?;
    let version = sqlx::query_as!(
        PromptVersion,
        r#"-- versions::insert
        select prompt_versions.id, prompts.slug as prompt, number, body as "body: Json<PromptBody>", note,
               encode(content_hash, 'hex') as "content_hash!", prompt_versions.created_at
        from prompt_versions join prompts on prompts.id = prompt_id
        where prompt_id = $1 and content_hash = $2"#,
        prompt_id,
        content_hash
    )
    .fetch_one(tx)
    .await?;
    Ok(version)
}
