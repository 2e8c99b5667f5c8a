//! The discussion of a change request: comments, oldest first.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Page, find_change_request, markdown::to_html};
use crate::{Error, Result, auth::CurrentUser, texts};

/// What somebody says about a change request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeRequestComment {
    /// The comment's id.
    pub id: Uuid,
    /// Who says it.
    pub author: String,
    /// Markdown, as it was written.
    pub text: String,
    /// The same as HTML that holds nothing but text, emphasis, lists, tables and links.
    pub html: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What to say.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewChangeRequestComment {
    /// Markdown, 1 to 10,000 characters.
    pub text: String,
}

/// Adds a comment to a change request that the caller may see, decided or not.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`].
pub async fn add_change_request_comment(
    conn: &mut PgConnection,
    author: &CurrentUser,
    change_request_id: Uuid,
    new: &NewChangeRequestComment,
) -> Result<ChangeRequestComment> {
    find_change_request(conn, Some(author), change_request_id).await?;
    let is_long = new.text.chars().count() > 10_000;
    if new.text.trim().is_empty() || is_long || !texts::is_plain_text(&new.text) {
        return Err(Error::invalid(
            "text",
            "must have 1 to 10,000 characters, and no control characters but line breaks and tabs",
        ));
    }
    let id = Uuid::now_v7();
    let created_at = sqlx::query_scalar!(
        "-- discussion::add_change_request_comment
        insert into change_request_comments (id, change_request_id, author_id, text)
        values ($1, $2, $3, $4)
        returning created_at",
        id,
        change_request_id,
        author.id,
        new.text
    )
    .fetch_one(conn)
    .await?;
    Ok(ChangeRequestComment {
        id,
        author: author.username.clone(),
        text: new.text.clone(),
        html: to_html(&new.text),
        created_at,
    })
}

/// A page of the comments on a change request, oldest first.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_change_request_comments(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    change_request_id: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Page<ChangeRequestComment>> {
    find_change_request(conn, viewer, change_request_id).await?;
    let rows = sqlx::query!(
        "-- discussion::list_change_request_comments
        select change_request_comments.id, users.username as author, text, change_request_comments.created_at
        from change_request_comments join users on users.id = author_id
        where change_request_id = $1 and ($2::uuid is null or change_request_comments.id > $2)
        order by change_request_comments.id
        limit $3",
        change_request_id,
        after,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    let comments = rows
        .into_iter()
        .map(|row| ChangeRequestComment {
            html: to_html(&row.text),
            id: row.id,
            author: row.author,
            text: row.text,
            created_at: row.created_at,
        })
        .collect();
    Ok(Page::cut(comments, limit, |comment| comment.id.to_string()))
}
