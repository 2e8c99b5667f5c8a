//! Deletion of versions of prompts.
//!
//! A version that no run uses is erased. A version that runs use is withdrawn: it is not listed and takes no more runs,
//! but readers of those runs can still read it. Housekeeping erases it when the last of those runs is gone.

use sqlx::{Connection as _, PgConnection};

use super::find_prompt;
use crate::{
    Error, Result,
    auth::{AuditEvent, CurrentUser, can_change, note_deed},
    deletion::Deletion,
};

/// Deletes one version of a prompt.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's prompt, [`Error::Conflict`] for the newest version, and
/// for one that an alias points at.
pub async fn delete_prompt_version(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    number: i32,
) -> Result<Deletion> {
    let mut tx = conn.begin().await?;
    let found = find_prompt(&mut tx, Some(user), prompt).await?;
    let version = sqlx::query!(
        r#"-- withdraw::delete_prompt_version
        select prompt_versions.id, owner_id, number = latest_version as "is_newest!",
               (select min(name) from prompt_aliases where prompt_version_id = prompt_versions.id) as alias,
               exists (select from run_prompts join runs on runs.id = run_id
                       where prompt_version_id = prompt_versions.id and runs.deleted_at is null) as "withdrawn!"
        from prompt_versions
        join prompts on prompts.id = prompt_id
        where prompt_id = $1 and number = $2 and withdrawn_at is null
        for update of prompts"#,
        found.id,
        number
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("version `{number}` of the prompt `{prompt}`")))?;
    if !can_change(user, version.owner_id) {
        return Err(Error::Forbidden(
            "only the owner of a prompt can delete its versions",
        ));
    }
    if version.is_newest {
        return Err(Error::Conflict(
            "this is the newest version; save another one first, or delete the prompt".into(),
        ));
    }
    if let Some(alias) = version.alias {
        return Err(Error::Conflict(format!(
            "the alias `{alias}` points at this version; move it or delete it first"
        )));
    }
    sqlx::query!(
        "-- withdraw::delete_prompt_version
        update prompt_versions set withdrawn_at = now() where id = $1",
        version.id
    )
    .execute(&mut *tx)
    .await?;
    let event = AuditEvent::PromptVersionDeleted;
    note_deed(&mut tx, event, user, &version.id.to_string()).await?;
    tx.commit().await?;
    tracing::info!(prompt.id = %found.id, number, "version {number} of prompt {} was deleted", found.id);
    Ok(Deletion {
        withdrawn: version.withdrawn,
    })
}

/// Erases what no run uses any more: withdrawn versions, versions of deleted prompts, and private prompts of deleted
/// users.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn erase_withdrawn(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "-- withdraw::erase_withdrawn
        delete from prompt_versions
        where id in (select prompt_versions.id
                     from prompt_versions join prompts on prompts.id = prompt_id
                     where (withdrawn_at is not null or deleted_at is not null)
                       and not exists (select from run_prompts where prompt_version_id = prompt_versions.id)
                     limit 1000)"
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "-- withdraw::erase_withdrawn
        delete from prompts
        where id in (select prompts.id
                     from prompts join users on users.id = owner_id
                     where (prompts.deleted_at is not null
                            or (users.deleted_at is not null and visibility = 'private'))
                       and not exists (select from prompt_versions
                                       join run_prompts on prompt_version_id = prompt_versions.id
                                       where prompt_id = prompts.id)
                     limit 100)"
    )
    .execute(conn)
    .await?;
    Ok(())
}
