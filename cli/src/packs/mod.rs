//! Benchmark packs: a folder with `benchmark.yaml` (or `.yml`, `.toml`), items in JSON Lines, and `prompts/`.
//!
//! `opb import` reads packs from a folder, and `opb up` those built into the program.

mod built_in;
mod folder;

use anyhow::{Context as _, anyhow};
use opb_core::{
    benchmarks::{Definition, PackHeader, parse_items},
    exact_yaml::read_yaml,
    library::NewPrompt,
};

pub use built_in::{FIRST_BENCHMARK, built_in_packs, load_built_in};
pub use folder::{FolderPack, read_folder, read_pack_prompts, read_prompt_folder};

/// The possible names of a pack's header.
const HEADER_NAMES: [&str; 3] = ["benchmark.yaml", "benchmark.yml", "benchmark.toml"];

/// A built-in pack, parsed.
#[derive(Debug)]
pub struct Pack {
    /// The benchmark without its items.
    pub header: PackHeader,
    /// The file of the items, if the program contains it.
    pub items: Option<String>,
    /// Built-in prompts for the items.
    pub prompts: Vec<NewPrompt>,
}

impl Pack {
    /// The benchmark with at most `limit` items; `None` without items.
    pub fn definition(&self, limit: Option<usize>) -> anyhow::Result<Option<Definition>> {
        let Some(text) = &self.items else {
            return Ok(None);
        };
        let source = &self.header.items;
        let items = parse_items(text.as_bytes(), source.fields.as_ref(), limit)
            .with_context(|| format!("the items of `{}`", self.header.slug))?;
        Ok(Some(self.header.clone().with_items(items)))
    }

    /// The slugs of the prompts.
    pub fn prompt_slugs(&self) -> Vec<String> {
        self.prompts
            .iter()
            .filter_map(|prompt| prompt.slug.clone())
            .collect()
    }
}

/// Parses a prompt file.
fn parse_prompt(file_name: &str, text: &str) -> anyhow::Result<NewPrompt> {
    read_yaml(text).map_err(|message| anyhow!("{file_name}: {message}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use opb_core::{
        auth::Visibility,
        template::{CompiledPrompt, PromptBody},
    };

    use super::*;

    /// Compiles a prompt body without a database, and returns its variables.
    fn variables(body: &PromptBody) -> BTreeSet<String> {
        CompiledPrompt::compile(body).unwrap().variables()
    }

    #[test]
    fn built_in_benchmarks_keep_the_rules() {
        let packs = built_in_packs().unwrap();
        let mut slugs: Vec<&str> = packs.iter().map(|pack| pack.header.slug.as_str()).collect();
        assert!(slugs.contains(&FIRST_BENCHMARK));
        for pack in &packs {
            let slug = &pack.header.slug;
            assert!(!pack.header.description.is_empty(), "{slug}");
            assert!(pack.header.source.contains_key("licence"), "{slug}");
            assert!(pack.prompts.len() >= 2, "{slug}");
            assert_eq!(pack.header.visibility, Some(Visibility::Public), "{slug}");
            for prompt in &pack.prompts {
                assert_eq!(prompt.visibility, Some(Visibility::Public), "{slug}");
            }
            let Some(definition) = pack.definition(None).unwrap() else {
                assert_eq!(slug, "gsm8k");
                continue;
            };
            assert!(definition.items.len() >= 20, "{slug}");
            definition
                .checked()
                .unwrap_or_else(|error| panic!("{slug}: {error}"));
        }
        slugs.dedup();
        assert_eq!(slugs.len(), packs.len());
    }

    #[test]
    fn built_in_prompts_find_their_variables_in_every_item() {
        let mut slugs = BTreeSet::new();
        for pack in built_in_packs().unwrap() {
            let items = pack
                .definition(None)
                .unwrap()
                .map_or_else(Vec::new, |definition| definition.items);
            for prompt in &pack.prompts {
                let slug = prompt.slug.clone().expect("a built-in prompt has a slug");
                let variables = variables(&prompt.body);
                assert!(!variables.is_empty(), "{slug}");
                for item in &items {
                    assert!(
                        variables.iter().all(|name| item.vars.contains_key(name)),
                        "{slug}: {}",
                        item.id
                    );
                }
                assert!(slugs.insert(slug.clone()), "{slug} is used twice");
            }
        }
    }

    #[test]
    fn items_of_other_projects_are_read_by_the_fields_of_the_header() {
        let mut pack = built_in_packs()
            .unwrap()
            .into_iter()
            .find(|pack| pack.header.slug == "gsm8k")
            .unwrap();
        assert!(pack.items.is_none());
        pack.items = Some(r#"{"question": "What is 2+2?", "answer": "2+2=4\n#### 4"}"#.into());
        let definition = pack.definition(None).unwrap().unwrap();
        definition.clone().checked().unwrap();
        assert_eq!(definition.items[0].expected, Some("4".into()));
        for prompt in &pack.prompts {
            assert!(
                variables(&prompt.body)
                    .iter()
                    .all(|name| definition.items[0].vars.contains_key(name))
            );
        }
    }
}
