//! Extends an ended run by prompts, models, items or repeats; recorded evaluations are not paid for again.
//!
//! Existing positions never change: new columns are appended.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Run, RunShape,
    check::check_run,
    control, early, find_readable_run, find_run,
    hidden::require_parts,
    quota::check_quota,
    retry::{reopen, require_ended},
    rules::{RunRules, check_spender},
    submit::{insert_columns, refuse_without_keys},
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    models::{ModelRequest, ModelWithParameters},
    quotas::count_run,
};

/// The additions to a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtendRun {
    /// Additional prompts, referenced as in a request for a run.
    pub prompts: Vec<String>,
    /// Additional models, referenced as in a request for a run. A plain name uses the parameters of the run's model of
    /// that name, if there is one.
    pub models: Vec<ModelRequest>,
    /// Number of items, from the start of the benchmark; not less than before.
    #[schema(minimum = 1)]
    pub limit: Option<i32>,
    /// Number of repeats of each item; not less than before.
    #[schema(minimum = 1, maximum = 1000)]
    pub repeats: Option<i32>,
}

/// Extends a run that has ended and queues the additional evaluations, unless a rule forbids it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] if the run has not ended or
/// was cancelled, [`Error::Forbidden`] for a run with a part that the user may no longer see, [`Error::Invalid`] with
/// the path of each invalid field, [`Error::QuotaExceeded`], [`Error::EmailNotVerified`].
pub async fn extend_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    request: &ExtendRun,
    rules: &RunRules,
) -> Result<Run> {
    let mut tx = conn.begin().await?;
    check_spender(&mut tx, user, rules).await?;
    require_ended(control::lock_run(&mut tx, user, run_id).await?)?;
    refuse_rescored(&mut tx, run_id).await?;
    let run = find_readable_run(&mut tx, Some(user), run_id).await?;
    require_parts(&mut tx, run_id).await?;
    let before = load_shape(&mut tx, run_id).await?;
    let mut wrong = Vec::new();
    if request.limit.is_some_and(|limit| limit < before.items) {
        let message = format!(
            "must be at least {}, the current number of items",
            before.items
        );
        wrong.push(FieldError::new("limit", message));
    }
    if request
        .repeats
        .is_some_and(|repeats| repeats < i32::from(before.repeats))
    {
        let message = format!(
            "must be at least {}, the current number of repeats",
            before.repeats
        );
        wrong.push(FieldError::new("repeats", message));
    }
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let request = &ExtendRun {
        models: request
            .models
            .iter()
            .map(|model| inherit(model, &run))
            .collect(),
        ..request.clone()
    };
    let checked = check_run(&mut tx, user, run_id, &run, before, request).await?;
    if checked.shape == before {
        return Err(Error::invalid(
            "",
            "adds nothing to the run; give prompts, models, a larger limit or more repeats",
        ));
    }
    let (prompts, models) = (usize_of(before.prompts), usize_of(before.models));
    refuse_without_keys(&mut tx, &checked.model_ids[models..]).await?;
    insert_columns(
        &mut tx,
        run_id,
        (before.prompts, &checked.prompts[prompts..]),
        (before.models, &checked.model_ids[models..]),
    )
    .await?;
    sqlx::query!(
        "-- extend::extend_run
        update runs set item_count = $2, repeats = $3 where id = $1",
        run_id,
        checked.shape.items,
        checked.shape.repeats
    )
    .execute(&mut *tx)
    .await?;
    // The comparison changes: skipped evaluations are made, until the order is decided again.
    early::unsettle(&mut tx, run_id).await?;
    let missing = reopen(&mut tx, run_id, checked.shape).await?;
    count_run(&mut tx, user, run_id, missing).await?;
    check_quota(&mut tx, user, run_id, rules.user_daily_budget).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(
        run.id = %run_id,
        run.missing = run.planned - run.recorded,
        "run {run_id} was extended; {} evaluations are open",
        run.planned - run.recorded
    );
    Ok(run)
}

/// Adds the parameters of the run's model of the same name, if the request has only a name.
fn inherit(model: &ModelRequest, run: &Run) -> ModelRequest {
    let ModelRequest::Name(name) = model else {
        return model.clone();
    };
    let mut models = run.models.iter().zip(&run.parameters);
    let known = models.find(|(known, _)| *known == name);
    match known.and_then(|(_, parameters)| parameters.as_object()) {
        Some(parameters) => ModelRequest::WithParameters(ModelWithParameters {
            model: name.clone(),
            parameters: parameters.clone(),
        }),
        None => model.clone(),
    }
}

/// Loads the shape of a run.
pub(crate) async fn load_shape(tx: &mut PgConnection, run_id: Uuid) -> Result<RunShape> {
    let row = sqlx::query!(
        r#"-- extend::load_shape
        select item_count, repeats,
               (select count(*) from run_prompts where run_id = $1)::smallint as "prompts!",
               (select count(*) from run_models where run_id = $1)::smallint as "models!"
        from runs where id = $1"#,
        run_id
    )
    .fetch_one(tx)
    .await?;
    Ok(RunShape {
        items: row.item_count,
        repeats: row.repeats,
        prompts: row.prompts,
        models: row.models,
    })
}

/// Refuses a run that rescores another: there are no responses for an extension.
async fn refuse_rescored(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let source = sqlx::query_scalar!(
        "-- extend::refuse_rescored
        select answers_of from runs where id = $1",
        run_id
    )
    .fetch_one(tx)
    .await?;
    match source {
        None => Ok(()),
        Some(source) => Err(Error::Conflict(format!(
            "the run scores the answers of the run {source}; extend that one, and score it again"
        ))),
    }
}

fn usize_of(count: i16) -> usize {
    usize::try_from(count).unwrap_or(0)
}
