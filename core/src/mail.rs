//! The outbox of mails: they are written in the transaction that causes them and sent later, by a process with a mail
//! server.
//!
//! A mail is delivered at least once. Its text can hold a link that gives access to an account, so it is encrypted
//! while it waits and erased after sending. Nothing here knows how mail is sent.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;
use url::Url;
use uuid::Uuid;

use crate::{Error, Result, doorbell, sealing::MasterKey};

/// The Postgres channel that is notified when a mail was written.
pub const DOORBELL: &str = "opb_mail";

/// Number of days that finished mails are kept, without their text.
const DAYS_KEPT: i32 = 7;

/// The kinds of mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "mail_kind", rename_all = "snake_case")]
pub enum MailKind {
    /// A link to choose a new password.
    PasswordReset,
    /// The password was changed through such a link.
    PasswordChanged,
    /// A link to verify an email address.
    EmailVerification,
    /// A notice to the old address that the account has a new one.
    EmailChanged,
    /// An alert fires or is resolved.
    Alert,
}

/// A mail to write.
#[derive(Debug)]
pub struct Mail {
    /// Its kind.
    pub kind: MailKind,
    /// The recipient's address.
    pub recipient: String,
    /// The subject; it is stored unencrypted and must not hold a secret.
    pub subject: String,
    /// The text.
    pub text: SecretString,
    /// How long it is useful; after that it is not sent any more.
    pub useful_for: Duration,
}

/// A mail to be sent now.
#[derive(Debug)]
pub struct DueMail {
    /// Its id, the same at each attempt.
    pub id: Uuid,
    /// Its kind.
    pub kind: MailKind,
    /// The recipient's address.
    pub recipient: String,
    /// The subject.
    pub subject: String,
    /// The text; an error if none of our keys opens it.
    pub text: anyhow::Result<SecretString>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Temporarily: another attempt may succeed.
    Passing,
    /// Permanently: no attempt will succeed.
    Final,
}

/// Writes mails; only exists if the operator has configured a mail server.
#[derive(Clone)]
pub struct Outbox {
    /// The key that encrypts the texts.
    pub master_key: Arc<MasterKey>,
    /// The base URL of links. It comes from a setting, never from a request.
    pub public_url: Url,
}

impl Outbox {
    /// Writes a mail, which is sent once the caller's transaction is committed.
    ///
    /// # Errors
    /// The database does not respond.
    pub async fn post(&self, conn: &mut PgConnection, mail: Mail) -> Result<()> {
        let id = Uuid::now_v7();
        sqlx::query!(
            "-- mail::post
            insert into mails (id, kind, recipient, subject, sealed_text, give_up_at)
            values ($1, $2, $3, $4, $5, now() + $6 * interval '1 second')",
            id,
            mail.kind as MailKind,
            mail.recipient,
            mail.subject,
            self.master_key.seal(&mail.text, &context(id)),
            mail.useful_for.as_secs_f64()
        )
        .execute(&mut *conn)
        .await?;
        doorbell::ring(conn, DOORBELL, "").await
    }
}

/// Takes due mails, oldest first, and sets the time of their next attempt: 15 s, 30 s … 15 minutes ahead.
/// An attempt that never ends, because the process died, is therefore repeated automatically.
///
/// # Errors
/// The database does not respond.
pub async fn take_due(
    conn: &mut PgConnection,
    master_key: &MasterKey,
    limit: i64,
) -> Result<Vec<DueMail>> {
    let rows = sqlx::query!(
        r#"-- mail::take_due
        update mails
        set attempts = attempts + 1,
            next_attempt_at = now() + least(900, 15 * power(2, least(attempts, 10))) * interval '1 second'
        where id in (select id from mails
                     where state = 'waiting' and next_attempt_at <= now()
                     order by next_attempt_at limit $1 for update skip locked)
        returning id, kind as "kind: MailKind", recipient, subject, sealed_text as "sealed_text!", created_at"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    let mails = rows.into_iter().map(|row| DueMail {
        text: master_key.open(&row.sealed_text, &context(row.id)),
        id: row.id,
        kind: row.kind,
        recipient: row.recipient,
        subject: row.subject,
        created_at: row.created_at,
    });
    Ok(mails.collect())
}

/// Gives up mails that are no longer useful; returns their number.
///
/// # Errors
/// The database does not respond.
pub async fn give_up_stale(conn: &mut PgConnection) -> Result<u64> {
    let given_up = sqlx::query!(
        "-- mail::give_up_stale
        update mails set state = 'failed', sealed_text = null, ended_at = now()
        where state = 'waiting' and give_up_at <= now()"
    )
    .execute(conn)
    .await?;
    Ok(given_up.rows_affected())
}

