//! The texts of mails about accounts. The only user input in them is the username, which has a restricted character
//! set.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::mail::{Mail, MailKind};

/// Time for which a notification without a link is worth sending.
const NEWS_LIFETIME: Duration = Duration::from_hours(24);

/// The recipient of a mail, and the address of the installation.
pub(super) struct Reader<'a> {
    pub(super) username: &'a str,
    pub(super) email: &'a str,
    pub(super) bank: &'a Url,
}

impl Reader<'_> {
    /// A password reset link.
    pub(super) fn password_reset(&self, link: &SecretString, lifetime: Duration) -> Mail {
        let body = format!(
            "somebody, most likely you, asked for a new password.\n\
             Open this link to choose one; it works once, for {} minutes:\n\n{}\n\n\
             If it was not you, do nothing: the password stays as it is, and nobody else has this link.",
            lifetime.as_secs() / 60,
            link.expose_secret()
        );
        self.write(
            MailKind::PasswordReset,
            "Choose a new password",
            &body,
            lifetime,
        )
    }

    /// A notification that the password was changed.
    pub(super) fn password_changed(&self) -> Mail {
        let body = "your password was changed, and other sessions have ended; log in with the new password.\n\n\
             If it was not you, ask for a new password at once, and tell the operator.";
        self.write(
            MailKind::PasswordChanged,
            "Your password was changed",
            body,
            NEWS_LIFETIME,
        )
    }

    /// A link to verify an address.
    pub(super) fn email_verification(&self, link: &SecretString, lifetime: Duration) -> Mail {
        let body = format!(
            "this address was given for your account.\n\
             Open this link to show that it is yours; it works once, for {} hours:\n\n{}\n\n\
             If you have no account there, do nothing.",
            lifetime.as_secs() / 3600,
            link.expose_secret()
        );
        self.write(
            MailKind::EmailVerification,
            "Is this your email address?",
            &body,
            lifetime,
        )
    }

    /// A notification to the old address. Does not contain the new one.
    pub(super) fn email_changed(&self) -> Mail {
        let body = "your account has another email address now, and this one is no longer connected with it.\n\n\
             If it was not you, somebody knows your password: tell the operator at once.";
        self.write(
            MailKind::EmailChanged,
            "Your email address was changed",
            body,
            NEWS_LIFETIME,
        )
    }

    fn write(&self, kind: MailKind, subject: &str, body: &str, useful_for: Duration) -> Mail {
        Mail {
            kind,
            recipient: self.email.to_owned(),
            subject: subject.to_owned(),
            text: format!(
                "Hello {},\n\n{body}\n\n-- \nOpenPromptBank at {}\n",
                self.username, self.bank
            )
            .into(),
            useful_for,
        }
    }
}
