//! The operator's rules for spending, which apply to the API and to schedules alike.
//!
//! Every function that makes a run spend more (submitting, reopening, raising a budget) takes these rules and checks
//! them itself, so that no caller can forget to.

use clap::Args;
use sqlx::{Connection as _, PgConnection};

use super::{SubmitRun, check::check};
use crate::{
    Error, Result,
    auth::{self, CurrentUser, Visibility},
    models::parse_dollars,
};

/// The operator's rules for users and defaults for requests; the same in every process of an installation.
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
    /// The default quotas other than money, as [`crate::quotas::set_default_quotas`] takes them.
    #[must_use]
    pub fn quotas(&self) -> (i64, i64, i64) {
        (
            self.user_free_evaluations,
            self.user_open_runs,
            self.user_stored_bytes,
        )
    }
}

/// Returns an error for a user who may not spend.
///
/// # Errors
/// Those of [`auth::require_verified_email`].
pub(crate) async fn check_spender(
    conn: &mut PgConnection,
    user: &CurrentUser,
    rules: &RunRules,
) -> Result<()> {
    if rules.require_verified_email {
        auth::require_verified_email(conn, user).await?;
    }
    Ok(())
}

/// Checks whether a request would be accepted now, without saving anything. Does not check its cost.
///
/// # Errors
/// [`Error::Invalid`] with the path of each invalid field.
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
