//! `opb prompt import`: imports prompts from a file or a folder. An invalid prompt does not affect the others.

use std::path::{Path, PathBuf};

use clap::Args;
use opb_core::{
    FieldError,
    auth::Visibility,
    library::{
        ImportOutcome, ImportReport, ImportSource, ImportedRow, ParsedRow, parse_source,
        read_prompt_files,
    },
};
use serde_json::json;

use super::{print, print_json};
use crate::{
    client::{Client, ClientSettings, RejectedRequest},
    files::{MAX_ITEMS_BYTES, read_named},
    outcome::{BadUsage, Outcome, PartialImport},
    packs, text,
};

/// Maximum number of prompts per request,
const BATCH: usize = 100;
/// and maximum size of a request.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Import prompts; what is there already is not added again
///
/// PATH is the file prompts.csv of prompts.chat, a JSON file as `opb prompt export` writes it, or a folder of prompts:
/// `.md` with or without front matter, `.txt`, `.yaml`. Exit code 1 when a prompt was refused.
#[derive(Debug, Args)]
pub(super) struct ImportPrompts {
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

impl ImportPrompts {
    pub(super) async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
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
            Outcome::ChecksFailed
        })
    }
}

/// The contents of a path.
struct Source {
    /// Each prompt with its location: `row 3`, or the name of a file.
    rows: Vec<(String, ParsedRow)>,
    /// Names of files that contain no prompt.
    ignored: Vec<String>,
}

/// Rows that are sent in one request.
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

    /// Adds a row; an unreadable one goes straight into the report.
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
            Err(errors) => refuse_row(report, number, errors),
        }
        Ok(())
    }

    async fn send(&mut self, client: &Client, report: &mut ImportReport) -> anyhow::Result<()> {
        let mut waiting = vec![std::mem::replace(self, Self::of(self.visibility))];
        while let Some(mut batch) = waiting.pop() {
            if batch.rows.is_empty() {
                continue;
            }
            let error = match batch.post(client, report.dry_run).await {
                Ok(done) => {
                    batch.note(done, report);
                    continue;
                }
                Err(error) => error,
            };
            match error.downcast_ref::<RejectedRequest>() {
                Some(refused) if refused.is_about_the_body() => match batch.rows[..] {
                    [row] => {
                        let path = String::new();
                        let message = refused.message.clone();
                        refuse_row(report, row, vec![FieldError { path, message }]);
                    }
                    // A single prompt may cause the rejection of all: each half is sent separately.
                    _ => waiting.extend([batch.split_off_half(), batch]),
                },
                _ => return Err(in_part(error, report)),
            }
        }
        Ok(())
    }

    async fn post(&self, client: &Client, dry_run: bool) -> anyhow::Result<ImportReport> {
        let source = ImportSource::Json {
            prompts: self.prompts.clone(),
        };
        let body = json!({
            "dry_run": dry_run,
            "visibility": self.visibility,
            "source": source,
        });
        client.post("/api/v1/prompts/import", &body).await
    }

    fn note(self, done: ImportReport, report: &mut ImportReport) {
        report.created += done.created;
        report.updated += done.updated;
        report.unchanged += done.unchanged;
        report.refused += done.refused;
        let numbered = self.rows.into_iter().zip(done.rows);
        report
            .rows
            .extend(numbered.map(|(row, done)| ImportedRow { row, ..done }));
    }

    fn split_off_half(&mut self) -> Self {
        let half = self.rows.len() / 2;
        Self {
            rows: self.rows.split_off(half),
            prompts: self.prompts.split_off(half),
            ..Self::of(self.visibility)
        }
    }
}

/// Reports a row that was not imported.
fn refuse_row(report: &mut ImportReport, row: usize, errors: Vec<FieldError>) {
    report.refused += 1;
    report.rows.push(ImportedRow {
        row,
        slug: None,
        outcome: ImportOutcome::Refused,
        errors,
        warnings: Vec::new(),
    });
}

/// Adds to the error what the import had done before.
fn in_part(error: anyhow::Error, report: &ImportReport) -> anyhow::Error {
    match report.created + report.updated + report.unchanged {
        0 => error,
        accepted => error.context(PartialImport(format!(
            "the import stopped after {accepted} prompts; run the same command again to continue"
        ))),
    }
}

/// Reads a path as the kind of source that it looks like.
fn read(path: &Path) -> anyhow::Result<Source> {
    let refuse = |message: String| BadUsage(format!("{}: {message}", path.display()));
    if path.is_dir() {
        let folder = packs::read_prompt_folder(path)?;
        let mut rows = read_prompt_files(folder.files);
        rows.extend(folder.unreadable.into_iter().map(|(file, message)| {
            let path = file.clone();
            (file, Err(vec![FieldError { path, message }]))
        }));
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
                // The file's own name is already in the message.
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
