//! Erases prompts that only a deleted user could read.

use sqlx::PgConnection;

use crate::Result;

/// Erases the private prompts of a user that are not used in any run.
///
/// # Errors
/// The database does not respond.
pub async fn erase_private_prompts(tx: &mut PgConnection, owner_id: i64) -> Result<()> {
    sqlx::query!(
        "-- erase::erase_private_prompts
        delete from prompts
        where owner_id = $1 and visibility = 'private'
          and not exists (select 1 from prompt_versions
                          join run_prompts on run_prompts.prompt_version_id = prompt_versions.id
                          where prompt_versions.prompt_id = prompts.id)",
        owner_id
    )
    .execute(tx)
    .await?;
    Ok(())
}
