//! Throttling of guesses: after some free attempts, each further one locks its bucket for 1 s, 2 s … 15 minutes.
//!
//! Buckets are stored in Postgres, so all API processes and dialects share them. A lock expires, and the correct
//! password is accepted then, so nobody can lock another user out permanently. After an hour without attempts, a bucket
//! is reset.

use std::net::IpAddr;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sqlx::PgConnection;

use crate::{Error, Result};

/// Number of free attempts per bucket.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Failed logins of one account.
    pub login_failures_per_account: u32,
    /// Failed logins from one address.
    pub login_failures_per_address: u32,
    /// Registrations from one address, whether or not they succeed.
    pub registrations_per_address: u32,
}

/// A counter of attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket(String);

impl Bucket {
    /// Failed logins of an existing account, by any of its names.
    pub(super) fn login_of_user(user_id: i64) -> Self {
        Self(format!("login:user:{user_id}"))
    }

    /// Wrong passwords entered by a logged-in user for their own account. Separate from logins: guesses by others must
    /// not keep the owner from changing the password.
    pub(super) fn confirmation_of(user_id: i64) -> Self {
        Self(format!("confirmation:user:{user_id}"))
    }

    /// Failed logins with an unknown name; throttled exactly like a known one.
    pub(super) fn login_of_stranger(login: &str) -> Self {
        Self(format!("login:stranger:{}", digest(login)))
    }

    /// Failed logins from an address.
    pub(super) fn login_from(address: IpAddr) -> Self {
        Self(format!("login:address:{}", network(address)))
    }

    /// Password reset mails to an address, whether or not it has an account.
    pub(super) fn reset_of(email: &str) -> Self {
        Self(format!("reset:email:{}", digest(email)))
    }

    /// Password reset requests from an address.
    pub(super) fn reset_from(address: IpAddr) -> Self {
        Self(format!("reset:address:{}", network(address)))
    }

    /// Mails to verify the address of a user.
    pub(super) fn verification_of(user_id: i64) -> Self {
        Self(format!("verification:user:{user_id}"))
    }

    /// Refused changes of an account's names: each reveals that a name is taken.
    pub(super) fn change_of(user_id: i64) -> Self {
        Self(format!("change:user:{user_id}"))
    }

    /// Registrations from an address.
    pub(super) fn registration_from(address: IpAddr) -> Self {
        Self(format!("registration:address:{}", network(address)))
    }
}

/// Returns an error while one of the buckets is locked.
pub(super) async fn check(conn: &mut PgConnection, buckets: &[&Bucket]) -> Result<()> {
    let names: Vec<String> = buckets.iter().map(|bucket| bucket.0.clone()).collect();
    let seconds = sqlx::query_scalar!(
        r#"-- throttle::check
        select max(extract(epoch from locked_until - clock_timestamp()))::float8
        from throttles where bucket = any($1)"#,
        &names
    )
    .fetch_one(conn)
    .await?;
    match seconds {
        Some(seconds) if seconds > 0.0 => Err(Error::TooManyAttempts {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 900"
            )]
            retry_after_seconds: seconds.ceil().clamp(1.0, 900.0) as u64,
        }),
        _ => Ok(()),
    }
}

/// Counts an attempt, and locks the bucket if the free attempts are used up.
pub(super) async fn count(conn: &mut PgConnection, bucket: &Bucket, free: u32) -> Result<()> {
    let free = i32::try_from(free).unwrap_or(i32::MAX).max(1);
    sqlx::query!(
        "-- throttle::count
        insert into throttles as kept (bucket, attempts, last_at, locked_until)
        values ($1, 1, clock_timestamp(),
                clock_timestamp() + case when $2::integer <= 1 then interval '1 second' else interval '0' end)
        on conflict (bucket) do update
        set attempts = case when kept.last_at < clock_timestamp() - interval '1 hour' then 1
                            else least(kept.attempts + 1, 1000000) end,
            locked_until = clock_timestamp() + case
                when kept.last_at < clock_timestamp() - interval '1 hour' or kept.attempts + 1 < $2 then interval '0'
                else least(900, power(2, least(kept.attempts + 1 - $2, 10))) * interval '1 second' end,
            last_at = clock_timestamp()",
        bucket.0,
        free
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Resets a bucket after a successful proof.
pub(super) async fn forget(conn: &mut PgConnection, bucket: &Bucket) -> Result<()> {
    sqlx::query!(
        "-- throttle::forget
        delete from throttles where bucket = $1",
        bucket.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes buckets without recent attempts.
pub(super) async fn delete_quiet(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- throttle::delete_quiet
        delete from throttles
        where bucket in (select bucket from throttles where last_at < now() - interval '1 hour' order by last_at limit 1000)"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Hashes user input, so that it is not stored in plain text.
fn digest(name: &str) -> String {
    use sha2::Digest as _;
    BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(name.to_lowercase().as_bytes()))
}

/// The IPv4 address, or the /64 network of an IPv6 address: a client usually has all of its 2⁶⁴ addresses.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_what_one_client_can_have() {
        let check = |address: &str, expect: &str| {
            assert_eq!(network(address.parse().unwrap()), expect);
        };
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
    }
}
