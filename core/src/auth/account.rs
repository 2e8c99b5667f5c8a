//! The caller's own account: changing the password, the username and the email address.

use secrecy::SecretString;
use sqlx::Acquire as _;
use uuid::Uuid;

use super::{
    Accounts, AuditEvent, CurrentUser, Origin, User, UserRole,
    audit::record,
    email_verification::{count_mail_to_new_address, follow_change_of_email},
    login::confirm,
    mail_templates::Reader,
    names::{check_new_user, explain_taken, normalise},
    one_time_tokens::{self, Purpose},
    sessions::revoke,
    throttle::{self, Bucket},
};
use crate::{Error, Result};

/// Changes to a taken name that are refused before further attempts are delayed.
const FREE_REFUSALS: u32 = 10;

/// Changes to the caller's own account; absent fields remain unchanged.
pub struct ProfileChange {
    /// The current password, as proof that the user is present.
    pub current_password: SecretString,
    /// The new username.
    pub username: Option<String>,
    /// The new email address.
    pub email: Option<String>,
}

/// Changes the caller's password, ends all their other sessions, invalidates pending reset links, and notifies the user
/// by mail.
///
/// # Errors
/// [`Error::Invalid`] if the current password is wrong or the new one is not allowed; [`Error::TooManyAttempts`].
pub async fn change_password(
    accounts: &Accounts,
    user: &CurrentUser,
    session_id: Uuid,
    (current, new): (SecretString, SecretString),
    origin: &Origin,
) -> Result<()> {
    let proved = confirm(accounts, user, current, origin).await?;
    let account = &proved.account;
    let turn = accounts.passwords.turn().await?;
    let known = vec![account.username.clone(), account.email.clone()];
    let hash = turn.hash("new_password", new, known).await?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    proved.require(&mut tx).await?;
    sqlx::query!(
        "-- account::change_password
        update users set password_hash = $2 where id = $1",
        user.id,
        hash
    )
    .execute(&mut *tx)
    .await?;
    revoke(&mut tx, user.id, None, Some(session_id)).await?;
    // A reset link in an older mail must not undo this change.
    one_time_tokens::forget(&mut tx, Purpose::PasswordReset, user.id).await?;
    if let Some(outbox) = &accounts.outbox {
        let reader = Reader {
            username: &account.username,
            email: &account.email,
            bank: &outbox.public_url,
        };
        outbox.post(&mut tx, reader.password_changed()).await?;
    }
    record(
        &mut tx,
        AuditEvent::PasswordChanged,
        Some(user.id),
        Some(&user.username),
        None,
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Changes the caller's username or email address.
///
/// # Errors
/// [`Error::Invalid`] for a wrong password, or a field that is invalid or taken; [`Error::TooManyAttempts`].
pub async fn change_profile(
    accounts: &Accounts,
    user: &CurrentUser,
    change: ProfileChange,
    origin: &Origin,
) -> Result<User> {
    let proved = confirm(accounts, user, change.current_password, origin).await?;
    let account = &proved.account;
    let username = change
        .username
        .map_or_else(|| account.username.clone(), |text| normalise(&text));
    let email = change
        .email
        .map_or_else(|| account.email.clone(), |text| normalise(&text));
    let wrong = check_new_user(&username, &email);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let mut conn = accounts.pool.acquire().await?;
    let bucket = Bucket::change_of(user.id);
    throttle::check(&mut conn, &[&bucket]).await?;
    if !email.eq_ignore_ascii_case(&account.email) && accounts.outbox.is_some() {
        // Both addresses receive a mail, and the new one may belong to another person.
        count_mail_to_new_address(&mut conn, user.id).await?;
    }
    let mut tx = conn.begin().await?;
    proved.require(&mut tx).await?;
    let changed = sqlx::query_as!(
        User,
        r#"-- account::change_profile
        update users
        set username = $2, email = $3,
            email_verified_at = case when lower(email) = lower($3) then email_verified_at end
        where id = $1
        returning id, username, email, email_verified_at, role as "role: UserRole", created_at"#,
        user.id,
        username,
        email
    )
    .fetch_one(&mut *tx)
    .await;
    let changed = match changed {
        Ok(changed) => changed,
        Err(error) => {
            tx.rollback().await?;
            throttle::count(&mut conn, &bucket, FREE_REFUSALS).await?;
            let names = (username.as_str(), email.as_str());
            return Err(explain_taken(&mut conn, error.into(), Some(user.id), names).await);
        }
    };
    if !changed.email.eq_ignore_ascii_case(&account.email) {
        follow_change_of_email(&mut tx, accounts, &account.email, &changed).await?;
    }
    record(
        &mut tx,
        AuditEvent::ProfileChanged,
        Some(user.id),
        Some(&user.username),
        None,
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(changed)
}
