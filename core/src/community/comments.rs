//! Comments on prompts, with one level of replies. They are Markdown, stored as written.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::check_length;
use crate::{
    Error, Result,
    auth::CurrentUser,
    computing::Loaded,
    library::{find_prompt, to_html},
    locks::lock_count,
    paging::Page,
};

/// Maximum number of comments per user and minute.
const PER_MINUTE: i64 = 6;
/// Maximum number of comments per user and hour.
const PER_HOUR: i64 = 60;

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, FromRow)]
pub struct Comment {
    /// The comment's id.
    pub id: Uuid,
    /// The slug of the prompt.
    pub prompt: String,
    /// The comment that this one replies to.
    pub reply_to: Option<Uuid>,
    /// The name of its author; absent if the comment or its author's account was deleted.
    pub author: Option<String>,
    /// Markdown as written; absent if it was deleted, or is hidden from the caller.
    pub body: Option<String>,
    /// The text as HTML that is safe to embed in a page.
    #[sqlx(default)]
    pub html: Option<String>,
    /// Number of replies.
    pub replies: i64,
    /// True if its author deleted it or their account; it keeps its place while it has replies.
    pub deleted: bool,
    /// Why a moderator hid it. Its author and moderators can still read the text.
    pub hidden_reason: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub edited_at: Option<DateTime<Utc>>,
}

/// A comment to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewComment {
    /// Markdown, 1 to 10,000 characters.
    pub body: String,
    /// The comment to reply to; replies cannot have replies.
    #[serde(default)]
    pub reply_to: Option<Uuid>,
}

impl Comment {
    fn rendered(mut self) -> Self {
        self.html = self.body.as_deref().map(to_html);
        self
    }

    /// The comment, whose HTML remains to be rendered.
    pub(super) fn loaded(self) -> Loaded<Self> {
        Loaded::new(|| Ok(self.rendered()))
    }
}

/// A page of the comments on a prompt, newest first. Replies are listed separately.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt.
pub async fn list_comments(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Loaded<Page<Comment>>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let mut query = select("comments::list_comments", viewer);
    query
        .push(" where comments.parent_id is null and comments.prompt_id = ")
        .push_bind(prompt.id)
        .push(
            " and (comments.deleted_at is null or exists
            (select 1 from comments answers where answers.parent_id = comments.id and answers.deleted_at is null))",
        );
    if let Some(before) = before {
        query.push(" and comments.id < ").push_bind(before);
    }
    query.push(" order by comments.id desc");
    fetch(conn, query, limit).await
}

