//! Administration of accounts: listing them, changing roles, disabling and enabling.
//!
//! There is always an administrator: every function that may remove one holds [`lock_admins`] and counts the others
//! first.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;

use super::{
    AuditEvent, CurrentUser, Origin, PasswordHasher, User, UserRole,
    audit::record,
    names::{check_new_user, explain_taken, normalise},
    one_time_tokens::{self, Purpose},
    sessions::revoke,
};
use crate::{Error, Result, paging::Page};

/// The username of the program itself, which owns the built-in content.
pub(super) const SYSTEM: &str = "openpromptbank";
/// The advisory lock held while administrators are counted and one is added or removed. The number is arbitrary.
const ADMINS_LOCK: i64 = 0x6f70_622d_6164_6d73;

/// A user in the view of administrators.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// The user's id.
    pub id: i64,
    /// The user's name.
    pub username: String,
    /// The user's email address.
    pub email: String,
    /// The user's role.
    pub role: UserRole,
    /// When the user was disabled; null if enabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// Changes to an account by an administrator; absent fields remain unchanged.
#[derive(Debug, Clone, Copy)]
pub struct AccountChange {
    /// The new role.
    pub role: Option<UserRole>,
    /// Whether the user is disabled.
    pub disabled: Option<bool>,
}

/// Lists the users that are not deleted, newest first, with ids before `before`.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators.
pub async fn list_accounts(
    conn: &mut PgConnection,
    user: &CurrentUser,
    before: Option<i64>,
    limit: i64,
) -> Result<Page<Account>> {
    user.require_admin("only administrators can manage accounts")?;
    let accounts = sqlx::query_as!(
        Account,
        r#"-- administration::list_accounts
        select id, username, email, role as "role: UserRole", disabled_at, created_at
        from users
        where deleted_at is null and ($1::bigint is null or id < $1)
        order by id desc
        limit $2"#,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(accounts, limit, |account| account.id.to_string()))
}

/// Changes a user's role, or disables or enables the user. Takes effect at once.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`]; [`Error::Conflict`] if no administrator
/// would remain, and for the program's own user.
pub async fn change_account(
    conn: &mut PgConnection,
    user: &CurrentUser,
    username: &str,
    change: AccountChange,
    origin: &Origin,
) -> Result<Account> {
    user.require_admin("only administrators can manage accounts")?;
    let mut tx = conn.begin().await?;
    let before = lock_account(&mut tx, username).await?;
    let after = sqlx::query_as!(
        Account,
        r#"-- administration::change_account
        update users
        set role = coalesce($2, role),
            disabled_at = case when $3 then coalesce(disabled_at, now()) when not $3 then null else disabled_at end
        where id = $1
        returning id, username, email, role as "role: UserRole", disabled_at, created_at"#,
        before.id,
        change.role as Option<UserRole>,
        change.disabled
    )
    .fetch_one(&mut *tx)
    .await?;
    require_other_admin(&mut tx, &before).await?;
    let mut events = Vec::new();
    if before.role != after.role {
        let role = serde_json::to_value(after.role).unwrap_or_default();
        let role = role.as_str().unwrap_or_default().to_owned();
        events.push((
            AuditEvent::RoleChanged,
            format!("{role}, by {}", user.username),
        ));
    }
    if before.disabled_at.is_some() != after.disabled_at.is_some() {
        let event = if after.disabled_at.is_some() {
            // Enabling lets the user log in again; it does not restore old sessions.
            revoke(&mut tx, after.id, None, None).await?;
            one_time_tokens::forget(&mut tx, Purpose::PasswordReset, after.id).await?;
            AuditEvent::UserDisabled
        } else {
            AuditEvent::UserEnabled
        };
        events.push((event, format!("by {}", user.username)));
    }
    for (event, subject) in events {
        record(
            &mut tx,
            event,
            Some(after.id),
            Some(&after.username),
            Some(&subject),
            Some(origin),
        )
        .await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// Makes a user of this name an administrator; `None` if there is no such user. For operators, who have access to the
/// database anyway.
///
/// # Errors
/// [`Error::Conflict`] for a disabled user; the database does not respond.
pub async fn promote_to_admin(conn: &mut PgConnection, username: &str) -> Result<Option<User>> {
    let mut tx = conn.begin().await?;
    let account = match lock_account(&mut tx, username).await {
        Ok(account) => account,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if account.disabled_at.is_some() {
        let message = format!(
            "the user `{}` is disabled; enable them first",
            account.username
        );
        return Err(Error::Conflict(message));
    }
    let user = sqlx::query_as!(
        User,
        r#"-- administration::promote_to_admin
        update users set role = 'admin' where id = $1
        returning id, username, email, email_verified_at, role as "role: UserRole", created_at"#,
        account.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if account.role != UserRole::Admin {
        record_operator(&mut tx, AuditEvent::RoleChanged, &user).await?;
    }
    tx.commit().await?;
    Ok(Some(user))
}

/// Creates an administrator. For operators, who have access to the database anyway.
///
/// # Errors
/// [`Error::Invalid`] for a field that is invalid or taken.
pub async fn create_admin(
    conn: &mut PgConnection,
    passwords: &PasswordHasher,
    (username, email): (&str, &str),
    password: SecretString,
) -> Result<User> {
    let (username, email) = (normalise(username), normalise(email));
    let wrong = check_new_user(&username, &email);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let known = vec![username.clone(), email.clone()];
    let hash = passwords
        .turn()
        .await?
        .hash("password", password, known)
        .await?;
    let mut tx = conn.begin().await?;
    lock_admins(&mut tx).await?;
    let user = sqlx::query_as!(
        User,
        r#"-- administration::create_admin
        insert into users (username, email, password_hash, role) values ($1, $2, $3, 'admin')
        returning id, username, email, email_verified_at, role as "role: UserRole", created_at"#,
        username,
        email,
        hash
    )
    .fetch_one(&mut *tx)
    .await;
    let user = match user {
        Ok(user) => user,
        Err(error) => {
            tx.rollback().await?;
            return Err(explain_taken(conn, error.into(), None, (&username, &email)).await);
        }
    };
    record_operator(&mut tx, AuditEvent::Registered, &user).await?;
    record_operator(&mut tx, AuditEvent::RoleChanged, &user).await?;
    tx.commit().await?;
    Ok(user)
}

/// Serialises transactions that add or remove an administrator.
pub(super) async fn lock_admins(tx: &mut PgConnection) -> Result<()> {
    sqlx::query_scalar!(
        r#"-- administration::lock_admins
        select pg_advisory_xact_lock($1) is null as "locked""#,
        ADMINS_LOCK
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Returns the number of enabled administrators, without the program's own user.
pub(super) async fn count_admins(conn: &mut PgConnection) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"-- administration::count_admins
        select count(*) as "count!" from users
        where role = 'admin' and disabled_at is null and lower(username) <> $1"#,
        SYSTEM
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// Returns an account, locked until the end of the transaction; no administrator is added or removed meanwhile.
pub(crate) async fn lock_account(tx: &mut PgConnection, username: &str) -> Result<Account> {
    lock_admins(&mut *tx).await?;
    let account = sqlx::query_as!(
        Account,
        r#"-- administration::lock_account
        select id, username, email, role as "role: UserRole", disabled_at, created_at
        from users
        where lower(username) = lower($1) and deleted_at is null
        for update"#,
        username
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the user `{username}`")))?;
    if account.username == SYSTEM {
        let message = "the user `openpromptbank` is the program itself and cannot be changed";
        return Err(Error::Conflict(message.into()));
    }
    Ok(account)
}

/// Returns an error if a change has removed the last administrator.
pub(crate) async fn require_other_admin(tx: &mut PgConnection, before: &Account) -> Result<()> {
    let was_admin = before.role == UserRole::Admin && before.disabled_at.is_none();
    if was_admin && count_admins(tx).await? == 0 {
        let message = "this is the last administrator; make another one first";
        return Err(Error::Conflict(message.into()));
    }
    Ok(())
}

async fn record_operator(tx: &mut PgConnection, event: AuditEvent, user: &User) -> Result<()> {
    let subject = match event {
        AuditEvent::RoleChanged => "admin, by the operator",
        _ => "by the operator",
    };
    record(
        tx,
        event,
        Some(user.id),
        Some(&user.username),
        Some(subject),
        None,
    )
    .await
}
