//! Imports: a large benchmark is uploaded in parts, and the items of each part are stored in their final place.
//!
//! An import is a version without a number, which only its owner can see. Publishing gives it the number.
//! An import without progress expires, and housekeeping erases it like a deleted version.

mod begin;
mod part;
mod publish;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, can_change},
    scorers::ScorerSpec,
};

pub use begin::{Begun, CheckedImport, NewImport, begin_import};
pub use part::{CheckedPart, add_part};
pub use publish::{PublishImport, publish_import};

/// Number of days without a new part after which an import expires.
const LIFETIME_DAYS: i32 = 7;

/// A benchmark version that is being uploaded in parts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Import {
    /// The import's id, which becomes the id of the version.
    pub id: Uuid,
    /// The slug of the benchmark.
    pub benchmark: String,
    /// Number of parts received. The next part has the number after it.
    pub parts: i32,
    /// Number of items received.
    pub item_count: i32,
    /// Size of scorers and items received, in bytes of JSON. They count against the quota of stored bytes.
    pub size_bytes: i64,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it expires if no further part arrives.
    pub expires_at: DateTime<Utc>,
}

/// An import with what is needed to validate its parts.
#[derive(Debug, Clone)]
pub struct OpenImport {
    /// The import.
    pub import: Import,
    /// The scorers of every item without scorers of its own.
    pub scorers: Vec<ScorerSpec>,
}

/// The unpublished imports of a user, newest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_imports(conn: &mut PgConnection, user: &CurrentUser) -> Result<Vec<Import>> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- imports::list_imports
        select versions.id, benchmarks.slug, benchmarks.owner_id, item_count, size_bytes, versions.created_at, changed_at,
               scorers as "scorers: Json<Vec<ScorerSpec>>",
               (select count(*) from import_parts where benchmark_version_id = versions.id)::integer as "parts!"
        from imports
        join benchmark_versions versions on versions.id = benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        where owner_id = $1 and withdrawn_at is null and deleted_at is null
        order by versions.id desc"#,
        user.id
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.open().import).collect())
}

/// An import of the user.
///
/// # Errors
/// [`Error::NotFound`], also for another user's import, and for one that is published or abandoned.
pub async fn find_import(
    conn: &mut PgConnection,
    user: &CurrentUser,
    import_id: Uuid,
) -> Result<OpenImport> {
    let row = sqlx::query_as!(
        Row,
        r#"-- imports::find_import
        select versions.id, benchmarks.slug, benchmarks.owner_id, item_count, size_bytes, versions.created_at, changed_at,
               scorers as "scorers: Json<Vec<ScorerSpec>>",
               (select count(*) from import_parts where benchmark_version_id = versions.id)::integer as "parts!"
        from imports
        join benchmark_versions versions on versions.id = benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        where versions.id = $1 and withdrawn_at is null and deleted_at is null"#,
        import_id
    )
    .fetch_optional(conn)
    .await?;
    row.filter(|row| can_change(user, row.owner_id))
        .map(Row::open)
        .ok_or_else(|| not_found(import_id))
}

/// Abandons an import. Housekeeping erases what was received.
///
/// # Errors
/// Those of [`find_import`].
pub async fn abandon_import(
    conn: &mut PgConnection,
    user: &CurrentUser,
    import_id: Uuid,
) -> Result<()> {
    find_import(&mut *conn, user, import_id).await?;
    let abandoned = sqlx::query!(
        "-- imports::abandon_import
        update benchmark_versions set withdrawn_at = now(), content_hash = null
        where id = $1 and number is null and withdrawn_at is null",
        import_id
    )
    .execute(conn)
    .await?;
    if abandoned.rows_affected() == 0 {
        return Err(not_found(import_id));
    }
    Ok(())
}

/// Abandons imports without progress.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn expire_imports(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "-- imports::expire_imports
        update benchmark_versions set withdrawn_at = now(), content_hash = null
        from imports
        where id = benchmark_version_id and number is null and withdrawn_at is null
          and changed_at < now() - make_interval(days => $1)",
        LIFETIME_DAYS
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The row of an import.
struct Row {
    id: Uuid,
    slug: String,
    owner_id: i64,
    item_count: i32,
    size_bytes: i64,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
    scorers: Json<Vec<ScorerSpec>>,
    parts: i32,
}

impl Row {
    fn open(self) -> OpenImport {
        OpenImport {
            import: Import {
                id: self.id,
                benchmark: self.slug,
                parts: self.parts,
                item_count: self.item_count,
                size_bytes: self.size_bytes,
                created_at: self.created_at,
                expires_at: self.changed_at + Duration::days(LIFETIME_DAYS.into()),
            },
            scorers: self.scorers.0,
        }
    }
}

fn not_found(import_id: Uuid) -> Error {
    Error::NotFound(format!("the import `{import_id}`"))
}

/// Locks an import of the user, so that its parts are added one after the other and none is added while it is
/// published.
///
/// # Errors
/// Those of [`find_import`].
async fn lock_import(
    tx: &mut PgConnection,
    user: &CurrentUser,
    import_id: Uuid,
) -> Result<OpenImport> {
    let locked = sqlx::query_scalar!(
        "-- imports::lock_import
        select id from benchmark_versions where id = $1 and number is null for update",
        import_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    locked.ok_or_else(|| not_found(import_id))?;
    find_import(tx, user, import_id).await
}
