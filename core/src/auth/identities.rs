//! Identities of users at OpenID Connect providers, and logging in with them.
//!
//! The API has validated the provider's response; this module decides which account it logs in to. An email address
//! alone is not sufficient: otherwise anyone who can make a provider return an address would own its account. See
//! docs/SECURITY.md.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Accounts, AuditEvent, CurrentUser, Origin, Tokens, UserRole,
    audit::record,
    names::{DELETED, EMAIL_TAKEN, check_new_user},
    one_time_tokens::{hash_secret, random_secret},
    sessions::open_session,
    throttle::{self, Bucket},
    users::{User, find_user},
};
use crate::{Error, FieldError, Result};

/// Time for which a confirmed login waits for its client.
const LOGIN_LIFETIME: Duration = Duration::from_mins(5);
/// Attempts to find a free username.
const NAMES_TRIED: usize = 5;

/// The claims of a provider about a user who logged in there.
#[derive(Debug, Clone)]
pub struct ConfirmedIdentity {
    /// The operator's name of the provider.
    pub provider: String,
    /// The issuer.
    pub issuer: String,
    /// The subject: the issuer's id of the user.
    pub subject: String,
    /// The email address, if provided.
    pub email: Option<String>,
    /// Whether the issuer states that the address is verified.
    pub email_verified: bool,
    /// The user's preferred name.
    pub name: Option<String>,
    /// Whether an account is created for an unknown user.
    pub may_register: bool,
}

/// A user's identity at a provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The identity's id.
    pub id: Uuid,
    /// The operator's name of the provider.
    #[schema(example = "keycloak")]
    pub provider: String,
    /// The issuer.
    #[schema(example = "https://keycloak.example.org/realms/main")]
    pub issuer: String,
    /// The email address at the provider.
    pub email: Option<String>,
    /// When it was last used to log in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// When it was linked to the account.
    pub created_at: DateTime<Utc>,
}

/// Returns an error for a client with too many failed logins at providers: each login sends a request to a provider,
/// with the server's own credential.
///
/// # Errors
/// [`Error::TooManyAttempts`].
pub async fn may_ask_provider(accounts: &Accounts, origin: &Origin) -> Result<()> {
    let mut conn = accounts.pool.acquire().await?;
    throttle::check(&mut conn, &[&Bucket::login_from(origin.address)]).await
}

/// Counts a login that a provider did not confirm.
///
/// # Errors
/// The database does not respond.
pub async fn count_unconfirmed_login(accounts: &Accounts, origin: &Origin) -> Result<()> {
    let mut conn = accounts.pool.acquire().await?;
    let free = accounts.limits.login_failures_per_address;
    throttle::count(&mut conn, &Bucket::login_from(origin.address), free).await
}

/// Stores a confirmed login until its client collects it, and returns the code for that. `browser` is the secret of the
/// browser that started the login.
///
/// # Errors
/// The database does not respond.
pub async fn keep_login(
    conn: &mut PgConnection,
    confirmed: &ConfirmedIdentity,
    browser: &str,
) -> Result<SecretString> {
    let code = random_secret();
    sqlx::query!(
        "-- identities::keep_login
        insert into oidc_logins
            (id, code_hash, browser_hash, provider, issuer, subject, email, email_verified, name, may_register, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + $11 * interval '1 second')",
        Uuid::now_v7(),
        &hash_secret(&code),
        &hash_secret(browser),
        confirmed.provider,
        confirmed.issuer,
        confirmed.subject,
        confirmed.email,
        confirmed.email_verified,
        confirmed.name,
        confirmed.may_register,
        LOGIN_LIFETIME.as_secs_f64()
    )
    .execute(conn)
    .await?;
    Ok(code.into())
}

