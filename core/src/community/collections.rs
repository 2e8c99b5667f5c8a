//! Collections: ordered lists of prompts that a user selected.
//!
//! A reader sees the public prompts of a collection and the reader's own, regardless of who added them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{RankedPrompt, ranks, text::check_length};
use crate::{
    Error, FieldError, Result,
    auth::{CurrentUser, Visibility, can_change},
    library::find_prompt,
    locks::lock_count,
    paging::Page,
    quotas::check_stored,
    texts::check_line,
};

/// Maximum number of prompts in a collection.
const MOST_PROMPTS: usize = 500;
/// Maximum number of collections per user.
const MOST_COLLECTIONS: i64 = 200;

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collection {
    /// The collection's id.
    pub id: Uuid,
    /// The name of its owner.
    pub owner: String,
    /// The collection's title.
    pub title: String,
    /// What it is for, in Markdown as written.
    pub description: String,
    /// Who may read it.
    pub visibility: Visibility,
    /// Number of its prompts that the caller may read.
    pub prompts: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it or its list of prompts last changed.
    pub updated_at: DateTime<Utc>,
}

/// A collection to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCollection {
    /// 1 to 200 characters.
    pub title: String,
    /// What it is for: Markdown, at most 10,000 characters.
    #[serde(default)]
    pub description: String,
    /// Who may read it; absent: this bank's default, which is only you unless the operator has changed it.
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

/// Changes of a collection; absent fields stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectionChange {
    /// The new title.
    #[serde(default)]
    pub title: Option<String>,
    /// The new description.
    #[serde(default)]
    pub description: Option<String>,
    /// The new visibility.
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

/// A page of the public collections and the viewer's own, newest first, optionally of one owner.
///
/// # Errors
/// The database does not respond.
pub async fn list_collections(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    owner: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Collection>> {
    let collections = sqlx::query_as!(
        Collection,
        r#"-- collections::list_collections
        select collections.id, users.username as owner, title, description,
               visibility as "visibility: Visibility",
               (select count(*) from collection_prompts
                join prompts on prompts.id = prompt_id
                where collection_id = collections.id and prompts.deleted_at is null
                  and is_listed(prompts.visibility, prompts.owner_id, $1)) as "prompts!",
               collections.created_at, collections.updated_at
        from collections join users on users.id = collections.owner_id
        where is_listed(visibility, collections.owner_id, $1)
          and ($2::text is null or lower(users.username) = lower($2))
          and ($3::uuid is null or collections.id < $3)
        order by collections.id desc
        limit $4"#,
        viewer.map(|user| user.id),
        owner,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(collections, limit, |collection| {
        collection.id.to_string()
    }))
}

/// The collection with this id.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private collection.
pub async fn find_collection(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    collection_id: Uuid,
) -> Result<Collection> {
    sqlx::query_as!(
        Collection,
        r#"-- collections::find_collection
        select collections.id, users.username as owner, title, description,
               visibility as "visibility: Visibility",
               (select count(*) from collection_prompts
                join prompts on prompts.id = prompt_id
                where collection_id = collections.id and prompts.deleted_at is null
                  and is_listed(prompts.visibility, prompts.owner_id, $2)) as "prompts!",
               collections.created_at, collections.updated_at
        from collections join users on users.id = collections.owner_id
        where collections.id = $1
          and can_see(visibility, collections.owner_id, $2, $3)"#,
        collection_id,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin)
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| not_found(collection_id))
}

/// A page of the prompts of a collection that the viewer may read, in the owner's order.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private collection.
pub async fn list_collection_prompts(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    collection_id: Uuid,
    after: Option<i32>,
    limit: i64,
) -> Result<Page<RankedPrompt>> {
    find_collection(conn, viewer, collection_id).await?;
    let mut query = ranks::select(
        "collections::list_collection_prompts",
        "collection_prompts.position::text",
    );
    query
        .push(" join collection_prompts on collection_prompts.prompt_id = prompts.id where collection_id = ")
        .push_bind(collection_id)
        .push(" and prompts.deleted_at is null and is_listed(prompts.visibility, prompts.owner_id, ")
        .push_bind(viewer.map(|user| user.id))
        .push(") and collection_prompts.position > ")
        .push_bind(after.unwrap_or(-1))
        .push(" order by collection_prompts.position");
    ranks::fetch(conn, query, limit, |row| {
        row.place.clone().unwrap_or_default()
    })
    .await
}

