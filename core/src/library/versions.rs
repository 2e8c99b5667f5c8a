//! Versions of prompts: immutable, numbered and content-hashed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Parameters, Variable, Warning, find_prompt,
    lint::lint,
    prompts::find_prompt_or_hint,
    variables::{check_parameters, defaults},
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    paging::{Page, json_bytes},
    quotas::check_stored,
    template::{CompiledPrompt, PromptBody, TemplateError},
    texts::is_plain_text,
};

/// An immutable version of a prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptVersion {
    /// The version's id.
    pub id: Uuid,
    /// The slug of the prompt.
    pub prompt: String,
    /// The number, from 1.
    pub number: i32,
    /// The text or the chat messages.
    #[schema(value_type = PromptBody)]
    pub body: Json<PromptBody>,
    /// The declared variables.
    #[schema(value_type = Vec<Variable>)]
    pub variables: Json<Vec<Variable>>,
    /// The model parameters that the author recommends.
    #[schema(value_type = Parameters)]
    pub parameters: Json<Parameters>,
    /// What changed with this version.
    pub note: String,
    /// The name of its author.
    pub author: String,
    /// SHA-256 of the canonical JSON of body, variables and parameters, in hexadecimal.
    pub content_hash: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// A version that was just saved, with its warnings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SavedVersion {
    /// The version that holds the content.
    #[serde(flatten)]
    pub version: PromptVersion,
    /// Warnings for the author.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// A version to create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPromptVersion {
    /// What changes with this version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The declared variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// The model parameters that you recommend.
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    pub parameters: Parameters,
    /// The text or the chat messages.
    pub body: PromptBody,
}

/// A valid version, with its hash and warnings. Only [`NewPromptVersion::checked`] creates one, so that saving it
/// renders nothing.
#[derive(Debug, Clone)]
pub struct CheckedVersion {
    pub(super) new: NewPromptVersion,
    pub(super) warnings: Vec<Warning>,
    pub(super) content_hash: Vec<u8>,
}

impl PromptVersion {
    /// Compiles the templates; variables with a default are optional.
    ///
    /// # Errors
    /// The body does not compile.
    pub fn compile(&self) -> Result<CompiledPrompt, TemplateError> {
        Ok(CompiledPrompt::compile(&self.body)?.with_defaults(defaults(&self.variables)))
    }
}

impl NewPromptVersion {
    /// A version with only a body.
    #[must_use]
    pub fn new(body: PromptBody) -> Self {
        Self {
            note: String::new(),
            variables: Vec::new(),
            parameters: Parameters::default(),
            body,
        }
    }

    /// Validates the version, which includes rendering it once. Do not call it while holding a connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every error.
    pub fn checked(self) -> Result<CheckedVersion> {
        let warnings = self.check()?;
        Ok(CheckedVersion {
            warnings,
            ..self.known_to_be_right()?
        })
    }

    /// Like [`Self::checked`] for content that was validated when it was stored; without rendering and warnings.
    pub(super) fn known_to_be_right(self) -> Result<CheckedVersion> {
        Ok(CheckedVersion {
            content_hash: self.content_hash()?,
            warnings: Vec::new(),
            new: self,
        })
    }

    fn check(&self) -> Result<Vec<Warning>> {
        let mut wrong = check_parameters(&self.parameters);
        if self.note.len() > 2_000 || !is_plain_text(&self.note) {
            let message =
                "must have at most 2,000 bytes and no control characters but line breaks and tabs";
            wrong.push(FieldError::new("note", message));
        }
        match lint(&self.body, &self.variables) {
            Ok(warnings) if wrong.is_empty() => Ok(warnings),
            Ok(_) => Err(Error::Invalid(wrong)),
            Err(mut faults) => {
                faults.append(&mut wrong);
                Err(Error::Invalid(faults))
            }
        }
    }

    /// SHA-256 of the content. Versions without declarations keep the hash from before declarations existed.
    fn content_hash(&self) -> Result<Vec<u8>> {
        let broken = |error| Error::Internal(format!("a prompt does not serialise: {error}"));
        let mut hasher = Sha256::new();
        hasher.update(serde_json::to_vec(&self.body).map_err(broken)?);
        if !self.variables.is_empty() || !self.parameters.are_none() {
            hasher.update(serde_json::to_vec(&self.variables).map_err(broken)?);
            hasher.update(serde_json::to_vec(&self.parameters).map_err(broken)?);
        }
        Ok(hasher.finalize().to_vec())
    }
}

/// Adds a version to a prompt. If a version has the same content, it is returned instead.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's prompt, [`Error::Conflict`] for an archived prompt.
pub async fn add_version(
    conn: &mut PgConnection,
    author: &CurrentUser,
    prompt: &str,
    new: CheckedVersion,
) -> Result<SavedVersion> {
    let mut tx = conn.begin().await?;
    let prompt_id = lock_own(&mut tx, author, prompt).await?;
    let saved = insert(&mut tx, prompt_id, author.id, new).await?;
    tx.commit().await?;
    Ok(saved)
}

