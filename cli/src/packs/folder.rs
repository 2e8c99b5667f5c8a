//! Packs in a folder of the user.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use opb_core::{benchmarks::PackHeader, library::NewPrompt};

use super::{HEADER_NAMES, Pack, parse_prompt};

/// Reads the pack of a folder; `items` names a file of items elsewhere.
///
/// # Errors
/// There is no header or no items file, or a file does not parse; the message names the file.
pub fn read_folder(folder: &Path, items: Option<&Path>) -> anyhow::Result<Pack> {
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
        prompts: read_prompts(&folder.join("prompts"))?,
        header,
    })
}

fn read_prompts(folder: &Path) -> anyhow::Result<Vec<NewPrompt>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("{} cannot be read", folder.display()))?,
    };
    let is_yaml = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_yaml)
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| parse_prompt(&path.display().to_string(), &read(path)?))
        .collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_and_what_is_missing_is_named() {
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
        fs::write(folder.path().join("prompts/bad.yaml"), "title: [").unwrap();
        assert!(refusal(None).contains("bad.yaml is not a prompt"));
    }
}
