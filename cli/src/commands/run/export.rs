//! `opb run export`: the evaluations of a run as a file, of any length.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use opb_core::runs::Run;
use serde_json::json;

use super::{
    RunName, print_json,
    show::{FilterOptions, with_query},
};
use crate::{
    client::{Client, ClientSettings},
    outcome::Outcome,
};

/// Write the evaluations of a run to a file or to standard output
#[derive(Debug, Args)]
pub struct ExportRun {
    /// The run: its number, its id or the end of its id, or `last`
    #[arg(value_name = "RUN")]
    run: RunName,
    /// How the evaluations are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "jsonl")]
    format: ExportFormat,
    /// The file; standard output without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    client: ClientSettings,
}

/// How evaluations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// An object a line.
    Jsonl,
    /// A table for spreadsheets.
    Csv,
}

impl ExportRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let run: Run = client.get(&self.run.path()).await?;
        let format = match self.format {
            ExportFormat::Jsonl => "jsonl",
            ExportFormat::Csv => "csv",
        };
        let mut parameters = vec![("format", format.to_owned())];
        parameters.extend(self.filter.query());
        let path = with_query(&format!("/api/v1/runs/{}/export", run.id), &parameters);
        let Some(file) = &self.output else {
            client
                .download(&path, &mut std::io::stdout().lock())
                .await?;
            return Ok(Outcome::Done);
        };
        write_file(&client, &path, file).await?;
        if json {
            print_json(&json!({"run": run.id, "number": run.number, "file": file}))?;
        } else {
            eprintln!("run #{} is in {}", run.number, file.display());
        }
        Ok(Outcome::Done)
    }
}

/// Writes beside the file and puts it in place when it is whole.
async fn write_file(client: &Client, path: &str, file: &Path) -> anyhow::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let wrong = || format!("{} cannot be written", file.display());
    // Made like any other file, and not for its owner's eyes only as temporary files are.
    let mut temporary = tempfile::Builder::new()
        .prefix(".opb-export-")
        .make_in(folder, |path| std::fs::File::create_new(path))
        .with_context(wrong)?;
    client.download(path, &mut temporary).await?;
    temporary.flush().with_context(wrong)?;
    temporary.persist(file).with_context(wrong)?;
    Ok(())
}