/// A page of the replies to a comment, oldest first.
///
/// # Errors
/// [`Error::NotFound`], also if the prompt is another user's and private.
pub async fn list_replies(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    comment_id: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Loaded<Page<Comment>>> {
    find_comment(conn, viewer, comment_id).await?;
    let mut query = select("comments::list_replies", viewer);
    query
        .push(" where comments.deleted_at is null and comments.parent_id = ")
        .push_bind(comment_id);
    if let Some(after) = after {
        query.push(" and comments.id > ").push_bind(after);
    }
    query.push(" order by comments.id");
    fetch(conn, query, limit).await
}

/// Creates a comment on a prompt, or a reply to a comment on it.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private prompt; [`Error::Invalid`]; [`Error::TooManyAttempts`].
pub async fn create_comment(
    conn: &mut PgConnection,
    author: &CurrentUser,
    prompt: &str,
    new: NewComment,
) -> Result<Loaded<Comment>> {
    let prompt = find_prompt(conn, Some(author), prompt).await?;
    check_length("body", &new.body, 1..=10_000)?;
    let mut tx = conn.begin().await?;
    slow_down(&mut tx, author).await?;
    if let Some(parent_id) = new.reply_to {
        check_parent(&mut tx, prompt.id, parent_id).await?;
    }
    let id = Uuid::now_v7();
    sqlx::query!(
        "-- comments::create_comment
        insert into comments (id, prompt_id, parent_id, author_id, body) values ($1, $2, $3, $4, $5)",
        id,
        prompt.id,
        new.reply_to,
        author.id,
        new.body
    )
    .execute(&mut *tx)
    .await?;
    let comment = find_comment(&mut tx, Some(author), id).await?;
    tx.commit().await?;
    Ok(comment.loaded())
}

/// Changes the text of the caller's own comment. Not even moderators may edit another user's text.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's comment, [`Error::Invalid`].
pub async fn update_comment(
    conn: &mut PgConnection,
    user: &CurrentUser,
    comment_id: Uuid,
    body: &str,
) -> Result<Loaded<Comment>> {
    find_comment(conn, Some(user), comment_id).await?;
    check_length("body", body, 1..=10_000)?;
    let changed = sqlx::query!(
        "-- comments::update_comment
        update comments set body = $3, edited_at = now()
        where id = $1 and author_id = $2 and deleted_at is null",
        comment_id,
        user.id,
        body
    )
    .execute(&mut *conn)
    .await?;
    if changed.rows_affected() == 0 {
        return Err(Error::Forbidden("only its author can change a comment"));
    }
    Ok(find_comment(conn, Some(user), comment_id).await?.loaded())
}

/// Deletes the caller's own comment, even if they may no longer read its prompt. Its text is deleted; its place stays
/// while it has replies.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for another user's comment.
pub async fn delete_comment(
    conn: &mut PgConnection,
    user: &CurrentUser,
    comment_id: Uuid,
) -> Result<()> {
    let deleted = sqlx::query!(
        "-- comments::delete_comment
        update comments set body = '', deleted_at = now()
        where id = $1 and author_id = $2 and deleted_at is null",
        comment_id,
        user.id
    )
    .execute(&mut *conn)
    .await?;
    if deleted.rows_affected() == 0 {
        find_comment(conn, Some(user), comment_id).await?;
        return Err(Error::Forbidden(
            "only its author can delete a comment; moderators hide it",
        ));
    }
    Ok(())
}

/// The comment with this id without its HTML, if the viewer may read its prompt and it was not deleted.
pub(super) async fn find_comment(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    comment_id: Uuid,
) -> Result<Comment> {
    let mut query = select("comments::find_comment", viewer);
    query
        .push(" where comments.id = ")
        .push_bind(comment_id)
        .push(
            " and (comments.deleted_at is null or exists
            (select 1 from comments answers where answers.parent_id = comments.id and answers.deleted_at is null))
            and prompts.deleted_at is null and can_see(prompts.visibility, prompts.owner_id, ",
        )
        .push_bind(viewer.map(|user| user.id))
        .push(", ")
        .push_bind(viewer.is_some_and(CurrentUser::is_admin))
        .push(")");
    let comment: Option<Comment> = query.build_query_as().fetch_optional(conn).await?;
    comment.ok_or_else(|| Error::NotFound(format!("the comment `{comment_id}`")))
}

/// The beginning of a query for comments as the viewer may see them.
fn select(name: &'static str, viewer: Option<&CurrentUser>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("-- ");
    query
        .push(name)
        .push(
            "\nselect comments.id, prompts.slug as prompt, comments.parent_id as reply_to,
               case when comments.deleted_at is null then users.username end as author,
               case when comments.deleted_at is null
                     and (comments.hidden_at is null or comments.author_id = ",
        )
        .push_bind(viewer.map(|user| user.id))
        .push(" or ")
        .push_bind(viewer.is_some_and(CurrentUser::is_moderator))
        .push(
            ") then comments.body end as body,
               (select count(*) from comments answers
                where answers.parent_id = comments.id and answers.deleted_at is null) as replies,
               comments.deleted_at is not null as deleted, comments.hidden_reason, comments.created_at, comments.edited_at
        from comments
        join prompts on prompts.id = comments.prompt_id
        left join users on users.id = comments.author_id",
        );
    query
}

async fn fetch(
    conn: &mut PgConnection,
    mut query: QueryBuilder<Postgres>,
    limit: i64,
) -> Result<Loaded<Page<Comment>>> {
    query.push(" limit ").push_bind(limit + 1);
    let comments: Vec<Comment> = query.build_query_as().fetch_all(conn).await?;
    Ok(Loaded::new(move || {
        let comments = comments.into_iter().map(Comment::rendered).collect();
        Ok(Page::cut(comments, limit, |comment: &Comment| {
            comment.id.to_string()
        }))
    }))
}

async fn check_parent(tx: &mut PgConnection, prompt_id: Uuid, parent_id: Uuid) -> Result<()> {
    let is_reply = sqlx::query_scalar!(
        r#"-- comments::check_parent
        select parent_id is not null as "reply!" from comments
        where id = $1 and prompt_id = $2 and deleted_at is null"#,
        parent_id,
        prompt_id
    )
    .fetch_optional(tx)
    .await?;
    match is_reply {
        None => Err(Error::invalid(
            "reply_to",
            "is not a comment on this prompt",
        )),
        Some(true) => Err(Error::invalid(
            "reply_to",
            "is a reply itself; reply to the comment that it replies to",
        )),
        Some(false) => Ok(()),
    }
}

/// Refuses more comments than [`PER_MINUTE`] and [`PER_HOUR`]. The lock makes parallel requests of a user count each
/// other.
async fn slow_down(tx: &mut PgConnection, author: &CurrentUser) -> Result<()> {
    lock_count(tx, "comments", author.id).await?;
    let written = sqlx::query!(
        r#"-- comments::slow_down
        select count(*) as "hour!", count(*) filter (where created_at > now() - interval '1 minute') as "minute!"
        from comments where author_id = $1 and created_at > now() - interval '1 hour'"#,
        author.id
    )
    .fetch_one(&mut *tx)
    .await?;
    let retry_after_seconds = match written {
        written if written.hour >= PER_HOUR => 600,
        written if written.minute >= PER_MINUTE => 60,
        _ => return Ok(()),
    };
    Err(Error::TooManyAttempts {
        retry_after_seconds,
    })
}