/// Opens a session for the code of a confirmed login, in the browser that started it.
///
/// - A known identity logs in to its account.
/// - An unknown one is linked to the account with its email address if the address is verified **both** at the provider
///   and here, and the account has the role of a user.
/// - Otherwise an account is created for an unknown one, if that is allowed and the address is not taken.
///
/// # Errors
/// [`Error::Invalid`] for a code that is wrong, expired or used; [`Error::Conflict`] if the account's owner must link
/// the identity first (the code remains valid for that); [`Error::Forbidden`] if accounts are not created for unknown
/// users.
pub async fn collect_login(
    accounts: &Accounts,
    code: &str,
    browser: &str,
    origin: &Origin,
) -> Result<(User, Tokens)> {
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let confirmed = take_login(&mut tx, code, browser).await?;
    let user = match find_owner(&mut tx, &confirmed).await? {
        Some(owner) => owner,
        None => admit(&mut tx, &confirmed, origin).await?,
    };
    let tokens = open_session(&mut tx, &accounts.tokens, user.id, origin).await?;
    let subject = format!("oidc:{}", confirmed.provider);
    record(
        &mut tx,
        AuditEvent::LoggedIn,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok((user, tokens))
}

/// Links a confirmed login to the account of the caller, who has proved ownership by being logged in.
///
/// # Errors
/// [`Error::Invalid`] for a code that is wrong, expired or used; [`Error::Conflict`] if another account has the
/// identity.
pub async fn link_identity(
    conn: &mut PgConnection,
    user: &CurrentUser,
    code: &str,
    browser: &str,
    origin: &Origin,
) -> Result<Identity> {
    let mut tx = conn.begin().await?;
    let confirmed = take_login(&mut tx, code, browser).await?;
    let identity = insert(&mut tx, user.id, &user.username, &confirmed, origin).await?;
    tx.commit().await?;
    Ok(identity)
}

/// Lists the identities of a user, oldest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_identities(conn: &mut PgConnection, user: &CurrentUser) -> Result<Vec<Identity>> {
    let identities = sqlx::query_as!(
        Identity,
        "-- identities::list_identities
        select id, provider, issuer, email, last_login_at, created_at
        from identities
        where user_id = $1
        order by id
        limit 100",
        user.id
    )
    .fetch_all(conn)
    .await?;
    Ok(identities)
}

