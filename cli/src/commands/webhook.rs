//! `opb webhook`: addresses that receive events, and the messages that were sent.

use clap::{Args, Subcommand};
use opb_api::routes::webhooks::{
    Attempts, ChangeWebhook, CreateWebhook, CreatedWebhook, WebhookSecret, Webhooks,
};
use opb_core::{
    paging::Page,
    webhooks::{Delivery, Webhook, WebhookEvent, WebhookFormat},
};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::{parse_word, pick::pick, print, print_json, print_removed, secret::read_secret};
use crate::{
    client::{Client, ClientSettings, segment},
    outcome::{BadUsage, Outcome},
    tables,
};

/// The REST resource.
const PATH: &str = "/api/v1/webhooks";

/// Add, list, change, pause, test and remove webhooks: addresses that events are sent to
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct WebhookCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(AddWebhook),
    List(ListWebhooks),
    /// Show a webhook and its last messages
    Show(NamedWebhook),
    Change(ChangeCommand),
    /// Pause a webhook: nothing is sent until it is resumed
    Pause(NamedWebhook),
    /// Resume a webhook that was paused, or disabled because it failed for too long
    Resume(NamedWebhook),
    /// Send a test message
    Test(NamedWebhook),
    /// Show how the attempts of a message ended
    Attempts(NamedDelivery),
    /// Send a message once more, with the same id
    Replay(NamedDelivery),
    /// Replace the secret that signs messages, and print it, once
    RotateSecret(NamedWebhook),
    /// Remove a webhook with all its messages
    Remove(NamedWebhook),
}

/// Add a webhook, and print the secret that signs its messages, once
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  HOOK=https://hooks.example.org/… opb webhook add ops --address-env HOOK \\\n    --event alert.firing --event alert.resolved"
)]
struct AddWebhook {
    /// The webhook's name
    #[arg(value_name = "NAME")]
    webhook: String,
    #[command(flatten)]
    address: AddressSource,
    /// Event to send: run.finished, budget.exhausted, alert.firing or alert.resolved; may be repeated
    #[arg(long = "event", value_name = "EVENT", required = true, value_delimiter = ',', value_parser = parse_word::<WebhookEvent>)]
    events: Vec<WebhookEvent>,
    /// Format of the messages: standard or slack
    #[arg(long, value_name = "FORMAT", default_value = "standard", value_parser = parse_word::<WebhookFormat>)]
    format: WebhookFormat,
    #[command(flatten)]
    client: ClientSettings,
}

/// The source of the address; it is often a secret, so it is never on the command line.
#[derive(Debug, Args)]
struct AddressSource {
    /// Name of the environment variable that holds the address that messages are posted to
    #[arg(long, value_name = "VARIABLE", conflicts_with = "address_stdin")]
    address_env: Option<String>,
    /// Read the address from standard input
    #[arg(long)]
    address_stdin: bool,
}

/// List your webhooks, newest first
#[derive(Debug, Args)]
struct ListWebhooks {
    #[command(flatten)]
    client: ClientSettings,
}

/// The name of a webhook.
#[derive(Debug, Args)]
struct NamedWebhook {
    /// Name or id of the webhook
    #[arg(value_name = "WEBHOOK")]
    webhook: String,
    #[command(flatten)]
    client: ClientSettings,
}

/// The id of a message.
#[derive(Debug, Args)]
struct NamedDelivery {
    #[command(flatten)]
    named: NamedWebhook,
    /// The message: its id, the end of its id as `opb webhook show` has it, or `last`
    #[arg(value_name = "MESSAGE")]
    delivery: String,
}

/// Change a webhook; what is not named stays
#[derive(Debug, Args)]
struct ChangeCommand {
    #[command(flatten)]
    named: NamedWebhook,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    address: AddressSource,
    /// Event to send from now on; may be repeated
    #[arg(long = "event", value_name = "EVENT", value_delimiter = ',', value_parser = parse_word::<WebhookEvent>)]
    events: Option<Vec<WebhookEvent>>,
    /// Format of the messages: standard or slack
    #[arg(long, value_name = "FORMAT", value_parser = parse_word::<WebhookFormat>)]
    format: Option<WebhookFormat>,
}

