//! The audit log of changes to accounts, keys and deleted content. It never contains a secret.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{CurrentUser, Origin};
use crate::{Error, Result, paging::Page};

/// Days for which an entry is kept.
const DAYS_KEPT: i32 = 90;

/// The kind of an audit event.
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
    /// A user created an API key.
    ApiKeyCreated,
    /// A user revoked an API key.
    ApiKeyRevoked,
    /// A user was deleted.
    UserDeleted,
    /// A password reset was requested by mail.
    PasswordResetRequested,
    /// The operator printed a password reset link.
    PasswordResetLinkPrinted,
    /// A user set a new password with a reset link.
    PasswordReset,
    /// A user verified the email address.
    EmailVerified,
    /// A user's identity at a provider was linked to the account.
    IdentityLinked,
    /// A user removed an identity.
    IdentityRemoved,
    /// A user's role was changed.
    RoleChanged,
    /// A user was disabled.
    UserDisabled,
    /// A user was enabled.
    UserEnabled,
    /// An administrator created an invitation.
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
    /// Standings of a run were hidden from leaderboards.
    StandingsHidden,
    /// Standings of a run were shown on leaderboards again.
    StandingsShown,
}

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The number of the entry.
    pub id: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The kind of event.
    pub event: AuditEvent,
    /// The user, if any.
    pub user_id: Option<i64>,
    /// The user's name at that time.
    pub username: Option<String>,
    /// The affected session, key, invitation or content, or the acting user.
    pub subject: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// The client's user agent.
    pub user_agent: Option<String>,
}

/// Lists the audit log, newest first, with numbers before `before`.
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
        return Err(Error::Forbidden(
            "only administrators can read the audit log",
        ));
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

/// Records an action of a user on content of the library or the leaderboards.
pub(crate) async fn note_deed(
    conn: &mut PgConnection,
    event: AuditEvent,
    user: &CurrentUser,
    subject: &str,
) -> Result<()> {
    let name = Some(user.username.as_str());
    record(conn, event, Some(user.id), name, Some(subject), None).await
}

/// Writes an entry.
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

/// Replaces the names of a user who is being deleted in all entries: as the user, as a failed login's name, and as the
/// one who acted on others.
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

/// Deletes entries older than the retention period.
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
