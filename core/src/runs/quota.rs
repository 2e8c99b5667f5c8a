//! Quotas: the maximum spend of a user in 24 hours.
//!
//! Users with a quota need a budget for runs on models that cost money, and a budget is never exceeded. Each run that
//! has not ended counts with its whole budget, each run that ended in the last 24 hours with its spend. So the sum is
//! an upper bound of the spend in these hours, and it suffices to check it when a run is submitted or reopened, and
//! when its budget is raised. Free models do not count: simulated ones, those with a price of zero, and those without a
//! price at a free provider.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, UserRole},
    models::dollars,
};

/// Returns an error if the caller's transaction makes a run exceed the user's quota. `default_microusd` is the quota of
/// users who are not administrators and have no quota of their own.
///
/// # Errors
/// [`Error::Invalid`] if the run needs a budget, [`Error::QuotaExceeded`] if the quota is exceeded.
pub(super) async fn check_quota(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    default_microusd: i64,
) -> Result<()> {
    // The lock serialises the user's transactions: two concurrent runs cannot both use the remaining quota.
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

/// Sets the maximum spend of a user in 24 hours; `None` restores the default of the user's role.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] if there is no such user,
/// [`Error::Invalid`] for a negative number.
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