/// Removes an identity of the caller.
///
/// # Errors
/// [`Error::NotFound`] if the caller has no such identity; [`Error::Conflict`] if it is their only way to log in.
pub async fn delete_identity(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    origin: &Origin,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    // Locks the user's row, so that the second of two concurrent removals sees the first.
    let ways = sqlx::query!(
        r#"-- identities::delete_identity (ways)
        select password_hash is not null as "has_password!",
               (select count(*) from identities where user_id = users.id) as "identities!"
        from users where id = $1 for update"#,
        user.id
    )
    .fetch_one(&mut *tx)
    .await?;
    let deleted = sqlx::query!(
        "-- identities::delete_identity
        delete from identities where id = $1 and user_id = $2",
        id,
        user.id
    )
    .execute(&mut *tx)
    .await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound("the identity".into()));
    }
    if !ways.has_password && ways.identities == 1 {
        let message = "this is the only way to log in to the account; set a password first (by a password reset)";
        return Err(Error::Conflict(message.into()));
    }
    let subject = id.to_string();
    record(
        &mut tx,
        AuditEvent::IdentityRemoved,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes expired logins that were not collected.
pub(super) async fn delete_expired(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- identities::delete_expired
        delete from oidc_logins
        where id in (select id from oidc_logins where expires_at < now() order by expires_at limit 1000)"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Consumes a confirmed login; it is restored if the caller's transaction fails.
async fn take_login(
    conn: &mut PgConnection,
    code: &str,
    browser: &str,
) -> Result<ConfirmedIdentity> {
    let confirmed = sqlx::query_as!(
        ConfirmedIdentity,
        "-- identities::take_login
        delete from oidc_logins
        where code_hash = $1 and browser_hash = $2 and expires_at > now()
        returning provider, issuer, subject, email, email_verified, name, may_register",
        &hash_secret(code),
        &hash_secret(browser)
    )
    .fetch_optional(conn)
    .await?;
    confirmed.ok_or_else(|| {
        Error::invalid(
            "code",
            "is wrong, expired, already used, or of another browser; log in again",
        )
    })
}

/// Returns the account of a known identity.
async fn find_owner(
    conn: &mut PgConnection,
    confirmed: &ConfirmedIdentity,
) -> Result<Option<User>> {
    let owner = sqlx::query!(
        r#"-- identities::find_owner
        update identities
        set last_login_at = now(), email = coalesce($3, identities.email)
        from users
        where issuer = $1 and subject = $2 and users.id = identities.user_id
        returning users.id, users.disabled_at is null as "enabled!""#,
        confirmed.issuer,
        confirmed.subject,
        confirmed.email
    )
    .fetch_optional(&mut *conn)
    .await?;
    match owner {
        Some(owner) if owner.enabled => find_user(conn, owner.id).await.map(Some),
        Some(_) => Err(Error::Unauthenticated("this account is disabled")),
        None => Ok(None),
    }
}

/// Returns the account for an unknown identity.
async fn admit(
    conn: &mut PgConnection,
    confirmed: &ConfirmedIdentity,
    origin: &Origin,
) -> Result<User> {
    let email = confirmed.email.as_deref().ok_or(Error::Forbidden(
        "the provider gives no email address, which an account needs; log in otherwise and link the provider",
    ))?;
    let namesake = sqlx::query!(
        r#"-- identities::admit
        select id, username, role as "role: UserRole", disabled_at is null as "enabled!",
               email_verified_at is not null as "verified!"
        from users where lower(email) = lower($1)"#,
        email
    )
    .fetch_optional(&mut *conn)
    .await?;
    let user = match namesake {
        None => register(conn, confirmed, email, origin).await?,
        Some(user)
            if user.enabled
                && user.verified
                && confirmed.email_verified
                && user.role == UserRole::User =>
        {
            find_user(conn, user.id).await?
        }
        Some(_) => {
            let message =
                "an account has this email address; log in to it and link the provider there";
            return Err(Error::Conflict(message.into()));
        }
    };
    insert(conn, user.id, &user.username, confirmed, origin).await?;
    Ok(user)
}

/// Creates an account. The provider must have verified the address: otherwise anyone could register another person's
/// address.
async fn register(
    conn: &mut PgConnection,
    confirmed: &ConfirmedIdentity,
    email: &str,
    origin: &Origin,
) -> Result<User> {
    if !confirmed.may_register {
        return Err(Error::Forbidden("registration is closed on this server"));
    }
    if !confirmed.email_verified {
        return Err(Error::Forbidden(
            "your email address is not verified at the provider; verify it there first",
        ));
    }
    let wished = plain_name(confirmed.name.as_deref().unwrap_or_default(), email);
    for attempt in 0..NAMES_TRIED {
        let username = match attempt {
            0 => wished.clone(),
            _ => format!("{wished}-{:05}", rand::random_range(0..100_000)),
        };
        if let Some(wrong) = wrong_email(&username, email) {
            return Err(Error::Invalid(vec![wrong]));
        }
        if !check_new_user(&username, email).is_empty() {
            continue;
        }
        let user = sqlx::query_as!(
            User,
            r#"-- identities::register
            insert into users (username, email, email_verified_at) values ($1, $2, now())
            on conflict (lower(username)) do nothing
            returning id, username, email, email_verified_at, role as "role: UserRole", created_at"#,
            username,
            email
        )
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| taken(error.into()))?;
        let Some(user) = user else {
            continue;
        };
        record(
            conn,
            AuditEvent::Registered,
            Some(user.id),
            Some(&user.username),
            None,
            Some(origin),
        )
        .await?;
        return Ok(user);
    }
    Err(Error::Busy)
}

async fn insert(
    conn: &mut PgConnection,
    user_id: i64,
    username: &str,
    confirmed: &ConfirmedIdentity,
    origin: &Origin,
) -> Result<Identity> {
    let identity = sqlx::query_as!(
        Identity,
        "-- identities::insert
        insert into identities (id, user_id, provider, issuer, subject, email, last_login_at)
        values ($1, $2, $3, $4, $5, $6, now())
        returning id, provider, issuer, email, last_login_at, created_at",
        Uuid::now_v7(),
        user_id,
        confirmed.provider,
        confirmed.issuer,
        confirmed.subject,
        confirmed.email
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(|error| taken(error.into()))?;
    let subject = identity.id.to_string();
    record(
        conn,
        AuditEvent::IdentityLinked,
        Some(user_id),
        Some(username),
        Some(&subject),
        Some(origin),
    )
    .await?;
    Ok(identity)
}

fn taken(error: Error) -> Error {
    if error.violates("identities_subject_key") {
        return Error::Conflict("this identity is linked to an account already".into());
    }
    if error.violates("users_email_key") {
        return Error::Conflict(format!("the email address {EMAIL_TAKEN}; log in again"));
    }
    error
}

/// Returns the error of the address; an invalid name is replaced by another one.
fn wrong_email(username: &str, email: &str) -> Option<FieldError> {
    let wrong = check_new_user(username, email).into_iter();
    wrong.into_iter().find(|field| field.path == "email")
}

/// Derives a username from the user's name at the provider, or from the address. Leaves room for a number.
fn plain_name(wished: &str, email: &str) -> String {
    let local = email.split('@').next().unwrap_or_default();
    let plain = |text: &str| -> String {
        text.split('@')
            .next()
            .unwrap_or_default()
            .chars()
            .map(|c| if c == ' ' { '.' } else { c })
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
            .take(26)
            .collect()
    };
    [plain(wished), plain(local)]
        .into_iter()
        .find(|name| name.len() >= 3 && !name.to_ascii_lowercase().starts_with(DELETED))
        .unwrap_or_else(|| "user".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identity_gets_a_plain_name() {
        let check = |wished: &str, email: &str, expect: &str| {
            let name = plain_name(wished, email);
            assert_eq!(name, expect);
            assert!(check_new_user(&name, "a@example.org").is_empty(), "{name}");
        };
        check("ada", "x@example.org", "ada");
        check("Ada Lovelace", "x@example.org", "Ada.Lovelace");
        check("ada@corp.example", "x@example.org", "ada");
        check("<b>ada</b>", "x@example.org", "badab");
        check("", "ada+tag@example.org", "adatag");
        check("аda", "ada.l@example.org", "ada.l");
        check("я", "x@example.org", "user");
        check(&"x".repeat(500), "x@example.org", &"x".repeat(26));
    }
}
