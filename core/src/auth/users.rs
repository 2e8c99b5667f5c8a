//! Users: registration, login, look-up, changing one's own account.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::{Acquire as _, PgConnection};
use unicode_normalization::UnicodeNormalization as _;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Accounts, AuditEvent, CurrentUser, Match, Origin, Tokens, UserRole, WRONG_LOGIN,
    audit::record,
    sessions::{open_session, revoke},
    throttle::{self, Bucket},
};
use crate::{Error, FieldError, Result};

/// What a registration with a taken username is told.
pub const USERNAME_TAKEN: &str = "is already taken";
/// What a registration with a taken email address is told.
pub const EMAIL_TAKEN: &str = "is already registered";
/// What a registration with a malformed email address is told.
pub const EMAIL_INVALID: &str = "is not an email address";

/// Names that would make others believe the server itself speaks.
const RESERVED: [&str; 12] = [
    "admin",
    "administrator",
    "root",
    "system",
    "support",
    "security",
    "moderator",
    "staff",
    "anonymous",
    "everyone",
    "opb",
    "openpromptbank",
];

/// A user as the user sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The user's id.
    pub id: i64,
    /// The user's name, unique without regard to case.
    pub username: String,
    /// The user's email address, unique without regard to case.
    pub email: String,
    /// What the user is trusted with.
    pub role: UserRole,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// A user as another user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The user's id.
    pub id: i64,
    /// The user's name.
    pub username: String,
    /// The user's email address, if the viewer may see it.
    pub email: Option<String>,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
}

/// What a registration needs.
pub struct NewUser {
    /// 3 to 32 letters, digits, dots, dashes or underscores.
    pub username: String,
    /// An email address.
    pub email: String,
    /// 8 to 128 characters, and not easy to guess.
    pub password: SecretString,
}

/// What a user changes about their own account; what is absent stays.
pub struct ProfileChange {
    /// Proves that it is not somebody at an unlocked screen.
    pub current_password: SecretString,
    /// The new username.
    pub username: Option<String>,
    /// The new email address.
    pub email: Option<String>,
}

/// Registers a user and opens a session.
///
/// # Errors
/// [`Error::Invalid`] for a field that breaks a rule or is taken; [`Error::TooManyAttempts`].
pub async fn register(
    accounts: &Accounts,
    new: NewUser,
    origin: &Origin,
) -> Result<(User, Tokens)> {
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
    let user = sqlx::query_as!(
        User,
        r#"-- users::register
        insert into users (username, email, password_hash) values ($1, $2, $3)
        returning id, username, email, role as "role: UserRole", created_at"#,
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
            return Err(explain_taken(&mut conn, error.into(), None, (&username, &email)).await);
        }
    };
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
    tx.commit().await?;
    Ok((user, tokens))
}

/// Checks a username or email address and a password, and opens a session.
/// Unknown users and wrong passwords get one answer, equally late.
///
/// # Errors
/// [`Error::Unauthenticated`] when the pair is wrong; [`Error::TooManyAttempts`].
pub async fn login(
    accounts: &Accounts,
    login: &str,
    password: SecretString,
    origin: &Origin,
) -> Result<(User, Tokens)> {
    let login = normalise(login).replace('\0', "");
    let row = find_login(accounts, &login).await?;
    let bucket = match &row {
        Some((user, _)) => Bucket::login_of_user(user.id),
        None => Bucket::login_of_stranger(&login),
    };
    let (user, hash) = row.unzip();
    // What a stranger typed is not kept: people type passwords into the wrong field.
    let name = user.as_ref().map(|user| user.username.as_str());
    let user_id = user.as_ref().map(|user| user.id);
    let attempt = Attempt {
        accounts,
        bucket,
        user_id,
        name,
        origin,
    };
    attempt.verify(password, hash.flatten()).await?;
    let user = user.ok_or(WRONG_LOGIN)?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let tokens = open_session(&mut tx, &accounts.tokens, user.id, origin).await?;
    record(
        &mut tx,
        AuditEvent::LoggedIn,
        Some(user.id),
        Some(&user.username),
        None,
        Some(origin),
    )
    .await?;
    tx.commit().await?;
    Ok((user, tokens))
}

