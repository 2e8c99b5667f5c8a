//! Which rules the stored items of a version were checked by.
//!
//! Items are checked when their version is published, so that a fault that every evaluation would end with is found before
//! a call is paid, and never again: that may take long, and whoever submits a run holds a connection.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// The rules that items are checked by when a version is published. Goes up with each new rule: older versions take no runs
/// then until their content has been published again.
pub(super) const ITEM_RULES: i16 = 1;

/// Says why a version takes no runs if its items were checked by older rules.
///
/// # Errors
/// The database does not answer.
pub async fn outdated_check(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
) -> Result<Option<&'static str>> {
    let item_rules = sqlx::query_scalar!(
        "-- items::outdated_check
        select item_rules from benchmark_versions where id = $1",
        benchmark_version_id
    )
    .fetch_one(conn)
    .await?;
    let message = "was published before this bank knew all faults of items; its owner has to publish the same \
                   content again, which checks it and keeps the version";
    Ok((item_rules < ITEM_RULES).then_some(message))
}
