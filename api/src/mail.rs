//! Sends mail: takes mails from the outbox and passes them to the operator's mail server.
//!
//! It does not know the kinds of mail, and logs neither text nor address. Any number of processes may send mail at
//! once.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp,
};
use opb_core::{
    alerts,
    doorbell::{Doorbell, rung},
    mail::{self, DueMail, Failure, Outbox},
};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Maximum number of mails in flight.
const BATCH: u8 = 8;
/// Timeout of an attempt; shorter than the pause before the next one, so that no mail is in flight twice.
const ATTEMPT_TIME: Duration = Duration::from_secs(12);
/// How often the outbox is polled when the doorbell does not ring.
const POLL: Duration = Duration::from_secs(5);

/// Settings of mail.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailSettings {
    /// URL of the mail server: `smtps://user:password@host`, or `smtp://user:password@host:587?tls=required`; without
    /// it, no mail is sent
    #[arg(long, env = "OPB_SMTP_URL", value_name = "URL", hide_env_values = true)]
    pub smtp_url: Option<SecretString>,
    /// Sender of mails, as in `OpenPromptBank <bank@example.org>`
    #[arg(long, env = "OPB_MAIL_FROM", value_name = "ADDRESS")]
    pub mail_from: Option<String>,
}

/// Sends the mails.
pub(crate) struct MailSender {
    server: AsyncSmtpTransport<Tokio1Executor>,
    sender: Mailbox,
}

impl MailSettings {
    /// The mail sender, if a mail server is set.
    ///
    /// # Errors
    /// A setting is invalid, or another one is missing.
    pub(crate) fn mail_sender(
        &self,
        public_url: Option<&Url>,
    ) -> anyhow::Result<Option<MailSender>> {
        let Some(url) = &self.smtp_url else {
            return Ok(None);
        };
        if public_url.is_none() {
            bail!("--smtp-url needs --public-url (OPB_PUBLIC_URL): links in mails begin with it");
        }
        let Some(sender) = &self.mail_from else {
            bail!("--smtp-url needs --mail-from (OPB_MAIL_FROM): it is the sender of mails");
        };
        let sender = sender
            .parse()
            .with_context(|| format!("--mail-from: `{sender}` is not an email address"))?;
        // lettre's message about an invalid URL can repeat the password in it.
        let Ok(server) = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret()) else {
            bail!(
                "--smtp-url is not an address such as smtps://user:password@mail.example.org or smtp://…:587?tls=required"
            );
        };
        if !is_private(url) {
            tracing::warn!(
                "mail is sent unencrypted to the mail server; use smtps:// or ?tls=required"
            );
        }
        let server = server.timeout(Some(ATTEMPT_TIME)).build();
        Ok(Some(MailSender { server, sender }))
    }
}

impl MailSender {
    /// Sends mails until `stop` is cancelled; mails in flight are then finished.
    pub(crate) async fn carry(
        self,
        pool: PgPool,
        doorbell: Doorbell,
        outbox: Outbox,
        stop: CancellationToken,
    ) {
        let mut rings = doorbell.subscribe();
        while !stop.is_cancelled() {
            let more = match self.round(&pool, &outbox).await {
                Ok(taken) => taken == usize::from(BATCH),
                Err(error) => {
                    tracing::warn!(error = ?error, "could not read the outbox of mails; trying again");
                    false
                }
            };
            if !more {
                // The next poll makes up for a missed ring.
                let rung =
                    async { tokio::time::timeout(POLL, rung(&mut rings, mail::DOORBELL)).await };
                stop.run_until_cancelled(rung).await;
            }
        }
    }

    /// Tries every due mail, up to a batch; returns their number.
    async fn round(&self, pool: &PgPool, outbox: &Outbox) -> opb_core::Result<usize> {
        let mut conn = pool.acquire().await?;
        let stale = mail::give_up_stale(&mut conn).await?;
        if stale > 0 {
            tracing::warn!(
                count = stale,
                "{stale} mails could not be sent in time; they will not be tried again"
            );
        }
        alerts::write_mails(&mut conn, outbox).await?;
        let due = mail::take_due(&mut conn, &outbox.master_key, i64::from(BATCH)).await?;
        // No database connection is held while the mail server answers.
        drop(conn);
        let taken = due.len();
        let attempts = due.into_iter().map(|mail| self.attempt(pool, mail));
        for ended in futures::future::join_all(attempts).await {
            ended?;
        }
        Ok(taken)
    }

