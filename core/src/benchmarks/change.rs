//! Changes of a benchmark by its owner that do not publish a version.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;

use super::{Benchmark, check::check_texts, find_benchmark, publish::explain};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility, can_change},
};

/// Changes of a benchmark's metadata; absent fields stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkChange {
    /// 1 to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Changes the metadata and the visibility of a benchmark. Its versions stay as they are.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's benchmark, [`Error::Invalid`] with every invalid field,
/// [`Error::Conflict`] if the benchmark becomes visible to others and its slug is taken among the benchmarks visible to
/// others.
pub async fn change_benchmark(
    conn: &mut PgConnection,
    user: &CurrentUser,
    benchmark: &str,
    change: &BenchmarkChange,
) -> Result<Benchmark> {
    let mut wrong = Vec::new();
    check_texts(
        change.title.as_deref(),
        change.description.as_deref(),
        &mut wrong,
    );
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let mut tx = conn.begin().await?;
    let found = find_benchmark(&mut tx, Some(user), benchmark).await?;
    let owner_id = sqlx::query_scalar!(
        "-- change::change_benchmark (owner)
        select owner_id from benchmarks where id = $1 for no key update",
        found.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if !can_change(user, owner_id) {
        return Err(Error::Forbidden(
            "only the owner of a benchmark can change it",
        ));
    }
    sqlx::query!(
        "-- change::change_benchmark
        update benchmarks
        set title = coalesce($2, title), description = coalesce($3, description), visibility = coalesce($4, visibility)
        where id = $1",
        found.id,
        change.title,
        change.description,
        change.visibility as Option<Visibility>
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| explain(error.into(), &found.slug))?;
    let changed = find_benchmark(&mut tx, Some(user), &found.id.to_string()).await?;
    tx.commit().await?;
    Ok(changed)
}
