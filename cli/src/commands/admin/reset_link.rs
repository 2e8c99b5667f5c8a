//! `opb admin reset-link`: creates a link to set a new password, for banks without a mail server.

use clap::Args;
use opb_core::{Error, auth, mail::parse_public_url};
use opb_settings::LogSettings;
use secrecy::ExposeSecret as _;
use serde_json::json;
use url::Url;

use super::database::DatabaseSettings;
use crate::{
    commands::{print, print_json, up::start_log},
    data_folder::DataFolder,
    outcome::{BadUsage, Outcome},
};

/// Print a link with which a user chooses a new password; it works once, for 30 minutes
///
/// Give it only to the user. The bank may be serving.
#[derive(Debug, Args)]
pub struct ResetLink {
    /// The username
    username: String,
    /// Address at which people reach the bank; without it, the address where it serves
    #[arg(long, env = "OPB_PUBLIC_URL", value_name = "URL", value_parser = parse_public_url)]
    public_url: Option<Url>,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    log: LogSettings,
}

impl ResetLink {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        let public_url = self.public_url()?;
        let database = self.database.open().await?;
        let mut conn = database.pool.acquire().await?;
        let made = auth::create_reset_link(&mut conn, &self.username, &public_url).await;
        drop(conn);
        database.close().await?;
        let link = made.map_err(|error| match error {
            Error::NotFound(_) => BadUsage(error.to_string()).into(),
            error => anyhow::Error::from(error),
        })?;
        if json {
            print_json(&json!({"link": link.expose_secret()}))?;
        } else {
            print(link.expose_secret())?;
        }
        Ok(Outcome::Done)
    }

    /// The address from the option, or the address where the bank of the data folder serves.
    fn public_url(&self) -> anyhow::Result<Url> {
        if let Some(url) = &self.public_url {
            return Ok(url.clone());
        }
        let served = DataFolder::new(self.database.data.as_deref()).url();
        let url = served.and_then(|url| parse_public_url(&url).ok());
        let message = "the bank does not serve from here: name its address with --public-url";
        url.ok_or_else(|| BadUsage(message.to_owned()).into())
    }
}
