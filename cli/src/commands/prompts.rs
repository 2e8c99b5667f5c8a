//! `opb prompts import` and `opb prompts export`: many prompts at once, over REST.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use opb_core::{
    auth::Visibility,
    library::{
        ImportOutcome, ImportReport, ImportSource, ImportedRow, ParsedRow, PortablePrompt,
        PromptFile, parse_source, to_files,
    },
};
use serde_json::json;

use super::{print, print_json};
use crate::{
    client::{Client, ClientSettings},
    outcome::{BadUsage, Outcome},
    text,
};

/// So many prompts are sent at once,
const BATCH: usize = 100;
/// unless they are larger than this together.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bring prompts to the server, and fetch one's own
#[derive(Debug, Args)]
pub struct PromptsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Import(ImportPrompts),
    Export(ExportPrompts),
}

/// Import prompts; what is there already is not added again
///
/// PATH is the file prompts.csv of prompts.chat, a JSON file as `opb prompts export` writes it, or a folder of files with
/// front matter.
#[derive(Debug, Args)]
struct ImportPrompts {
    /// The file or folder
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Say what would become of every prompt, and keep nothing
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

impl PromptsCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Import(command) => command.execute(json).await,
            Action::Export(command) => command.execute(json).await,
        }
    }
}

impl ImportPrompts {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let rows = parse_source(read(&self.path)?).map_err(|error| BadUsage(error.to_string()))?;
        let mut report = ImportReport {
            dry_run: self.dry_run,
            ..ImportReport::default()
        };
        let mut batch = Batch::of(self.visibility);
        for (at, row) in rows.into_iter().enumerate() {
            if batch.is_full() {
                batch.send(&client, &mut report).await?;
            }
            batch.add(at + 1, row, &mut report)?;
        }
        batch.send(&client, &mut report).await?;
        report.rows.sort_by_key(|row| row.row);
        show(&report, json)?;
        Ok(Outcome::Done)
    }
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
                "{count} prompts written to {}",
                text::plain(&path)
            ))?;
        }
        Ok(Outcome::Done)
    }
}

/// Reads a path as the source that it looks like.
fn read(path: &Path) -> anyhow::Result<ImportSource> {
    if path.is_dir() {
        return Ok(ImportSource::Files {
            files: read_folder(path)?,
        });
    }
    let content = read_text(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(ImportSource::PromptsChatCsv { content }),
        Some("json") => serde_json::from_str(&content)
            .with_context(|| format!("{} is not an export of prompts", path.display())),
        _ => Err(BadUsage(format!(
            "{} must be a folder, or a file that ends in .csv or .json",
            path.display()
        ))
        .into()),
    }
}

fn read_folder(folder: &Path) -> anyhow::Result<Vec<PromptFile>> {
    let unreadable = || format!("{} cannot be read", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            files.push(PromptFile {
                path: name,
                text: read_text(&path)?,
            });
        }
    }
    Ok(files)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read as text", path.display()))
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

fn show(report: &ImportReport, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(report);
    }
    for row in &report.rows {
        let slug = text::plain(row.slug.as_deref().unwrap_or("-"));
        for error in &row.errors {
            let message = text::plain(&format!("{} {}", error.path, error.message));
            print(&format!("row {} ({slug}) refused: {message}", row.row))?;
        }
        for warning in &row.warnings {
            let message = text::plain(&warning.message);
            print(&format!("row {} ({slug}): {message}", row.row))?;
        }
    }
    let note = if report.dry_run {
        " (dry run: nothing was kept)"
    } else {
        ""
    };
    print(&format!(
        "{} created, {} updated, {} unchanged, {} refused{note}",
        report.created, report.updated, report.unchanged, report.refused
    ))
}
