//! Sessions: opened by a login, extended by a refresh, ended by a logout.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    AccessToken, Accounts, AuditEvent, CurrentUser, RefreshToken, TokenKeys, UserRole,
    audit::record,
    rotation::{Verdict, judge},
};
use crate::{Error, Result};

/// Lifetime of a session without a refresh.
pub const IDLE_LIFETIME: Duration = Duration::from_hours(24);
/// Maximum lifetime of a session.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(24 * 30);

const REFUSED: Error = Error::Unauthenticated("the refresh token is invalid or expired");

/// The client of a request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address.
    pub address: IpAddr,
    /// The client's user agent.
    pub user_agent: Option<String>,
}

/// A session as its user sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionEntry {
    /// The session's id.
    pub id: Uuid,
    /// Whether it is the session of this request.
    pub current: bool,
    /// The client's address at login.
    pub address: Option<String>,
    /// The client's user agent at login.
    pub user_agent: Option<String>,
    /// When a token of it was last used, to the minute.
    pub last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
}

/// The tokens of a session.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The access token, valid for [`super::TOKEN_LIFETIME`].
    pub access_token: SecretString,
    /// The refresh token, for the next access token.
    pub refresh_token: SecretString,
}

/// How a refresh treats the refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The response contains the next one.
    Rotate,
    /// The response cannot contain one; the client keeps its token.
    Keep,
}

impl Origin {
    /// The address in stored form.
    pub(super) fn address(&self) -> String {
        self.address.to_canonical().to_string()
    }

    /// The user agent, truncated to the stored length.
    pub(super) fn user_agent(&self) -> Option<String> {
        let text = self.user_agent.as_ref()?;
        Some(text.chars().filter(|c| !c.is_control()).take(256).collect())
    }
}

/// Opens a session for an authenticated user.
///
/// # Errors
/// The database does not respond.
pub(super) async fn open_session(
    conn: &mut PgConnection,
    keys: &TokenKeys,
    user_id: i64,
    origin: &Origin,
) -> Result<Tokens> {
    let now = Utc::now();
    let session = Session {
        id: Uuid::now_v7(),
        user_id,
        counter: 0,
        last_rotated_at: now,
        expires_at: now + SESSION_LIFETIME,
    };
    sqlx::query!(
        "-- sessions::open_session
        insert into sessions (id, user_id, last_rotated_at, idle_expires_at, expires_at, user_agent, address)
        values ($1, $2, $3, $4, $5, $6, $7)",
        session.id,
        user_id,
        now,
        now + IDLE_LIFETIME,
        session.expires_at,
        origin.user_agent(),
        origin.address()
    )
    .execute(conn)
    .await?;
    session.tokens(keys, now)
}

