//! A part of an import: validated on its own, and stored in one transaction.

use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Import, find_import, lock_import};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    benchmarks::{
        Item,
        check::{MAX_STEPS, check_items, check_totals, refuse},
        content::{Variables, hash_item},
        parse_items,
        publish::insert_items,
    },
    quotas::check_stored,
    scorers::ScorerSpec,
};

/// A valid part. Only [`CheckedPart::parse`] creates one.
#[derive(Debug, Clone)]
pub struct CheckedPart {
    items: Vec<Item>,
    /// The hashes of the items, concatenated.
    item_hashes: Vec<u8>,
    content_hash: Vec<u8>,
    size_bytes: u64,
    variables: Vec<String>,
}

impl CheckedPart {
    /// Parses items in JSON Lines and validates them under the scorers of their import, which already has `first`
    /// items. It may take seconds: do not call it while holding a connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line that is not an item, or the path of each invalid field, by the position that
    /// the item will have.
    pub fn parse(lines: &[u8], scorers: &[ScorerSpec], first: i32) -> Result<Self> {
        let items = parse_items(lines, None, None)
            .map_err(|error| Error::invalid("", format!("{error:#}")))?;
        if items.is_empty() {
            return Err(Error::invalid("", "must hold at least one item"));
        }
        let mut wrong = Vec::new();
        let first = usize::try_from(first).unwrap_or(0);
        check_items(scorers, &items, first, MAX_STEPS, &mut wrong);
        refuse(wrong)?;
        let mut item_hashes = Vec::new();
        let mut size_bytes = 0;
        let mut variables = Variables::default();
        for item in &items {
            let (hash, bytes) = hash_item(item)?;
            item_hashes.extend_from_slice(&hash);
            size_bytes += bytes;
            variables.add(item);
        }
        Ok(Self {
            content_hash: Sha256::digest(&item_hashes).to_vec(),
            variables: variables.shared(),
            items,
            item_hashes,
            size_bytes,
        })
    }
}

/// Stores the part with this number, which must be the next one. A part that was received before is not stored again.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`] if another part is next, or this number was received with other items;
/// [`Error::Invalid`] if the id of an item was received before, or the version exceeds its limits;
/// [`Error::QuotaExceeded`].
pub async fn add_part(
    conn: &mut PgConnection,
    user: &CurrentUser,
    import_id: Uuid,
    number: i32,
    part: &CheckedPart,
) -> Result<Import> {
    let mut tx = conn.begin().await?;
    let import = lock_import(&mut tx, user, import_id).await?.import;
    if number <= import.parts {
        refuse_other(&mut tx, import_id, number, part).await?;
        return Ok(import);
    }
    if number != import.parts + 1 {
        return Err(Error::Conflict(format!(
            "the next part of this import is number {}",
            import.parts + 1
        )));
    }
    let items = usize::try_from(import.item_count).unwrap_or(0) + part.items.len();
    let size_bytes = import.size_bytes.unsigned_abs() + part.size_bytes;
    check_totals(items, size_bytes).map_err(|wrong| Error::Invalid(vec![wrong]))?;
    let inserted = insert_items(&mut tx, import_id, import.item_count, &part.items).await;
    if let Err(error) = inserted {
        drop(tx);
        return Err(explain(conn, error, &import, part).await?);
    }
    insert_part(&mut tx, import_id, number, part).await?;
    let owner_id = count(&mut tx, &import, part).await?;
    check_stored(&mut tx, owner_id).await?;
    let import = find_import(&mut tx, user, import_id).await?.import;
    tx.commit().await?;
    Ok(import)
}

/// Accepts a repeated part only with the same items.
async fn refuse_other(
    tx: &mut PgConnection,
    import_id: Uuid,
    number: i32,
    part: &CheckedPart,
) -> Result<()> {
    let is_same = sqlx::query_scalar!(
        r#"-- part::refuse_other
        select content_hash = $3 as "is_same!" from import_parts where benchmark_version_id = $1 and number = $2"#,
        import_id,
        number,
        part.content_hash.as_slice()
    )
    .fetch_optional(tx)
    .await?;
    match is_same {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Conflict(format!(
            "part {number} was received with different items; abandon the import and begin again"
        ))),
        None => Err(Error::invalid("number", "must be at least 1")),
    }
}

async fn insert_part(
    tx: &mut PgConnection,
    import_id: Uuid,
    number: i32,
    part: &CheckedPart,
) -> Result<()> {
    sqlx::query!(
        "-- part::insert_part
        insert into import_parts (benchmark_version_id, number, content_hash, item_hashes) values ($1, $2, $3, $4)",
        import_id,
        number,
        part.content_hash.as_slice(),
        part.item_hashes.as_slice()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- part::insert_part
        update imports set changed_at = now() where benchmark_version_id = $1",
        import_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds a part to the totals of the import, and returns the benchmark's owner.
async fn count(tx: &mut PgConnection, import: &Import, part: &CheckedPart) -> Result<i64> {
    let owner_id = sqlx::query_scalar!(
        "-- part::count
        update benchmark_versions
        set item_count = item_count + $2, size_bytes = size_bytes + $3,
            variables = case when $4 then $5
                             else array(select unnest(variables) intersect select unnest($5::text[]) order by 1) end
        from benchmarks
        where benchmark_versions.id = $1 and benchmarks.id = benchmark_id
        returning owner_id",
        import.id,
        i32::try_from(part.items.len()).unwrap_or(i32::MAX),
        i64::try_from(part.size_bytes).unwrap_or(i64::MAX),
        import.parts == 0,
        &part.variables
    )
    .fetch_one(tx)
    .await?;
    Ok(owner_id)
}

/// Maps the database's refusal of a part's items to a domain error.
async fn explain(
    conn: &mut PgConnection,
    error: Error,
    import: &Import,
    part: &CheckedPart,
) -> Result<Error> {
    if !error.violates("items_key_key") {
        return Ok(error);
    }
    let keys: Vec<&str> = part.items.iter().map(|item| item.id.as_str()).collect();
    let taken = sqlx::query!(
        "-- part::explain
        select key, position from items where benchmark_version_id = $1 and key = any($2::text[]) order by position limit 1",
        import.id,
        &keys as _
    )
    .fetch_optional(conn)
    .await?;
    let Some(taken) = taken else {
        return Ok(error);
    };
    let index = keys.iter().position(|key| *key == taken.key).unwrap_or(0);
    let position = usize::try_from(import.item_count).unwrap_or(0) + index;
    let id: String = taken.key.chars().take(80).collect();
    Ok(Error::Invalid(vec![FieldError::new(
        format!("items[{position}].id"),
        format!(
            "the id `{id}` is used more than once, first by items[{}]",
            taken.position
        ),
    )]))
}