/// Marks a mail as sent, and erases its text.
///
/// # Errors
/// The database does not respond; the mail will be sent again.
pub async fn confirm(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- mail::confirm
        update mails set state = 'sent', sealed_text = null, last_error = null, ended_at = now()
        where id = $1 and state = 'waiting'",
        id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records a failed attempt: the mail waits for its next one, or is given up.
///
/// # Errors
/// The database does not respond; the mail waits for its next attempt.
pub async fn note_failure(
    conn: &mut PgConnection,
    id: Uuid,
    failure: Failure,
    reason: &str,
) -> Result<()> {
    let reason: String = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(500)
        .collect();
    sqlx::query!(
        "-- mail::note_failure
        update mails
        set last_error = $3,
            state = case when $2 then 'failed'::mail_state else state end,
            sealed_text = case when $2 then null else sealed_text end,
            ended_at = case when $2 then now() end
        where id = $1 and state = 'waiting'",
        id,
        failure == Failure::Final,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Re-encrypts the texts of waiting mails with a new key; returns their number.
///
/// # Errors
/// The database does not respond; [`Error::Conflict`] if a text opens with neither key; the transaction must not be
/// committed then.
pub async fn reseal_mails(
    conn: &mut PgConnection,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<usize> {
    let rows = sqlx::query!(
        r#"-- mail::reseal_mails (read)
        select id, sealed_text as "sealed_text!" from mails where state = 'waiting' order by id for update"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut changed = 0;
    for row in rows {
        let context = context(row.id);
        let resealed = new.reseal(old, &row.sealed_text, &context).map_err(|_| {
            Error::Conflict(format!(
                "the text of the waiting mail `{}` opens with neither key; delete its row in the table mails first",
                row.id
            ))
        })?;
        let Some(resealed) = resealed else {
            continue;
        };
        sqlx::query!(
            "-- mail::reseal_mails (write)
            update mails set sealed_text = $2 where id = $1",
            row.id,
            resealed
        )
        .execute(&mut *conn)
        .await?;
        changed += 1;
    }
    Ok(changed)
}

/// Deletes mails that ended long enough ago.
///
/// # Errors
/// The database does not respond.
pub async fn delete_old(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- mail::delete_old
        delete from mails
        where id in (select id from mails
                     where state <> 'waiting' and ended_at < now() - make_interval(days => $1)
                     order by ended_at limit 1000)",
        DAYS_KEPT
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Parses the setting of the public URL.
///
/// # Errors
/// It is not a plain HTTP URL.
pub fn parse_public_url(text: &str) -> Result<Url, String> {
    let wrong = || format!("`{text}` is not an address such as https://bank.example.org");
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(wrong());
    }
    // So that paths can be joined to it.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// A link to one of our pages. The secret is in the URL fragment, which browsers do not send to any server.
///
/// # Errors
/// [`Error::Internal`] if the path is invalid.
pub fn link(public_url: &Url, path: &str, token: &str) -> Result<SecretString> {
    let mut url = public_url
        .join(path)
        .map_err(|error| Error::Internal(format!("the path of a link: {error}")))?;
    url.set_fragment(Some(&format!("token={token}")));
    Ok(String::from(url).into())
}

/// The context of an encrypted text: it only opens in its own row, and only for this purpose.
fn context(id: Uuid) -> Vec<u8> {
    [b"mail:".as_slice(), id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn links_begin_with_the_public_address() {
        let check = |public: &str, expect: &str| {
            let public = parse_public_url(public).unwrap();
            let link = link(&public, "account/reset-password", "abc_-1").unwrap();
            assert_eq!(link.expose_secret(), expect);
        };
        let rest = "account/reset-password#token=abc_-1";
        check(
            "https://bank.example.org",
            &format!("https://bank.example.org/{rest}"),
        );
        check(
            "http://127.0.0.1:8080/",
            &format!("http://127.0.0.1:8080/{rest}"),
        );
        check(
            "https://example.org/bank",
            &format!("https://example.org/bank/{rest}"),
        );
    }

    #[test]
    fn only_a_plain_address_is_a_public_address() {
        for wrong in [
            "",
            "bank.example.org",
            "ftp://a",
            "https://a@b",
            "https://a/?b",
            "https://a/#b",
        ] {
            assert!(parse_public_url(wrong).is_err(), "{wrong}");
        }
    }
}
