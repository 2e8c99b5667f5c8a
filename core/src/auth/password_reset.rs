//! Password reset, by a link that is mailed or printed by the operator.
//!
//! A request must not reveal whether an address has an account, neither by its response nor by its duration.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use url::Url;

use super::{
    Accounts, AuditEvent, Origin,
    audit::record,
    mail_templates::Reader,
    names::normalise,
    one_time_tokens::{self, Found, Purpose},
    sessions::revoke,
    throttle::{self, Bucket},
};
use crate::{Error, Result, mail};

/// Lifetime of a link.
pub const RESET_LIFETIME: Duration = Duration::from_mins(30);
/// Fixed duration of every request, far longer than the database needs in either case.
const ANSWER_AFTER: Duration = Duration::from_millis(250);
/// Mails to one address before further ones are delayed.
const RESETS_PER_ACCOUNT: u32 = 3;
/// Requests from one address before further ones are delayed.
const RESETS_PER_ADDRESS: u32 = 20;
/// The page of a link.
const PAGE: &str = "account/reset-password";

/// Sends a reset link if an account has this address. Does not reveal whether one has.
///
/// # Errors
/// [`Error::Forbidden`] if the operator has configured no mail server; [`Error::TooManyAttempts`], with or without an
/// account.
pub async fn request_password_reset(
    accounts: &Accounts,
    email: &str,
    origin: &Origin,
) -> Result<()> {
    if accounts.outbox.is_none() {
        return Err(Error::Forbidden(
            "this server sends no mail; ask its operator for a link (opb admin reset-link)",
        ));
    }
    let answer_at = Instant::now() + ANSWER_AFTER;
    let asked = ask(accounts, &normalise(email).replace('\0', ""), origin).await;
    tokio::time::sleep_until(answer_at).await;
    asked
}