/// Creates an empty collection.
///
/// # Errors
/// [`Error::Invalid`]; [`Error::Conflict`] if the user has too many.
pub async fn create_collection(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    new: NewCollection,
) -> Result<Collection> {
    check_line("title", &new.title, 1..=200)?;
    check_length("description", &new.description, 0..=10_000)?;
    let id = Uuid::now_v7();
    let mut tx = conn.begin().await?;
    lock_count(&mut tx, "collections", owner.id).await?;
    let inserted = sqlx::query!(
        "-- collections::create_collection
        insert into collections (id, owner_id, title, description, visibility)
        select $1, $2, $3, $4, $5
        where (select count(*) from collections where owner_id = $2) < $6",
        id,
        owner.id,
        new.title,
        new.description,
        new.visibility.unwrap_or_default() as Visibility,
        MOST_COLLECTIONS
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Error::Conflict(format!(
            "you have {MOST_COLLECTIONS} collections already; delete one first"
        )));
    }
    check_stored(&mut tx, owner.id).await?;
    let collection = find_collection(&mut tx, Some(owner), id).await?;
    tx.commit().await?;
    Ok(collection)
}

/// Changes a collection's title, description or visibility.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's collection, [`Error::Invalid`].
pub async fn update_collection(
    conn: &mut PgConnection,
    user: &CurrentUser,
    collection_id: Uuid,
    change: CollectionChange,
) -> Result<Collection> {
    let mut tx = conn.begin().await?;
    lock(&mut tx, user, collection_id).await?;
    if let Some(title) = &change.title {
        check_line("title", title, 1..=200)?;
    }
    if let Some(description) = &change.description {
        check_length("description", description, 0..=10_000)?;
    }
    sqlx::query!(
        r#"-- collections::update_collection
        update collections
        set title = coalesce($2, title), description = coalesce($3, description),
            visibility = coalesce($4, visibility), updated_at = now()
        where id = $1"#,
        collection_id,
        change.title,
        change.description,
        change.visibility as Option<Visibility>
    )
    .execute(&mut *tx)
    .await?;
    if change.description.is_some() {
        check_stored(&mut tx, user.id).await?;
    }
    let collection = find_collection(&mut tx, Some(user), collection_id).await?;
    tx.commit().await?;
    Ok(collection)
}

/// Replaces the prompts of a collection; the order is kept.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's collection; [`Error::Invalid`] for a duplicate prompt,
/// or one that the user may not read.
pub async fn set_collection_prompts(
    conn: &mut PgConnection,
    user: &CurrentUser,
    collection_id: Uuid,
    prompts: &[String],
) -> Result<Collection> {
    let mut tx = conn.begin().await?;
    lock(&mut tx, user, collection_id).await?;
    let ids = resolve(&mut tx, user, prompts).await?;
    sqlx::query!(
        "-- collections::set_collection_prompts
        delete from collection_prompts where collection_id = $1",
        collection_id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- collections::set_collection_prompts
        insert into collection_prompts (collection_id, prompt_id, position)
        select $1, prompt_id, position - 1 from unnest($2::uuid[]) with ordinality as listed (prompt_id, position)",
        collection_id,
        &ids
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- collections::set_collection_prompts
        update collections set updated_at = now() where id = $1",
        collection_id
    )
    .execute(&mut *tx)
    .await?;
    let collection = find_collection(&mut tx, Some(user), collection_id).await?;
    tx.commit().await?;
    Ok(collection)
}

/// Deletes a collection; its prompts stay.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's collection.
pub async fn delete_collection(
    conn: &mut PgConnection,
    user: &CurrentUser,
    collection_id: Uuid,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    lock(&mut tx, user, collection_id).await?;
    sqlx::query!(
        "-- collections::delete_collection
        delete from collections where id = $1",
        collection_id
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Checks that the user may change the collection, and locks it.
async fn lock(tx: &mut PgConnection, user: &CurrentUser, collection_id: Uuid) -> Result<()> {
    find_collection(tx, Some(user), collection_id).await?;
    let owner_id = sqlx::query_scalar!(
        "-- collections::lock
        select owner_id from collections where id = $1 for update",
        collection_id
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| not_found(collection_id))?;
    if can_change(user, owner_id) {
        return Ok(());
    }
    Err(Error::Forbidden("only its owner can change a collection"))
}

async fn resolve(
    tx: &mut PgConnection,
    user: &CurrentUser,
    prompts: &[String],
) -> Result<Vec<Uuid>> {
    if prompts.len() > MOST_PROMPTS {
        let message = format!("must have at most {MOST_PROMPTS} entries");
        return Err(Error::invalid("prompts", message));
    }
    let mut wrong = Vec::new();
    let mut ids = Vec::new();
    let mut seen = HashSet::new();
    for (index, reference) in prompts.iter().enumerate() {
        let path = format!("prompts[{index}]");
        match find_prompt(tx, Some(user), reference).await {
            Ok(prompt) if seen.insert(prompt.id) => ids.push(prompt.id),
            Ok(_) => wrong.push(FieldError::new(path, "is in the list already")),
            Err(Error::NotFound(_)) => wrong.push(FieldError::new(path, "was not found")),
            Err(error) => return Err(error),
        }
    }
    if wrong.is_empty() {
        Ok(ids)
    } else {
        Err(Error::Invalid(wrong))
    }
}

fn not_found(collection_id: Uuid) -> Error {
    Error::NotFound(format!("the collection `{collection_id}`"))
}
