//! Packs in a folder of the user.

use std::path::Path;

use anyhow::{Context as _, bail};
use opb_core::{benchmarks::PackHeader, library::NewPrompt};

use super::{HEADER_NAMES, Pack, parse_prompt};
use crate::files::{ForeignFolder, MAX_ITEMS_BYTES, MAX_TEXT_BYTES, read_named};

/// Reads the pack of a folder; `items` names a file of items elsewhere. The folder may come from a stranger: nothing
/// outside is read that the user has not named.
///
/// # Errors
/// There is no header or no items file, or a file does not parse; the message names the file.
pub fn read_folder(path: &Path, items: Option<&Path>) -> anyhow::Result<Pack> {
    let folder = ForeignFolder::open(path)?;
    let Some(name) = HEADER_NAMES.iter().find(|name| folder.has(name)) else {
        bail!("{} has no {}", path.display(), HEADER_NAMES.join(" or "));
    };
    let text = folder.read(name, MAX_TEXT_BYTES)?.unwrap_or_default();
    let header = PackHeader::parse(&path.join(name).display().to_string(), &text)?;
    let from = header.source.get("url").and_then(|url| url.as_str());
    let from = from
        .map(|url| format!("; it can be had from {url}"))
        .unwrap_or_default();
    let read = match items {
        Some(named) if named.exists() => Some(read_named(named, MAX_ITEMS_BYTES)?),
        Some(_) => None,
        None => folder
            .read(&header.items.file, MAX_ITEMS_BYTES)
            .context("name the file of the items with --items, if you trust it")?,
    };
    let Some(read) = read else {
        let missing = items.map_or_else(|| path.join(&header.items.file), Path::to_owned);
        bail!(
            "there is no {}; name the file of the items with --items{from}",
            missing.display()
        );
    };
    let prompts = folder.folder("prompts")?;
    Ok(Pack {
        items: Some(read),
        prompts: prompts.map_or_else(|| Ok(Vec::new()), |prompts| read_prompts(&prompts, path))?,
        header,
    })
}

fn read_prompts(folder: &ForeignFolder, pack: &Path) -> anyhow::Result<Vec<NewPrompt>> {
    let names = folder.names(&["yaml", "yml"])?;
    let prompts = names.iter().map(|name| {
        let text = folder.read(name, MAX_TEXT_BYTES)?.unwrap_or_default();
        parse_prompt(
            &pack.join("prompts").join(name).display().to_string(),
            &text,
        )
    });
    prompts.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    /// A header may name what it likes: nothing outside the folder is published.
    #[test]
    fn items_outside_the_folder_must_be_named_by_the_user() {
        let site = tempfile::tempdir().unwrap();
        let folder = site.path().join("pack");
        fs::create_dir_all(folder.join("prompts")).unwrap();
        let secret = site.path().join("token.json");
        fs::write(&secret, "{\"id\": \"a\", \"expected\": 4}\n").unwrap();
        std::os::unix::fs::symlink(&secret, folder.join("link.jsonl")).unwrap();
        for file in ["../token.json", secret.to_str().unwrap(), "link.jsonl"] {
            let header = format!(
                "slug: a\ntitle: A\nscorers: [{{type: numeric}}]\nitems: {{file: '{file}'}}\n"
            );
            fs::write(folder.join("benchmark.yaml"), header).unwrap();
            let error = format!("{:#}", read_folder(&folder, None).unwrap_err());
            assert!(error.contains("--items"), "{file}: {error}");
            read_folder(&folder, Some(&secret)).unwrap();
        }
        std::os::unix::fs::symlink("/dev/zero", folder.join("prompts/a.yaml")).unwrap();
        let error = format!("{:#}", read_folder(&folder, Some(&secret)).unwrap_err());
        assert!(error.contains("a.yaml is a link"), "{error}");
    }
}
