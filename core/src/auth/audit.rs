//! The audit log: who did what to accounts and keys. It never holds a secret.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{CurrentUser, Origin};
use crate::{Error, Result, paging::Page};

/// For how many days an entry is kept.
const DAYS_KEPT: i32 = 90;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "audit_event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// A user registered.
    Registered,
    /// A user logged in.
    LoggedIn,
    /// A login was refused.
    LoginFailed,
    /// A user ended one session.
    LoggedOut,
    /// A user ended all sessions.
    LoggedOutEverywhere,
    /// A refresh token was used after it had been replaced; its session was revoked.
    RefreshReplayed,
    /// A user changed the password.
    PasswordChanged,
    /// A user changed the username or the email address.
    ProfileChanged,
    /// A user made an API key.
    ApiKeyCreated,
    /// A user revoked an API key.
    ApiKeyRevoked,
    /// A user was deleted.
    UserDeleted,
    /// Somebody asked for a new password by mail.
    PasswordResetRequested,
    /// The operator printed a link to choose a new password.
    PasswordResetLinkPrinted,
    /// A user chose a new password with a link.
    PasswordReset,
    /// A user showed that the email address is theirs.
    EmailVerified,
    /// A user's identity at a provider was linked to the account.
    IdentityLinked,
    /// A user removed an identity.
    IdentityRemoved,
    /// A user got another role.
    RoleChanged,
    /// A user was kept out.
    UserDisabled,
    /// A user was let in again.
    UserEnabled,
    /// An administrator made an invitation.
    InvitationCreated,
    /// An administrator revoked an invitation.
    InvitationRevoked,
    /// A run was deleted.
    RunDeleted,
    /// A benchmark was deleted.
    BenchmarkDeleted,
    /// A version of a benchmark was deleted.
    BenchmarkVersionDeleted,
    /// A version of a prompt was deleted.
    PromptVersionDeleted,
    /// Standings of a run were hidden from boards.
    StandingsHidden,
    /// Standings of a run were shown on boards again.
    StandingsShown,
}

/// One line of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The number of the line.
    pub id: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    pub event: AuditEvent,
    /// The user, if there is (or was) one.
    pub user_id: Option<i64>,
    /// The user's name at that time.
    pub username: Option<String>,
    /// The session, key or invitation that it happened to, or who did it.
    pub subject: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

/// The audit log, newest first, from before a line on.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators.
pub async fn list_audit_entries(
    conn: &mut PgConnection,
    user: &CurrentUser,
    before: Option<i64>,
    limit: i64,
) -> Result<Page<AuditEntry>> {
    if !user.is_admin() {
        return Err(Error::Forbidden("only administrators read the audit log"));
    }
    let entries = sqlx::query_as!(
        AuditEntry,
        r#"-- audit::list_audit_entries
        select id, at, event as "event: AuditEvent", user_id, username, subject, address, user_agent
        from audit_log
        where $1::bigint is null or id < $1
        order by id desc
        limit $2"#,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(entries, limit, |entry| entry.id.to_string()))
}

/// Writes down what a user did to a thing of the library or of the boards.
pub(crate) async fn note_deed(
    conn: &mut PgConnection,
    event: AuditEvent,
    user: &CurrentUser,
    subject: &str,
) -> Result<()> {
    let name = Some(user.username.as_str());
    record(conn, event, Some(user.id), name, Some(subject), None).await
}

/// Writes a line.
pub(crate) async fn record(
    conn: &mut PgConnection,
    event: AuditEvent,
    user_id: Option<i64>,
    username: Option<&str>,
    subject: Option<&str>,
    origin: Option<&Origin>,
) -> Result<()> {
    let username: Option<String> =
        username.map(|name| name.chars().filter(|c| !c.is_control()).take(64).collect());
    sqlx::query!(
        "-- audit::record
        insert into audit_log (event, user_id, username, subject, address, user_agent) values ($1, $2, $3, $4, $5, $6)",
        event as AuditEvent,
        user_id,
        username,
        subject,
        origin.map(Origin::address),
        origin.and_then(Origin::user_agent)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a user who is being deleted out of the lines: where their name or address stands, also as that of somebody who
/// tried to log in or did something to others, the name of the deleted user does.
pub(crate) async fn forget_names(
    conn: &mut PgConnection,
    user_id: i64,
    (username, email): (&str, &str),
    deleted: &str,
) -> Result<()> {
    sqlx::query!(
        "-- audit::forget_names
        update audit_log set username = $4
        where user_id = $1 or lower(username) in (lower($2), lower($3))",
        user_id,
        username,
        email,
        deleted
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        r"-- audit::forget_names
        update audit_log set subject = left(subject, -char_length($1)) || $2
        where subject = 'by ' || $1 or right(subject, char_length($1) + 5) = ', by ' || $1",
        username,
        deleted
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes lines that were kept long enough.
pub(super) async fn delete_old(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- audit::delete_old
        delete from audit_log
        where id in (select id from audit_log where at < now() - make_interval(days => $1) order by at limit 1000)",
        DAYS_KEPT
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
