//! Changes a run: its budget until it ends, its visibility at any time.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Run,
    bells::tell,
    budget::change_budget,
    control, find_run,
    quota::check_quota,
    rules::{RunRules, check_spender},
    visibility::set_visibility,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    bounds,
};

/// Changes of a run; absent fields remain unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateRun {
    /// The new budget in micro-dollars. Does not resume the run.
    #[serde(
        deserialize_with = "bounds::optional_microusd",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub budget_microusd: Option<i64>,
    /// Who may see the run; not wider than its benchmark and its prompts. Leaderboards follow, also for a run that has
    /// ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Changes the budget of a run that has one, its visibility, or both. A higher budget is checked like a new run.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's run, [`Error::Conflict`] for the budget of a run
/// without one, [`Error::Invalid`] for a budget below what is spent or reserved, or for a visibility wider than a part
/// of the run, [`Error::QuotaExceeded`], [`Error::EmailNotVerified`].
pub async fn update_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    change: &UpdateRun,
    rules: &RunRules,
) -> Result<Run> {
    if change.budget_microusd.is_none() && change.visibility.is_none() {
        return Err(Error::invalid(
            "",
            "changes nothing; give `budget_microusd` or `visibility`",
        ));
    }
    let mut tx = conn.begin().await?;
    control::lock_run(&mut tx, user, run_id).await?;
    let before = find_run(&mut tx, Some(user), run_id).await?.budget_microusd;
    if let Some(budget) = change.budget_microusd {
        change_budget(&mut tx, user, run_id, budget).await?;
        // Spending less is always allowed.
        if Some(budget) > before {
            check_spender(&mut tx, user, rules).await?;
        }
        if Some(budget) >= before {
            check_quota(&mut tx, user, run_id, rules.user_daily_budget).await?;
        }
    }
    if let Some(visibility) = change.visibility {
        set_visibility(&mut tx, user, run_id, visibility).await?;
    }
    tell(&mut tx, run_id).await?;
    let run = find_run(&mut tx, Some(user), run_id).await?;
    tx.commit().await?;
    Ok(run)
}
