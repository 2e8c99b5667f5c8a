//! `opb import`: sends a benchmark pack to the server, over REST.

mod progress;
mod send;

use std::path::PathBuf;

use clap::Args;
use opb_core::{
    auth::Visibility,
    benchmarks::Benchmark,
    library::{NewPromptVersion, PortablePrompt, Prompt, PromptChange, PromptVersion},
};
use serde_json::{Value, json};

use super::{print, print_json};
use crate::{
    client::{Client, ClientSettings, RejectedRequest, segment},
    outcome::{BadUsage, Outcome},
    packs, text,
};

/// Import a benchmark and its prompts from a folder; what is there already is not added again
///
/// The folder holds `benchmark.yaml` (or `.yml`, `.toml`), the items in JSON Lines, and prompts in `prompts/`: `.md` with or
/// without front matter, `.txt`, `.yaml`. A prompt without a slug takes the name of its file.
///
/// A large benchmark is sent in parts; run the command again to continue after an interruption. Exit code 1 when a prompt
/// was refused; the benchmark and the other prompts are imported then.
#[derive(Debug, Args)]
pub struct Import {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// File of the items, if it is not in the folder
    #[arg(long, env = "OPB_IMPORT_ITEMS", value_name = "FILE")]
    items: Option<PathBuf>,
    /// Import only the first N items
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
        // Errors in the folder are the user's to fix, like wrong options.
        let refuse = |error: anyhow::Error| BadUsage(format!("{error:#}"));
        let pack = packs::read_folder(&self.folder, self.items.as_deref()).map_err(refuse)?;
        let prompts_folder = packs::read_pack_prompts(&self.folder).map_err(refuse)?;
        let benchmark = send::send(&client, &pack, self.limit, self.visibility, json).await?;
        // All items were read a moment ago, so that only a file that changed since can fail here.
        let reordered = pack.reordered_map(self.limit).unwrap_or_default();
        let address = format!("/api/v1/benchmarks/{}", segment(&benchmark.benchmark));
        let newest = client.get::<Benchmark>(&address).await?.latest_version;
        let (mut prompts, mut refused) = (Vec::new(), Vec::new());
        for (file, mut prompt) in prompts_folder.prompts {
            prompt.visibility = self.visibility.or(prompt.visibility);
            let file = format!("prompts/{}", text::plain(&file));
            match import_prompt(&client, prompt).await {
                Ok(imported) => prompts.push(imported),
                Err(error) => match error.downcast_ref::<RejectedRequest>() {
                    Some(of_the_prompt) if of_the_prompt.is_final() => {
                        refused.push((file, of_the_prompt.message.clone()));
                    }
                    _ => return Err(error.context(file)),
                },
            }
        }
        let ignored = prompts_folder.ignored;
        let outcome = if refused.is_empty() {
            Outcome::Done
        } else {
            Outcome::ChecksFailed
        };
        if json {
            let refused = refused
                .into_iter()
                .map(|(file, message)| json!({"file": file, "message": message}));
            let refused: Vec<Value> = refused.collect();
            let shown = json!({
                "benchmark": benchmark,
                "prompts": prompts,
                "refused_prompts": refused,
                "ignored_files": ignored,
                "reordered_map": reordered,
            });
            print_json(&shown)?;
            return Ok(outcome);
        }
        let name = format!("{}@{}", text::plain(&benchmark.benchmark), benchmark.number);
        let items = text::counted(benchmark.item_count, "item");
        print(&format!("benchmark {name} with {items}"))?;
        if newest > benchmark.number {
            print(&format!(
                "this is an older version, the newest is {newest}: measure it with --benchmark {name}"
            ))?;
        }
        if let Some(place) = reordered {
            print(&format!(
                "items, {}: maps are shown and looped in the order of their names; write a list to keep another order",
                text::plain(&place)
            ))?;
        }
        if !ignored.is_empty() {
            print(&format!(
                "ignored in prompts/: {}",
                text::plain(&ignored.join(", "))
            ))?;
        }
        for prompt in prompts {
            print(&format!("prompt {}", text::plain(&prompt)))?;
        }
        for (file, message) in refused {
            print(&format!("{file} refused: {message}"))?;
        }
        Ok(outcome)
    }
}

/// Creates a prompt with its versions, or adds them to the prompt with that slug; returns `slug@number` of the newest.
async fn import_prompt(client: &Client, prompt: PortablePrompt) -> anyhow::Result<String> {
    let first = prompt.first()?;
    let slug = first.slug.clone().unwrap_or_default();
    let visibility = first.visibility;
    let created = client.post::<Prompt>("/api/v1/prompts", &first).await;
    let is_taken = |error: &anyhow::Error| {
        let refused = error.downcast_ref::<RejectedRequest>();
        refused.is_some_and(RejectedRequest::is_conflict)
    };
    let (mut newest, known) = match created {
        Ok(created) => (format!("{}@{}", created.slug, created.latest_version), 1),
        Err(error) if is_taken(&error) => (String::new(), 0),
        Err(error) => return Err(error),
    };
    let address = format!("/api/v1/prompts/{}", segment(&slug));
    let path = format!("{address}/versions");
    for mut version in prompt.versions.into_iter().skip(known) {
        if version.note.is_empty() {
            "imported".clone_into(&mut version.note);
        }
        let version: PromptVersion = client
            .post::<PromptVersion>(&path, &NewPromptVersion { ..version })
            .await?;
        newest = format!("{}@{}", version.prompt, version.number);
    }
    if known == 0 {
        // Fields that the file does not set stay unchanged.
        let said = |text: String| Some(text).filter(|text| !text.is_empty());
        let change = PromptChange {
            title: said(first.title),
            description: said(first.description),
            category: first.category.map(Some),
            tags: Some(first.tags).filter(|tags| !tags.is_empty()),
            language: first.language.map(Some),
            licence: first.licence.map(Some),
            attribution: said(first.attribution),
            visibility,
            ..PromptChange::default()
        };
        let _: Prompt = client.patch(&address, &change).await?;
    }
    Ok(newest)
}

fn parse_limit(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|limit| *limit > 0)
        .ok_or_else(|| "expected a number of at least 1".to_owned())
}
