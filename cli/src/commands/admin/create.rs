//! `opb admin create`: creates an administrator directly in the database, without the API.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Args;
use opb_core::{
    Error,
    auth::{self, PasswordHasher, User},
};
use opb_settings::LogSettings;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;

use super::database::DatabaseSettings;
use crate::{
    commands::{print, print_json, secret::read_line, up::start_log},
    outcome::{BadUsage, Outcome},
};

/// Make an administrator: a new user, or one that is there already
///
/// The password of a new user is asked for, or is the first line of standard input; it is never an argument. The bank
/// may be serving.
#[derive(Debug, Args)]
pub struct CreateAdmin {
    /// The username
    username: String,
    /// The email address of a new user
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    log: LogSettings,
}

impl CreateAdmin {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        let database = self.database.open().await?;
        let made = self.make(&mut *database.pool.acquire().await?).await;
        database.close().await?;
        let (user, is_new) = made?;
        if json {
            print_json(&json!({"user": user, "created": is_new}))?;
        } else {
            let was = if is_new { "a new user and " } else { "" };
            print(&format!("{} is {was}an administrator", user.username))?;
        }
        Ok(Outcome::Done)
    }

    async fn make(&self, conn: &mut PgConnection) -> anyhow::Result<(User, bool)> {
        let promoted = auth::promote_to_admin(conn, &self.username).await;
        if let Some(user) = promoted.map_err(explain)? {
            return Ok((user, false));
        }
        let Some(email) = &self.email else {
            let name = &self.username;
            let message = format!("there is no user `{name}`; to create one, give --email ADDRESS");
            return Err(BadUsage(message).into());
        };
        let password = read_password()?;
        let names = (self.username.as_str(), email.as_str());
        let made = auth::create_admin(conn, &PasswordHasher::new(), names, password).await;
        Ok((made.map_err(explain)?, true))
    }
}

/// Turns errors that the user can fix into [`BadUsage`].
fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::Invalid(_) | Error::Conflict(_) => BadUsage(error.to_string()).into(),
        error => error.into(),
    }
}

/// Asks for the password twice without echo, or reads it from standard input.
fn read_password() -> anyhow::Result<SecretString> {
    if !std::io::stdin().is_terminal() {
        let password = read_line("password")?;
        if password.is_empty() {
            let message = "give the password of the new user on standard input";
            return Err(BadUsage(message.into()).into());
        }
        return Ok(password.into());
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).context("no password was given");
    let password = ask("Password: ")?;
    if ask("Repeat the password: ")? != password {
        return Err(BadUsage("the two passwords differ".into()).into());
    }
    Ok(password.into())
}
