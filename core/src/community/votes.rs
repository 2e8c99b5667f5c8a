//! Votes: up or down, one per user and prompt, changeable and removable. Nobody votes on their own prompt.
//!
//! The counters are moved by a trigger in the transaction of the vote, so they are right at every moment.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser, library::find_prompt};

/// For or against.
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
    /// Lower end of the 95 % Wilson interval of the share of votes for it; what `top` orders by.
    pub wilson: f64,
    /// The caller's own vote.
    pub mine: Option<Vote>,
}

/// The votes on a prompt.
///
/// # Errors
/// [`Error::NotFound`], also for a private prompt of somebody else.
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
/// [`Error::NotFound`], also for a private prompt of somebody else; [`Error::Forbidden`] for one's own.
pub async fn set_vote(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    vote: Vote,
) -> Result<VoteCount> {
    let prompt = find_prompt(conn, Some(user), prompt).await?;
    // One statement, so that the counters of a prompt that everybody votes on are locked for a moment only.
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
        return Err(Error::Forbidden("nobody votes on their own prompt"));
    }
    Ok(votes)
}

/// Takes the caller's vote back, if there is one.
///
/// # Errors
/// [`Error::NotFound`], also for a private prompt of somebody else.
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
    // What is one's own can be taken back, also where the prompt is no longer theirs to see.
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
