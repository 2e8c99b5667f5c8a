//! Prompts: the entries of the library.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    CheckedVersion, NewPromptVersion, Parameters, PromptVersion, Variable, Warning,
    fields::{Fields, check_slug, normalise_tags, slug_of},
    lint::lint,
    markdown::to_html,
    versions,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    nearest::prompt_hint,
    template::PromptBody,
    written_fields::or_default,
};

/// An entry of the library.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Prompt {
    /// The prompt's id.
    pub id: Uuid,
    /// The prompt's name in URLs and on the command line; it never changes.
    pub slug: String,
    /// The prompt's title.
    pub title: String,
    /// What it is for, in Markdown as written.
    pub description: String,
    /// The slug of its category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Lower-case words with dashes, sorted.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The language that it is written in, as a BCP 47 tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its licence, as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The author and the source, if that is not the owner.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attribution: String,
    /// The kind of the newest version.
    pub kind: PromptKind,
    /// Who may read it.
    pub visibility: Visibility,
    /// The name of its owner.
    pub owner: String,
    /// The number of the newest version.
    pub latest_version: i32,
    /// `slug@number` of the version that it was forked from, if the caller may find that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<String>,
    /// True if it is archived: not listed, and without new versions.
    #[serde(default)]
    pub archived: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it or its newest version last changed.
    pub updated_at: DateTime<Utc>,
}

/// The kinds of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "prompt_kind", rename_all = "lowercase")]
pub enum PromptKind {
    /// One template.
    Text,
    /// Messages with roles.
    Chat,
}

impl PromptKind {
    /// The kind as it is stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Chat => "chat",
        }
    }
}

/// An entry of the library with its newest version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptDetail {
    /// The entry.
    #[serde(flatten)]
    pub prompt: Prompt,
    /// The description as HTML that holds only text, emphasis, lists, tables and links.
    pub description_html: String,
    /// The newest version.
    pub version: PromptVersion,
    /// Warnings for the author.
    pub warnings: Vec<Warning>,
}

/// A prompt to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrompt {
    /// Lower-case words joined by dashes; absent: made from the title.
    pub slug: Option<String>,
    /// 1 to 200 characters.
    pub title: String,
    /// What it is for, in Markdown.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// The slug of a category.
    #[serde(default)]
    pub category: Option<String>,
    /// At most 20 words.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The language that it is written in, such as `en`.
    #[serde(default)]
    pub language: Option<String>,
    /// An SPDX licence such as `CC0-1.0`.
    #[serde(default)]
    pub licence: Option<String>,
    /// The author and the source, if that is not you.
    #[serde(default, deserialize_with = "or_default")]
    pub attribution: String,
    /// Who may read it; absent: this bank's default, which is only you unless the operator has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The text or the chat messages of version 1.
    pub body: PromptBody,
    /// The variables of version 1.
    #[serde(default, deserialize_with = "or_default")]
    pub variables: Vec<Variable>,
    /// The model parameters that you recommend.
    #[serde(default, deserialize_with = "or_default")]
    pub parameters: Parameters,
}

impl NewPrompt {
    /// A prompt with only a title and a body.
    #[must_use]
    pub fn new(title: impl Into<String>, body: PromptBody) -> Self {
        Self {
            slug: None,
            title: title.into(),
            description: String::new(),
            category: None,
            tags: Vec::new(),
            language: None,
            licence: None,
            attribution: String::new(),
            visibility: None,
            body,
            variables: Vec::new(),
            parameters: Parameters::default(),
        }
    }

    /// Validates the prompt, which includes rendering it once. Do not call it while holding a connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid field or a template that does not compile.
    pub fn checked(self) -> Result<CheckedPrompt> {
        check(&self)?;
        let version = NewPromptVersion {
            body: self.body.clone(),
            variables: self.variables.clone(),
            parameters: self.parameters.clone(),
            note: String::new(),
        };
        Ok(CheckedPrompt {
            version: version.checked()?,
            new: self,
        })
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            title: Some(&self.title),
            description: Some(&self.description),
            category: self.category.as_deref(),
            language: self.language.as_deref(),
            licence: self.licence.as_deref(),
            attribution: Some(&self.attribution),
        }
    }
}

/// A valid prompt. Only [`NewPrompt::checked`] creates one.
#[derive(Debug, Clone)]
pub struct CheckedPrompt {
    new: NewPrompt,
    version: CheckedVersion,
}

/// Creates a prompt with its first version.
///
/// # Errors
/// [`Error::Invalid`] for an unknown category, [`Error::Conflict`] if the slug is taken.
pub async fn create_prompt(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    CheckedPrompt { new, version }: CheckedPrompt,
) -> Result<(Prompt, PromptVersion)> {
    let mut tx = conn.begin().await?;
    let id = insert(&mut tx, owner, &new, None).await?;
    let saved = versions::insert(&mut tx, id, owner.id, version).await?;
    let prompt = find_prompt(&mut tx, Some(owner), &id.to_string()).await?;
    tx.commit().await?;
    Ok((prompt, saved.version))
}

/// Creates a prompt, or adds a version to the prompt with the same slug and owner; does nothing if the newest version
/// is equal. Only for built-in prompts, because it validates them while holding the connection.
///
/// # Errors
/// Those of [`create_prompt`].
pub async fn ensure_prompt(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    new: NewPrompt,
) -> Result<PromptVersion> {
    let slug = check(&new)?;
    match find_own(conn, owner, &slug).await? {
        None => Ok(create_prompt(conn, owner, new.checked()?).await?.1),
        Some(id) => {
            let version = NewPromptVersion {
                body: new.body,
                variables: new.variables,
                parameters: new.parameters,
                note: String::new(),
            };
            let (id, version) = (id.to_string(), version.checked()?);
            let saved = versions::add_version(conn, owner, &id, version).await?;
            Ok(saved.version)
        }
    }
}

