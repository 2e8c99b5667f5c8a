//! What the operator asks of whoever spends: at the door and by a schedule alike.
//!
//! Whatever makes a run spend more (submitting, opening it again, a higher budget) goes through here, so that no door can
//! forget to ask.

use clap::Args;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    ExtendRun, Run, SubmitRun, UpdateRun, check::check, check_quota, control, extend_run, find_run,
    resume_run, retry_run, submit_run_by_default, update_run,
};
use crate::{
    Error, Result,
    auth::{self, CurrentUser, Visibility},
    models::parse_dollars,
};

/// What the operator asks of users, and what is done when they say nothing; the same for every process of a bank.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runs")]
pub struct RunRules {
    /// Users must verify their email address before they may spend: submit, extend, retry or resume runs, raise budgets,
    /// make schedules; administrators always may
    #[arg(long, env = "OPB_REQUIRE_VERIFIED_EMAIL")]
    pub require_verified_email: bool,
    /// Maximum spend in dollars of a user's runs in 24 hours, such as 1.50; administrators have no limit, and a user's
    /// own quota takes precedence
    #[arg(long, env = "OPB_USER_DAILY_BUDGET", value_name = "DOLLARS", default_value = "0", value_parser = parse_dollars)]
    pub user_daily_budget: i64,
    /// Maximum number of evaluations on free models of a user in 24 hours; administrators have no limit, and a user's
    /// own quota takes precedence
    #[arg(long, env = "OPB_USER_FREE_EVALUATIONS", value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_free_evaluations: i64,
    /// Maximum number of open runs of a user; administrators have no limit, and a user's own quota takes precedence
    #[arg(long, env = "OPB_USER_OPEN_RUNS", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_open_runs: i64,
    /// Maximum size in bytes of a user's benchmarks, prompts and outputs; administrators have no limit, and a user's
    /// own quota takes precedence
    #[arg(long, env = "OPB_USER_STORED_BYTES", value_name = "BYTES", default_value_t = 1_073_741_824, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_stored_bytes: i64,
    /// Who may see prompts, benchmarks, collections and runs whose request does not say it
    #[arg(
        long,
        env = "OPB_DEFAULT_VISIBILITY",
        value_name = "WHO",
        value_enum,
        default_value = "private"
    )]
    pub default_visibility: Visibility,
}

impl RunRules {
    /// What the settings say of quotas without money, as [`crate::quotas::set_default_quotas`] takes it.
    #[must_use]
    pub fn quotas(&self) -> (i64, i64, i64) {
        (
            self.user_free_evaluations,
            self.user_open_runs,
            self.user_stored_bytes,
        )
    }
}

/// Submits a run, unless a rule forbids it. After an error the caller rolls back.
///
/// # Errors
/// Those of [`submit_run_by_default`], [`check_spender`] and [`check_quota`].
pub async fn submit_under_rules(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
    idempotency_key: Option<&str>,
    rules: &RunRules,
) -> Result<Run> {
    check_spender(tx, owner, rules).await?;
    let default = rules.default_visibility;
    let run = submit_run_by_default(tx, owner, request, idempotency_key, default).await?;
    check_quota(tx, owner, run.id, rules.user_daily_budget).await?;
    Ok(run)
}

/// Extends a run, unless a rule forbids it. After an error the caller rolls back.
///
/// # Errors
/// Those of [`extend_run`], [`check_spender`] and [`check_quota`].
pub async fn extend_under_rules(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    request: &ExtendRun,
    rules: &RunRules,
) -> Result<Run> {
    check_spender(tx, user, rules).await?;
    let run = extend_run(tx, user, run_id, request).await?;
    check_quota(tx, user, run.id, rules.user_daily_budget).await?;
    Ok(run)
}

/// Retries a run, unless a rule forbids it. After an error the caller rolls back.
///
/// # Errors
/// Those of [`retry_run`], [`check_spender`] and [`check_quota`].
pub async fn retry_under_rules(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    rules: &RunRules,
) -> Result<Run> {
    check_spender(tx, user, rules).await?;
    let run = retry_run(tx, user, run_id).await?;
    check_quota(tx, user, run.id, rules.user_daily_budget).await?;
    Ok(run)
}

/// Resumes a run, unless a rule forbids it. After an error the caller rolls back.
///
/// # Errors
/// Those of [`resume_run`], [`check_spender`] and [`check_quota`].
pub async fn resume_under_rules(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    rules: &RunRules,
) -> Result<Run> {
    check_spender(tx, user, rules).await?;
    let run = resume_run(tx, user, run_id).await?;
    check_quota(tx, user, run.id, rules.user_daily_budget).await?;
    Ok(run)
}

/// Changes a run, unless it may spend more then and a rule forbids that. After an error the caller rolls back.
///
/// # Errors
/// Those of [`update_run`], [`check_spender`] and [`check_quota`].
pub async fn update_under_rules(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    change: &UpdateRun,
    rules: &RunRules,
) -> Result<Run> {
    control::lock_run(tx, user, run_id).await?;
    let before = find_run(tx, Some(user), run_id).await?.budget_microusd;
    let run = update_run(tx, user, run_id, change).await?;
    // To spend less needs no leave.
    if run.budget_microusd > before {
        check_spender(tx, user, rules).await?;
    }
    if change.budget_microusd.is_some() {
        check_quota(tx, user, run.id, rules.user_daily_budget).await?;
    }
    Ok(run)
}

/// Refuses a user who may not spend.
///
/// # Errors
/// Those of [`auth::require_verified_email`].
pub async fn check_spender(
    conn: &mut PgConnection,
    user: &CurrentUser,
    rules: &RunRules,
) -> Result<()> {
    if rules.require_verified_email {
        auth::require_verified_email(conn, user).await?;
    }
    Ok(())
}

/// Says whether a request would be accepted now; nothing stays of it. What it may cost is not looked at.
///
/// # Errors
/// [`Error::Invalid`] with the path of each wrong field.
pub async fn check_request(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
) -> Result<()> {
    let mut trial = conn.begin().await?;
    let checked = check(&mut trial, owner, request).await;
    trial.rollback().await?;
    match checked {
        Ok(_) => Ok(()),
        Err(Error::NotFound(what)) => Err(Error::invalid("", format!("{what} was not found"))),
        Err(error) => Err(error),
    }
}
