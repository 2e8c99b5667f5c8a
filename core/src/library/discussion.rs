//! The discussion of a change request: comments, oldest first.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{find_change_request, markdown::to_html};
use crate::{
    Error, Result, auth::CurrentUser, computing::Loaded, locks::lock_count, paging::Page, texts,
};

/// Maximum number of comments on change requests per user and hour.
const PER_HOUR: i64 = 60;

/// A comment on a change request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeRequestComment {
    /// The comment's id.
    pub id: Uuid,
    /// The user who wrote it.
    pub author: String,
    /// Markdown, as written.
    pub text: String,
    /// The text as HTML that holds only text, emphasis, lists, tables and links.
    pub html: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// A comment to add.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewChangeRequestComment {
    /// Markdown, 1 to 10,000 characters.
    pub text: String,
}

/// Adds a comment to a change request that the caller may read, in any state.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`], [`Error::TooManyAttempts`].
pub async fn add_change_request_comment(
    conn: &mut PgConnection,
    author: &CurrentUser,
    change_request_id: Uuid,
    new: &NewChangeRequestComment,
) -> Result<Loaded<ChangeRequestComment>> {
    find_change_request(conn, Some(author), change_request_id).await?;
    let is_long = new.text.chars().count() > 10_000;
    if new.text.trim().is_empty() || is_long || !texts::is_plain_text(&new.text) {
        return Err(Error::invalid(
            "text",
            "must have 1 to 10,000 characters, and no control characters but line breaks and tabs",
        ));
    }
    let mut tx = conn.begin().await?;
    slow_down(&mut tx, author).await?;
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
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    let comment = ChangeRequestComment {
        id,
        author: author.username.clone(),
        text: new.text.clone(),
        html: String::new(),
        created_at,
    };
    Ok(Loaded::new(|| Ok(comment.rendered())))
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
) -> Result<Loaded<Page<ChangeRequestComment>>> {
    find_change_request(conn, viewer, change_request_id).await?;
    let comments = sqlx::query_as!(
        ChangeRequestComment,
        r#"-- discussion::list_change_request_comments
        select change_request_comments.id, users.username as author, text, '' as "html!",
               change_request_comments.created_at
        from change_request_comments join users on users.id = author_id
        where change_request_id = $1 and ($2::uuid is null or change_request_comments.id > $2)
        order by change_request_comments.id
        limit $3"#,
        change_request_id,
        after,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Loaded::new(move || {
        let comments = comments.into_iter().map(ChangeRequestComment::rendered);
        Ok(Page::cut(
            comments.collect(),
            limit,
            |comment: &ChangeRequestComment| comment.id.to_string(),
        ))
    }))
}

impl ChangeRequestComment {
    fn rendered(mut self) -> Self {
        self.html = to_html(&self.text);
        self
    }
}

async fn slow_down(tx: &mut PgConnection, author: &CurrentUser) -> Result<()> {
    lock_count(tx, "change_request_comments", author.id).await?;
    let written = sqlx::query_scalar!(
        r#"-- discussion::slow_down
        select count(*) as "written!" from change_request_comments
        where author_id = $1 and created_at > now() - interval '1 hour'"#,
        author.id
    )
    .fetch_one(tx)
    .await?;
    if written < PER_HOUR {
        return Ok(());
    }
    Err(Error::TooManyAttempts {
        retry_after_seconds: 600,
    })
}
