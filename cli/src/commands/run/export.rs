//! `opb run export`: the evaluations of a run as a file, of any length.

use std::{io::Write, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use opb_core::runs::Run;
use serde_json::json;

use super::{
    RunName,
    end::columns_of,
    print_json, report,
    show::{FilterOptions, with_query},
};
use crate::{
    client::{Client, ClientSettings},
    new_file::NewFile,
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
    /// A JUnit report, as continuous integration shows it: an evaluation is a test case.
    Junit,
    /// A page with the run's own table and every evaluation, to look at or to send.
    Html,
}

impl ExportRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let run: Run = client.get(&self.run.path()).await?;
        let format = match self.format {
            ExportFormat::Jsonl | ExportFormat::Junit | ExportFormat::Html => "jsonl",
            ExportFormat::Csv => "csv",
        };
        let mut parameters = vec![("format", format.to_owned())];
        parameters.extend(self.filter.query());
        let path = with_query(&format!("/api/v1/runs/{}/export", run.id), &parameters);
        let source = Source {
            client: &client,
            path: &path,
            format: self.format,
            run: &run,
        };
        let Some(file) = &self.output else {
            source.write(&mut std::io::stdout().lock()).await?;
            return Ok(Outcome::Done);
        };
        let mut new = NewFile::at(file)?;
        source.write(&mut new).await?;
        new.keep()?;
        if json {
            print_json(&json!({"run": run.id, "number": run.number, "file": file}))?;
        } else {
            eprintln!("run #{} is in {}", run.number, file.display());
        }
        Ok(Outcome::Done)
    }
}

/// What is written.
struct Source<'a> {
    client: &'a Client,
    path: &'a str,
    format: ExportFormat,
    run: &'a Run,
}

impl Source<'_> {
    async fn write(&self, out: &mut impl Write) -> anyhow::Result<()> {
        if matches!(self.format, ExportFormat::Jsonl | ExportFormat::Csv) {
            return self.client.download(self.path, out).await;
        }
        // A report begins with what is summed up of all lines.
        let mut lines = tempfile::tempfile().context("no temporary file can be made")?;
        self.client.download(self.path, &mut lines).await?;
        if self.format == ExportFormat::Junit {
            return report::write_junit(self.run, &mut lines, out);
        }
        let columns = columns_of(self.client, self.run).await?;
        report::write_html(self.run, &columns, &mut lines, out)
    }
}