/// Exchanges a refresh token for an access token, and for the next refresh token if the client can receive one. A token
/// that was already replaced revokes its session.
///
/// # Errors
/// [`Error::Unauthenticated`] for a token that is not, or no longer, valid; [`Error::UserGone`] for a deleted user.
pub async fn refresh(
    accounts: &Accounts,
    token: &str,
    rotation: Rotation,
    origin: &Origin,
) -> Result<Tokens> {
    let keys = &accounts.tokens;
    let token = keys.verify_refresh(token).map_err(|_| REFUSED)?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let Some(mut session) = lock(&mut tx, token).await? else {
        let gone = !user_exists(&mut tx, token.user_id).await?;
        return Err(if gone { Error::UserGone } else { REFUSED });
    };
    let now = Utc::now();
    match judge(
        session.counter,
        token.counter,
        now - session.last_rotated_at,
        accounts.strict_rotation,
    ) {
        Verdict::Forged => return Err(REFUSED),
        Verdict::Replayed => {
            revoke(&mut tx, session.user_id, Some(session.id), None).await?;
            let subject = session.id.to_string();
            record(
                &mut tx,
                AuditEvent::RefreshReplayed,
                Some(session.user_id),
                None,
                Some(&subject),
                Some(origin),
            )
            .await?;
            tx.commit().await?;
            tracing::warn!(
                session.id = %session.id,
                user.id = session.user_id,
                "a replaced refresh token of session {} was used again; the session is revoked",
                session.id
            );
            return Err(REFUSED);
        }
        Verdict::Advance if rotation == Rotation::Rotate => {
            session.counter += 1;
            session.last_rotated_at = now;
        }
        Verdict::Advance | Verdict::Repeat => {}
    }
    sqlx::query!(
        "-- sessions::refresh
        update sessions set counter = $2, last_rotated_at = $3, last_used_at = now(), idle_expires_at = least($4, expires_at)
        where id = $1",
        session.id,
        session.counter,
        session.last_rotated_at,
        now + IDLE_LIFETIME
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    session.tokens(keys, now)
}

/// Ends one session.
///
/// # Errors
/// The database does not respond.
pub async fn log_out(
    conn: &mut PgConnection,
    user: &CurrentUser,
    session_id: Uuid,
    origin: &Origin,
) -> Result<()> {
    revoke(conn, user.id, Some(session_id), None).await?;
    let subject = session_id.to_string();
    record(
        conn,
        AuditEvent::LoggedOut,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await
}

/// Lists the caller's active sessions, most recently used first; at most a thousand.
///
/// # Errors
/// The database does not respond.
pub async fn list_sessions(
    conn: &mut PgConnection,
    user: &CurrentUser,
    current: Uuid,
) -> Result<Vec<SessionEntry>> {
    let sessions = sqlx::query_as!(
        SessionEntry,
        r#"-- sessions::list_sessions
        select id, id = $2 as "current!", address, user_agent, last_used_at, expires_at, created_at
        from sessions
        where user_id = $1 and revoked_at is null and idle_expires_at > now()
        order by last_used_at desc, id desc
        limit 1000"#,
        user.id,
        current
    )
    .fetch_all(conn)
    .await?;
    Ok(sessions)
}

/// Ends one of the caller's sessions.
///
/// # Errors
/// [`Error::NotFound`] if the caller has no such session.
pub async fn end_session(
    conn: &mut PgConnection,
    user: &CurrentUser,
    session_id: Uuid,
    origin: &Origin,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    if revoke(&mut tx, user.id, Some(session_id), None).await? == 0 {
        return Err(Error::NotFound("the session".into()));
    }
    let subject = session_id.to_string();
    record(
        &mut tx,
        AuditEvent::LoggedOut,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Ends the session of a refresh token, including a replaced one. An invalid token has no effect.
///
/// # Errors
/// The database does not respond.
pub async fn log_out_by_refresh_token(
    accounts: &Accounts,
    token: &str,
    origin: &Origin,
) -> Result<()> {
    let Ok(token) = accounts.tokens.verify_refresh(token) else {
        return Ok(());
    };
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    if revoke(&mut tx, token.user_id, Some(token.session_id), None).await? == 1 {
        let subject = token.session_id.to_string();
        record(
            &mut tx,
            AuditEvent::LoggedOut,
            Some(token.user_id),
            None,
            Some(&subject),
            Some(origin),
        )
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Ends all sessions of a user.
///
/// # Errors
/// The database does not respond.
pub async fn log_out_everywhere(
    conn: &mut PgConnection,
    user: &CurrentUser,
    origin: &Origin,
) -> Result<()> {
    revoke(conn, user.id, None, None).await?;
    record(
        conn,
        AuditEvent::LoggedOutEverywhere,
        Some(user.id),
        Some(&user.username),
        None,
        Some(origin),
    )
    .await
}

/// Returns the user of an access token with an active session.
pub(super) async fn user_of_session(
    conn: &mut PgConnection,
    token: AccessToken,
) -> Result<CurrentUser> {
    let found = sqlx::query!(
        r#"-- sessions::user_of_session
        with used as (
            update sessions set last_used_at = now()
            where id = $2 and user_id = $1 and revoked_at is null and last_used_at < now() - interval '1 minute'
        )
        select users.username as "username!", users.role as "role!: UserRole",
               (users.disabled_at is null and sessions.id is not null) as "alive!", users.deleted_at
        from users
        left join sessions on sessions.id = $2 and sessions.user_id = users.id
            and sessions.revoked_at is null and sessions.expires_at > now()
        where users.id = $1"#,
        token.user_id,
        token.session_id
    )
    .fetch_optional(conn)
    .await?;
    match found {
        None => Err(Error::UserGone),
        Some(found) if found.deleted_at.is_some() => Err(Error::UserGone),
        Some(found) if found.alive => Ok(CurrentUser {
            id: token.user_id,
            username: found.username,
            role: found.role,
        }),
        Some(_) => Err(Error::Unauthenticated("the token is invalid or expired")),
    }
}

/// Ends the sessions of a user: `only` one or all, except `but`. Returns their number.
pub(super) async fn revoke(
    conn: &mut PgConnection,
    user_id: i64,
    only: Option<Uuid>,
    but: Option<Uuid>,
) -> Result<u64> {
    let revoked = sqlx::query!(
        "-- sessions::revoke
        update sessions set revoked_at = now()
        where user_id = $1 and revoked_at is null
          and ($2::uuid is null or id = $2)
          and ($3::uuid is null or id <> $3)",
        user_id,
        only,
        but
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected())
}

/// Deletes sessions that have expired.
pub(super) async fn delete_ended(conn: &mut PgConnection) -> Result<u64> {
    // A revoked session is deleted when it would have expired: until then it can be looked up.
    let deleted = sqlx::query!(
        "-- sessions::delete_ended
        delete from sessions
        where id in (select id from sessions
                     where idle_expires_at < now() - interval '1 day' order by idle_expires_at limit 1000)"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

struct Session {
    id: Uuid,
    user_id: i64,
    counter: i32,
    last_rotated_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Session {
    fn tokens(&self, keys: &TokenKeys, now: DateTime<Utc>) -> Result<Tokens> {
        let access = AccessToken {
            user_id: self.user_id,
            session_id: self.id,
        };
        let refresh = RefreshToken {
            user_id: self.user_id,
            session_id: self.id,
            counter: self.counter,
        };
        Ok(Tokens {
            access_token: keys.issue_access(access, now, self.expires_at)?,
            refresh_token: keys.issue_refresh(refresh, self.last_rotated_at, self.expires_at)?,
        })
    }
}

/// Returns the active session of a token, locked until the transaction ends.
async fn lock(conn: &mut PgConnection, token: RefreshToken) -> Result<Option<Session>> {
    let session = sqlx::query_as!(
        Session,
        "-- sessions::lock
        select sessions.id, user_id, counter, last_rotated_at, expires_at
        from sessions join users on users.id = sessions.user_id
        where sessions.id = $1 and user_id = $2 and users.disabled_at is null
          and revoked_at is null and idle_expires_at > now() and expires_at > now()
        for update of sessions",
        token.session_id,
        token.user_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(session)
}

async fn user_exists(conn: &mut PgConnection, user_id: i64) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"-- sessions::user_exists
        select exists(select 1 from users where id = $1 and deleted_at is null) as "exists!""#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(exists)
}
