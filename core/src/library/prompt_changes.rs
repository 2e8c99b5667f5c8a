//! Changes of a prompt by its owner other than new versions: edit the metadata, archive, transfer, delete.

use serde::{Deserialize, Deserializer, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Prompt,
    fields::{Fields, normalise_tags},
    find_prompt,
    prompts::explain,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility, can_change},
};

/// Changes of a prompt's metadata; absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptChange {
    /// 1 to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for, in Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The slug of a category; null removes the prompt from its category.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[schema(value_type = Option<String>)]
    pub category: Option<Option<String>>,
    /// At most 20 words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The language that it is written in, such as `en`; null if unknown.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[schema(value_type = Option<String>)]
    pub language: Option<Option<String>>,
    /// An SPDX licence such as `CC0-1.0`; null for none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    #[schema(value_type = Option<String>)]
    pub licence: Option<Option<String>>,
    /// The author and the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<String>,
    /// Who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// True archives the prompt, false restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
}

/// An offer to transfer a prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The name of the user who may accept it.
    pub to: String,
}

/// Changes the metadata of a prompt. Its versions stay as they are.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`] with every invalid field, [`Error::Conflict`] if the
/// prompt becomes visible to others and its slug is taken among the prompts visible to others.
pub async fn change_prompt(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    change: PromptChange,
) -> Result<Prompt> {
    let mut wrong = change.fields().check();
    let tags = match change.tags.as_deref().map(normalise_tags).transpose() {
        Ok(tags) => tags,
        Err(error) => {
            wrong.push(error);
            None
        }
    };
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let mut tx = conn.begin().await?;
    let found = own(&mut tx, user, prompt).await?;
    let id = found.id;
    if let Some(wanted) = change
        .visibility
        .filter(|wanted| *wanted > found.visibility)
    {
        require_wide_origin(&mut tx, user, id, wanted).await?;
    }
    sqlx::query!(
        "-- prompt_changes::change_prompt
        update prompts
        set title = coalesce($2, title),
            description = coalesce($3, description),
            category = case when $4 then $5 else category end,
            tags = coalesce($6, tags),
            language = case when $7 then $8 else language end,
            licence = case when $9 then $10 else licence end,
            attribution = coalesce($11, attribution),
            visibility = coalesce($12, visibility),
            archived_at = case when $13 then coalesce(archived_at, now()) when not $13 then null else archived_at end,
            updated_at = now()
        where id = $1",
        id,
        change.title,
        change.description,
        change.category.is_some(),
        change.category.flatten(),
        tags.as_deref(),
        change.language.is_some(),
        change.language.flatten(),
        change.licence.is_some(),
        change.licence.flatten(),
        change.attribution,
        change.visibility as Option<Visibility>,
        change.archived
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| explain(error.into(), &found.slug))?;
    let changed = find_prompt(&mut tx, Some(user), &id.to_string()).await?;
    tx.commit().await?;
    Ok(changed)
}

/// Refuses a visibility of a fork that is wider than that of another user's origin, as creating the fork does.
async fn require_wide_origin(
    tx: &mut PgConnection,
    user: &CurrentUser,
    fork: Uuid,
    wanted: Visibility,
) -> Result<()> {
    let is_narrower = sqlx::query_scalar!(
        r#"-- prompt_changes::require_wide_origin
        select exists (select from prompts forks
                       join prompt_versions on prompt_versions.id = forks.forked_from
                       join prompts on prompts.id = prompt_versions.prompt_id
                       where forks.id = $1 and prompts.owner_id <> $2
                         and (prompts.visibility < $3 or prompts.deleted_at is not null)) as "is_narrower!""#,
        fork,
        user.id,
        wanted as Visibility
    )
    .fetch_one(tx)
    .await?;
    if is_narrower {
        let message = "must not be wider than that of the prompt it is a fork of, which belongs to another user";
        return Err(Error::invalid("visibility", message));
    }
    Ok(())
}

/// Deletes a prompt. Versions that results refer to are kept for those results, and the slug then stays taken, so that
/// it never names a different prompt.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`].
pub async fn delete_prompt(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let id = own(&mut tx, user, prompt).await?.id;
    let mut attempt = tx.begin().await?;
    let deleted = sqlx::query!(
        "-- prompt_changes::delete_prompt
        delete from prompts where id = $1",
        id
    )
    .execute(&mut *attempt)
    .await;
    match deleted {
        Ok(_) => attempt.commit().await?,
        // Runs refer to the versions that they used.
        Err(error) if is_used(&error) => {
            attempt.rollback().await?;
            sqlx::query!(
                "-- prompt_changes::delete_prompt (used)
                update prompts
                set deleted_at = now(), visibility = 'private', description = '', tags = '{}', category = null, offered_to = null
                where id = $1",
                id
            )
            .execute(&mut *tx)
            .await?;
        }
        Err(error) => return Err(error.into()),
    }
    tx.commit().await?;
    Ok(())
}

