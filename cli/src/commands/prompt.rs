//! `opb prompt`: the prompts of the library, over REST.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use opb_core::{
    auth::Visibility,
    benchmarks::Deletion,
    library::{
        ImportOutcome, ImportReport, ImportSource, ImportedRow, ParsedRow, PortablePrompt,
        PromptChange, PromptDetail, PromptPage, PromptVersion, parse_source, read_prompt_files,
        to_files,
    },
};
use serde_json::json;

use super::{print, print_json};
use crate::{
    client::{Client, ClientSettings, segment},
    files::{MAX_ITEMS_BYTES, read_named},
    outcome::{BadUsage, Outcome},
    packs, tables, text,
};

/// So many prompts are sent at once,
const BATCH: usize = 100;
/// unless they are larger than this together.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

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

/// Import prompts; what is there already is not added again
///
/// PATH is the file prompts.csv of prompts.chat, a JSON file as `opb prompt export` writes it, or a folder of prompts:
/// `.md` with or without front matter, `.txt`, `.yaml`. Exit code 1 when a prompt was refused.
#[derive(Debug, Args)]
struct ImportPrompts {
    /// The file or folder
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Report the result for every prompt, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Who may see the prompts, whatever the files say; without it and without a word in the files, a new one is as the
    /// bank is set up (private by default), and an old one stays as it is
    #[arg(long, value_name = "WHO", value_enum)]
    visibility: Option<Visibility>,
    #[command(flatten)]
    client: ClientSettings,
}

/// Write all prompts of your account, with all their versions
///
/// A PATH that ends in .json becomes one file, any other a folder with a file for each version.
#[derive(Debug, Args)]
struct ExportPrompts {
    /// The file or folder; files of the same names are overwritten
    #[arg(value_name = "PATH")]
    path: PathBuf,
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
/// A version that runs rest on is withdrawn: it takes no more runs, and only the owners of those runs can read it.
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

impl ImportPrompts {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let Source { rows, ignored } = read(&self.path)?;
        let mut report = ImportReport {
            dry_run: self.dry_run,
            ..ImportReport::default()
        };
        let mut batch = Batch::of(self.visibility);
        let mut places = Vec::with_capacity(rows.len());
        for (at, (place, row)) in rows.into_iter().enumerate() {
            places.push(place);
            if batch.is_full() {
                batch.send(&client, &mut report).await?;
            }
            batch.add(at + 1, row, &mut report)?;
        }
        batch.send(&client, &mut report).await?;
        report.rows.sort_by_key(|row| row.row);
        show(&report, &places, &ignored, json)?;
        Ok(if report.refused == 0 {
            Outcome::Done
        } else {
            Outcome::Faulty
        })
    }
}

/// What a path holds.
struct Source {
    /// Each prompt with its place: `row 3`, or the name of a file.
    rows: Vec<(String, ParsedRow)>,
    /// Names of files that hold no prompt.
    ignored: Vec<String>,
}

/// Rows that are sent together.
#[derive(Default)]
struct Batch {
    visibility: Option<Visibility>,
    rows: Vec<usize>,
    prompts: Vec<serde_json::Value>,
    size_bytes: usize,
}

impl Batch {
    fn of(visibility: Option<Visibility>) -> Self {
        Self {
            visibility,
            ..Self::default()
        }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH || self.size_bytes >= BATCH_BYTES
    }

    /// Adds a row; one that cannot be read goes straight into the report.
    fn add(
        &mut self,
        number: usize,
        row: ParsedRow,
        report: &mut ImportReport,
    ) -> anyhow::Result<()> {
        match row {
            Ok(prompt) => {
                let prompt = serde_json::to_value(prompt)?;
                self.size_bytes += prompt.to_string().len();
                self.prompts.push(prompt);
                self.rows.push(number);
            }
            Err(errors) => {
                report.refused += 1;
                report.rows.push(ImportedRow {
                    row: number,
                    slug: None,
                    outcome: ImportOutcome::Refused,
                    errors,
                    warnings: Vec::new(),
                });
            }
        }
        Ok(())
    }

    async fn send(&mut self, client: &Client, report: &mut ImportReport) -> anyhow::Result<()> {
        let batch = std::mem::replace(self, Self::of(self.visibility));
        if batch.rows.is_empty() {
            return Ok(());
        }
        let source = ImportSource::Json {
            prompts: batch.prompts,
        };
        let body = json!({
            "dry_run": report.dry_run,
            "visibility": batch.visibility,
            "source": source,
        });
        let done: ImportReport = client.post("/api/v1/prompts/import", &body).await?;
        report.created += done.created;
        report.updated += done.updated;
        report.unchanged += done.unchanged;
        report.refused += done.refused;
        let numbered = batch.rows.into_iter().zip(done.rows);
        report
            .rows
            .extend(numbered.map(|(row, done)| ImportedRow { row, ..done }));
        Ok(())
    }
}

