//! What the operator asks of whoever starts a run, at the door and by a schedule alike.

use clap::Args;
use sqlx::{Connection as _, PgConnection};

use super::{Run, SubmitRun, check::check, check_quota, submit_run};
use crate::{
    Error, Result,
    auth::{self, CurrentUser},
    models::parse_dollars,
};

/// What the operator asks of whoever starts a run; the same for every process of a bank.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runs")]
pub struct RunRules {
    /// Only users who have verified their email address may start runs; administrators always may
    #[arg(long, env = "OPB_REQUIRE_VERIFIED_EMAIL")]
    pub require_verified_email: bool,
    /// Maximum spend in dollars of the runs of a user in 24 hours, such as 1.50; administrators have no bound, and a user's
    /// own quota goes before it
    #[arg(long, env = "OPB_USER_DAILY_BUDGET", value_name = "DOLLARS", default_value = "0", value_parser = parse_dollars)]
    pub user_daily_budget: i64,
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