/// Sets a new password with a token and ends all sessions of its user.
///
/// A mailed token also verifies the address, if it was not verified before. The account may then have been created by
/// another person: API keys, identities, webhooks and schedules added before the verification are removed or disabled.
///
/// # Errors
/// [`Error::Invalid`] for a token that is wrong, expired or used, and for a password that is not allowed: the token
/// then remains valid; [`Error::TooManyAttempts`].
pub async fn reset_password(
    accounts: &Accounts,
    token: &str,
    password: SecretString,
    origin: &Origin,
) -> Result<()> {
    let found = find_token(accounts, token, origin).await?;
    let turn = accounts.passwords.turn().await?;
    let known = vec![found.username.clone(), found.email.clone()];
    let hash = turn.hash("password", password, known).await?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    one_time_tokens::use_up(&mut tx, Purpose::PasswordReset, &found).await?;
    store(&mut tx, &found, &hash).await?;
    revoke(&mut tx, found.user_id, None, None).await?;
    if found.was_mailed {
        remove_what_came_before_the_proof(&mut tx, found.user_id).await?;
    }
    throttle::forget(&mut tx, &Bucket::login_of_user(found.user_id)).await?;
    record(
        &mut tx,
        AuditEvent::PasswordReset,
        Some(found.user_id),
        Some(&found.username),
        None,
        Some(origin),
    )
    .await?;
    if let Some(outbox) = &accounts.outbox {
        let reader = Reader {
            username: &found.username,
            email: &found.email,
            bank: &outbox.public_url,
        };
        outbox.post(&mut tx, reader.password_changed()).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Creates a reset link for a user of this name, to be delivered by the operator.
///
/// # Errors
/// [`Error::NotFound`] if there is no such user, or the user is disabled.
pub async fn create_reset_link(
    conn: &mut PgConnection,
    username: &str,
    public_url: &Url,
) -> Result<SecretString> {
    let mut tx = conn.begin().await?;
    let user = sqlx::query!(
        "-- password_reset::create_reset_link
        select id, username from users where lower(username) = lower($1) and disabled_at is null",
        normalise(username)
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("an enabled user `{username}`")))?;
    let token = one_time_tokens::issue(
        &mut tx,
        Purpose::PasswordReset,
        user.id,
        None,
        RESET_LIFETIME,
    )
    .await?;
    record(
        &mut tx,
        AuditEvent::PasswordResetLinkPrinted,
        Some(user.id),
        Some(&user.username),
        None,
        None,
    )
    .await?;
    tx.commit().await?;
    mail::link(public_url, PAGE, token.expose_secret())
}

async fn ask(accounts: &Accounts, email: &str, origin: &Origin) -> Result<()> {
    let Some(outbox) = &accounts.outbox else {
        return Ok(());
    };
    let mut conn = accounts.pool.acquire().await?;
    let (account, address) = (Bucket::reset_of(email), Bucket::reset_from(origin.address));
    throttle::check(&mut conn, &[&account, &address]).await?;
    throttle::count(&mut conn, &account, RESETS_PER_ACCOUNT).await?;
    throttle::count(&mut conn, &address, RESETS_PER_ADDRESS).await?;
    let mut tx = conn.begin().await?;
    // An account without a password and without a verified address, such as the program's own, cannot be reset by mail.
    let user = sqlx::query!(
        "-- password_reset::ask
        select id, username, email
        from users
        where lower(email) = lower($1) and disabled_at is null
          and (password_hash is not null or email_verified_at is not null)",
        email
    )
    .fetch_optional(&mut *tx)
    .await?;
    record(
        &mut tx,
        AuditEvent::PasswordResetRequested,
        user.as_ref().map(|user| user.id),
        user.as_ref().map(|user| user.username.as_str()),
        None,
        Some(origin),
    )
    .await?;
    if let Some(user) = user {
        let token = one_time_tokens::issue(
            &mut tx,
            Purpose::PasswordReset,
            user.id,
            Some(&user.email),
            RESET_LIFETIME,
        )
        .await?;
        let link = mail::link(&outbox.public_url, PAGE, token.expose_secret())?;
        let reader = Reader {
            username: &user.username,
            email: &user.email,
            bank: &outbox.public_url,
        };
        outbox
            .post(&mut tx, reader.password_reset(&link, RESET_LIFETIME))
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Finds a token; wrong tokens are throttled like wrong passwords.
async fn find_token(accounts: &Accounts, token: &str, origin: &Origin) -> Result<Found> {
    let mut conn = accounts.pool.acquire().await?;
    let address = Bucket::login_from(origin.address);
    throttle::check(&mut conn, &[&address]).await?;
    let found = one_time_tokens::find(&mut conn, Purpose::PasswordReset, token).await;
    if matches!(found, Err(Error::Invalid(_))) {
        let free = accounts.limits.login_failures_per_address;
        throttle::count(&mut conn, &address, free).await?;
    }
    found
}

async fn store(conn: &mut PgConnection, found: &Found, hash: &str) -> Result<()> {
    // The address is compared again: it may have changed since the token was looked up.
    let stored = sqlx::query!(
        "-- password_reset::store
        update users
        set password_hash = $2,
            email_verified_at = case when $4 then coalesce(email_verified_at, now()) else email_verified_at end
        where id = $1 and email = $3 and disabled_at is null",
        found.user_id,
        hash,
        found.email,
        found.was_mailed
    )
    .execute(conn)
    .await?;
    if stored.rows_affected() == 0 {
        return Err(Error::Conflict(
            "the account has changed meanwhile; ask for a new link".into(),
        ));
    }
    Ok(())
}

/// Removes what was added before the address was verified, possibly by another person: credentials (identities, API
/// keys), and what sends data or spends money (webhooks, schedules).
async fn remove_what_came_before_the_proof(conn: &mut PgConnection, user_id: i64) -> Result<()> {
    sqlx::query!(
        "-- password_reset::remove_what_came_before_the_proof (identities)
        delete from identities using users
        where users.id = $1 and user_id = users.id and identities.created_at < users.email_verified_at",
        user_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "-- password_reset::remove_what_came_before_the_proof (API keys)
        update api_keys set revoked_at = now() from users
        where users.id = $1 and user_id = users.id and revoked_at is null
          and api_keys.created_at < users.email_verified_at",
        user_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "-- password_reset::remove_what_came_before_the_proof (webhooks)
        update webhooks
        set disabled_at = now(), disabled_reason = 'made before your email address was shown to be yours'
        from users
        where users.id = $1 and owner_id = users.id and webhooks.disabled_at is null
          and webhooks.created_at < users.email_verified_at",
        user_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "-- password_reset::remove_what_came_before_the_proof (schedules)
        update schedules set paused_at = now(), next_at = null from users
        where users.id = $1 and owner_id = users.id and paused_at is null
          and schedules.created_at < users.email_verified_at",
        user_id
    )
    .execute(conn)
    .await?;
    Ok(())
}
