//! `opb key`: API keys for programs. An API key cannot manage keys, so each command asks for the password.

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use opb_api::routes::api_keys::{CreateApiKey, CreatedApiKey};
use opb_core::{
    auth::{ApiKey, ApiKeyScope},
    paging::Page,
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{login::AccountOptions, print, print_json};
use crate::{
    client::{Client, ClientSettings, segment},
    outcome::{BadUsage, Outcome},
    tables, text,
};

/// Create, list and revoke API keys for programs
///
/// An API key cannot manage keys: each command asks for your password, or reads it from standard input as `opb login` does.
#[derive(Debug, Args)]
#[command(arg_required_else_help = false)]
pub struct KeyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(CreateKey),
    List(ListKeys),
    Revoke(RevokeKey),
}

/// Create an API key and print it; it is never shown again
///
/// Scopes: prompts:read, prompts:write, runs:read, runs:write, admin. Writing includes reading the same things.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  opb key create laptop\n  opb key create nightly-ci --scope runs:write --expires-days 90"
)]
struct CreateKey {
    /// Name of the key
    #[arg(value_name = "NAME")]
    name: String,
    /// Permission of the key; may be repeated. Without it, runs:write and prompts:write: everything but administration
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        default_values = ["prompts:write", "runs:write"],
        hide_default_value = true,
        value_delimiter = ','
    )]
    scopes: Vec<ApiKeyScope>,
    /// Days until it expires; without it, never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=3650))]
    expires_days: Option<i64>,
    #[command(flatten)]
    login: LoginOptions,
}

/// List your API keys
#[derive(Debug, Args)]
struct ListKeys {
    #[command(flatten)]
    login: LoginOptions,
}

/// Revoke an API key: it stops working at once
#[derive(Debug, Args)]
struct RevokeKey {
    /// Its name or id
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    login: LoginOptions,
}

/// The account, and how it logs in.
#[derive(Debug, Args)]
struct LoginOptions {
    /// Username or email address; without it, you are asked
    #[arg(long, value_name = "USERNAME", conflicts_with = "token_stdin")]
    username: Option<String>,
    /// Read the access token of a login from standard input instead of a password
    #[arg(long)]
    token_stdin: bool,
    #[command(flatten)]
    client: ClientSettings,
}

impl KeyCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Create(command) => command.execute(json).await,
            Action::List(command) => command.execute(json).await,
            Action::Revoke(command) => command.execute(json).await,
        }
    }
}

impl LoginOptions {
    /// Logs in, runs `work`, and logs out.
    async fn with_session<T>(
        self,
        work: impl AsyncFnOnce(&Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let account = AccountOptions {
            username: self.username,
            token_stdin: self.token_stdin,
        };
        let session = account.log_in(&self.client.connect()?).await?;
        let done = work(&session).await;
        account.log_out(&session).await;
        done
    }
}

impl CreateKey {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let days = self.expires_days.map(TimeDelta::days);
        let new = CreateApiKey {
            name: self.name,
            scopes: self.scopes,
            expires_at: days.map(|days| Utc::now() + days),
        };
        let create =
            async |client: &Client| client.post::<CreatedApiKey>("/api/v1/api-keys", &new).await;
        let made = self.login.with_session(create).await?;
        if json {
            print_json(&made)?;
        } else {
            eprintln!(
                "created the key {}{}; store it, it is not shown again:",
                text::plain(&made.api_key.name),
                until(made.api_key.expires_at)
            );
            print(made.key.expose_secret())?;
        }
        Ok(Outcome::Done)
    }
}

impl ListKeys {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let keys = self.login.with_session(list).await?;
        if json {
            print_json(&json!({"items": keys}))?;
        } else {
            print(&tables::keys(&keys))?;
        }
        Ok(Outcome::Done)
    }
}

impl RevokeKey {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let wanted = self.key;
        let revoke = async |client: &Client| {
            let keys = list(client).await?;
            let key = find(&keys, &wanted)?.clone();
            let path = format!("/api/v1/api-keys/{}", segment(&key.id.to_string()));
            client.delete(&path).await?;
            Ok(key)
        };
        let key = self.login.with_session(revoke).await?;
        if json {
            print_json(&json!({"revoked": key.id, "name": key.name}))?;
        } else {
            print(&format!("revoked {}", text::plain(&key.name)))?;
        }
        Ok(Outcome::Done)
    }
}

async fn list(client: &Client) -> anyhow::Result<Vec<ApiKey>> {
    let mut keys = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/api-keys?limit=100{cursor}");
        let page: Page<ApiKey> = client.get(&path).await?;
        keys.extend(page.items);
        let Some(next) = page.next_cursor else {
            return Ok(keys);
        };
        cursor = format!("&cursor={}", segment(&next));
    }
}

/// The key with this id, or with this name if it is unique.
fn find<'a>(keys: &'a [ApiKey], wanted: &str) -> anyhow::Result<&'a ApiKey> {
    if let Some(key) = keys.iter().find(|key| key.id.to_string() == wanted) {
        return Ok(key);
    }
    let mut named = keys.iter().filter(|key| key.name == wanted);
    match (named.next(), named.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => {
            let message = format!("several keys are called `{wanted}`: give the id (opb key list)");
            Err(BadUsage(message).into())
        }
        (None, _) => Err(BadUsage(format!("you have no key `{wanted}` (opb key list)")).into()),
    }
}

fn until(expires_at: Option<DateTime<Utc>>) -> String {
    expires_at.map_or_else(String::new, |at| {
        format!(" and works until {}", text::time(at))
    })
}
