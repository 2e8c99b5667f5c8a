//! `opb login`, `opb logout` and `opb whoami`: the API key that this user's commands send.
//!
//! A login creates an API key that only this user can read; the password is sent once and never stored.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use opb_api::routes::{
    api_keys::{CreateApiKey, CreatedApiKey},
    auth::{LoginUser, Session},
};
use opb_core::auth::{ApiKeyScope, User, UserRole, is_api_key};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    print, print_json,
    secret::{read_line, read_secret},
};
use crate::{
    client::{Client, ClientSettings, RejectedRequest},
    logins::{Login, Logins},
    outcome::{BadUsage, Outcome},
    text,
};

/// Lifetime of the key of a login.
const KEY_LIFETIME: TimeDelta = TimeDelta::days(90);

/// Log in to a server: other commands then use your account there
///
/// Asks for username and password, or reads them from standard input, a line each (the password alone, when USERNAME is
/// given). Makes an API key that works for 90 days and keeps it in a file that only you can read; `opb logout` revokes it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  opb login --url https://bank.example.org\n  opb login ada <password-file\n  opb login --token-stdin <key-file\n\nWith single sign-on, give an API key or the access token of a login in the\nbrowser."
)]
pub struct LogIn {
    #[command(flatten)]
    account: AccountOptions,
    #[command(flatten)]
    client: ClientSettings,
}

/// Forget the login at a server and revoke its key
#[derive(Debug, Args)]
pub struct LogOut {
    #[command(flatten)]
    client: ClientSettings,
}

/// Say which account commands use, and at which server
#[derive(Debug, Args)]
pub struct WhoAmI {
    #[command(flatten)]
    client: ClientSettings,
}

/// Who logs in, and how.
#[derive(Debug, Args)]
pub struct AccountOptions {
    /// Username or email address; without it, you are asked
    #[arg(value_name = "USERNAME", conflicts_with = "token_stdin")]
    pub username: Option<String>,
    /// Read an API key or an access token from standard input instead of a password
    #[arg(long)]
    pub token_stdin: bool,
}

impl LogIn {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let logins = logins()?;
        let client = self.client.connect()?.with_key(None);
        let (user, key, ends_at) = self.account.log_in_for_key(&client).await?;
        let older = logins.find(client.url())?;
        let login = Login {
            username: user.username.clone(),
            key,
        };
        logins.keep(client.url(), &login)?;
        if let Some(older) =
            older.filter(|older| older.key.expose_secret() != login.key.expose_secret())
        {
            // The old key may have expired, or its server may reject it; the new one counts.
            let _ = revoke(&client.with_key(Some(older.key))).await;
        }
        if json {
            print_json(&json!({"url": client.url(), "user": user, "expires_at": ends_at}))?;
        } else {
            let until = ends_at.map_or_else(String::new, |at| format!(" until {}", text::time(at)));
            print(&format!(
                "logged in to {} as {}{until}; opb logout ends it",
                client.url(),
                described(&user)
            ))?;
        }
        Ok(Outcome::Done)
    }
}

impl LogOut {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let logins = logins()?;
        let client = self.client.connect()?;
        let url = client.url().to_owned();
        let Some(login) = logins.find(&url)? else {
            return Err(BadUsage(format!("you are not logged in to {url}")).into());
        };
        let revoked = revoke(&client.with_key(Some(login.key))).await;
        logins.forget(&url)?;
        let is_revoked = revoked.is_ok();
        if json {
            print_json(&json!({"url": url, "revoked": is_revoked}))?;
        } else {
            print(&format!("logged out of {url}"))?;
        }
        match revoked {
            Err(error)
                if !error
                    .downcast_ref::<RejectedRequest>()
                    .is_some_and(RejectedRequest::is_unauthenticated) =>
            {
                Err(error.context("the login is forgotten here, but its key could not be revoked"))
            }
            // The key had expired already.
            _ => Ok(Outcome::Done),
        }
    }
}