/// A page of the versions of a prompt below a version number, newest first.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_versions(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    below: Option<i64>,
    limit: i64,
) -> Result<Page<PromptVersion>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let versions = sqlx::query_as!(
        PromptVersion,
        r#"-- versions::list_versions
        select prompt_versions.id, $2 as "prompt!", number, body as "body: Json<PromptBody>",
               variables as "variables: Json<Vec<Variable>>", parameters as "parameters: Json<Parameters>", note,
               users.username as author, encode(content_hash, 'hex') as "content_hash!", prompt_versions.created_at
        from prompt_versions join users on users.id = author_id
        where prompt_id = $1 and withdrawn_at is null and ($3::bigint is null or number < $3)
        order by number desc
        limit $4"#,
        prompt.id,
        prompt.slug,
        below,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(versions, limit, |version| {
        version.number.to_string()
    }))
}

/// The version that `slug`, `slug@3` or `slug@alias` names; `slug` alone names the newest.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn resolve_version(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<PromptVersion> {
    let (slug, wanted) = reference.split_once('@').unwrap_or((reference, "latest"));
    let prompt = find_prompt_or_hint(conn, viewer, slug).await?;
    sqlx::query_as!(
        PromptVersion,
        r#"-- versions::resolve_version
        select prompt_versions.id, $3 as "prompt!", number, body as "body: Json<PromptBody>",
               variables as "variables: Json<Vec<Variable>>", parameters as "parameters: Json<Parameters>", note,
               users.username as author, encode(content_hash, 'hex') as "content_hash!", prompt_versions.created_at
        from prompt_versions join users on users.id = author_id
        where prompt_id = $1
          and (withdrawn_at is null
               or (number::text = $2
                   and ($5 or exists (select from run_prompts join runs on runs.id = run_id
                                      where prompt_version_id = prompt_versions.id and runs.owner_id = $4
                                        and runs.deleted_at is null))))
          and ($2 = 'latest' or number::text = $2
               or prompt_versions.id = (select prompt_version_id from prompt_aliases
                                        where prompt_id = $1 and name = $2))
        order by number desc
        limit 1"#,
        prompt.id,
        wanted,
        prompt.slug,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin)
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("version `{wanted}` of the prompt `{slug}`")))
}

/// Locks a prompt that the caller may change and that takes new versions; returns its id.
/// The lock serialises concurrent authors, so that version numbers have no gaps and no duplicates.
pub(super) async fn lock_own(
    tx: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
) -> Result<Uuid> {
    let prompt = find_prompt(tx, Some(user), prompt).await?;
    let row = sqlx::query!(
        r#"-- versions::lock_own
        select owner_id, archived_at is not null as "archived!"
        from prompts
        where id = $1 and deleted_at is null
        for update"#,
        prompt.id
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the prompt `{}`", prompt.slug)))?;
    if !crate::auth::can_change(user, row.owner_id) {
        return Err(Error::Forbidden(
            "only the owner of a prompt can do this; propose a change or fork it",
        ));
    }
    if row.archived {
        return Err(Error::Conflict(format!(
            "the prompt `{}` is archived; take it out of the archive first",
            prompt.slug
        )));
    }
    Ok(prompt.id)
}

/// Inserts a version unless its content exists already. The caller must hold the lock on the prompt.
pub(super) async fn insert(
    tx: &mut PgConnection,
    prompt_id: Uuid,
    author_id: i64,
    checked: CheckedVersion,
) -> Result<SavedVersion> {
    let CheckedVersion {
        new,
        warnings,
        content_hash,
    } = checked;
    let size_bytes =
        json_bytes(&new.body) + json_bytes(&new.variables) + json_bytes(&new.parameters);
    let inserted = sqlx::query!(
        "-- versions::insert
        insert into prompt_versions (id, prompt_id, number, body, variables, parameters, content_hash, note, author_id, size_bytes)
        select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7, $8, $9 from prompt_versions where prompt_id = $2
        on conflict (prompt_id, content_hash) do update set withdrawn_at = null, size_bytes = excluded.size_bytes
        where prompt_versions.withdrawn_at is not null",
        Uuid::now_v7(),
        prompt_id,
        Json(&new.body) as _,
        Json(&new.variables) as _,
        Json(&new.parameters) as _,
        content_hash,
        new.note,
        author_id,
        i64::try_from(size_bytes).unwrap_or(i64::MAX)
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() > 0 {
        let owner_id = sqlx::query_scalar!(
            "-- versions::insert (owner)
            select owner_id from prompts where id = $1",
            prompt_id
        );
        let owner_id = owner_id.fetch_one(&mut *tx).await?;
        check_stored(tx, owner_id).await?;
    }
    let version = sqlx::query_as!(
        PromptVersion,
        r#"-- versions::insert
        select prompt_versions.id, prompts.slug as prompt, number, body as "body: Json<PromptBody>",
               variables as "variables: Json<Vec<Variable>>", parameters as "parameters: Json<Parameters>", note,
               users.username as author, encode(content_hash, 'hex') as "content_hash!", prompt_versions.created_at
        from prompt_versions join prompts on prompts.id = prompt_id join users on users.id = author_id
        where prompt_id = $1 and content_hash = $2"#,
        prompt_id,
        content_hash
    )
    .fetch_one(tx)
    .await?;
    Ok(SavedVersion { version, warnings })
}
