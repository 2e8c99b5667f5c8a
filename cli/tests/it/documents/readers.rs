//! What reads a block that is no shell: the program's own readers.

use std::{fs, path::Path};

use opb_core::{
    alerts::NewAlert,
    benchmarks::{PackHeader, parse_items},
    library::{ImportSource, NewPrompt, PromptFile, parse_source},
    scorers::{Scorer, ScorerSpec},
    template::{CompiledPrompt, PromptBody},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::blocks::Block;

/// Reads a block as what it says to be, and writes it where it says to belong.
pub fn read(block: &Block, folder: &Path) -> Result<(), String> {
    let text = &block.text;
    let name = Path::new(&block.word);
    match (block.language.as_str(), block.word.as_str()) {
        (language, "") => Err(format!(
            "say behind `{language}` which file it is, or what reads it"
        )),
        ("json", "PromptBody") => {
            let body: PromptBody = json(text)?;
            CompiledPrompt::compile(&body).map_err(|error| error.to_string())?;
            Ok(())
        }
        ("json", "NewAlert") => json::<NewAlert>(text).map(drop),
        ("yaml", "scorers") => {
            for scorer in yaml::<Vec<ScorerSpec>>(text)? {
                Scorer::compile(&scorer).map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        _ => {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder)).unwrap();
            fs::write(&path, text).unwrap();
            read_file(block, name)
        }
    }
}

fn read_file(block: &Block, path: &Path) -> Result<(), String> {
    let text = &block.text;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_prompt = path
        .parent()
        .is_some_and(|folder| folder.ends_with("prompts"));
    match block.language.as_str() {
        "yaml" | "toml" if name.starts_with("benchmark.") => {
            let header = PackHeader::parse(&name, text).map_err(|error| format!("{error:#}"))?;
            for scorer in &header.scorers {
                Scorer::compile(scorer).map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        "yaml" if is_prompt => {
            let prompt: NewPrompt = yaml(text)?;
            CompiledPrompt::compile(&prompt.body).map_err(|error| error.to_string())?;
            Ok(())
        }
        "toml" => toml::from_str::<toml::Table>(text)
            .map(drop)
            .map_err(|error| error.to_string()),
        "json" => json::<Value>(text).map(drop),
        // Those of other projects are read by the fields that a header names: the import below it does.
        "jsonl" if name == "items.jsonl" => parse_items(text.as_bytes(), None, None)
            .map(drop)
            .map_err(|error| format!("{error:#}")),
        "jsonl" => text
            .lines()
            .try_for_each(|line| json::<Value>(line).map(drop)),
        "markdown" => {
            let path = name.into_owned();
            let files = vec![PromptFile {
                path,
                text: text.clone(),
            }];
            let rows = parse_source(ImportSource::Files { files });
            let rows = rows.map_err(|error| error.to_string())?;
            match rows.into_iter().find_map(Result::err) {
                Some(errors) => Err(format!("{errors:?}")),
                None => Ok(()),
            }
        }
        language => Err(format!("nothing here reads `{language}`; see documents.rs")),
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    opb_core::exact_yaml::read_yaml(text)
}
