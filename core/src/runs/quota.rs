//! Quotas: what a user may spend of the operator's money in 24 hours.
//!
//! Runs of a user with a quota need a budget if a model of theirs costs money, and a budget is never overspent. What counts against the
//! quota is the whole budget of every run that has not ended, and what the runs that ended in the last 24 hours spent.
//! So the sum bounds whatever was spent in these hours, and it is enough to check it when a run is submitted or opened
//! again, and when its budget is raised. Models that cost nothing count nothing: what is simulated, what has a price of zero,
//! and what has no price at a provider that is free.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, UserRole},
    models::dollars,
};

/// Refuses the caller's transaction when it makes a run spend more than its quota lets the user spend.
/// `default_microusd` is the quota of users that are no administrators and have none of their own.
///
/// # Errors
/// [`Error::Invalid`] when the run needs a budget, [`Error::QuotaExceeded`] when the quota is used up.
pub(super) async fn check_quota(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    default_microusd: i64,
) -> Result<()> {
    // The lock makes the user's transactions wait for each other: two runs at once cannot both have the rest.
    let own = sqlx::query!(
        r#"-- quota::check_quota
        select daily_budget_microusd, role as "role: UserRole" from users where id = $1 for no key update"#,
        user.id
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::UserGone)?;
    let quota = match (own.daily_budget_microusd, own.role) {
        (Some(quota), _) => quota,
        (None, UserRole::Admin) => return Ok(()),
        (None, _) => default_microusd,
    };
    let run = sqlx::query!(
        r#"-- quota::check_quota
        select budget_microusd, owner_id,
               run_costs(id) as "costs!"
        from runs where id = $1"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    if !run.costs {
        return Ok(());
    }
    if run.budget_microusd.is_none() {
        let message = format!(
            "is needed for a run on models that cost money: you may spend {} in 24 hours",
            dollars(quota)
        );
        return Err(Error::invalid("budget_microusd", message));
    }
    let committed = sqlx::query_scalar!(
        r#"-- quota::check_quota
        select least(coalesce(sum(case when finished_at is null
                                       then coalesce(budget_microusd, counts.spend_microusd + unaccounted_microusd)
                                       else counts.spend_microusd + unaccounted_microusd end), 0), 9e18)::bigint as "committed!"
        from runs join run_counts as counts on counts.run_id = runs.id
        where owner_id = $1 and (finished_at is null or finished_at > now() - interval '24 hours')
          and run_costs(id)"#,
        run.owner_id
    )
    .fetch_one(tx)
    .await?;
    if committed > quota {
        return Err(Error::QuotaExceeded(format!(
            "you may spend {} in 24 hours, and with this run your runs could spend {}; lower its budget, wait, or ask an administrator for more",
            dollars(quota),
            dollars(committed)
        )));
    }
    Ok(())
}

/// Sets what a user may spend in 24 hours; nothing is the default of the user's role.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] when there is no such user, [`Error::Invalid`] for a negative number.
pub async fn set_quota(
    conn: &mut PgConnection,
    user: &CurrentUser,
    username: &str,
    daily_budget_microusd: Option<i64>,
) -> Result<()> {
    user.require_admin("only administrators can set quotas")?;
    if daily_budget_microusd.is_some_and(|budget| budget < 0) {
        return Err(Error::invalid(
            "daily_budget_microusd",
            "must be at least 0",
        ));
    }
    let set = sqlx::query!(
        "-- quota::set_quota
        update users set daily_budget_microusd = $2 where lower(username) = lower($1)",
        username,
        daily_budget_microusd
    )
    .execute(conn)
    .await?;
    if set.rows_affected() == 0 {
        return Err(Error::NotFound(format!("the user `{username}`")));
    }
    Ok(())
}
