//! `opb provider add` and `opb provider presets`.

use std::path::Path;

use clap::Args;
use opb_api::routes::models::CreateProvider;
use opb_core::models::{Preset, Provider, ProviderKind};
use serde_json::{Map, Value};

use super::CredentialSource;
use crate::{
    client::ClientSettings,
    commands::{parse_word, print, print_json},
    files::{MAX_TEXT_BYTES, read_named},
    outcome::Outcome,
    tables,
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
    /// How it is spoken to: openai (the default, which many servers understand), `openai_responses`, anthropic, gemini,
    /// `azure_openai`, bedrock, http or echo
    #[arg(long, env = "OPB_PROVIDER_KIND", value_name = "KIND", value_parser = parse_word::<ProviderKind>)]
    kind: Option<ProviderKind>,
    /// JSON object with what the kind needs beyond that, or @FILE that holds it; see docs/PROVIDERS.md
    #[arg(long, env = "OPB_PROVIDER_SETTINGS", value_name = "JSON", value_parser = parse_settings)]
    settings: Option<Settings>,
    #[command(flatten)]
    credential: CredentialSource,
    #[command(flatten)]
    client: ClientSettings,
}

/// The settings of a provider.
#[derive(Debug, Clone)]
struct Settings(Map<String, Value>);

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
        };
        let provider: Provider = client.post("/api/v1/providers", &new).await?;
        if json {
            print_json(&provider)?;
        } else {
            print(&tables::providers(std::slice::from_ref(&provider)))?;
        }
        Ok(Outcome::Done)
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

/// JSON, or `@` and the name of a file that holds it.
fn parse_settings(text: &str) -> Result<Settings, String> {
    let json = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => read_named(Path::new(path), MAX_TEXT_BYTES)
            .map_err(|error| format!("the file {error:#}"))?,
    };
    serde_json::from_str(&json)
        .map(Settings)
        .map_err(|error| format!("not a JSON object: {error}"))
}
