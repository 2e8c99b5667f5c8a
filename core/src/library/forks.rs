//! Forks: prompts that begin as a version of another prompt and record their origin.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    NewPrompt, NewPromptVersion, Prompt, PromptKind, find_prompt, prompts, resolve_version,
    versions,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    paging::Page,
};

/// The differences between a fork and its origin.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFork {
    /// The version to begin with, a number or an alias; absent: the newest.
    #[serde(default)]
    pub version: Option<String>,
    /// The fork's slug; absent: the origin's slug followed by your name.
    #[serde(default)]
    pub slug: Option<String>,
    /// The fork's title; absent: the origin's title.
    #[serde(default)]
    pub title: Option<String>,
    /// Who may read the fork; absent: this bank's default, but never wider than the origin's visibility. The visibility
    /// of a fork of another user's prompt cannot be wider than the prompt's own.
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

/// Creates a prompt of the caller that begins as a version of another prompt. `default_visibility` is used if the
/// request has none.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`] if the slug is taken, [`Error::Invalid`].
pub async fn fork_prompt(
    conn: &mut PgConnection,
    user: &CurrentUser,
    origin: &str,
    fork: NewFork,
    default_visibility: Visibility,
) -> Result<Prompt> {
    let mut tx = conn.begin().await?;
    let origin = find_prompt(&mut tx, Some(user), origin).await?;
    let wanted = fork.version.as_deref().unwrap_or("latest");
    let version = resolve_version(&mut tx, Some(user), &format!("{}@{wanted}", origin.id)).await?;
    let visibility = match fork.visibility {
        None => default_visibility.min(origin.visibility),
        Some(wider) if wider > origin.visibility && origin.owner != user.username => {
            let message =
                "must not be wider than that of the prompt, which belongs to another user";
            return Err(Error::invalid("visibility", message));
        }
        Some(visibility) => visibility,
    };
    // Readers of the fork who may not read its origin must not learn the origin's name.
    let tells = visibility <= origin.visibility;
    let attribution = match origin.attribution.as_str() {
        "" if tells => format!("{} in the prompt {}", version.author, origin.slug),
        known => known.to_owned(),
    };
    let new = NewPrompt {
        slug: Some(
            fork.slug
                .unwrap_or_else(|| slug_of_fork(&origin.slug, &user.username)),
        ),
        title: fork.title.unwrap_or(origin.title),
        description: origin.description,
        category: origin.category,
        tags: origin.tags,
        language: origin.language,
        licence: origin.licence,
        attribution,
        visibility: Some(visibility),
        body: version.body.0,
        variables: version.variables.0,
        parameters: version.parameters.0,
    };
    let id = prompts::insert(&mut tx, user, &new, Some(version.id)).await?;
    let first = NewPromptVersion {
        note: if tells {
            format!("forked from {}@{}", version.prompt, version.number)
        } else {
            String::new()
        },
        variables: new.variables,
        parameters: new.parameters,
        body: new.body,
    };
    versions::insert(&mut tx, id, user.id, first.known_to_be_right()?).await?;
    let prompt = find_prompt(&mut tx, Some(user), &id.to_string()).await?;
    tx.commit().await?;
    Ok(prompt)
}

/// A page of the forks of a prompt that the viewer may find, newest first.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_forks(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    origin: &str,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Prompt>> {
    let origin = find_prompt(conn, viewer, origin).await?;
    let forks = sqlx::query_as!(
        Prompt,
        r#"-- forks::list_forks
        select prompts.id, prompts.slug, prompts.title, prompts.description, prompts.category, prompts.tags,
               prompts.language, prompts.licence, prompts.attribution, prompts.kind as "kind: PromptKind",
               prompts.visibility as "visibility: Visibility", users.username as owner, prompts.latest_version,
               $2 || '@' || number as "forked_from?", false as "archived!", prompts.created_at, prompts.updated_at
        from prompt_versions
        join prompts on prompts.forked_from = prompt_versions.id
        join users on users.id = prompts.owner_id
        where prompt_versions.prompt_id = $1 and prompts.deleted_at is null and prompts.archived_at is null
          and is_listed(prompts.visibility, prompts.owner_id, $3)
          and ($4::uuid is null or prompts.id < $4)
        order by prompts.id desc
        limit $5"#,
        origin.id,
        origin.slug,
        viewer.map(|user| user.id),
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(forks, limit, |fork| fork.id.to_string()))
}

/// The origin's slug followed by the user's name, shortened so that both fit.
fn slug_of_fork(origin: &str, username: &str) -> String {
    let name = super::fields::slug_of(username);
    let room = 80_usize.saturating_sub(name.len() + 1);
    let start = origin.get(..room.min(origin.len())).unwrap_or(origin);
    format!("{}-{name}", start.trim_end_matches('-'))
        .trim_end_matches('-')
        .to_owned()
}
