//! Packs in a folder of the user.

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow, bail};
use opb_core::{
    benchmarks::PackHeader,
    library::{PortablePrompt, PromptFile, is_prompt_file, read_prompt_files},
};

use super::{HEADER_NAMES, Pack};
use crate::outcome::BadUsage;

/// Reads the pack of a folder; `items` names a file of items elsewhere.
///
/// # Errors
/// There is no header or no items file, or a file does not parse; the message names the file.
pub fn read_folder(folder: &Path, items: Option<&Path>) -> anyhow::Result<Pack> {
    if !folder.is_dir() {
        bail!("there is no folder {}", folder.display());
    }
    let Some(path) = HEADER_NAMES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
    else {
        bail!("{} has no {}", folder.display(), HEADER_NAMES.join(" or "));
    };
    let header = PackHeader::parse(&path.display().to_string(), &read(&path)?)?;
    let items = items.map_or_else(|| folder.join(&header.items.file), Path::to_owned);
    if !items.exists() {
        let from = header.source.get("url").and_then(|url| url.as_str());
        let from = from
            .map(|url| format!("; it can be had from {url}"))
            .unwrap_or_default();
        bail!(
            "there is no {}; name the file of the items with --items{from}",
            items.display()
        );
    }
    Ok(Pack {
        items: Some(read(&items)?),
        // They are read by themselves, since they may be files of several formats.
        prompts: Vec::new(),
        header,
    })
}

/// The prompts of a pack, each with the name of its file.
#[derive(Debug, Default)]
pub struct PackPrompts {
    /// By the names of the files.
    pub prompts: Vec<(String, PortablePrompt)>,
    /// Files of the folder that hold no prompt.
    pub ignored: Vec<String>,
}

/// Reads the prompts of a pack's folder.
///
/// # Errors
/// A file cannot be read or holds no prompt; the message names it.
pub fn read_pack_prompts(folder: &Path) -> anyhow::Result<PackPrompts> {
    let folder = folder.join("prompts");
    if !folder.exists() {
        return Ok(PackPrompts::default());
    }
    let PromptFolder { files, ignored } = read_prompt_folder(&folder)?;
    let prompts = read_prompt_files(files).into_iter().map(|(file, row)| {
        let prompt = row.map_err(|wrong| {
            let messages: Vec<String> = wrong.into_iter().map(|wrong| wrong.message).collect();
            anyhow!("{}: {}", folder.join(&file).display(), messages.join("; "))
        })?;
        Ok((file, prompt))
    });
    Ok(PackPrompts {
        prompts: prompts.collect::<anyhow::Result<_>>()?,
        ignored,
    })
}

/// The files of a folder of prompts.
#[derive(Debug, Default)]
pub struct PromptFolder {
    /// Those that hold prompts.
    pub files: Vec<PromptFile>,
    /// The names of the others.
    pub ignored: Vec<String>,
}

/// Reads a folder of prompts.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn read_prompt_folder(folder: &Path) -> anyhow::Result<PromptFolder> {
    let unreadable =
        |error: std::io::Error| BadUsage(format!("{} cannot be read: {error}", folder.display()));
    let mut found = PromptFolder::default();
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        if path.is_file() && is_prompt_file(&name) {
            let text = read(&path).map_err(|error| BadUsage(format!("{error:#}")))?;
            found.files.push(PromptFile { path: name, text });
        } else if !name.starts_with('.') {
            found.ignored.push(name);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a25_a_folder_is_read_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |items| format!("{:#}", read_folder(folder.path(), items).unwrap_err());
        assert!(refusal(None).contains("has no benchmark.yaml"));
        let header = "slug: sums\ntitle: Sums\nsource: {url: 'https://example.org/sums'}\nscorers: [{type: numeric}]\nitems: {file: sums.jsonl}\n";
        fs::write(folder.path().join("benchmark.yml"), header).unwrap();
        let missing = refusal(None);
        assert!(
            missing.contains("sums.jsonl") && missing.contains("https://example.org/sums"),
            "{missing}"
        );
        fs::write(
            folder.path().join("sums.jsonl"),
            "{\"id\": \"a\", \"expected\": 4}\n",
        )
        .unwrap();
        fs::create_dir(folder.path().join("prompts")).unwrap();
        let pack = read_folder(folder.path(), None).unwrap();
        assert_eq!(pack.definition(None).unwrap().unwrap().items.len(), 1);
        fs::write(folder.path().join("prompts/terse.txt"), "{{ question }}\n").unwrap();
        fs::write(folder.path().join("prompts/logo.png"), "").unwrap();
        let prompts = read_pack_prompts(folder.path()).unwrap();
        assert_eq!(prompts.prompts[0].0, "terse.txt");
        assert_eq!(prompts.prompts[0].1.slug.as_deref(), Some("terse"));
        assert_eq!(prompts.ignored, ["logo.png"]);
        fs::write(folder.path().join("prompts/bad.yaml"), "title: [").unwrap();
        let refused = format!("{:#}", read_pack_prompts(folder.path()).unwrap_err());
        assert!(refused.contains("prompts/bad.yaml: line 1"), "{refused}");
        let missing = read_folder(&folder.path().join("nowhere"), None).unwrap_err();
        assert!(
            missing.to_string().starts_with("there is no folder"),
            "{missing}"
        );
    }
}
