//! Hiding columns of runs: they count on no board until they are shown again.
//!
//! The owner of a run hides columns from all boards. Moderators and administrators hide columns of other users' runs
//! from the public board; the owner's own board keeps them, and only moderators and administrators can show them again.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{AuditEvent, CurrentUser, note_deed},
    paging::fitting_in,
    runs::find_readable_run,
};

/// Maximum size of the columns in a response, in bytes of JSON.
const MAX_BYTES: usize = 4 << 20;

/// A choice of standings of a run, and whether boards show them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HideStandings {
    /// True hides them, false shows them again.
    pub hidden: bool,
    /// `slug` or `slug@number` of a prompt version of the run; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// `provider:name` of a model of the run; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A measured column of a run, and whether it is hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoardColumn {
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// The parameters that are sent with every call.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// True if the run's owner has hidden it from all boards.
    pub hidden_by_owner: bool,
    /// True if a moderator has hidden it from the public board.
    pub hidden_by_moderator: bool,
}

/// Hides standings of a run, or shows them again. Returns the measured columns of the run, up to 4 MiB.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for users who are neither the run's owner nor moderators,
/// [`Error::Invalid`] if the run has not measured such a column.
pub async fn hide_standings(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    request: &HideStandings,
) -> Result<Vec<BoardColumn>> {
    let mut tx = conn.begin().await?;
    let run = find_readable_run(&mut tx, Some(user), run_id).await?;
    let is_owner = run.owner == user.username;
    if !is_owner && !user.is_moderator() {
        return Err(Error::Forbidden(
            "only the owner of a run, moderators and administrators can hide its standings",
        ));
    }
    let touched = if request.hidden {
        sqlx::query!(
            "-- hidden::hide_standings
            insert into hidden_columns (run_id, prompt_version_id, model_id, hidden_by, user_id)
            select run_id, prompt_version_id, model_id, (case when $4 then 'owner' else 'moderator' end)::hidden_by, $5
            from standing_points
            join prompt_versions on prompt_versions.id = prompt_version_id
            join prompts on prompts.id = prompt_id
            join models on models.id = model_id
            join providers on providers.id = provider_id
            where run_id = $1
              and ($2::text is null or $2 in (prompts.slug, prompts.slug || '@' || prompt_versions.number))
              and ($3::text is null or $3 = providers.name || ':' || models.name)
            on conflict (run_id, prompt_version_id, model_id, hidden_by) do update set hidden_at = hidden_columns.hidden_at",
            run_id,
            request.prompt,
            request.model,
            is_owner,
            user.id
        )
        .execute(&mut *tx)
        .await?
    } else {
        sqlx::query!(
            "-- hidden::hide_standings
            delete from hidden_columns
            using prompt_versions, prompts, models, providers
            where prompt_versions.id = prompt_version_id and prompts.id = prompt_id
              and models.id = model_id and providers.id = provider_id
              and run_id = $1 and hidden_by = (case when $4 then 'owner' else 'moderator' end)::hidden_by
              and ($2::text is null or $2 in (prompts.slug, prompts.slug || '@' || prompt_versions.number))
              and ($3::text is null or $3 = providers.name || ':' || models.name)",
            run_id,
            request.prompt,
            request.model,
            is_owner
        )
        .execute(&mut *tx)
        .await?
    };
    if touched.rows_affected() == 0 {
        let message = if request.hidden {
            "no column of this run that was measured has this prompt and this model"
        } else {
            "no column with this prompt and this model is hidden by you"
        };
        return Err(Error::invalid("", message));
    }
    let event = if request.hidden {
        AuditEvent::StandingsHidden
    } else {
        AuditEvent::StandingsShown
    };
    note_deed(&mut tx, event, user, &run_id.to_string()).await?;
    let mut columns = list_columns(&mut tx, run_id).await?;
    tx.commit().await?;
    columns.truncate(fitting_in(&columns, MAX_BYTES));
    Ok(columns)
}

async fn list_columns(tx: &mut PgConnection, run_id: Uuid) -> Result<Vec<BoardColumn>> {
    let columns = sqlx::query_as!(
        BoardColumn,
        r#"-- hidden::list_columns
        select prompts.slug || '@' || prompt_versions.number as "prompt!",
               providers.name || ':' || models.name as "model!", models.parameters,
               exists (select from hidden_columns hidden
                       where hidden.run_id = points.run_id and hidden.prompt_version_id = points.prompt_version_id
                         and hidden.model_id = points.model_id and hidden_by = 'owner') as "hidden_by_owner!",
               exists (select from hidden_columns hidden
                       where hidden.run_id = points.run_id and hidden.prompt_version_id = points.prompt_version_id
                         and hidden.model_id = points.model_id and hidden_by = 'moderator') as "hidden_by_moderator!"
        from standing_points points
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where run_id = $1
        order by 1, 2, models.id"#,
        run_id
    )
    .fetch_all(tx)
    .await?;
    Ok(columns)
}
