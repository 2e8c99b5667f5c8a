//! `opb provider change`: changes address, settings or credential.

use clap::Args;
use opb_api::routes::models::UpdateProvider;
use opb_core::models::{CredentialChange, Provider};

use super::{
    CredentialSource,
    add::{Settings, parse_settings},
    address,
};
use crate::{
    client::ClientSettings,
    commands::{print, print_json},
    outcome::{BadUsage, Outcome},
    tables,
};

/// Change the address, settings or credential of a provider; what is not named stays
///
/// An address at another host needs the credential again, so that no other server receives it by mistake.
#[derive(Debug, Args)]
pub(super) struct ChangeProvider {
    /// The provider's name
    #[arg(value_name = "NAME")]
    name: String,
    /// New address, such as `http://127.0.0.1:8081/v1`
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// New settings, all of them: a JSON object, or @FILE that holds it; see docs/PROVIDERS.md
    #[arg(long, value_name = "JSON", value_parser = parse_settings)]
    settings: Option<Settings>,
    #[command(flatten)]
    credential: CredentialSource,
    #[command(flatten)]
    client: ClientSettings,
}

impl ChangeProvider {
    pub(super) async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let credential = self.credential.read()?;
        if credential.is_none() && self.base_url.is_none() && self.settings.is_none() {
            let message = "name what to change: --base-url, --settings, or a credential";
            return Err(BadUsage(message.to_owned()).into());
        }
        let mut change = UpdateProvider {
            base_url: self.base_url,
            settings: self.settings.map(|settings| settings.0),
            ..UpdateProvider::default()
        };
        if let Some(credential) = credential {
            change.credential = CredentialChange::Replace(credential);
        }
        let client = self.client.connect()?;
        let provider: Provider = client.patch(&address(&self.name), &change).await?;
        if json {
            print_json(&provider)?;
        } else {
            print(&tables::providers(std::slice::from_ref(&provider)))?;
        }
        Ok(Outcome::Done)
    }
}