impl WebhookCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Add(command) => command.execute(json).await?,
            Action::List(command) => command.execute(json).await?,
            Action::Show(command) => command.show(json).await?,
            Action::Change(command) => command.execute(json).await?,
            Action::Pause(command) => command.enable(false, json).await?,
            Action::Resume(command) => command.enable(true, json).await?,
            Action::Test(command) => {
                let client = command.client.connect()?;
                let sent: Delivery = client.post(&command.path("/test"), &json!({})).await?;
                show_sent(&command, &sent, json)?;
            }
            Action::Attempts(command) => {
                let client = command.named.client.connect()?;
                let path = command.path(&client, "attempts").await?;
                let attempts: Attempts = client.get(&path).await?;
                if json {
                    print_json(&attempts)?;
                } else {
                    print(&tables::attempts(&attempts.items))?;
                }
            }
            Action::Replay(command) => {
                let client = command.named.client.connect()?;
                let path = command.path(&client, "replay").await?;
                let sent: Delivery = client.post(&path, &json!({})).await?;
                show_sent(&command.named, &sent, json)?;
            }
            Action::RotateSecret(command) => {
                let client = command.client.connect()?;
                let new: WebhookSecret = client.post(&command.path("/secret"), &json!({})).await?;
                if json {
                    print_json(&new)?;
                } else {
                    print_secret(&new.secret)?;
                }
            }
            Action::Remove(command) => {
                command.client.connect()?.delete(&command.path("")).await?;
                print_removed("webhook", &command.webhook, json)?;
            }
        }
        Ok(Outcome::Done)
    }
}

impl AddWebhook {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let Some(url) = self.address.read()? else {
            let message =
                "say where the webhook's address is with --address-env or --address-stdin";
            return Err(BadUsage(message.to_owned()).into());
        };
        let new = CreateWebhook {
            name: self.webhook,
            url,
            format: self.format,
            events: self.events,
        };
        let made: CreatedWebhook = self.client.connect()?.post(PATH, &new).await?;
        if json {
            return print_json(&made);
        }
        print(&tables::webhook(&made.webhook, &[]))?;
        print_secret(&made.secret)
    }
}

impl AddressSource {
    fn read(&self) -> anyhow::Result<Option<SecretString>> {
        read_secret("address", self.address_env.as_deref(), self.address_stdin)
    }
}

impl ListWebhooks {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let webhooks: Webhooks = self.client.connect()?.get(PATH).await?;
        if json {
            return print_json(&webhooks);
        }
        if webhooks.items.is_empty() {
            return print("no webhooks yet");
        }
        print(&tables::webhooks(&webhooks.items))
    }
}

impl ChangeCommand {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let change = ChangeWebhook {
            name: self.name,
            url: self.address.read()?,
            format: self.format,
            events: self.events,
            enabled: None,
        };
        self.named.change(&change, json).await
    }
}

impl NamedWebhook {
    fn path(&self, rest: &str) -> String {
        format!("{PATH}/{}{rest}", segment(&self.webhook))
    }

    async fn show(&self, json: bool) -> anyhow::Result<()> {
        let client = self.client.connect()?;
        let webhook: Webhook = client.get(&self.path("")).await?;
        let deliveries: Page<Delivery> = client.get(&self.path("/deliveries")).await?;
        if json {
            return print_json(&json!({"webhook": webhook, "deliveries": deliveries.items}));
        }
        print(&tables::webhook(&webhook, &deliveries.items))
    }

    async fn enable(&self, enabled: bool, json: bool) -> anyhow::Result<()> {
        let change = ChangeWebhook {
            enabled: Some(enabled),
            ..ChangeWebhook::default()
        };
        self.change(&change, json).await
    }

    async fn change(&self, change: &ChangeWebhook, json: bool) -> anyhow::Result<()> {
        let client = self.client.connect()?;
        let webhook: Webhook = client.patch(&self.path(""), change).await?;
        if json {
            return print_json(&webhook);
        }
        print(&tables::webhook(&webhook, &[]))
    }
}

impl NamedDelivery {
    async fn path(&self, client: &Client, what: &str) -> anyhow::Result<String> {
        let id = if let Ok(id) = self.delivery.parse::<Uuid>() {
            id
        } else {
            let deliveries: Page<Delivery> = client.get(&self.named.path("/deliveries")).await?;
            let ids: Vec<Uuid> = deliveries.items.iter().map(|it| it.id).collect();
            pick(&ids, &self.delivery, "message", "`opb webhook show`")?
        };
        Ok(self.named.path(&format!("/deliveries/{id}/{what}")))
    }
}

fn show_sent(webhook: &NamedWebhook, sent: &Delivery, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(sent);
    }
    print(&format!(
        "message {} is on its way; see: opb webhook attempts {} {}",
        sent.id, webhook.webhook, sent.id
    ))
}

fn print_secret(secret: &str) -> anyhow::Result<()> {
    print(&format!(
        "secret: {secret}\nIt verifies the signatures of messages, and is not shown again."
    ))
}
