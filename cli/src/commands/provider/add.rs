//! `opb provider add` and `opb provider presets`.

use std::path::Path;

use clap::Args;
use opb_api::{ProviderCheck, routes::models::CreateProvider};
use opb_core::models::{Preset, Provider, ProviderKind};
use serde_json::{Map, Value, json};

use super::{CredentialSource, address};
use crate::{
    client::{Client, ClientSettings},
    commands::{parse_word, print, print_json},
    files::{MAX_TEXT_BYTES, read_named},
    outcome::Outcome,
    tables, text,
};

/// Add a provider; its models are then called `NAME:model`
///
/// A well-known provider needs its name and nothing else: `opb provider add groq --credential-env GROQ_API_KEY`.
#[derive(Debug, Args)]
pub(super) struct AddProvider {
    /// The name: lower-case letters, digits, dashes and underscores; that of a preset, unless --preset, --kind or
    /// --base-url say otherwise
    #[arg(value_name = "NAME")]
    name: String,
    /// Name of the preset that gives kind and address; see `opb provider presets`
    #[arg(long, env = "OPB_PROVIDER_PRESET", value_name = "PRESET")]
    preset: Option<String>,
    /// Where it is, such as `http://127.0.0.1:8081/v1`
    #[arg(long, env = "OPB_PROVIDER_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// API of the provider: openai (the default, which most servers speak), `openai_responses`, anthropic, gemini,
    /// `azure_openai`, bedrock, http or echo
    #[arg(long, env = "OPB_PROVIDER_KIND", value_name = "KIND", value_parser = parse_word::<ProviderKind>)]
    kind: Option<ProviderKind>,
    /// Further settings of the kind, as a JSON object or as @FILE that holds one; see docs/PROVIDERS.md
    #[arg(long, env = "OPB_PROVIDER_SETTINGS", value_name = "JSON", value_parser = parse_settings)]
    settings: Option<Settings>,
    /// Its models are free unless they have a price: runs on them need no budget and count against no quota. The
    /// default for an address on this machine or in a private network without a credential
    #[arg(long, conflicts_with = "paid")]
    free: bool,
    /// Its models cost money, wherever it is: a gateway to paid models, for example
    #[arg(long)]
    paid: bool,
    #[command(flatten)]
    credential: CredentialSource,
    #[command(flatten)]
    client: ClientSettings,
}

/// Ask a provider's address whether it answers, takes the key, and which models it has; no model is called
///
/// Exit code 1 when its models cannot be called.
#[derive(Debug, Args)]
pub(super) struct CheckProvider {
    /// The provider's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    client: ClientSettings,
}

/// The settings of a provider.
#[derive(Debug, Clone)]
pub(super) struct Settings(pub(super) Map<String, Value>);

/// List the well-known providers that can be added by their name
#[derive(Debug, Args)]
pub(super) struct ListPresets {
    #[command(flatten)]
    client: ClientSettings,
}

impl AddProvider {
    pub(super) async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let credential = self.credential.read()?;
        let client = self.client.connect()?;
        let is_plain = self.kind.is_none() && self.base_url.is_none();
        let preset = match self.preset {
            None if is_plain => Some(self.name.clone()),
            preset => preset,
        };
        let new = CreateProvider {
            name: Some(self.name),
            kind: match (self.kind, &preset) {
                (None, None) => Some(ProviderKind::Openai),
                (kind, _) => kind,
            },
            preset,
            base_url: self.base_url,
            settings: self.settings.map(|settings| settings.0).unwrap_or_default(),
            credential,
            free: (self.free || self.paid).then_some(self.free),
        };
        let provider: Provider = client.post("/api/v1/providers", &new).await?;
        // The provider is added even if the check fails: its server may be started later.
        let check = check(&client, &provider.name).await;
        if json {
            let mut shown = serde_json::to_value(&provider)?;
            shown["check"] = serde_json::to_value(check.ok())?;
            print_json(&shown)?;
            return Ok(Outcome::Done);
        }
        print(&tables::providers(std::slice::from_ref(&provider)))?;
        match check {
            Ok(check) => print(&described(&check))?,
            Err(error) => print(&format!("could not check the provider: {error:#}"))?,
        }
        if provider.free {
            print(
                "Its models are free unless they have a price: set one with opb provider set-price, or add the provider with --paid.",
            )?;
        }
        Ok(Outcome::Done)
    }
}

impl CheckProvider {
    pub(super) async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let check = check(&self.client.connect()?, &self.name).await?;
        if json {
            print_json(&check)?;
        } else {
            print(&described(&check))?;
        }
        Ok(if check.outcome.is_usable() {
            Outcome::Done
        } else {
            Outcome::ChecksFailed
        })
    }
}

/// Asks the server to check a provider's address.
pub(crate) async fn check(client: &Client, name: &str) -> anyhow::Result<ProviderCheck> {
    client
        .post(&format!("{}/check", address(name)), &json!({}))
        .await
}

/// The result of the check, in words.
fn described(check: &ProviderCheck) -> String {
    let name = text::plain(&check.provider);
    let found = format!("{name}: {}", text::plain(&check.message));
    if check.models.is_empty() {
        return found;
    }
    let names: Vec<String> = check.models.iter().map(|name| text::plain(name)).collect();
    let names = names.join(", ");
    match check
        .model_count
        .unwrap_or(0)
        .saturating_sub(check.models.len())
    {
        0 => format!("{found}: {names}"),
        more => format!("{found}: {names} and {more} more"),
    }
}

impl ListPresets {
    pub(super) async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let presets: Vec<Preset> = self.client.connect()?.get("/api/v1/presets").await?;
        if json {
            print_json(&presets)?;
        } else {
            print(&tables::presets(&presets))?;
        }
        Ok(Outcome::Done)
    }
}

/// Parses JSON, or reads it from a file named by `@FILE`.
pub(super) fn parse_settings(text: &str) -> Result<Settings, String> {
    let json = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => read_named(Path::new(path), MAX_TEXT_BYTES)
            .map_err(|error| format!("the file {error:#}"))?,
    };
    serde_json::from_str(&json)
        .map(Settings)
        .map_err(|error| format!("not a JSON object: {error}"))
}
