//! `opb prompt export`: writes the prompts of an account to files.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use opb_core::library::{ImportSource, PortablePrompt, to_files};
use serde_json::json;

use super::{print, print_json};
use crate::{client::ClientSettings, new_file::NewFile, outcome::Outcome, text};

/// Write all prompts of your account, with all their versions
///
/// A PATH that ends in .json becomes one file, any other a folder with a file for each version.
#[derive(Debug, Args)]
pub(super) struct ExportPrompts {
    /// The file or folder; files of the same names are overwritten
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    client: ClientSettings,
}

impl ExportPrompts {
    pub(super) async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
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
                    .context("the server's response could not be parsed")?;
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

/// Writes the same bytes as the server's export.
fn write_json(path: &Path, prompts: &[serde_json::Value]) -> anyhow::Result<()> {
    let unwritable = || format!("{} cannot be written", path.display());
    let mut file = BufWriter::new(NewFile::at(path)?);
    file.write_all(b"{\"format\":\"json\",\"prompts\":[")
        .with_context(unwritable)?;
    for (at, prompt) in prompts.iter().enumerate() {
        // Restores the order of the fields, which a JSON value does not keep.
        let prompt: PortablePrompt = serde_json::from_value(prompt.clone())
            .context("the server's response could not be parsed")?;
        file.write_all(if at == 0 { b"\n" } else { b",\n" })
            .with_context(unwritable)?;
        serde_json::to_writer(&mut file, &prompt).with_context(unwritable)?;
    }
    file.write_all(b"\n]}\n").with_context(unwritable)?;
    file.into_inner().with_context(unwritable)?.keep()
}

fn write_files(folder: &Path, prompt: &PortablePrompt) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("{} cannot be created", folder.display()))?;
    for file in to_files(prompt) {
        // A slug is letters, digits and dashes; a malicious server must not choose the path.
        let name = Path::new(&file.path).file_name();
        let name = name.filter(|name| *name == file.path.as_str());
        let name = name
            .with_context(|| format!("`{}` is not the name of a file", text::plain(&file.path)))?;
        let mut new = NewFile::inside(folder, name)?;
        new.write_all(file.text.as_bytes())
            .with_context(|| format!("{} cannot be written", folder.join(name).display()))?;
        new.keep()?;
    }
    Ok(())
}
