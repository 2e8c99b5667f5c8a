//! `opb provider`: the providers that run models.

pub(super) mod add;
mod change;

use clap::{Args, Subcommand};
use opb_api::routes::models::UpdateProvider;
use opb_core::{
    models::{
        CredentialChange, DeclaredLimits, ModelPrice, PriceChange, Provider, ProviderLimits,
        dollars,
    },
    paging::Page,
};
use secrecy::SecretString;
use serde_json::json;

use self::{
    add::{AddProvider, CheckProvider, ListPresets},
    change::ChangeProvider,
};
use super::{print, print_json, secret::read_secret};
use crate::{
    client::{ClientSettings, segment},
    outcome::{BadUsage, Outcome},
    tables, text,
};

/// Add, list, change and remove providers of models
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ProviderCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Box<AddProvider>),
    Check(CheckProvider),
    List(ListProviders),
    Presets(ListPresets),
    Change(ChangeProvider),
    SetKey(SetKey),
    SetPrice(SetPrice),
    Limits(Limits),
    Remove(RemoveProvider),
}

/// The source of a credential; never the command line, which other users of the machine can read.
#[derive(Debug, Args)]
struct CredentialSource {
    /// Name of the environment variable that holds the credential
    #[arg(
        long,
        alias = "key-from-env",
        value_name = "VARIABLE",
        conflicts_with = "credential_stdin"
    )]
    credential_env: Option<String>,
    /// Read the credential from standard input
    #[arg(long)]
    credential_stdin: bool,
}

/// Store another credential for a provider, or remove the one it has
#[derive(Debug, Args)]
struct SetKey {
    /// The provider's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Remove the credential
    #[arg(long, conflicts_with_all = ["credential_env", "credential_stdin"])]
    none: bool,
    #[command(flatten)]
    credential: CredentialSource,
    #[command(flatten)]
    client: ClientSettings,
}

/// Set what a model of a provider costs; what is not named stays
///
/// A run with a budget needs models with a known price. A price of 0 is free: such a model needs no budget and counts against no quota.
#[derive(Debug, Args)]
struct SetPrice {
    /// The provider's name
    #[arg(value_name = "NAME")]
    name: String,
    /// The model's name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Dollars per million input tokens
    #[arg(long, value_name = "DOLLARS", value_parser = text::parse_dollars)]
    input: Option<i64>,
    /// Dollars per million output tokens
    #[arg(long, value_name = "DOLLARS", value_parser = text::parse_dollars)]
    output: Option<i64>,
    /// Dollars per million cached input tokens; `none` when they cost the same
    #[arg(long, value_name = "DOLLARS", value_parser = parse_or_none(text::parse_dollars))]
    cached_input: Option<OrNone<i64>>,
    /// Dollars per million reasoning tokens; `none` when they cost the same
    #[arg(long, value_name = "DOLLARS", value_parser = parse_or_none(text::parse_dollars))]
    reasoning: Option<OrNone<i64>>,
    /// Maximum length of an answer of the model, in tokens; `none` when unknown
    #[arg(long, value_name = "N", value_parser = parse_or_none(parse_tokens))]
    max_output_tokens: Option<OrNone<i32>>,
    /// Maximum number of tokens that the model counts for one image of a prompt; `none` for the bound of the provider's kind
    #[arg(long, value_name = "N", value_parser = parse_or_none(parse_tokens))]
    max_image_tokens: Option<OrNone<i32>>,
    #[command(flatten)]
    client: ClientSettings,
}

/// Show the limits of a provider, or declare them; they hold for all workers together
#[derive(Debug, Args)]
#[command(
    after_help = "Without a limit it shows what is declared. Limits that are not named stay:\n  opb provider limits openai --requests-per-minute 500\n  opb provider limits openai --model gpt-5-mini --daily-dollars 5\n  opb provider limits openai --none"
)]
struct Limits {
    /// The provider's name
    #[arg(value_name = "NAME")]
    name: String,
    /// One model of the provider; without it, all of them together
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Maximum number of calls per minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    requests_per_minute: Option<i32>,
    /// Maximum number of tokens per minute, of prompts and answers together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    tokens_per_minute: Option<i64>,
    /// Maximum number of concurrent calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    concurrent_calls: Option<i32>,
    /// Maximum spend in dollars per day (UTC), such as 1.50
    #[arg(long, value_name = "DOLLARS", value_parser = text::parse_dollars)]
    daily_dollars: Option<i64>,
    /// Time limit of a call in seconds, instead of the worker's `OPB_CALL_TIMEOUT`
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i32).range(1..=86_400))]
    call_timeout: Option<i32>,
    /// Remove the limits
    #[arg(long, conflicts_with_all = ["requests_per_minute", "tokens_per_minute", "concurrent_calls", "daily_dollars", "call_timeout"])]
    none: bool,
    #[command(flatten)]
    client: ClientSettings,
}

/// Remove a provider that no run names, with its credential
#[derive(Debug, Args)]
struct RemoveProvider {
    /// The provider's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    client: ClientSettings,
}

/// List the providers
#[derive(Debug, Args)]
struct ListProviders {
    #[command(flatten)]
    client: ClientSettings,
}

impl ProviderCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Add(command) => command.execute(json).await,
            Action::Check(command) => command.execute(json).await,
            Action::List(command) => command.execute(json).await,
            Action::Presets(command) => command.execute(json).await,
            Action::Change(command) => command.execute(json).await,
            Action::SetKey(command) => command.execute(json).await,
            Action::SetPrice(command) => command.execute(json).await,
            Action::Limits(command) => command.execute(json).await,
            Action::Remove(command) => command.execute(json).await,
        }
    }
}