/// The prompt with a slug or id. Of two with the same slug, the viewer's own takes precedence over the one visible to
/// others.
///
/// # Errors
/// [`Error::NotFound`], also for a prompt that the viewer may not read.
pub async fn find_prompt(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<Prompt> {
    sqlx::query_as!(
        Prompt,
        r#"-- prompts::find_prompt
        select prompts.id, prompts.slug, prompts.title, prompts.description, prompts.category, prompts.tags,
               prompts.language, prompts.licence, prompts.attribution, prompts.kind as "kind: PromptKind",
               prompts.visibility as "visibility: Visibility", users.username as owner, prompts.latest_version,
               (select origin.slug || '@' || number
                from prompt_versions join prompts as origin on origin.id = prompt_id
                where prompt_versions.id = prompts.forked_from and origin.deleted_at is null
                  and (is_listed(origin.visibility, origin.owner_id, $2) or $3
                       -- Who forked an unlisted prompt knows its address; who reads the fork need not.
                       or prompts.owner_id = $2 and can_see(origin.visibility, origin.owner_id, $2, $3))
                ) as "forked_from?",
               prompts.archived_at is not null as "archived!", prompts.created_at, prompts.updated_at
        from prompts join users on users.id = prompts.owner_id
        where (prompts.slug = $1 or prompts.id = $4) and prompts.deleted_at is null
          and (can_see(prompts.visibility, prompts.owner_id, $2, $3) or prompts.offered_to = $2)
        -- An id is never a slug of something else; the viewer's own goes before what others share.
        order by prompts.id = $4 desc nulls last, prompts.owner_id = $2 desc nulls last, prompts.visibility desc, prompts.id
        limit 1"#,
        reference,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        Uuid::try_parse(reference).ok()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the prompt `{reference}`")))
}

/// The prompt with a slug or id; the error suggests similar slugs.
pub(super) async fn find_prompt_or_hint(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<Prompt> {
    match find_prompt(conn, viewer, reference).await {
        Err(Error::NotFound(what)) => {
            let hint = prompt_hint(conn, viewer, reference).await?;
            Err(Error::NotFound(format!("{what}{hint}")))
        }
        found => found,
    }
}

/// The prompt with a slug or id, with its newest version; see [`PromptDetail::of`].
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt.
pub async fn find_newest(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &str,
) -> Result<(Prompt, PromptVersion)> {
    let prompt = find_prompt_or_hint(conn, viewer, reference).await?;
    let version = versions::resolve_version(conn, viewer, &prompt.id.to_string()).await?;
    Ok((prompt, version))
}

impl PromptDetail {
    /// Builds the details of a prompt and its newest version, which includes rendering it once. Do not call it while
    /// holding a connection.
    #[must_use]
    pub fn of(prompt: Prompt, version: PromptVersion) -> Self {
        // A version that was accepted under older rules is shown without warnings.
        let warnings = lint(&version.body, &version.variables).unwrap_or_default();
        Self {
            description_html: to_html(&prompt.description),
            prompt,
            version,
            warnings,
        }
    }
}

/// Inserts a prompt without a version, and returns its id.
pub(super) async fn insert(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    new: &NewPrompt,
    forked_from: Option<Uuid>,
) -> Result<Uuid> {
    let slug = check(new)?;
    let id = Uuid::now_v7();
    let tags = normalise_tags(&new.tags).map_err(|wrong| Error::Invalid(vec![wrong]))?;
    let inserted = sqlx::query!(
        "-- prompts::insert
        insert into prompts (id, slug, title, description, visibility, owner_id, category, tags, language, licence,
                             attribution, forked_from)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        id,
        slug,
        new.title,
        new.description,
        new.visibility.unwrap_or_default() as Visibility,
        owner.id,
        new.category,
        &tags,
        new.language,
        new.licence,
        new.attribution,
        forked_from
    )
    .execute(tx)
    .await
    .map_err(Error::from);
    match inserted {
        Err(error) => Err(explain(error, &slug)),
        Ok(_) => Ok(id),
    }
}

/// The id of the user's own prompt with this slug, if it exists.
pub(super) async fn find_own(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    slug: &str,
) -> Result<Option<Uuid>> {
    let id = sqlx::query_scalar!(
        "-- prompts::find_own
        select id from prompts where slug = $1 and owner_id = $2 and deleted_at is null",
        slug,
        owner.id
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// Maps the database's refusal of a prompt with this slug to a domain error.
pub(super) fn explain(error: Error, slug: &str) -> Error {
    if error.violates("prompts_owner_slug_key") {
        return Error::Conflict(format!(
            "you have a prompt with the slug `{slug}` already, or had one that results still name; take another slug"
        ));
    }
    if error.violates("prompts_slug_key") {
        return Error::Conflict(format!(
            "another user's prompt has the slug `{slug}`; take another slug, or keep your prompt private"
        ));
    }
    if error.violates("prompts_category_fkey") {
        return Error::invalid("category", "is not a category; see `/api/v1/categories`");
    }
    error
}

/// Validates a new prompt and returns its slug.
fn check(new: &NewPrompt) -> Result<String> {
    let wrong = new.fields().check();
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let slug = new.slug.clone().unwrap_or_else(|| slug_of(&new.title));
    check_slug(&slug)?;
    Ok(slug)
}
