//! What spends, as if the operator asked nothing of those who spend: for tests of other things.

use opb_core::{
    Result,
    auth::CurrentUser,
    runs::{self, ExtendRun, Run, RunRules, SubmitRun, UpdateRun},
    schedules::{self, NewSchedule, Schedule},
};
use sqlx::PgConnection;
use uuid::Uuid;

fn none() -> RunRules {
    RunRules {
        user_daily_budget: i64::MAX,
        ..RunRules::default()
    }
}

/// [`runs::submit_run`].
///
/// # Errors
/// Those of the function.
pub async fn submit_run(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
    idempotency_key: Option<&str>,
) -> Result<Run> {
    runs::submit_run(conn, owner, request, idempotency_key, &none()).await
}

/// [`runs::extend_run`].
///
/// # Errors
/// Those of the function.
pub async fn extend_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    request: &ExtendRun,
) -> Result<Run> {
    runs::extend_run(conn, user, run_id, request, &none()).await
}

/// [`runs::retry_run`].
///
/// # Errors
/// Those of the function.
pub async fn retry_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    runs::retry_run(conn, user, run_id, &none()).await
}

/// [`runs::resume_run`].
///
/// # Errors
/// Those of the function.
pub async fn resume_run(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    runs::resume_run(conn, user, run_id, &none()).await
}

/// [`runs::update_run`].
///
/// # Errors
/// Those of the function.
pub async fn update_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    change: &UpdateRun,
) -> Result<Run> {
    runs::update_run(conn, user, run_id, change, &none()).await
}

/// [`schedules::create_schedule`].
///
/// # Errors
/// Those of the function.
pub async fn create_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: &NewSchedule,
) -> Result<Schedule> {
    schedules::create_schedule(conn, user, new, &none()).await
}