impl CredentialSource {
    /// The credential, if a source was given.
    fn read(&self) -> anyhow::Result<Option<SecretString>> {
        let variable = self.credential_env.as_deref();
        read_secret("credential", variable, self.credential_stdin)
    }
}

impl SetKey {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let credential = self.credential.read()?;
        if credential.is_none() && !self.none {
            let message = "say where the credential is with --credential-env or --credential-stdin, or --none";
            return Err(BadUsage(message.to_owned()).into());
        }
        let change = UpdateProvider {
            credential: credential.map_or(CredentialChange::Remove, CredentialChange::Replace),
            ..UpdateProvider::default()
        };
        let provider: Provider = self
            .client
            .connect()?
            .patch(&address(&self.name), &change)
            .await?;
        if json {
            print_json(&provider)?;
        } else {
            print(&tables::providers(std::slice::from_ref(&provider)))?;
        }
        Ok(Outcome::Done)
    }
}

impl SetPrice {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let change = PriceChange {
            model: self.model,
            input_microusd_per_mtok: self.input,
            output_microusd_per_mtok: self.output,
            cached_input_microusd_per_mtok: self.cached_input.map(|price| price.0),
            reasoning_microusd_per_mtok: self.reasoning.map(|price| price.0),
            max_output_tokens: self.max_output_tokens.map(|tokens| tokens.0),
            max_image_tokens: self.max_image_tokens.map(|tokens| tokens.0),
        };
        let says_nothing = change
            == PriceChange {
                model: change.model.clone(),
                ..PriceChange::default()
            };
        if says_nothing {
            let message = "say what to set, such as --input 0.25 --output 2.00";
            return Err(BadUsage(message.to_owned()).into());
        }
        let path = format!("{}/prices", address(&self.name));
        let price: ModelPrice = self.client.connect()?.patch(&path, &change).await?;
        if json {
            print_json(&price)?;
        } else {
            print(&format!(
                "{}:{} {}",
                text::plain(&self.name),
                text::plain(&price.model),
                priced(&price)
            ))?;
        }
        Ok(Outcome::Done)
    }
}

/// A value, or `none` to remove it.
#[derive(Debug, Clone, Copy)]
struct OrNone<T>(Option<T>);

/// Parses `none`, or a value with `parse`.
fn parse_or_none<T>(
    parse: impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<OrNone<T>, String> + Clone + Send + Sync + 'static {
    move |text| match text {
        "none" => Ok(OrNone(None)),
        text => parse(text).map(|value| OrNone(Some(value))),
    }
}

fn parse_tokens(text: &str) -> Result<i32, String> {
    let number = text.parse::<i32>().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| "must be a whole number of at least 1, or none".to_owned())
}

/// A price in words.
fn priced(price: &ModelPrice) -> String {
    let mut words = vec![format!(
        "costs {} for a million input tokens and {} for a million output tokens",
        dollars(price.input_microusd_per_mtok),
        dollars(price.output_microusd_per_mtok)
    )];
    if let Some(cached) = price.cached_input_microusd_per_mtok {
        words.push(format!("{} for cached input", dollars(cached)));
    }
    if let Some(reasoning) = price.reasoning_microusd_per_mtok {
        words.push(format!("{} for reasoning", dollars(reasoning)));
    }
    if let Some(tokens) = price.max_output_tokens {
        let tokens = text::count(tokens.into());
        words.push(format!("at most {tokens} tokens per answer"));
    }
    words.join("; ")
}

impl Limits {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("{}/limits", address(&self.name));
        let limits = ProviderLimits {
            model: self.model,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_calls: self.concurrent_calls,
            daily_microusd: self.daily_dollars,
            call_timeout_seconds: self.call_timeout,
        };
        let client = self.client.connect()?;
        let mut declared: Vec<DeclaredLimits> = client.get(&path).await?;
        if self.none || !limits.is_none() {
            let before = declared
                .iter()
                .find(|before| before.model == limits.model && !self.none);
            let limits = before.map_or(limits.clone(), |before| keep(&limits, before));
            declared = client.put(&path, &limits).await?;
        }
        if json {
            print_json(&declared)?;
        } else if declared.is_empty() {
            print(&format!("{} has no limits", text::plain(&self.name)))?;
        } else {
            print(&tables::limits(&declared))?;
        }
        Ok(Outcome::Done)
    }
}

/// The limits, with those before in the place of what is not named.
fn keep(limits: &ProviderLimits, before: &DeclaredLimits) -> ProviderLimits {
    ProviderLimits {
        model: limits.model.clone(),
        requests_per_minute: limits.requests_per_minute.or(before.requests_per_minute),
        tokens_per_minute: limits.tokens_per_minute.or(before.tokens_per_minute),
        concurrent_calls: limits.concurrent_calls.or(before.concurrent_calls),
        daily_microusd: limits.daily_microusd.or(before.daily_microusd),
        call_timeout_seconds: limits.call_timeout_seconds.or(before.call_timeout_seconds),
    }
}

impl RemoveProvider {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        self.client.connect()?.delete(&address(&self.name)).await?;
        if json {
            print_json(&json!({"removed": self.name}))?;
        } else {
            print(&format!("removed {}", text::plain(&self.name)))?;
        }
        Ok(Outcome::Done)
    }
}

fn address(name: &str) -> String {
    format!("/api/v1/providers/{}", segment(name))
}

impl ListProviders {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let page: Page<Provider> = self
            .client
            .connect()?
            .get("/api/v1/providers?limit=100")
            .await?;
        if json {
            print_json(&page)?;
        } else {
            print(&tables::providers(&page.items))?;
        }
        Ok(Outcome::Done)
    }
}
