//! Prompts: the entries of the library.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{NewPromptVersion, Page, PromptVersion, versions};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    template::PromptBody,
};

/// An entry of the library.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Prompt {
    /// The prompt's id.
    pub id: Uuid,
    /// The prompt's name in addresses and on the command line.
    pub slug: String,
    /// The prompt's title.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// The name of its owner.
    pub owner: String,
    /// The number of the newest version.
    pub latest_version: i32,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// What a new prompt needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrompt {
    /// Lower-case words with dashes between them; made from the title when absent.
    pub slug: Option<String>,
    /// 1 to 200 characters.
    pub title: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Who may see it; everybody, when absent.
    #[serde(default)]
    pub visibility: Visibility,
    /// The text or the chat messages of version 1.
    pub body: PromptBody,
}

/// Adds a prompt with its first version.
///
/// # Errors
/// [`Error::Invalid`] for a wrong field or a template that does not compile, [`Error::Conflict`] when the slug is taken.
pub async fn create_prompt(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    new: NewPrompt,
) -> Result<(Prompt, PromptVersion)> {
    let slug = check(&new)?;
    let mut tx = conn.begin().await?;
    let id = Uuid::now_v7();
    let inserted = sqlx::query!(
        "-- prompts::create_prompt
        insert into prompts (id, slug, title, description, visibility, owner_id) values ($1, $2, $3, $4, $5, $6)",
        id,
        slug,
        new.title,
        new.description,
        new.visibility as Visibility,
        owner.id
    )
    .execute(&mut *tx)
    .await
    .map_err(Error::from);
    match inserted {
        Err(error) if error.violates("prompts_slug_key") => {
            return Err(Error::Conflict(format!(
                "a prompt with the slug `{slug}` already exists"
            )));
        }
        other => other?,
    };
    let note = String::new();
    let version = versions::insert(
        &mut tx,
        id,
        owner,
        NewPromptVersion {
            body: new.body,
            note,
        },
    )
    .await?;
    let prompt = find_prompt(&mut tx, Some(owner), &slug).await?;
    tx.commit().await?;
    Ok((prompt, version))
}

/// Adds a prompt, or a version to the prompt of the same slug and owner, or nothing when the newest version is equal.
///
/// # Errors
/// Those of [`create_prompt`], and [`Error::Forbidden`] when the slug belongs to somebody else.
pub async fn ensure_prompt(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    new: NewPrompt,
) -> Result<PromptVersion> {
    let slug = check(&new)?;
    match find_prompt(conn, Some(owner), &slug).await {
        Err(Error::NotFound(_)) => Ok(create_prompt(conn, owner, new).await?.1),
        Err(error) => Err(error),
        Ok(_) => {
            let version = NewPromptVersion {
                body: new.body,
                note: String::new(),
            };
            versions::add_version(conn, owner, &slug, version).await
        }
    }
}

/// The prompt of a slug or id.
///
/// # Errors
/// [`Error::NotFound`], also for a private prompt of somebody else.
pub async fn find_prompt(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<Prompt> {
    sqlx::query_as!(
        Prompt,
        r#"-- prompts::find_prompt
        select prompts.id, slug, title, description, visibility as "visibility: Visibility", users.username as owner,
               (select max(number) from prompt_versions where prompt_id = prompts.id) as "latest_version!",
               prompts.created_at
        from prompts join users on users.id = prompts.owner_id
        where (slug = $1 or prompts.id = $4)
          and (visibility <> 'private' or owner_id = $2 or $3)"#,
        reference,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        Uuid::try_parse(reference).ok()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the prompt `{reference}`")))
}

/// A page of the prompts that the viewer may find, newest first.
///
/// # Errors
/// The database does not answer.
pub async fn list_prompts(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Prompt>> {
    let prompts = sqlx::query_as!(
        Prompt,
        r#"-- prompts::list_prompts
        select prompts.id, slug, title, description, visibility as "visibility: Visibility", users.username as owner,
               (select max(number) from prompt_versions where prompt_id = prompts.id) as "latest_version!",
               prompts.created_at
        from prompts join users on users.id = prompts.owner_id
        where (visibility = 'public' or owner_id = $1)
          and ($2::uuid is null or prompts.id < $2)
        order by prompts.id desc
        limit $3"#,
        viewer.map(|user| user.id),
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(prompts, limit, |prompt| prompt.id.to_string()))
}

/// Checks a new prompt and returns its slug.
fn check(new: &NewPrompt) -> Result<String> {
    if new.title.trim().is_empty() || new.title.chars().count() > 200 || new.title.contains('\0') {
        return Err(Error::invalid("title", "must have 1 to 200 characters"));
    }
    if new.description.len() > 20_000 || new.description.contains('\0') {
        return Err(Error::invalid(
            "description",
            "must have at most 20,000 bytes and no NUL",
        ));
    }
    let slug = new.slug.clone().unwrap_or_else(|| slug_of(&new.title));
    check_slug(&slug)?;
    Ok(slug)
}

/// Refuses what is not a slug.
///
/// # Errors
/// [`Error::Invalid`] at `slug`.
pub(crate) fn check_slug(slug: &str) -> Result<()> {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if slug.len() <= 80 && slug.split('-').all(word) {
        return Ok(());
    }
    let message = "must be lower-case letters and digits with single dashes between them, at most 80 characters";
    Err(Error::invalid("slug", message))
}

fn slug_of(title: &str) -> String {
    let words = title.to_lowercase();
    let words = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    slug.chars()
        .take(80)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}
