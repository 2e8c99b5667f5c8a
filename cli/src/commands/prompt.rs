//! `opb prompt`: the prompts of the library, over REST.

mod export;
mod import;

use clap::{Args, Subcommand};
use opb_core::{
    auth::Visibility,
    deletion::Deletion,
    library::{PromptChange, PromptDetail, PromptPage, PromptVersion},
};

use self::{export::ExportPrompts, import::ImportPrompts};
use super::{print, print_json};
use crate::{
    client::{ClientSettings, segment},
    outcome::Outcome,
    tables, text,
};

/// List, show, import, export, change and delete prompts
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct PromptCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListPrompts),
    Show(ShowPrompt),
    Import(ImportPrompts),
    Export(ExportPrompts),
    SetVisibility(SetVisibility),
    Delete(DeletePrompt),
}

/// List prompts, or search for words
#[derive(Debug, Args)]
struct ListPrompts {
    /// Words that the prompt has
    #[arg(value_name = "WORDS")]
    words: Vec<String>,
    /// Maximum number of prompts
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    #[command(flatten)]
    client: ClientSettings,
}

/// Show a prompt: its text, variables and recommended parameters
#[derive(Debug, Args)]
struct ShowPrompt {
    /// The prompt: `slug`, or `slug@2` or `slug@production` for one of its versions
    #[arg(value_name = "PROMPT")]
    prompt: String,
    #[command(flatten)]
    client: ClientSettings,
}

/// Set who may see a prompt; runs with it are never more visible
#[derive(Debug, Args)]
struct SetVisibility {
    /// The prompt's slug
    #[arg(value_name = "PROMPT")]
    prompt: String,
    /// Who may see it
    #[arg(value_name = "WHO", value_enum)]
    visibility: Visibility,
    #[command(flatten)]
    client: ClientSettings,
}

/// Delete a prompt with all its versions, or one of its older versions
///
/// A version that runs use is withdrawn instead: it accepts no more runs, and only the owners of those runs can read it.
#[derive(Debug, Args)]
struct DeletePrompt {
    /// The prompt: `slug`, or `slug@2` for one of its versions
    #[arg(value_name = "PROMPT")]
    prompt: String,
    #[command(flatten)]
    client: ClientSettings,
}

impl PromptCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::List(command) => command.execute(json).await,
            Action::Show(command) => command.execute(json).await,
            Action::Import(command) => command.execute(json).await,
            Action::Export(command) => command.execute(json).await,
            Action::SetVisibility(command) => command.execute(json).await,
            Action::Delete(command) => command.execute(json).await,
        }
    }
}

impl ListPrompts {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let words = self.words.join(" ");
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &self.limit.to_string());
        if !words.is_empty() {
            query.append_pair("q", &words);
        }
        let path = format!("/api/v1/prompts?{}", query.finish());
        let page: PromptPage = self.client.connect()?.get(&path).await?;
        if json {
            print_json(&page)?;
        } else {
            print(&tables::prompts(&page))?;
        }
        Ok(Outcome::Done)
    }
}

impl ShowPrompt {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let (slug, version) = match self.prompt.split_once('@') {
            Some((slug, version)) => (slug, Some(version)),
            None => (self.prompt.as_str(), None),
        };
        let path = format!("/api/v1/prompts/{}", segment(slug));
        let mut detail: PromptDetail = client.get(&path).await?;
        if let Some(version) = version {
            let path = format!("{path}/versions/{}", segment(version));
            detail.version = client.get::<PromptVersion>(&path).await?;
        }
        if json {
            print_json(&detail)?;
        } else {
            print(&tables::prompt(&detail.prompt.title, &detail.version))?;
        }
        Ok(Outcome::Done)
    }
}

impl SetVisibility {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("/api/v1/prompts/{}", segment(&self.prompt));
        let change = PromptChange {
            visibility: Some(self.visibility),
            ..PromptChange::default()
        };
        let detail: PromptDetail = self.client.connect()?.patch(&path, &change).await?;
        if json {
            print_json(&detail)?;
        } else {
            let visibility = text::visibility(detail.prompt.visibility);
            let slug = text::plain(&detail.prompt.slug);
            print(&format!("{slug} is {visibility}"))?;
        }
        Ok(Outcome::Done)
    }
}

impl DeletePrompt {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let deletion = if let Some((slug, number)) = self.prompt.split_once('@') {
            let (slug, number) = (segment(slug), segment(number));
            let path = format!("/api/v1/prompts/{slug}/versions/{number}");
            client.delete_saying::<Deletion>(&path).await?
        } else {
            let path = format!("/api/v1/prompts/{}", segment(&self.prompt));
            client.delete(&path).await?;
            Deletion { withdrawn: false }
        };
        if json {
            print_json(&deletion)?;
        } else {
            print(&text::deleted(&self.prompt, deletion))?;
        }
        Ok(Outcome::Done)
    }
}
