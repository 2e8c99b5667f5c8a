//! Verification of email addresses, by a link that is mailed to them.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use super::{
    Accounts, AuditEvent, CurrentUser, Origin,
    audit::record,
    mail_templates::Reader,
    one_time_tokens::{self, Purpose},
    throttle::{self, Bucket},
    users::{User, find_user},
};
use crate::{Error, Result, mail};

/// Lifetime of a link.
pub const VERIFICATION_LIFETIME: Duration = Duration::from_hours(24);
/// Mails on request per account before further ones are delayed.
const VERIFICATIONS_PER_ACCOUNT: u32 = 3;
/// The page of a link.
const PAGE: &str = "account/verify-email";

/// Sends the caller another link to verify their address.
///
/// # Errors
/// [`Error::Forbidden`] if the operator has configured no mail server; [`Error::Conflict`] if the address is verified;
/// [`Error::TooManyAttempts`].
pub async fn request_email_verification(accounts: &Accounts, user: &CurrentUser) -> Result<()> {
    if accounts.outbox.is_none() {
        return Err(Error::Forbidden("this server sends no mail"));
    }
    let mut conn = accounts.pool.acquire().await?;
    let account = find_user(&mut conn, user.id).await?;
    if account.email_verified_at.is_some() {
        let message = "the email address is verified already";
        return Err(Error::Conflict(message.into()));
    }
    count_mail_to_new_address(&mut conn, user.id).await?;
    let mut tx = conn.begin().await?;
    send_verification(&mut tx, accounts, &account).await?;
    tx.commit().await?;
    Ok(())
}

/// Counts a mail to an address that a user has entered but not verified.
///
/// # Errors
/// [`Error::TooManyAttempts`].
pub(super) async fn count_mail_to_new_address(conn: &mut PgConnection, user_id: i64) -> Result<()> {
    let bucket = Bucket::verification_of(user_id);
    throttle::check(conn, &[&bucket]).await?;
    throttle::count(conn, &bucket, VERIFICATIONS_PER_ACCOUNT).await
}

/// Verifies the address that a token was mailed to.
///
/// # Errors
/// [`Error::Invalid`] for a token that is wrong, expired or used, or whose address is no longer the user's.
pub async fn verify_email(conn: &mut PgConnection, token: &str, origin: &Origin) -> Result<()> {
    let mut tx = conn.begin().await?;
    let found = one_time_tokens::find(&mut tx, Purpose::EmailVerification, token).await?;
    one_time_tokens::use_up(&mut tx, Purpose::EmailVerification, &found).await?;
    sqlx::query!(
        "-- email_verification::verify_email
        update users set email_verified_at = coalesce(email_verified_at, now()) where id = $1 and email = $2",
        found.user_id,
        found.email
    )
    .execute(&mut *tx)
    .await?;
    record(
        &mut tx,
        AuditEvent::EmailVerified,
        Some(found.user_id),
        Some(&found.username),
        None,
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Returns an error for a user with an unverified address. Administrators are exempt.
///
/// # Errors
/// [`Error::EmailNotVerified`].
pub async fn require_verified_email(conn: &mut PgConnection, user: &CurrentUser) -> Result<()> {
    if user.is_admin() || find_user(conn, user.id).await?.email_verified_at.is_some() {
        return Ok(());
    }
    Err(Error::EmailNotVerified)
}

/// Sends a link to the address of a new user or a new address, if the operator has configured a mail server.
pub(super) async fn send_verification(
    conn: &mut PgConnection,
    accounts: &Accounts,
    user: &User,
) -> Result<()> {
    let Some(outbox) = &accounts.outbox else {
        return Ok(());
    };
    let token = one_time_tokens::issue(
        conn,
        Purpose::EmailVerification,
        user.id,
        Some(&user.email),
        VERIFICATION_LIFETIME,
    )
    .await?;
    let link = mail::link(&outbox.public_url, PAGE, token.expose_secret())?;
    let reader = Reader {
        username: &user.username,
        email: &user.email,
        bank: &outbox.public_url,
    };
    let letter = reader.email_verification(&link, VERIFICATION_LIFETIME);
    outbox.post(conn, letter).await
}

/// Notifies the old address of the change, and sends a verification link to the new one.
pub(super) async fn follow_change_of_email(
    conn: &mut PgConnection,
    accounts: &Accounts,
    old_email: &str,
    user: &User,
) -> Result<()> {
    let Some(outbox) = &accounts.outbox else {
        return Ok(());
    };
    let reader = Reader {
        username: &user.username,
        email: old_email,
        bank: &outbox.public_url,
    };
    outbox.post(conn, reader.email_changed()).await?;
    send_verification(conn, accounts, user).await
}