impl WhoAmI {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let user: User = client.get("/api/v1/me").await?;
        if json {
            print_json(&json!({"url": client.url(), "user": user}))?;
        } else {
            print(&format!("{} at {}", described(&user), client.url()))?;
        }
        Ok(Outcome::Done)
    }
}

impl AccountOptions {
    /// A key for this account: the given one, or a new one with all permissions of the user.
    async fn log_in_for_key(
        &self,
        client: &Client,
    ) -> anyhow::Result<(User, SecretString, Option<DateTime<Utc>>)> {
        let session = self.log_in(client).await?;
        let user: User = session.get("/api/v1/me").await?;
        if let Some(key) = session.key().filter(|key| is_api_key(key.expose_secret())) {
            return Ok((user, key.clone(), None));
        }
        let is_admin = user.role == UserRole::Admin;
        let scopes = ApiKeyScope::ALL
            .into_iter()
            .filter(|scope| is_admin || *scope != ApiKeyScope::Admin);
        let new = CreateApiKey {
            // Each login has its own key, with its own name.
            name: format!(
                "opb login {}",
                Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
            ),
            scopes: scopes.collect(),
            expires_at: Some(Utc::now() + KEY_LIFETIME),
        };
        let made: CreatedApiKey = session.post("/api/v1/api-keys", &new).await?;
        self.log_out(&session).await;
        Ok((user, made.key, made.api_key.expires_at))
    }

    /// Logs in with a session, for actions that API keys may not perform.
    ///
    /// # Errors
    /// [`BadUsage`] for a wrong password.
    pub async fn log_in(&self, client: &Client) -> anyhow::Result<Client> {
        if self.token_stdin {
            let token = read_secret("token", None, true)?;
            return Ok(client.with_key(token));
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None => read_username()?,
        };
        let login = LoginUser {
            username,
            password: read_password()?,
        };
        let session: anyhow::Result<Session> = client
            .with_key(None)
            .post("/api/v1/auth/login", &login)
            .await;
        let session = session.map_err(|error| match error.downcast::<RejectedRequest>() {
            Ok(refused) if refused.is_unauthenticated() => BadUsage(refused.message).into(),
            Ok(refused) => refused.into(),
            Err(error) => error,
        })?;
        Ok(client.with_key(Some(session.tokens.access_token)))
    }

    /// Ends the session of [`AccountOptions::log_in`]; a given token stays valid.
    pub async fn log_out(&self, session: &Client) {
        if !self.token_stdin {
            // It expires within a day anyway.
            let _ = session.ask("/api/v1/auth/logout").await;
        }
    }
}

/// The user's file of logins.
fn logins() -> anyhow::Result<Logins> {
    Logins::of_user().context(
        "there is no place to keep logins: set HOME or XDG_CONFIG_HOME to a folder of yours",
    )
}

async fn revoke(client: &Client) -> anyhow::Result<()> {
    client.delete("/api/v1/api-keys/current").await
}

fn described(user: &User) -> String {
    let name = text::plain(&user.username);
    match user.role {
        UserRole::Admin => format!("{name} (administrator)"),
        UserRole::Moderator => format!("{name} (moderator)"),
        UserRole::User => name,
    }
}

fn read_username() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprint!("Username: ");
        std::io::stderr().flush()?;
    }
    let username = read_line("username")?;
    if username.is_empty() {
        let message = "give the username as an argument, or as the first line of standard input";
        return Err(BadUsage(message.to_owned()).into());
    }
    Ok(username)
}

fn read_password() -> anyhow::Result<SecretString> {
    let password = if std::io::stdin().is_terminal() {
        rpassword::prompt_password("Password: ").context("no password was given")?
    } else {
        read_line("password")?
    };
    if password.is_empty() {
        return Err(BadUsage("give the password on standard input".to_owned()).into());
    }
    Ok(password.into())
}