/// Changes the caller's password and ends all their other sessions.
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
    let account = confirm(accounts, user, current, origin).await?;
    let turn = accounts.passwords.turn().await?;
    let known = vec![account.username, account.email];
    let hash = turn.hash("new_password", new, known).await?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    sqlx::query!(
        "-- users::change_password
        update users set password_hash = $2 where id = $1",
        user.id,
        hash
    )
    .execute(&mut *tx)
    .await?;
    revoke(&mut tx, user.id, None, Some(session_id)).await?;
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
    let account = confirm(accounts, user, change.current_password, origin).await?;
    let username = change
        .username
        .map_or(account.username, |text| normalise(&text));
    let email = change.email.map_or(account.email, |text| normalise(&text));
    let wrong = check_new_user(&username, &email);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let changed = sqlx::query_as!(
        User,
        r#"-- users::change_profile
        update users set username = $2, email = $3 where id = $1
        returning id, username, email, role as "role: UserRole", created_at"#,
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
            let names = (username.as_str(), email.as_str());
            return Err(explain_taken(&mut conn, error.into(), Some(user.id), names).await);
        }
    };
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

/// The user of an id.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn find_user(conn: &mut PgConnection, user_id: i64) -> Result<User> {
    sqlx::query_as!(
        User,
        r#"-- users::find_user
        select id, username, email, role as "role: UserRole", created_at from users where id = $1"#,
        user_id
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound("the user".into()))
}