impl ExportPrompts {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let source: ImportSource = self.client.connect()?.get("/api/v1/prompts/export").await?;
        let ImportSource::Json { prompts } = source else {
            anyhow::bail!("the server answered with another format than JSON");
        };
        let count = prompts.len();
        if self
            .path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            write_json(&self.path, &prompts)?;
        } else {
            for prompt in prompts {
                let prompt: PortablePrompt = serde_json::from_value(prompt)
                    .context("the server's answer was not understood")?;
                write_files(&self.path, &prompt)?;
            }
        }
        let path = self.path.display().to_string();
        if json {
            print_json(&json!({"prompts": count, "path": path}))?;
        } else {
            print(&format!(
                "{} written to {}",
                text::counted(i64::try_from(count).unwrap_or(i64::MAX), "prompt"),
                text::plain(&path)
            ))?;
        }
        Ok(Outcome::Done)
    }
}

/// Reads a path as the source that it looks like.
fn read(path: &Path) -> anyhow::Result<Source> {
    let refuse = |message: String| BadUsage(format!("{}: {message}", path.display()));
    if path.is_dir() {
        let folder = packs::read_prompt_folder(path)?;
        let rows = read_prompt_files(folder.files);
        if rows.is_empty() {
            let message = "holds no prompt: no file that ends in .md, .txt, .yaml or .yml";
            return Err(refuse(message.to_owned()).into());
        }
        return Ok(Source {
            rows,
            ignored: folder.ignored,
        });
    }
    let content =
        read_named(path, MAX_ITEMS_BYTES).map_err(|error| BadUsage(format!("{error:#}")))?;
    let source = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => ImportSource::PromptsChatCsv { content },
        Some("json") => serde_json::from_str(&content)
            .map_err(|error| refuse(format!("is not an export of prompts: {error}")))?,
        _ => {
            let message = "must be a folder, or a file that ends in .csv or .json";
            return Err(refuse(message.to_owned()).into());
        }
    };
    let rows = parse_source(source).map_err(|error| refuse(error.to_string()))?;
    let rows = rows.into_iter().enumerate();
    Ok(Source {
        rows: rows
            .map(|(at, row)| (format!("row {}", at + 1), row))
            .collect(),
        ignored: Vec::new(),
    })
}

/// Writes the very bytes that the server's export has.
fn write_json(path: &Path, prompts: &[serde_json::Value]) -> anyhow::Result<()> {
    let unwritable = || format!("{} cannot be written", path.display());
    let mut file = std::io::BufWriter::new(fs::File::create(path).with_context(unwritable)?);
    file.write_all(b"{\"format\":\"json\",\"prompts\":[")
        .with_context(unwritable)?;
    for (at, prompt) in prompts.iter().enumerate() {
        // In the order of the fields, which a value alone does not keep.
        let prompt: PortablePrompt = serde_json::from_value(prompt.clone())
            .context("the server's answer was not understood")?;
        file.write_all(if at == 0 { b"\n" } else { b",\n" })
            .with_context(unwritable)?;
        serde_json::to_writer(&mut file, &prompt).with_context(unwritable)?;
    }
    file.write_all(b"\n]}\n").with_context(unwritable)?;
    file.flush().with_context(unwritable)
}

fn write_files(folder: &Path, prompt: &PortablePrompt) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for file in to_files(prompt) {
        // A slug is letters, digits and dashes; a server that says otherwise shall not choose the place.
        let name = Path::new(&file.path).file_name();
        let name = name.filter(|name| *name == file.path.as_str());
        let name = name
            .with_context(|| format!("`{}` is not the name of a file", text::plain(&file.path)))?;
        let path = folder.join(name);
        fs::write(&path, &file.text)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn show(
    report: &ImportReport,
    places: &[String],
    ignored: &[String],
    json: bool,
) -> anyhow::Result<()> {
    if json {
        let mut shown = serde_json::to_value(report)?;
        shown["ignored_files"] = json!(ignored);
        return print_json(&shown);
    }
    for row in &report.rows {
        let place = row.row.checked_sub(1).and_then(|at| places.get(at));
        let place = text::plain(place.map_or("", String::as_str));
        let slug = row
            .slug
            .as_deref()
            .map_or_else(String::new, |slug| format!(" ({})", text::plain(slug)));
        for error in &row.errors {
            let message = match error.path.as_str() {
                // A file's own name is said already.
                "" => error.message.clone(),
                path if path == place => error.message.clone(),
                path => format!("{path}: {}", error.message),
            };
            print(&format!("{place}{slug} refused: {}", text::plain(&message)))?;
        }
        for warning in &row.warnings {
            let message = text::plain(&warning.message);
            print(&format!("{place}{slug} warning: {message}"))?;
        }
    }
    if !ignored.is_empty() {
        print(&format!("ignored: {}", text::plain(&ignored.join(", "))))?;
    }
    let note = if report.dry_run {
        " (dry run: nothing was stored)"
    } else {
        ""
    };
    print(&format!(
        "{} created, {} updated, {} unchanged, {} refused{note}",
        report.created, report.updated, report.unchanged, report.refused
    ))
}
