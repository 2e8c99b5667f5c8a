//! Favourites: prompts that a user has marked.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{RankedPrompt, profiles, ranks};
use crate::{Error, Result, auth::CurrentUser, library::find_prompt, paging::Page};

/// Marks a prompt as favourite; does nothing if it is one.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt.
pub async fn set_favourite(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
) -> Result<()> {
    let prompt = find_prompt(conn, Some(user), prompt).await?;
    sqlx::query!(
        "-- favourites::set_favourite
        insert into favourites (id, user_id, prompt_id) values ($1, $2, $3)
        on conflict (user_id, prompt_id) do nothing",
        Uuid::now_v7(),
        user.id,
        prompt.id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes a prompt from the favourites, if it is one.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt.
pub async fn delete_favourite(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
) -> Result<()> {
    let found = find_prompt(conn, Some(user), prompt).await;
    let id = match &found {
        Ok(found) => Some(found.id),
        Err(_) => Uuid::try_parse(prompt).ok(),
    };
    let deleted = sqlx::query!(
        "-- favourites::delete_favourite
        delete from favourites using prompts
        where prompts.id = prompt_id and user_id = $1 and (prompts.id = $2 or ($2 is null and slug = $3))",
        user.id,
        id,
        prompt
    )
    .execute(conn)
    .await?;
    // Users can remove their own favourite even if they may no longer read the prompt.
    if deleted.rows_affected() == 0 {
        found?;
    }
    Ok(())
}

/// A page of a user's favourites that the viewer may find, newest first.
///
/// # Errors
/// [`Error::NotFound`] if the user does not show them to the viewer.
pub async fn list_favourites(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    username: &str,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<RankedPrompt>> {
    let shown = profiles::find_shown(conn, viewer, username).await?;
    if !shown.favourites {
        return Err(Error::NotFound(format!("the user `{username}`")));
    }
    let mut query = ranks::select("favourites::list_favourites", "favourites.id::text");
    query
        .push(" join favourites on favourites.prompt_id = prompts.id where favourites.user_id = ")
        .push_bind(shown.user_id)
        .push(
            " and prompts.deleted_at is null and is_listed(prompts.visibility, prompts.owner_id, ",
        )
        .push_bind(viewer.map(|user| user.id))
        .push(")");
    if let Some(before) = before {
        query.push(" and favourites.id < ").push_bind(before);
    }
    query.push(" order by favourites.id desc");
    ranks::fetch(conn, query, limit, |row| {
        row.place.clone().unwrap_or_default()
    })
    .await
}
