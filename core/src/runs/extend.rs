//! Extending: an ended run grows by prompts, models, items or repeats, and what is recorded is not paid again.
//!
//! Positions of what exists never change: new columns come after the old ones.

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

/// What a run grows by.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtendRun {
    /// More prompts, named as in a request for a run.
    pub prompts: Vec<String>,
    /// More models, named as in a request for a run. A mere name takes the parameters of the run's model of that name, if it
    /// has one.
    pub models: Vec<ModelRequest>,
    /// The first so many items of the benchmark, not fewer than before.
    #[schema(minimum = 1)]
    pub limit: Option<i32>,
    /// How often each item is asked, not less often than before.
    #[schema(minimum = 1, maximum = 1000)]
    pub repeats: Option<i32>,
}

/// Extends a run that has ended, and queues it for what is new, unless a rule forbids it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for somebody else's run, [`Error::Conflict`] when the run has not ended or
/// was cancelled, [`Error::Forbidden`] for one with a part that the user may no longer see, [`Error::Invalid`] with the path
/// of each wrong field, [`Error::QuotaExceeded`], [`Error::EmailNotVerified`].
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
            "must be at least {}: the run has as many items",
            before.items
        );
        wrong.push(FieldError::new("limit", message));
    }
    if request
        .repeats
        .is_some_and(|repeats| repeats < i32::from(before.repeats))
    {
        let message = format!("must be at least {}, as before", before.repeats);
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
            "names nothing that the run does not have; give prompts, models, a larger limit or more repeats",
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
    // It is another question now: what was left out is asked, until the order is decided anew.
    early::unsettle(&mut tx, run_id).await?;
    let missing = reopen(&mut tx, run_id, checked.shape).await?;
    count_run(&mut tx, user, run_id, missing).await?;
    check_quota(&mut tx, user, run_id, rules.user_daily_budget).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, run.missing = run.planned - run.recorded, "run extended");
    Ok(run)
}

/// The model with the parameters of the run's model of the same name, if it is asked for by its name alone.
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

/// The measures that a run has.
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

/// Refuses a run that scores the answers of another: nobody answers what it would grow by.
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
