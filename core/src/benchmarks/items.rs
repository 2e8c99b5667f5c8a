//! The version of the rules by which the stored items of a benchmark were validated.
//!
//! Items are validated when their version is published, so that an error that every evaluation would end in is found
//! before a call is paid for. They are never validated again: that may take long, and submitting a run holds a
//! connection.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// The current version of the rules. It increases with each new rule; versions validated by older rules then take no
/// runs until their content is published again.
pub(super) const ITEM_RULES: i16 = 2;

/// Why a version takes no runs, if its items were validated by older rules.
///
/// # Errors
/// The database does not respond.
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
    let message = "was published before the current checks of items; its owner has to publish the same \
                   content again, which checks it and keeps the version";
    Ok((item_rules < ITEM_RULES).then_some(message))
}
