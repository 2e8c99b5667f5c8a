//! What the operator asks of whoever starts a run, at the door and by a schedule alike.

use clap::Args;
use sqlx::{Connection as _, PgConnection};

use super::{Run, SubmitRun, check::check, check_quota, submit_run};
use crate::{
    Error, Result,
    auth::{self, CurrentUser},
};

/// What the operator asks of whoever starts a run; the same for every process of a bank.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runs")]
pub struct RunRules {
    /// Only users who have verified their email address may start runs; administrators always may
    #[arg(long, env = "OPB_REQUIRE_VERIFIED_EMAIL")]
    pub require_verified_email: bool,
    /// Micro-dollars that the runs of a user who is no administrator may cost in 24 hours, unless the user has a quota
    #[arg(long, env = "OPB_USER_DAILY_BUDGET", value_name = "MICRO-DOLLARS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_daily_budget: i64,
    /// Evaluations on models that cost nothing that a user who is no administrator may ask for in 24 hours, unless the user has a quota
    #[arg(long, env = "OPB_USER_FREE_EVALUATIONS", value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_free_evaluations: i64,
    /// Runs that a user who is no administrator may have open at once, unless the user has a quota
    #[arg(long, env = "OPB_USER_OPEN_RUNS", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_open_runs: i64,
    /// Bytes of benchmarks, prompts and outputs that a user who is no administrator may store, unless the user has a quota
    #[arg(long, env = "OPB_USER_STORED_BYTES", value_name = "BYTES", default_value_t = 1_073_741_824, value_parser = clap::value_parser!(i64).range(0..))]
    pub user_stored_bytes: i64,
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
/// Those of [`submit_run`], [`auth::require_verified_email`] and [`check_quota`].
pub async fn submit_under_rules(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
    idempotency_key: Option<&str>,
    rules: &RunRules,
) -> Result<Run> {
    if rules.require_verified_email {
        auth::require_verified_email(tx, owner).await?;
    }
    let run = submit_run(tx, owner, request, idempotency_key).await?;
    check_quota(tx, owner, run.id, rules.user_daily_budget).await?;
    Ok(run)
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
