//! `opb import`: brings a benchmark pack to the server, over REST.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use opb_core::{
    auth::Visibility,
    benchmarks::BenchmarkVersion,
    library::{NewPrompt, NewPromptVersion, Prompt, PromptChange, PromptVersion},
};
use serde_json::json;

use super::{print, print_json};
use crate::{
    client::{Client, ClientSettings, Conflict, segment},
    outcome::{BadUsage, Outcome},
    packs, text,
};

/// Import a benchmark and its prompts from a folder; what is there already is not added again
///
/// The folder holds `benchmark.yaml` (or `.yml`, `.toml`), the items in JSON Lines, and prompts in `prompts/*.yaml`.
#[derive(Debug, Args)]
pub struct Import {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// File of the items, if it is not in the folder
    #[arg(long, env = "OPB_IMPORT_ITEMS", value_name = "FILE")]
    items: Option<PathBuf>,
    /// Import only the first so many items
    #[arg(long, env = "OPB_IMPORT_LIMIT", value_name = "N", value_parser = parse_limit)]
    limit: Option<usize>,
    /// Who may see the benchmark and its prompts, whatever the files say; without it and without a word in the files, a
    /// new one is as the bank is set up (private by default), and an old one stays as it is
    #[arg(long, env = "OPB_IMPORT_VISIBILITY", value_name = "WHO", value_enum)]
    visibility: Option<Visibility>,
    #[command(flatten)]
    client: ClientSettings,
}

impl Import {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let pack = packs::read_folder(&self.folder, self.items.as_deref())?;
        let mut definition = pack
            .definition(self.limit)?
            .context("the items are missing")?;
        definition.visibility = self.visibility.or(definition.visibility);
        let benchmark: BenchmarkVersion = client.post("/api/v1/benchmarks", &definition).await?;
        let mut prompts = Vec::new();
        for mut prompt in pack.prompts {
            prompt.visibility = self.visibility.or(prompt.visibility);
            prompts.push(import_prompt(&client, prompt).await?);
        }
        if json {
            print_json(&json!({"benchmark": benchmark, "prompts": prompts}))?;
            return Ok(Outcome::Done);
        }
        print(&format!(
            "benchmark {}@{} with {} items",
            text::plain(&benchmark.benchmark),
            benchmark.number,
            text::count(benchmark.item_count.into())
        ))?;
        for prompt in prompts {
            print(&format!("prompt {}", text::plain(&prompt)))?;
        }
        Ok(Outcome::Done)
    }
}

/// Adds a prompt, or a version to the prompt of that slug; returns `slug@number`.
async fn import_prompt(client: &Client, prompt: NewPrompt) -> anyhow::Result<String> {
    let created = client.post::<Prompt>("/api/v1/prompts", &prompt).await;
    let error = match created {
        Ok(created) => return Ok(format!("{}@{}", created.slug, created.latest_version)),
        Err(error) if error.is::<Conflict>() => error,
        Err(error) => return Err(error),
    };
    // Without a slug of its own, the server made one of the title, and only the server knows how.
    let Some(slug) = prompt.slug else {
        return Err(BadUsage(format!(
            "{error}; give the prompt a slug to add a version to it"
        ))
        .into());
    };
    let new = NewPromptVersion {
        note: "imported".to_owned(),
        variables: prompt.variables,
        parameters: prompt.parameters,
        body: prompt.body,
    };
    let version: PromptVersion = client
        .post(
            &format!("/api/v1/prompts/{}/versions", segment(&slug)),
            &new,
        )
        .await?;
    if let Some(visibility) = prompt.visibility {
        let change = PromptChange {
            visibility: Some(visibility),
            ..PromptChange::default()
        };
        let path = format!("/api/v1/prompts/{}", segment(&slug));
        let _: Prompt = client.patch(&path, &change).await?;
    }
    Ok(format!("{}@{}", version.prompt, version.number))
}

fn parse_limit(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|limit| *limit > 0)
        .ok_or_else(|| "expected a number of at least 1".to_owned())
}
