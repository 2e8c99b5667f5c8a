//! One's own account: changing the password, the username and the email address.

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

/// So many changes to a name that is taken are refused before further changes have to wait.
const FREE_REFUSALS: u32 = 10;

/// What a user changes about their own account; what is absent stays.
pub struct ProfileChange {
    /// Proves that it is not somebody at an unlocked screen.
    pub current_password: SecretString,
    /// The new username.
    pub username: Option<String>,
    /// The new email address.
    pub email: Option<String>,
}

/// Changes the caller's password, ends all their other sessions, makes links for a new password useless, and tells the user
/// by mail.
///
/// # Errors
/// [`Error::Invalid`] when the current password is wrong or the new one breaks a rule; [`Error::TooManyAttempts`].
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
    // Whoever reads an older mail must not undo the answer to it.
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
/// [`Error::Invalid`] for a wrong password, or a field that breaks a rule or is taken; [`Error::TooManyAttempts`].
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
        // Both addresses get a mail, and the new one can be anybody's.
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
