//! Moderation: readers report comments, moderators hide them with a reason, or dismiss the reports.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    comments::{Comment, find_comment},
    text::check_length,
};
use crate::{Error, Result, auth::CurrentUser, computing::Loaded, locks::lock_count, paging::Page};

/// Maximum number of reports per user and hour.
const REPORTS_PER_HOUR: i64 = 30;

/// The reason of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "report_reason", rename_all = "snake_case")]
pub enum ReportReason {
    /// Advertising.
    Spam,
    /// A personal attack.
    Abuse,
    /// Not about the prompt.
    OffTopic,
    /// Against the law.
    Unlawful,
    /// Something else; the note says what.
    Other,
}

/// A report to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReport {
    /// The reason.
    pub reason: ReportReason,
    /// The reader's explanation; at most 1,000 characters.
    #[serde(default)]
    pub note: String,
}

/// A comment with open reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportedComment {
    /// The comment's id.
    pub id: Uuid,
    /// The slug of the prompt.
    pub prompt: String,
    /// The name of its author; absent if the account was deleted.
    pub author: Option<String>,
    /// Markdown as written.
    pub body: String,
    /// True if it is already hidden.
    pub hidden: bool,
    /// Number of open reports.
    pub reports: i64,
    /// The reasons, most frequent first.
    pub reasons: Vec<ReportReason>,
    /// The readers' explanations, oldest first; at most 20.
    pub notes: Vec<String>,
    /// When it was first reported.
    pub reported_at: DateTime<Utc>,
}

/// A moderator's decision about a comment. It closes all open reports in any case.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Moderation {
    /// True hides the comment, false shows it.
    pub hidden: bool,
    /// Shown in place of the comment: 1 to 500 characters if it is hidden.
    #[serde(default)]
    pub reason: String,
}

/// Reports a comment to the moderators; a second report by the same reader changes nothing.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`], [`Error::TooManyAttempts`]; [`Error::Forbidden`] for one's own comment.
pub async fn report_comment(
    conn: &mut PgConnection,
    user: &CurrentUser,
    comment_id: Uuid,
    report: &NewReport,
) -> Result<()> {
    let comment = find_comment(conn, Some(user), comment_id).await?;
    if comment.author.as_deref() == Some(user.username.as_str()) {
        return Err(Error::Forbidden(
            "you cannot report your own comment; delete it instead",
        ));
    }
    check_length("note", &report.note, 0..=1_000)?;
    let mut tx = conn.begin().await?;
    slow_down(&mut tx, user).await?;
    sqlx::query!(
        "-- moderation::report_comment
        insert into comment_reports (comment_id, reporter_id, reason, note) values ($1, $2, $3, $4)
        on conflict (comment_id, reporter_id) do nothing",
        comment_id,
        user.id,
        report.reason as ReportReason,
        report.note
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// The comments with open reports, in the order of the comments, after the given one.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but moderators and administrators.
pub async fn list_reported_comments(
    conn: &mut PgConnection,
    moderator: &CurrentUser,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Page<ReportedComment>> {
    check_moderator(moderator)?;
    let reported = sqlx::query_as!(
        ReportedComment,
        r#"-- moderation::list_reported_comments
        select comments.id, prompts.slug as prompt, users.username as "author?", comments.body,
               comments.hidden_at is not null as "hidden!", open.reports as "reports!",
               array(select reason from comment_reports where comment_id = comments.id and resolved_at is null
                     group by reason order by count(*) desc, reason) as "reasons!: Vec<ReportReason>",
               array(select note from comment_reports where comment_id = comments.id and resolved_at is null and note <> ''
                     order by created_at limit 20) as "notes!",
               open.reported_at as "reported_at!"
        from (select comment_id, count(*) as reports, min(created_at) as reported_at from comment_reports
              where resolved_at is null and ($1::uuid is null or comment_id > $1)
              group by comment_id) open
        join comments on comments.id = open.comment_id
        join prompts on prompts.id = comments.prompt_id
        left join users on users.id = comments.author_id
        where comments.deleted_at is null and prompts.deleted_at is null
          and can_see(prompts.visibility, prompts.owner_id, $3, $4)
        order by comments.id
        limit $2"#,
        after,
        limit + 1,
        moderator.id,
        moderator.is_admin()
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(reported, limit, |comment| comment.id.to_string()))
}

/// Hides a comment with a reason, or shows it, and closes its open reports.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but moderators and administrators; [`Error::NotFound`], [`Error::Invalid`].
pub async fn moderate_comment(
    conn: &mut PgConnection,
    moderator: &CurrentUser,
    comment_id: Uuid,
    decision: &Moderation,
) -> Result<Loaded<Comment>> {
    find_comment(conn, Some(moderator), comment_id).await?;
    check_moderator(moderator)?;
    if decision.hidden {
        check_length("reason", &decision.reason, 1..=500)?;
    }
    let mut tx = conn.begin().await?;
    sqlx::query!(
        "-- moderation::moderate_comment
        update comments
        set hidden_at = case when $2 then now() end,
            hidden_by = case when $2 then $3::bigint end,
            hidden_reason = case when $2 then $4 end
        where id = $1",
        comment_id,
        decision.hidden,
        moderator.id,
        decision.reason
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- moderation::moderate_comment
        update comment_reports set resolved_at = now() where comment_id = $1 and resolved_at is null",
        comment_id
    )
    .execute(&mut *tx)
    .await?;
    let comment = find_comment(&mut tx, Some(moderator), comment_id).await?;
    tx.commit().await?;
    tracing::info!(
        comment.id = %comment_id,
        comment.hidden = decision.hidden,
        user.id = moderator.id,
        "comment {comment_id} was {}",
        if decision.hidden { "hidden" } else { "shown" }
    );
    Ok(comment.loaded())
}

fn check_moderator(user: &CurrentUser) -> Result<()> {
    if user.is_moderator() {
        return Ok(());
    }
    Err(Error::Forbidden("only moderators decide about comments"))
}

async fn slow_down(tx: &mut PgConnection, user: &CurrentUser) -> Result<()> {
    lock_count(tx, "reports", user.id).await?;
    let made = sqlx::query_scalar!(
        r#"-- moderation::slow_down
        select count(*) as "made!" from comment_reports
        where reporter_id = $1 and created_at > now() - interval '1 hour'"#,
        user.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if made < REPORTS_PER_HOUR {
        return Ok(());
    }
    Err(Error::TooManyAttempts {
        retry_after_seconds: 600,
    })
}