/// Users by id, from after an id on. Others' email addresses are for administrators only.
///
/// # Errors
/// The database does not answer.
pub async fn list_users(
    conn: &mut PgConnection,
    viewer: &CurrentUser,
    after: i64,
    limit: i64,
) -> Result<Vec<ListedUser>> {
    let users = sqlx::query_as!(
        ListedUser,
        r#"-- users::list_users
        select id, username, case when $1 or id = $2 then email end as email, created_at
        from users
        where id > $3 and disabled_at is null
        order by id
        limit $4"#,
        viewer.is_admin(),
        viewer.id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

/// The administrator that owns what the program itself brings along; made on first use, cannot log in by password.
///
/// # Errors
/// The database does not answer.
pub async fn system_user(conn: &mut PgConnection) -> Result<CurrentUser> {
    let user = sqlx::query_as!(
        CurrentUser,
        r#"-- users::system_user
        insert into users (username, email, role) values ('openpromptbank', 'openpromptbank@localhost', 'admin')
        on conflict (lower(username)) do update set role = users.role
        returning id, username, role as "role: UserRole""#
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}

/// What is wrong with the names of a new user.
#[must_use]
pub fn check_new_user(username: &str, email: &str) -> Vec<FieldError> {
    let (username, email) = (normalise(username), normalise(email));
    let mut wrong = Vec::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !(3..=32).contains(&username.len()) || !username.chars().all(plain) {
        let message = "must have 3 to 32 letters, digits, dots, dashes or underscores";
        wrong.push(FieldError::new("username", message));
    } else if RESERVED.contains(&username.to_ascii_lowercase().as_str()) {
        wrong.push(FieldError::new("username", "is reserved"));
    }
    if !looks_like_an_email_address(&email) {
        wrong.push(FieldError::new("email", EMAIL_INVALID));
    }
    wrong
}

/// Guessing at one account: throttled, equally slow for nobody and somebody, and written to the audit log.
struct Attempt<'a> {
    accounts: &'a Accounts,
    bucket: Bucket,
    user_id: Option<i64>,
    name: Option<&'a str>,
    origin: &'a Origin,
}

impl Attempt<'_> {
    async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<()> {
        let Self {
            accounts, origin, ..
        } = self;
        let address = Bucket::login_from(origin.address);
        let turn = {
            throttle::check(
                &mut *accounts.pool.acquire().await?,
                &[&self.bucket, &address],
            )
            .await?;
            accounts.passwords.turn().await?
        };
        // Asked again: of a thousand guesses at once, all but the few that have their turn now find the lock.
        throttle::check(
            &mut *accounts.pool.acquire().await?,
            &[&self.bucket, &address],
        )
        .await?;
        let found = turn.verify(password, hash).await?;
        let mut conn = accounts.pool.acquire().await?;
        let conn = &mut *conn;
        match found {
            Match::Yes => {}
            Match::YesAndRehashed(hash) => store_hash(conn, self.user_id, &hash).await?,
            Match::No => {
                throttle::count(
                    conn,
                    &self.bucket,
                    accounts.limits.login_failures_per_account,
                )
                .await?;
                throttle::count(conn, &address, accounts.limits.login_failures_per_address).await?;
                record(
                    conn,
                    AuditEvent::LoginFailed,
                    self.user_id,
                    self.name,
                    None,
                    Some(origin),
                )
                .await?;
                return Err(WRONG_LOGIN);
            }
        }
        throttle::forget(conn, &self.bucket).await
    }
}

/// Lets the caller prove that they know the account's password.
async fn confirm(
    accounts: &Accounts,
    user: &CurrentUser,
    password: SecretString,
    origin: &Origin,
) -> Result<User> {
    let (account, hash) = find_login(accounts, &user.username)
        .await?
        .ok_or(Error::UserGone)?;
    let attempt = Attempt {
        accounts,
        bucket: Bucket::login_of_user(user.id),
        user_id: Some(user.id),
        name: Some(&user.username),
        origin,
    };
    match attempt.verify(password, hash).await {
        // The caller is known; it is the field that is wrong.
        Err(Error::Unauthenticated(_)) => Err(Error::invalid("current_password", "is wrong")),
        Err(error) => Err(error),
        Ok(()) => Ok(account),
    }
}

/// The enabled user of a username or email address, with the hash of the password.
async fn find_login(accounts: &Accounts, login: &str) -> Result<Option<(User, Option<String>)>> {
    let row = sqlx::query!(
        r#"-- users::find_login
        select id, username, email, password_hash, role as "role: UserRole", created_at
        from users
        where (lower(username) = lower($1) or lower(email) = lower($1)) and disabled_at is null"#,
        login
    )
    .fetch_optional(&accounts.pool)
    .await?;
    Ok(row.map(|row| {
        let user = User {
            id: row.id,
            username: row.username,
            email: row.email,
            role: row.role,
            created_at: row.created_at,
        };
        (user, row.password_hash)
    }))
}

async fn store_hash(conn: &mut PgConnection, user_id: Option<i64>, hash: &str) -> Result<()> {
    sqlx::query!(
        "-- users::store_hash
        update users set password_hash = $2 where id = $1",
        user_id,
        hash
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Names the fields whose values somebody else has, if that is what the error is about.
async fn explain_taken(
    conn: &mut PgConnection,
    error: Error,
    but: Option<i64>,
    (username, email): (&str, &str),
) -> Error {
    if !error.violates("users_username_key") && !error.violates("users_email_key") {
        return error;
    }
    // The constraint has decided; this only finds out whether both are taken.
    let found = sqlx::query!(
        r#"-- users::explain_taken
        select exists(select 1 from users where lower(username) = lower($1) and id is distinct from $3) as "username!",
               exists(select 1 from users where lower(email) = lower($2) and id is distinct from $3) as "email!""#,
        username,
        email,
        but
    )
    .fetch_one(conn)
    .await;
    let (username, email) = match found {
        Ok(found) if found.username || found.email => (found.username, found.email),
        Ok(_) => (
            error.violates("users_username_key"),
            error.violates("users_email_key"),
        ),
        Err(error) => return error.into(),
    };
    let mut wrong = Vec::new();
    if username {
        wrong.push(FieldError::new("username", USERNAME_TAKEN));
    }
    if email {
        wrong.push(FieldError::new("email", EMAIL_TAKEN));
    }
    Error::Invalid(wrong)
}

/// One spelling for what looks the same: full-width letters become plain ones, and so on.
fn normalise(text: &str) -> String {
    // A name is short; nobody makes us normalise megabytes.
    text.chars().take(300).nfkc().collect()
}

/// ASCII only, like usernames: an address that merely looks like another one is refused.
fn looks_like_an_email_address(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else {
        return false;
    };
    let clean = |c: char| {
        c.is_ascii_graphic() && !matches!(c, '@' | '<' | '>' | '"' | ',' | ';' | ':' | '\\')
    };
    text.len() <= 254
        && !name.is_empty()
        && !host.is_empty()
        && !host.starts_with('.')
        && !host.ends_with('.')
        && host.chars().all(clean)
        && name.chars().all(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_nobody_elses() {
        let check = |username: &str, good: bool| {
            let wrong = check_new_user(username, "a@example.org");
            assert_eq!(wrong.is_empty(), good, "{username}");
        };
        check("ada", true);
        check("Ada.Lovelace-1_2", true);
        check("ａｄａ", true);
        check("аda", false);
        check("ad", false);
        check("a@b", false);
        check("a/b/c", false);
        check("<b>ada</b>", false);
        check("ada\n", false);
        check("{{ada}}", false);
        check("ada'--", false);
        check("\u{202e}ada", false);
        check("Admin", false);
        check(&"x".repeat(10_000), false);
    }

    #[test]
    fn addresses_have_one_spelling() {
        let check = |email: &str, good: bool| {
            let wrong = check_new_user("ada", email);
            assert_eq!(wrong.is_empty(), good, "{email}");
        };
        check("ada@example.org", true);
        check("ada+tag@localhost", true);
        check("ada@example.org.", false);
        check("аda@example.org", false);
        check("ada", false);
        check("@example.org", false);
        check("ada@", false);
        check("ada@a@b", false);
        check("ada @example.org", false);
        check("<ada@example.org>", false);
    }
}
