//! Registration of users.

use clap::ValueEnum;
use secrecy::SecretString;
use sqlx::Acquire as _;

use super::{
    Accounts, AuditEvent, Origin, Tokens, User, UserRole,
    audit::record,
    email_verification::send_verification,
    invitations,
    names::{check_new_user, explain_taken, normalise},
    sessions::open_session,
    throttle::{self, Bucket},
};
use crate::{Error, Result};

/// A request to register.
pub struct NewUser {
    /// 3 to 32 letters, digits, dots, dashes or underscores.
    pub username: String,
    /// An email address.
    pub email: String,
    /// 8 to 128 characters, and not easy to guess.
    pub password: SecretString,
    /// The invitation, where one is required.
    pub invitation: Option<SecretString>,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Users with an invitation of an administrator.
    Invite,
    /// No one: the operator creates accounts. The invitation of the first administrator remains valid.
    Closed,
}

/// Refuses a registration that is not allowed on this installation, before its fields are validated.
///
/// # Errors
/// [`Error::RegistrationClosed`], [`Error::InvitationNeeded`].
pub async fn check_registration(
    accounts: &Accounts,
    invitation: Option<&SecretString>,
) -> Result<()> {
    match (accounts.registration, invitation) {
        (Registration::Open, _) | (Registration::Invite, Some(_)) => Ok(()),
        (Registration::Invite, None) => Err(Error::InvitationNeeded),
        (Registration::Closed, None) => Err(Error::RegistrationClosed),
        (Registration::Closed, Some(secret)) => {
            let mut conn = accounts.pool.acquire().await?;
            if invitations::makes_first_admin(&mut conn, secret).await? {
                return Ok(());
            }
            Err(Error::RegistrationClosed)
        }
    }
}

/// Registers a user and opens a session.
///
/// # Errors
/// [`Error::RegistrationClosed`], [`Error::InvitationNeeded`];
/// [`Error::Invalid`] for a field that is invalid or taken; [`Error::TooManyAttempts`].
pub async fn register(
    accounts: &Accounts,
    new: NewUser,
    origin: &Origin,
) -> Result<(User, Tokens)> {
    check_registration(accounts, new.invitation.as_ref()).await?;
    let bucket = Bucket::registration_from(origin.address);
    {
        let mut conn = accounts.pool.acquire().await?;
        throttle::check(&mut conn, &[&bucket]).await?;
        throttle::count(
            &mut conn,
            &bucket,
            accounts.limits.registrations_per_address,
        )
        .await?;
    }
    let (username, email) = (normalise(&new.username), normalise(&new.email));
    let wrong = check_new_user(&username, &email);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let known = vec![username.clone(), email.clone()];
    let turn = accounts.passwords.turn().await?;
    let hash = turn.hash("password", new.password, known).await?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let role = match &new.invitation {
        Some(invitation) => invitations::redeem(&mut tx, invitation, &email).await?,
        None => UserRole::User,
    };
    let user = sqlx::query_as!(
        User,
        r#"-- registration::register
        insert into users (username, email, password_hash, role) values ($1, $2, $3, $4)
        returning id, username, email, email_verified_at, role as "role: UserRole", created_at"#,
        username,
        email,
        hash,
        role as UserRole
    )
    .fetch_one(&mut *tx)
    .await;
    let user = match user {
        Ok(user) => user,
        Err(error) => {
            tx.rollback().await?;
            return Err(explain_taken(&mut conn, error.into(), None, (&username, &email)).await);
        }
    };
    send_verification(&mut tx, accounts, &user).await?;
    let tokens = open_session(&mut tx, &accounts.tokens, user.id, origin).await?;
    record(
        &mut tx,
        AuditEvent::Registered,
        Some(user.id),
        Some(&user.username),
        None,
        Some(origin),
    )
    .await?;
    if user.role == UserRole::Admin {
        record(
            &mut tx,
            AuditEvent::RoleChanged,
            Some(user.id),
            Some(&user.username),
            Some("admin, by the invitation for the first administrator"),
            Some(origin),
        )
        .await?;
    }
    tx.commit().await?;
    Ok((user, tokens))
}