/// Offers a prompt to another user. Ownership changes only when they accept; a new offer replaces an earlier one.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`] for an unknown user or the owner.
pub async fn offer_transfer(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    transfer: &Transfer,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let id = own(&mut tx, user, prompt).await?.id;
    let offered = sqlx::query!(
        "-- prompt_changes::offer_transfer
        update prompts
        set offered_to = users.id
        from users
        where prompts.id = $1 and lower(users.username) = lower($2) and users.disabled_at is null
          and users.id <> prompts.owner_id",
        id,
        transfer.to
    )
    .execute(&mut *tx)
    .await?;
    if offered.rows_affected() == 0 {
        return Err(Error::invalid("to", "must be the name of another user"));
    }
    tx.commit().await?;
    Ok(())
}

/// Accepts the transfer of a prompt that was offered to the caller.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] if it was not offered to the caller, [`Error::Conflict`] if the caller has
/// a prompt with the same slug.
pub async fn accept_transfer(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
) -> Result<Prompt> {
    let found = find_offered(conn, user, prompt).await?;
    let accepted = sqlx::query!(
        "-- prompt_changes::accept_transfer
        update prompts
        set owner_id = $2, offered_to = null, updated_at = now()
        where id = $1 and offered_to = $2 and deleted_at is null",
        found.id,
        user.id
    )
    .execute(&mut *conn)
    .await
    .map_err(|error| explain(error.into(), &found.slug))?;
    if accepted.rows_affected() == 0 {
        return Err(Error::Forbidden("the prompt was not offered to you"));
    }
    find_prompt(conn, Some(user), &found.id.to_string()).await
}

/// Withdraws or declines an offer. Does nothing if there is no offer.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for everybody but the owner and the recipient of the offer.
pub async fn withdraw_transfer(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
) -> Result<()> {
    let found = find_offered(conn, user, prompt).await?;
    let withdrawn = sqlx::query!(
        "-- prompt_changes::withdraw_transfer
        update prompts set offered_to = null where id = $1 and (owner_id = $2 or offered_to = $2 or $3)",
        found.id,
        user.id,
        user.is_admin()
    )
    .execute(conn)
    .await?;
    if withdrawn.rows_affected() == 0 {
        return Err(Error::Forbidden(
            "only the owner and the user it was offered to can do this",
        ));
    }
    Ok(())
}

/// The prompt with a slug or id; a prompt that was offered to the caller takes precedence over others with that slug.
async fn find_offered(conn: &mut PgConnection, user: &CurrentUser, prompt: &str) -> Result<Prompt> {
    let offered = sqlx::query_scalar!(
        "-- prompt_changes::find_offered
        select id from prompts where slug = $1 and offered_to = $2 and deleted_at is null order by id limit 1",
        prompt,
        user.id
    )
    .fetch_optional(&mut *conn)
    .await?;
    match offered {
        Some(id) => find_prompt(conn, Some(user), &id.to_string()).await,
        None => find_prompt(conn, Some(user), prompt).await,
    }
}

impl PromptChange {
    fn fields(&self) -> Fields<'_> {
        Fields {
            title: self.title.as_deref(),
            description: self.description.as_deref(),
            category: self.category.as_ref().and_then(Option::as_deref),
            language: self.language.as_ref().and_then(Option::as_deref),
            licence: self.licence.as_ref().and_then(Option::as_deref),
            attribution: self.attribution.as_deref(),
        }
    }
}

/// Locks a prompt that the caller may change, archived or not.
async fn own(tx: &mut PgConnection, user: &CurrentUser, prompt: &str) -> Result<Prompt> {
    let found = find_prompt(tx, Some(user), prompt).await?;
    let owner_id = sqlx::query_scalar!(
        "-- prompt_changes::own
        select owner_id from prompts where id = $1 and deleted_at is null for update",
        found.id
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the prompt `{prompt}`")))?;
    if can_change(user, owner_id) {
        return Ok(found);
    }
    Err(Error::Forbidden("only the owner of a prompt can do this"))
}

fn is_used(error: &sqlx::Error) -> bool {
    // foreign_key_violation
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("23503"))
}

/// Distinguishes a null field from an absent one.
#[expect(
    clippy::option_option,
    reason = "absent, null and given are three answers"
)]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
