//! Packs in a folder on disk.

use std::{
    fs::File,
    io::{BufReader, Seek as _},
    path::Path,
};

use anyhow::{Context as _, anyhow, bail};
use opb_core::{
    benchmarks::{Item, PackHeader, find_reordered_map, read_items},
    library::{PortablePrompt, PromptFile, is_prompt_file, read_prompt_files},
};

use super::HEADER_NAMES;
use crate::{
    files::{ForeignFolder, MAX_ITEMS_BYTES, MAX_TEXT_BYTES, open_named},
    outcome::BadUsage,
};

/// A pack in a folder. Its items may be many, so they stay in their file until they are read.
#[derive(Debug)]
pub struct FolderPack {
    /// The benchmark without its items.
    pub header: PackHeader,
    items: File,
}

impl FolderPack {
    /// Reads the items one at a time, at most `limit` of them.
    ///
    /// # Errors
    /// The file cannot be read. An item that does not parse is an error that names the line.
    pub fn items(
        &self,
        limit: Option<usize>,
    ) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Item>>> {
        let what = || format!("the items of `{}`", self.header.slug);
        let mut file = &self.items;
        file.rewind().with_context(what)?;
        let items = read_items(BufReader::new(file), self.header.items.fields.as_ref());
        let items = items.take(limit.unwrap_or(usize::MAX));
        Ok(items.map(move |item| item.with_context(what)))
    }

    /// The line and the path of the first map in the items' variables whose order is not kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reordered_map(&self, limit: Option<usize>) -> anyhow::Result<Option<String>> {
        let mut file = &self.items;
        file.rewind()?;
        let fields = self.header.items.fields.as_ref();
        find_reordered_map(BufReader::new(file), fields, limit)
    }
}

/// Opens the pack of a folder; `items` names a file of items elsewhere. The folder may be untrusted: nothing outside it
/// is read unless the user has named it.
///
/// # Errors
/// The header or the items file is missing, or the header does not parse; the message names the file.
pub fn read_folder(path: &Path, items: Option<&Path>) -> anyhow::Result<FolderPack> {
    if !path.is_dir() {
        bail!("there is no folder {}", path.display());
    }
    let folder = ForeignFolder::open(path)?;
    let Some(name) = HEADER_NAMES.iter().find(|name| folder.has(name)) else {
        bail!("{} has no {}", path.display(), HEADER_NAMES.join(" or "));
    };
    let text = folder.read(name, MAX_TEXT_BYTES)?.unwrap_or_default();
    let header = PackHeader::parse(&path.join(name).display().to_string(), &text)?;
    let from = header.source.get("url").and_then(|url| url.as_str());
    let from = from
        .map(|url| format!("; it is available from {url}"))
        .unwrap_or_default();
    let read = match items {
        Some(named) if named.exists() => Some(open_named(named, MAX_ITEMS_BYTES)?),
        Some(_) => None,
        None => folder
            .open_file(&header.items.file, MAX_ITEMS_BYTES)
            .context("name the file of the items with --items, if you trust it")?,
    };
    let Some(read) = read else {
        let missing = items.map_or_else(|| path.join(&header.items.file), Path::to_owned);
        bail!(
            "there is no {}; name the file of the items with --items{from}",
            missing.display()
        );
    };
    Ok(FolderPack {
        header,
        items: read,
    })
}

/// The prompts of a pack.
#[derive(Debug, Default)]
pub struct PackPrompts {
    /// Prompts, each with the name of its file.
    pub prompts: Vec<(String, PortablePrompt)>,
    /// Files of the folder that contain no prompt.
    pub ignored: Vec<String>,
}

/// Reads the prompts in a pack's folder, which may be untrusted.
///
/// # Errors
/// A file cannot be read or contains no prompt; the message names it.
pub fn read_pack_prompts(path: &Path) -> anyhow::Result<PackPrompts> {
    let Some(folder) = ForeignFolder::open(path)?.folder("prompts")? else {
        return Ok(PackPrompts::default());
    };
    let path = path.join("prompts");
    let PromptFolder {
        files,
        unreadable,
        ignored,
    } = read_prompts(&folder)?;
    if let Some((_, reason)) = unreadable.into_iter().next() {
        bail!(reason);
    }
    let prompts = read_prompt_files(files).into_iter().map(|(file, row)| {
        let prompt = row.map_err(|wrong| {
            let messages: Vec<String> = wrong.into_iter().map(|wrong| wrong.message).collect();
            anyhow!("{}: {}", path.join(&file).display(), messages.join("; "))
        })?;
        Ok((file, prompt))
    });
    Ok(PackPrompts {
        prompts: prompts.collect::<anyhow::Result<_>>()?,
        ignored,
    })
}

/// The contents of a folder of prompts.
#[derive(Debug, Default)]
pub struct PromptFolder {
    /// Files that contain prompts.
    pub files: Vec<PromptFile>,
    /// Names of files that should contain prompts but cannot be read, each with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Names of other files.
    pub ignored: Vec<String>,
}

/// Reads a folder of prompts, which may be untrusted.
///
/// # Errors
/// [`BadUsage`]: the folder cannot be read.
pub fn read_prompt_folder(path: &Path) -> anyhow::Result<PromptFolder> {
    let read = ForeignFolder::open(path).and_then(|folder| read_prompts(&folder));
    read.map_err(|error| BadUsage(format!("{error:#}")).into())
}

fn read_prompts(folder: &ForeignFolder) -> anyhow::Result<PromptFolder> {
    let mut found = PromptFolder::default();
    for name in folder.all_names()? {
        if is_prompt_file(&name) {
            match folder.read(&name, MAX_TEXT_BYTES) {
                Ok(text) => found.files.push(PromptFile {
                    path: name,
                    text: text.unwrap_or_default(),
                }),
                Err(error) => found.unreadable.push((name, format!("{error:#}"))),
            }
        } else if !name.starts_with('.') {
            found.ignored.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        for _ in 0..2 {
            assert_eq!(pack.items(None).unwrap().count(), 1, "again from the first");
        }
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

    /// A header may name any path: nothing outside the folder is published.
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
        let error = format!("{:#}", read_pack_prompts(&folder).unwrap_err());
        assert!(error.contains("a.yaml is a link"), "{error}");
        // In a folder of prompts, the other files are still read.
        fs::write(folder.join("prompts/b.txt"), "{{ question }}\n").unwrap();
        let found = read_prompt_folder(&folder.join("prompts")).unwrap();
        assert_eq!((found.files.len(), found.unreadable.len()), (1, 1));
        assert!(found.unreadable[0].1.contains("a.yaml is a link"));
        let error = read_prompt_folder(&folder.join("nowhere")).unwrap_err();
        assert!(error.is::<BadUsage>(), "{error:#}");
    }
}
