//! Fair share: which shard a free worker claims, and which run returns one.
//!
//! The shared resource are claimed shards. The next shard goes to the owner with the fewest claimed shards relative to
//! the owner's weight; the same rule applies to the runs of one owner. A run's weight is 2 to the power of its
//! priority, and an owner's weight that of their highest priority, so a low priority gets a small share but never none
//! (weighted max-min fairness).

use std::{collections::HashMap, time::Duration};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{ShardLease, ShardRange, bells::tell};
use crate::Result;

/// Claims the first waiting shard of the run with the smallest share. Returns `None` if no shard waits, or other
/// workers are claiming all of them. Skips runs that are paused or wait for budget. The first claim of a run starts it.
///
/// # Errors
/// The database does not respond.
pub async fn claim_shard(
    conn: &mut PgConnection,
    worker: &str,
    lease: Duration,
) -> Result<Option<ShardLease>> {
    let claimed = sqlx::query!(
        r#"-- fair_share::claim_shard
        with working as (
            select run_id, owner_id, count(*) as shards
            from shards join runs on runs.id = run_id
            where shards.state = 'running'
            group by run_id, owner_id
        ), open as (
            select id, priority, owner_id, max(priority) over (partition by owner_id) as owner_priority
            from runs
            where state in ('queued', 'running') and not awaits_money
        ), waiting as (
            select id
            from open
            where exists (select 1 from shards
                          where run_id = open.id and state = 'available' and available_at <= now())
            order by coalesce((select sum(shards) from working where working.owner_id = open.owner_id), 0) / power(2, owner_priority),
                     coalesce((select shards from working where run_id = open.id), 0) / power(2, priority),
                     id
        ), chosen as (
            select shard.id
            from waiting
            cross join lateral (select id from shards
                                where run_id = waiting.id and state = 'available' and available_at <= now()
                                order by first_ordinal
                                limit 1
                                for update skip locked) as shard
            limit 1
        ), claimed as (
            update shards
            set state = 'running', fence = fence + 1, lease_until = now() + make_interval(secs => $2), worker = $1
            from chosen
            where shards.id = chosen.id
            returning shards.id, run_id, fence, first_ordinal, size
        ), begun as (
            update runs
            set state = 'running', started_at = coalesce(started_at, now())
            from claimed
            where runs.id = run_id and state = 'queued'
            returning runs.id
        )
        select claimed.id as "id!", run_id as "run_id!", fence as "fence!", first_ordinal as "first_ordinal!", size as "size!",
               planned, settled, exists (select 1 from begun) as "has_begun!"
        from claimed join runs on runs.id = run_id"#,
        worker,
        lease.as_secs_f64()
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(row) = claimed.as_ref().filter(|row| row.has_begun) {
        tell(conn, row.run_id).await?;
    }
    Ok(claimed.map(|row| ShardLease {
        shard_id: row.id,
        run_id: row.run_id,
        fence: row.fence,
        range: ShardRange {
            first_ordinal: row.first_ordinal,
            size: row.size,
        },
        planned: row.planned,
        settled: row.settled,
    }))
}

/// Returns which of these runs, all held by one fully occupied worker, should return a shard because another run has a
/// smaller share; `None` if shares are fair or no shard waits. `leaving` lists the runs of shards that this worker is
/// already returning, once per shard; these are not counted.
///
/// # Errors
/// The database does not respond.
pub async fn run_to_give_way(
    conn: &mut PgConnection,
    held: &[Uuid],
    leaving: &[Uuid],
) -> Result<Option<Uuid>> {
    let mut open = sqlx::query_as!(
        OpenRun,
        r#"-- fair_share::run_to_give_way
        with working as (
            select run_id, count(*) as shards from shards where state = 'running' group by run_id
        )
        select id, owner_id, priority, coalesce(shards, 0) as "working!",
               not awaits_money
               and exists (select 1 from shards
                           where run_id = runs.id and state = 'available' and available_at <= now()) as "waits!"
        from runs left join working on run_id = id
        where state in ('queued', 'running')"#
    )
    .fetch_all(conn)
    .await?;
    for left in leaving {
        if let Some(run) = open.iter_mut().find(|run| run.id == *left) {
            run.working = (run.working - 1).max(0);
        }
    }
    Ok(gives_way(&open, held))
}

/// A run that has not ended.
#[derive(Debug, Clone, Copy)]
struct OpenRun {
    id: Uuid,
    owner_id: i64,
    priority: i16,
    /// Number of claimed shards.
    working: i64,
    /// Whether a shard can be claimed.
    waits: bool,
}

/// A run gives way if, after moving one shard to the run with the smallest share, its own share is not below that
/// run's: so shards do not move back and forth.
fn gives_way(open: &[OpenRun], held: &[Uuid]) -> Option<Uuid> {
    let mut owners: HashMap<i64, (i64, i16)> = HashMap::new();
    for run in open {
        let (working, priority) = owners.entry(run.owner_id).or_insert((0, run.priority));
        *working += run.working;
        *priority = run.priority.max(*priority);
    }
    // The shares of the owner and of the run, with `more` additional shards.
    let shares = |run: &OpenRun, more: i64| {
        let (working, priority) = owners[&run.owner_id];
        (
            share(working + more, priority),
            share(run.working + more, run.priority),
        )
    };
    let order = |one: (f64, f64), other: (f64, f64)| {
        one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1))
    };
    let owed = open
        .iter()
        .filter(|run| run.waits)
        .min_by(|one, other| order(shares(one, 0), shares(other, 0)).then(one.id.cmp(&other.id)))?;
    let gives = |run: &&OpenRun| {
        let (without, with) = (shares(run, -1), shares(owed, 1));
        if run.owner_id == owed.owner_id {
            without.1 >= with.1
        } else {
            without.0 >= with.0
        }
    };
    open.iter()
        .filter(|run| run.working > 0 && held.contains(&run.id))
        .filter(gives)
        .max_by(|one, other| order(shares(one, 0), shares(other, 0)))
        .map(|run| run.id)
}

