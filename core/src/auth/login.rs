//! Logging in with a name and a password.

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

/// Attempts to verify a password if the account's password changes meanwhile.
const TRIES: usize = 2;

/// Verifies a username or email address and a password, and opens a session. Unknown users and wrong passwords get the
/// same response in the same time.
///
/// # Errors
/// [`Error::Unauthenticated`] for wrong credentials; [`Error::TooManyAttempts`].
pub async fn login(
    accounts: &Accounts,
    login: &str,
    password: SecretString,
    origin: &Origin,
) -> Result<(User, Tokens)> {
    let login = normalise(login).replace('\0', "");
    for _ in 0..TRIES {
        let row = find_login(accounts, &login).await?;
        let bucket = match &row {
            Some((user, _)) => Bucket::login_of_user(user.id),
            None => Bucket::login_of_stranger(&login),
        };
        let (user, hash) = row.unzip();
        // An unknown name is not recorded: people type passwords into the wrong field.
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
        let hash = attempt.verify(password.clone(), hash.flatten()).await?;
        let user = user.ok_or(WRONG_LOGIN)?;
        let mut conn = accounts.pool.acquire().await?;
        let mut tx = conn.begin().await?;
        if !is_still_the_password(&mut tx, user.id, &hash).await? {
            tx.rollback().await?;
            continue;
        }
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
        return Ok((user, tokens));
    }
    Err(WRONG_LOGIN)
}

/// A caller who has proved knowledge of the account's password.
pub(crate) struct Proved {
    pub(super) account: User,
    hash: String,
}

impl Proved {
    /// Checks the proof again, in the transaction of the change: verification takes time, and the password may have
    /// been changed or reset meanwhile to lock the caller out. Locks the user's row.
    pub(crate) async fn require(&self, tx: &mut PgConnection) -> Result<()> {
        if is_still_the_password(tx, self.account.id, &self.hash).await? {
            Ok(())
        } else {
            Err(wrong_password())
        }
    }
}

/// Verifies that the caller knows the account's password.
pub(crate) async fn confirm(
    accounts: &Accounts,
    user: &CurrentUser,
    password: SecretString,
    origin: &Origin,
) -> Result<Proved> {
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
        // The caller is authenticated; only the field is wrong.
        Err(Error::Unauthenticated(_)) => Err(wrong_password()),
        Err(error) => Err(error),
        Ok(hash) => Ok(Proved { account, hash }),
    }
}

fn wrong_password() -> Error {
    Error::invalid("current_password", "is wrong")
}

/// Returns whether the enabled user's password is still the verified one, and locks it until the transaction ends.
async fn is_still_the_password(
    tx: &mut PgConnection,
    user_id: i64,
    verified_hash: &str,
) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"-- login::is_still_the_password
        select true as "found!" from users
        where id = $1 and password_hash = $2 and disabled_at is null
        for update"#,
        user_id,
        verified_hash
    )
    .fetch_optional(tx)
    .await?;
    Ok(found.is_some())
}

/// An attempt to verify a password: throttled, equally slow for unknown users, and recorded in the audit log if it
/// fails.
struct Attempt<'a> {
    accounts: &'a Accounts,
    bucket: Bucket,
    /// The bucket of the client's address; `None` if the caller is authenticated.
    address: Option<Bucket>,
    user_id: Option<i64>,
    name: Option<&'a str>,
    origin: &'a Origin,
}

impl Attempt<'_> {
    /// Verifies the password and returns its current hash.
    async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<String> {
        let Self {
            accounts, origin, ..
        } = self;
        let buckets: Vec<&Bucket> = std::iter::once(&self.bucket).chain(&self.address).collect();
        let turn = {
            throttle::check(&mut *accounts.pool.acquire().await?, &buckets).await?;
            accounts.passwords.turn().await?
        };
        // Checked again: of a thousand concurrent attempts, all but the few that got a permit before now see the lock.
        throttle::check(&mut *accounts.pool.acquire().await?, &buckets).await?;
        let found = turn.verify(password, hash.clone()).await?;
        let mut conn = accounts.pool.acquire().await?;
        let conn = &mut *conn;
        let hash = hash.unwrap_or_default();
        let hash = match found {
            Match::Yes => hash,
            Match::YesAndRehashed(rehashed) => {
                store_hash(conn, self.user_id, &hash, &rehashed).await?;
                rehashed
            }
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
        };
        throttle::forget(conn, &self.bucket).await?;
        Ok(hash)
    }
}

/// Finds the enabled user with a username or email address, with the hash of the password.
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

/// Stores the password's new hash, unless the password has changed meanwhile.
async fn store_hash(
    conn: &mut PgConnection,
    user_id: Option<i64>,
    old_hash: &str,
    hash: &str,
) -> Result<()> {
    sqlx::query!(
        "-- login::store_hash
        update users set password_hash = $3 where id = $1 and password_hash = $2",
        user_id,
        old_hash,
        hash
    )
    .execute(conn)
    .await?;
    Ok(())
}