    async fn attempt(&self, pool: &PgPool, due: DueMail) -> opb_core::Result<()> {
        let sent = tokio::time::timeout(ATTEMPT_TIME, self.send(&due)).await;
        let sent = sent.unwrap_or(Err((
            Failure::Passing,
            "the mail server took too long".into(),
        )));
        let mut conn = pool.acquire().await?;
        match sent {
            Ok(()) => {
                tracing::info!(mail.id = %due.id, mail.kind = ?due.kind, "a mail was sent: {}", due.id);
                mail::confirm(&mut conn, due.id).await
            }
            Err((failure, reason)) => {
                tracing::warn!(
                    mail.id = %due.id,
                    mail.kind = ?due.kind,
                    ?failure,
                    reason,
                    "a mail could not be sent: {}: {reason}",
                    due.id
                );
                mail::note_failure(&mut conn, due.id, failure, &reason).await
            }
        }
    }

    async fn send(&self, due: &DueMail) -> Result<(), (Failure, String)> {
        let Ok(text) = &due.text else {
            let reason = "the mail cannot be decrypted with a master key of this process";
            return Err((Failure::Final, reason.into()));
        };
        let message = self
            .message(due, text)
            .map_err(|_| (Failure::Final, "the mail cannot be composed".to_owned()))?;
        self.server
            .send(message)
            .await
            .map_err(|error| judge(&error))?;
        Ok(())
    }

    fn message(&self, due: &DueMail, text: &SecretString) -> anyhow::Result<Message> {
        // The same at each attempt, so that a mailbox can recognise a duplicate.
        let id = format!("<{}@{}>", due.id, self.sender.email.domain());
        let message = Message::builder()
            .from(self.sender.clone())
            .to(Mailbox::new(None, due.recipient.parse()?))
            .subject(&due.subject)
            .message_id(Some(id))
            .date(due.created_at.into())
            .header(ContentType::TEXT_PLAIN)
            .body(text.expose_secret().to_owned())?;
        Ok(message)
    }
}

/// Whether to try again, and the reason to record: never the server's own words, which may repeat ours.
fn judge(error: &smtp::Error) -> (Failure, String) {
    let Some(code) = error.status() else {
        let reason = if error.is_tls() {
            "the mail server has no valid certificate"
        } else if error.is_timeout() {
            "the mail server took too long"
        } else {
            "the mail server cannot be reached"
        };
        return (Failure::Passing, reason.into());
    };
    let code = u16::from(code);
    // These statuses are about the mail itself; the operator can fix others meanwhile, such as a wrong password of
    // ours.
    let failure = match code {
        550..=554 => Failure::Final,
        _ => Failure::Passing,
    };
    (failure, format!("the mail server answered {code}"))
}

/// True if the mail is sent encrypted, or does not leave the machine.
fn is_private(url: &SecretString) -> bool {
    let Ok(url) = Url::parse(url.expose_secret()) else {
        return false;
    };
    url.scheme() == "smtps"
        || url
            .query_pairs()
            .any(|pair| pair == ("tls".into(), "required".into()))
        || matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_fit_say_how_to_mend_them() {
        let check = |smtp: &str, from: Option<&str>, public: Option<&str>, expect: &str| {
            let settings = MailSettings {
                smtp_url: Some(smtp.into()),
                mail_from: from.map(Into::into),
            };
            let public = public.map(|text| text.parse().unwrap());
            let error = settings.mail_sender(public.as_ref()).err().unwrap();
            let error = format!("{error:#}");
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        let (from, public) = (Some("bank@example.org"), Some("https://bank.example.org"));
        check("smtps://a:hunter2@b", from, None, "--public-url");
        check("smtps://a:hunter2@b", None, public, "--mail-from");
        check(
            "smtps://a:hunter2@b",
            Some("bank"),
            public,
            "not an email address",
        );
        check("http://a:hunter2@b", from, public, "--smtp-url");
        check("hunter2", from, public, "--smtp-url");
    }

    #[test]
    fn only_what_cannot_be_listened_to_is_private() {
        let check = |url: &str, expect: bool| assert_eq!(is_private(&url.into()), expect, "{url}");
        check("smtps://mail.example.org", true);
        check("smtp://mail.example.org:587?tls=required", true);
        check("smtp://localhost:25", true);
        check("smtp://mail.example.org", false);
        check("smtp://mail.example.org?tls=opportunistic", false);
    }
}