#[expect(clippy::cast_precision_loss, reason = "shards are few")]
fn share(working: i64, priority: i16) -> f64 {
    working as f64 / f64::from(priority).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128, owner_id: i64, priority: i16, working: i64, waits: bool) -> OpenRun {
        OpenRun {
            id: Uuid::from_u128(number),
            owner_id,
            priority,
            working,
            waits,
        }
    }

    #[test]
    fn the_larger_share_gives_way_to_the_smaller() {
        let check = |open: &[OpenRun], expect: Option<u128>| {
            let held: Vec<Uuid> = open.iter().map(|run| run.id).collect();
            assert_eq!(
                gives_way(open, &held),
                expect.map(Uuid::from_u128),
                "{open:?}"
            );
        };
        check(&[], None);
        check(&[run(1, 1, 0, 16, true)], None);
        check(&[run(1, 1, 0, 16, true), run(2, 2, 0, 0, false)], None);
        check(&[run(1, 1, 0, 16, true), run(2, 2, 0, 0, true)], Some(1));
        check(&[run(1, 1, 0, 9, true), run(2, 2, 0, 7, true)], Some(1));
        check(&[run(1, 1, 0, 8, true), run(2, 2, 0, 7, true)], None);
        check(&[run(1, 1, 0, 1, true), run(2, 2, 0, 0, true)], None);
        // Owners are equal, however many runs they have.
        check(
            &[
                run(1, 1, 0, 4, true),
                run(2, 1, 0, 4, true),
                run(3, 2, 0, 8, true),
            ],
            None,
        );
        check(
            &[
                run(1, 1, 0, 6, true),
                run(2, 1, 0, 6, true),
                run(3, 2, 0, 4, true),
            ],
            Some(2),
        );
        // The same among runs of one owner.
        check(&[run(1, 1, 0, 16, true), run(2, 1, 0, 0, true)], Some(1));
        // Twice the share for each step of priority.
        check(&[run(1, 1, 0, 8, true), run(2, 2, 1, 8, true)], Some(1));
        check(&[run(1, 1, 0, 5, true), run(2, 2, 1, 11, true)], None);
        check(&[run(1, 1, 0, 0, true), run(2, 2, 5, 16, true)], None);
        check(&[run(1, 1, 0, 0, true), run(2, 2, 3, 16, true)], Some(2));
        // Only runs that this worker holds can give way.
        let open = [run(1, 1, 0, 16, true), run(2, 2, 0, 0, true)];
        assert_eq!(gives_way(&open, &[Uuid::from_u128(2)]), None);
    }
}
