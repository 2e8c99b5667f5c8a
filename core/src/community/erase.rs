//! Erasing what a deleted user said and did: votes, favourites, words, preferences and the profile.

use sqlx::PgConnection;

use crate::Result;

/// Erases a user's traces. Comments lose their text and their name; counters follow.
///
/// # Errors
/// The database does not answer.
pub async fn erase_traces(tx: &mut PgConnection, user_id: i64) -> Result<()> {
    sqlx::query!(
        "-- erase::erase_traces
        with votes as (delete from prompt_votes where user_id = $1),
             kept as (delete from favourites where user_id = $1),
             said as (update comments set author_id = null where author_id = $1),
             reported as (delete from comment_reports where reporter_id = $1),
             collected as (delete from collections where owner_id = $1),
             preferred as (delete from preferences where user_id = $1)
        delete from profiles where user_id = $1",
        user_id
    )
    .execute(tx)
    .await?;
    Ok(())
}
