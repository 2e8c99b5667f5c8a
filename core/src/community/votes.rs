//! Votes: up or down, one per user and prompt, changeable and removable. Users cannot vote on their own prompts.
//!
//! A trigger updates the counters in the transaction of the vote, so they are always correct.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser, library::find_prompt};

/// A vote for or against a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "vote_direction", rename_all = "snake_case")]
pub enum Vote {
    /// For.
    Up,
    /// Against.
    Down,
}

/// The votes on a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VoteCount {
    /// Votes for it.
    pub up: i32,
    /// Votes against it.
    pub down: i32,
    /// Lower bound of the 95 % Wilson interval of the share of votes for it, which `top` orders by.
    pub wilson: f64,
    /// The caller's own vote.
    pub mine: Option<Vote>,
}

/// The votes on a prompt, with the viewer's own.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt.
pub async fn find_votes(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
) -> Result<VoteCount> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    count(conn, viewer, prompt.id).await
}

/// Votes, or changes the caller's vote. The same vote again changes nothing, not even its age.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt; [`Error::Forbidden`] for one's own.
pub async fn set_vote(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    vote: Vote,
) -> Result<VoteCount> {
    let prompt = find_prompt(conn, Some(user), prompt).await?;
    // One statement, so that the counters of a popular prompt are only locked for a moment.
    let cast = sqlx::query!(
        "-- votes::set_vote
        insert into prompt_votes as kept (prompt_id, user_id, direction)
        select id, $2, $3 from prompts where id = $1 and owner_id <> $2
        on conflict (prompt_id, user_id) do update
        set direction = excluded.direction, cast_at = now()
        where kept.direction <> excluded.direction",
        prompt.id,
        user.id,
        vote as Vote
    )
    .execute(&mut *conn)
    .await?;
    let votes = count(conn, Some(user), prompt.id).await?;
    if cast.rows_affected() == 0 && votes.mine.is_none() {
        return Err(Error::Forbidden("you cannot vote on your own prompt"));
    }
    Ok(votes)
}

/// Removes the caller's vote, if there is one.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt.
pub async fn delete_vote(conn: &mut PgConnection, user: &CurrentUser, prompt: &str) -> Result<()> {
    let found = find_prompt(conn, Some(user), prompt).await;
    let id = match &found {
        Ok(found) => Some(found.id),
        Err(_) => Uuid::try_parse(prompt).ok(),
    };
    let deleted = sqlx::query!(
        "-- votes::delete_vote
        delete from prompt_votes using prompts
        where prompts.id = prompt_id and user_id = $1 and (prompts.id = $2 or ($2 is null and slug = $3))",
        user.id,
        id,
        prompt
    )
    .execute(conn)
    .await?;
    // Users can remove their own vote even if they may no longer read the prompt.
    if deleted.rows_affected() == 0 {
        found?;
    }
    Ok(())
}

async fn count(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt_id: Uuid,
) -> Result<VoteCount> {
    let votes = sqlx::query_as!(
        VoteCount,
        r#"-- votes::count
        select up, down, wilson,
               (select direction from prompt_votes where prompt_id = $1 and user_id = $2) as "mine: Vote"
        from prompt_ranks
        where prompt_id = $1"#,
        prompt_id,
        viewer.map(|user| user.id)
    )
    .fetch_one(conn)
    .await?;
    Ok(votes)
}
