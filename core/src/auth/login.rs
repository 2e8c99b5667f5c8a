//! Logging in: a name and a password for a session.

use secrecy::SecretString;
use sqlx::{Acquire as _, PgConnection};

use super::{
    Accounts, AuditEvent, CurrentUser, Match, Origin, Tokens, User, UserRole, WRONG_LOGIN,
    audit::record,
    names::normalise,
    sessions::open_session,
    throttle::{self, Bucket},
};
use crate::{Error, Result};

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
        address: Some(Bucket::login_from(origin.address)),
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

/// Lets the caller prove that they know the account's password.
pub(super) async fn confirm(
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
        bucket: Bucket::confirmation_of(user.id),
        address: None,
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

/// Guessing at one account: throttled, equally slow for nobody and somebody, and written to the audit log.
struct Attempt<'a> {
    accounts: &'a Accounts,
    bucket: Bucket,
    /// Where the guess comes from, unless the caller is known.
    address: Option<Bucket>,
    user_id: Option<i64>,
    name: Option<&'a str>,
    origin: &'a Origin,
}

impl Attempt<'_> {
    async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<()> {
        let Self {
            accounts, origin, ..
        } = self;
        let buckets: Vec<&Bucket> = std::iter::once(&self.bucket).chain(&self.address).collect();
        let turn = {
            throttle::check(&mut *accounts.pool.acquire().await?, &buckets).await?;
            accounts.passwords.turn().await?
        };
        // Asked again: of a thousand guesses at once, all but the few that have their turn now find the lock.
        throttle::check(&mut *accounts.pool.acquire().await?, &buckets).await?;
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
                if let Some(address) = &self.address {
                    let free = accounts.limits.login_failures_per_address;
                    throttle::count(conn, address, free).await?;
                }
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

/// The enabled user of a username or email address, with the hash of the password.
async fn find_login(accounts: &Accounts, login: &str) -> Result<Option<(User, Option<String>)>> {
    let row = sqlx::query!(
        r#"-- login::find_login
        select id, username, email, password_hash, email_verified_at, role as "role: UserRole", created_at
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
            email_verified_at: row.email_verified_at,
            role: row.role,
            created_at: row.created_at,
        };
        (user, row.password_hash)
    }))
}

async fn store_hash(conn: &mut PgConnection, user_id: Option<i64>, hash: &str) -> Result<()> {
    sqlx::query!(
        "-- login::store_hash
        update users set password_hash = $2 where id = $1",
        user_id,
        hash
    )
    .execute(conn)
    .await?;
    Ok(())
}
