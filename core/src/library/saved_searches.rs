//! Saved searches, visible only to their user.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::PromptQuery;
use crate::{
    Error, Result, auth::CurrentUser, locks::lock_count, paging::json_bytes, quotas::check_stored,
    texts,
};

/// Maximum number of saved searches per user.
const MOST: i64 = 100;
/// Maximum size of a saved search, in bytes of JSON.
const MOST_BYTES: usize = 4 * 1024;

/// A named search.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SavedSearch {
    /// The search's id.
    pub id: Uuid,
    /// The search's name.
    pub name: String,
    /// The parameters of `GET /api/v1/prompts`.
    #[schema(value_type = PromptQuery)]
    pub query: Json<PromptQuery>,
    /// When it was saved.
    pub created_at: DateTime<Utc>,
}

/// A search to save.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSavedSearch {
    /// 1 to 100 characters; a search with the same name is replaced.
    pub name: String,
    /// The parameters of `GET /api/v1/prompts`, at most 4 KiB; cursor and limit are not stored.
    #[serde(deserialize_with = "crate::bounds::object")]
    pub query: PromptQuery,
}

/// Saves a search for the caller.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Conflict`] if the caller has too many.
pub async fn save_search(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: NewSavedSearch,
) -> Result<SavedSearch> {
    texts::check_line("name", &new.name, 1..=100)?;
    let query = new.query.without_page();
    let query = query.map_err(|error| error.below("query"))?;
    if json_bytes(&query) > MOST_BYTES {
        let message = format!("must have at most {MOST_BYTES} bytes as JSON");
        return Err(Error::invalid("query", message));
    }
    let mut tx = conn.begin().await?;
    lock_count(&mut tx, "saved_searches", user.id).await?;
    let saved = sqlx::query_as!(
        SavedSearch,
        r#"-- saved_searches::save_search
        insert into saved_searches (id, user_id, name, query)
        values ($1, $2, $3, $4)
        on conflict (user_id, name) do update set query = excluded.query
        returning id, name, query as "query: Json<PromptQuery>", created_at"#,
        Uuid::now_v7(),
        user.id,
        new.name,
        Json(query) as _
    )
    .fetch_one(&mut *tx)
    .await?;
    let count = sqlx::query_scalar!(
        r#"-- saved_searches::save_search (count)
        select count(*) as "count!" from saved_searches where user_id = $1"#,
        user.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if count > MOST {
        return Err(Error::Conflict(format!(
            "you have {MOST} saved searches; delete one first"
        )));
    }
    check_stored(&mut tx, user.id).await?;
    tx.commit().await?;
    Ok(saved)
}

/// The caller's saved searches, by name.
///
/// # Errors
/// The database does not respond.
pub async fn list_saved_searches(
    conn: &mut PgConnection,
    user: &CurrentUser,
) -> Result<Vec<SavedSearch>> {
    let saved = sqlx::query_as!(
        SavedSearch,
        r#"-- saved_searches::list_saved_searches
        select id, name, query as "query: Json<PromptQuery>", created_at
        from saved_searches
        where user_id = $1
        order by name, id"#,
        user.id
    )
    .fetch_all(conn)
    .await?;
    Ok(saved)
}

/// Deletes one of the caller's saved searches.
///
/// # Errors
/// [`Error::NotFound`], also for another user's search.
pub async fn delete_saved_search(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
) -> Result<()> {
    let deleted = sqlx::query!(
        "-- saved_searches::delete_saved_search
        delete from saved_searches where id = $1 and user_id = $2",
        id,
        user.id
    )
    .execute(conn)
    .await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound(format!("the saved search `{id}`")));
    }
    Ok(())
}
