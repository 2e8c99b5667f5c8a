//! Shares of a limit on concurrent calls: how many calls each worker process may have in flight.
//!
//! A share is valid for some seconds and has to be renewed; the share of a dead worker expires. The sum of all valid
//! shares never exceeds the limit.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::LimitKey;
use crate::Result;

/// The current use and the demand of a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareWish {
    /// The process's id.
    pub worker_id: Uuid,
    /// Number of calls in flight.
    pub running: u32,
    /// Number of calls in flight or waiting.
    pub wanted: u32,
}

/// Another process with a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Other {
    wanted: u32,
    held: u32,
}

/// Renews the share of a process: the number of calls that it may have in flight for `valid` from now. A process
/// without demand returns its share. `None` if the limit no longer exists.
///
/// # Errors
/// The database does not respond; the share is unchanged.
pub async fn renew_share(
    conn: &mut PgConnection,
    key: &LimitKey,
    wish: ShareWish,
    valid: Duration,
) -> Result<Option<u32>> {
    let model = key.model.as_deref().unwrap_or_default();
    let mut tx = conn.begin().await?;
    let limit = sqlx::query_scalar!(
        "-- shares::renew_share (lock)
        select concurrent_calls from provider_limits where provider_id = $1 and model_name = $2 for update",
        key.provider_id,
        model
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(Some(limit)) = limit else {
        return Ok(None);
    };
    sqlx::query!(
        "-- shares::renew_share (expire)
        delete from call_shares
        where provider_id = $1 and model_name = $2 and (valid_until < clock_timestamp() or worker_id = $3)",
        key.provider_id,
        model,
        wish.worker_id
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query!(
        "-- shares::renew_share (others)
        select wanted, held from call_shares where provider_id = $1 and model_name = $2",
        key.provider_id,
        model
    )
    .fetch_all(&mut *tx)
    .await?;
    let others: Vec<Other> = rows
        .iter()
        .map(|row| Other {
            wanted: row.wanted.unsigned_abs(),
            held: row.held.unsigned_abs(),
        })
        .collect();
    let share = share(limit.unsigned_abs(), wish.wanted, &others);
    if wish.wanted > 0 || wish.running > 0 {
        // Calls in flight are counted until they end, even if the share has become smaller than their number.
        let held = share.max(wish.running);
        sqlx::query!(
            "-- shares::renew_share (write)
            insert into call_shares (provider_id, model_name, worker_id, wanted, held, valid_until)
            values ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6))",
            key.provider_id,
            model,
            wish.worker_id,
            i32::try_from(wish.wanted).unwrap_or(i32::MAX),
            i32::try_from(held).unwrap_or(i32::MAX),
            valid.as_secs_f64()
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Some(share))
}

/// Number of the `limit` calls that a process with a demand of `wanted` gets: what the others do not hold, but no more
/// than an equal part of the limit while another process waits for its own equal part.
fn share(limit: u32, wanted: u32, others: &[Other]) -> u32 {
    let held: u32 = others
        .iter()
        .fold(0, |sum, other| sum.saturating_add(other.held));
    let free = limit.saturating_sub(held);
    let wanting = others.iter().filter(|other| other.wanted > 0).count() + 1;
    let equal = (limit / u32::try_from(wanting).unwrap_or(u32::MAX)).max(1);
    let somebody_waits = others
        .iter()
        .any(|other| other.held < other.wanted.min(equal));
    let most = if somebody_waits { equal } else { limit };
    wanted.min(most).min(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_where_they_are_wanted() {
        let other = |wanted, held| Other { wanted, held };
        for (limit, wanted, others, expect) in [
            (100, 256, vec![], 100),
            (100, 30, vec![], 30),
            (100, 256, vec![other(256, 100)], 0),
            // The other process renews while someone waits, and then returns half of its share.
            (100, 256, vec![other(256, 0)], 50),
            (100, 256, vec![other(10, 10)], 90),
            (100, 256, vec![other(256, 50)], 50),
            (100, 256, vec![other(256, 25); 3], 25),
            (2, 256, vec![other(256, 1); 2], 0),
            (2, 256, vec![other(256, 0); 15], 1),
            (100, 0, vec![other(256, 20)], 0),
            (10, 256, vec![other(256, 20)], 0),
        ] {
            assert_eq!(
                share(limit, wanted, &others),
                expect,
                "{limit} {wanted} {others:?}"
            );
        }
    }

    #[test]
    fn the_sum_never_exceeds_the_limit_and_everybody_comes_to_an_equal_part() {
        for (limit, workers) in [(100, 16), (16, 16), (5, 3), (7, 1)] {
            let mut held = vec![Other { wanted: 0, held: 0 }; workers];
            for round in 0..5 * workers {
                let me = round % workers;
                let mut others = held.clone();
                others.remove(me);
                let got = share(limit, 256, &others);
                held[me] = Other {
                    wanted: 256,
                    held: got,
                };
                let sum: u32 = held.iter().map(|worker| worker.held).sum();
                assert!(sum <= limit, "{held:?}");
            }
            let equal = limit / u32::try_from(workers).unwrap();
            assert!(held.iter().all(|worker| worker.held >= equal), "{held:?}");
        }
    }
}
