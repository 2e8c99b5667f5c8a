//! Starts or resumes an import.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{Connection as _, PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Import, find_import};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    benchmarks::{
        BenchmarkVersion, Definition, ITEM_RULES, Measure,
        check::check_definition,
        publish::{find_or_create, find_published, set_header},
        resolve_benchmark,
    },
    quotas::check_stored,
    scorers::ScorerSpec,
};

/// Maximum number of open imports per user.
const MOST_OPEN: i64 = 50;

/// A benchmark without its items, which follow in parts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImport {
    /// The benchmark's name in URLs and on the command line.
    pub slug: String,
    /// 1 to 200 characters.
    pub title: String,
    /// What it measures.
    #[serde(default)]
    pub description: String,
    /// Where the items come from: name, licence, address.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub source: Map<String, Value>,
    /// Who may read it once it is published. If absent, an existing benchmark keeps its visibility, and a new one gets
    /// this bank's default, which is only you unless the operator has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The scorers of every item without scorers of its own.
    #[serde(default)]
    pub scorers: Vec<ScorerSpec>,
    /// The expected content hash of the version, in hexadecimal, if known. It finds a version with this content, or an
    /// interrupted import to resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
}

/// A valid start of an import. Only [`NewImport::checked`] creates one.
#[derive(Debug, Clone)]
pub struct CheckedImport {
    /// The definition, without items.
    definition: Definition,
    content_hash: Option<Vec<u8>>,
    size_bytes: i64,
}

impl NewImport {
    /// Validates the definition and reports all errors, up to a limit.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the path of each invalid field.
    pub fn checked(self) -> Result<CheckedImport> {
        let content_hash = self.content_hash.as_deref().map(parse_hash).transpose()?;
        let definition = Definition {
            slug: self.slug,
            title: self.title,
            description: self.description,
            source: self.source,
            visibility: self.visibility,
            scorers: self.scorers,
            items: Vec::new(),
        };
        check_definition(&definition, true)?;
        let size_bytes = Measure::of(&definition)?.finish().size_bytes;
        let size_bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        Ok(CheckedImport {
            definition,
            content_hash,
            size_bytes,
        })
    }
}

/// Parses a content hash in hexadecimal.
pub(super) fn parse_hash(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let parsed: Option<Vec<u8>> = bytes.collect();
    parsed
        .filter(|hash| hash.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .ok_or_else(|| Error::invalid("content_hash", "must be a SHA-256 in 64 digits of hex"))
}

/// The result of starting an import.
#[derive(Debug, Clone)]
pub enum Begun {
    /// The content is already published: there is nothing to send.
    Published(BenchmarkVersion),
    /// An import of this content is already open: only the missing parts are to be sent.
    Resumed(Import),
    /// A new import: all parts are to be sent.
    New(Import),
}

/// Starts an import, as the next version of the owner's benchmark with that slug or as a new benchmark; or finds the
/// version or the open import with the announced content. A new benchmark without a visibility gets the default one.
///
/// # Errors
/// [`Error::Conflict`] if the benchmark becomes visible to others and its slug is taken among the benchmarks visible to
/// others, or if too many imports are open; [`Error::QuotaExceeded`].
pub async fn begin_import(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    new: &CheckedImport,
    default_visibility: Visibility,
) -> Result<Begun> {
    let definition = &new.definition;
    let mut tx = conn.begin().await?;
    let benchmark_id = find_or_create(&mut tx, owner, definition, default_visibility).await?;
    let begun = if let Some(hash) = &new.content_hash
        && let Some(number) = find_published(&mut tx, benchmark_id, hash, 0).await?
    {
        let texts = (definition.title.as_str(), definition.description.as_str());
        let slug = &definition.slug;
        set_header(&mut tx, benchmark_id, slug, texts, definition.visibility).await?;
        let reference = format!("{benchmark_id}@{number}");
        Begun::Published(resolve_benchmark(&mut tx, Some(owner), &reference).await?)
    } else if let Some(import_id) = resume(&mut tx, benchmark_id, new).await? {
        Begun::Resumed(find_import(&mut tx, owner, import_id).await?.import)
    } else {
        let import_id = insert(&mut tx, owner, benchmark_id, new).await?;
        check_stored(&mut tx, owner.id).await?;
        Begun::New(find_import(&mut tx, owner, import_id).await?.import)
    };
    tx.commit().await?;
    Ok(begun)
}

/// The open import of the announced content. Its metadata is replaced by that of this request.
async fn resume(
    tx: &mut PgConnection,
    benchmark_id: Uuid,
    new: &CheckedImport,
) -> Result<Option<Uuid>> {
    let Some(hash) = &new.content_hash else {
        return Ok(None);
    };
    let import_id = sqlx::query_scalar!(
        "-- begin::resume
        update benchmark_versions set source = $3
        where benchmark_id = $1 and content_hash = $2 and number is null
        returning id",
        benchmark_id,
        hash.as_slice(),
        Json(&new.definition.source) as _
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(import_id) = import_id {
        sqlx::query!(
            "-- begin::resume
            update imports set title = $2, description = $3, visibility = $4, changed_at = now()
            where benchmark_version_id = $1",
            import_id,
            new.definition.title,
            new.definition.description,
            new.definition.visibility as Option<Visibility>
        )
        .execute(tx)
        .await?;
    }
    Ok(import_id)
}

async fn insert(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    benchmark_id: Uuid,
    new: &CheckedImport,
) -> Result<Uuid> {
    let open = sqlx::query_scalar!(
        r#"-- begin::insert (open)
        select count(*) as "open!"
        from imports
        join benchmark_versions on benchmark_versions.id = benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        where owner_id = $1 and withdrawn_at is null and deleted_at is null"#,
        owner.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if open >= MOST_OPEN {
        return Err(Error::Conflict(format!(
            "you have {open} imports that are not published; publish or abandon some first"
        )));
    }
    let import_id = Uuid::now_v7();
    sqlx::query!(
        "-- begin::insert
        insert into benchmark_versions (id, benchmark_id, scorers, source, item_count, content_hash, size_bytes, item_rules)
        values ($1, $2, $3, $4, 0, $5, $6, $7)",
        import_id,
        benchmark_id,
        Json(&new.definition.scorers) as _,
        Json(&new.definition.source) as _,
        new.content_hash,
        new.size_bytes,
        ITEM_RULES
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- begin::insert (import)
        insert into imports (benchmark_version_id, title, description, visibility) values ($1, $2, $3, $4)",
        import_id,
        new.definition.title,
        new.definition.description,
        new.definition.visibility as Option<Visibility>
    )
    .execute(tx)
    .await?;
    Ok(import_id)
}
