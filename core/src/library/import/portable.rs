//! The format of prompts that are moved between banks: all content, without what a bank adds, such as ids and times.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::ParsedRow;
use crate::{
    Error, FieldError, Result,
    auth::Visibility,
    library::{
        NewPrompt, NewPromptVersion, Prompt, PromptChange,
        fields::{check_slug, normalise_tags, slug_of},
    },
};

/// A prompt with all its versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortablePrompt {
    /// The slug; absent: made from the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// The title.
    pub title: String,
    /// What it is for, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The slug of a category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The language of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The author and the source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attribution: String,
    /// Who may read it. If absent, an existing prompt keeps its visibility, and a new one gets this bank's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// True if it is archived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// Aliases with the position of their version in `versions`, from 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, usize>,
    /// The versions, oldest first.
    pub versions: Vec<NewPromptVersion>,
}

impl PortablePrompt {
    /// The prompt as created, with only its first version.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a prompt without a version.
    pub fn first(&self) -> Result<NewPrompt> {
        let first = self.versions.first();
        let first = first.ok_or_else(|| Error::invalid("versions", "must have at least one"))?;
        Ok(NewPrompt {
            slug: self.slug.clone(),
            title: self.title.clone(),
            description: self.description.clone(),
            category: self.category.clone(),
            tags: self.tags.clone(),
            language: self.language.clone(),
            licence: self.licence.clone(),
            attribution: self.attribution.clone(),
            visibility: self.visibility,
            body: first.body.clone(),
            variables: first.variables.clone(),
            parameters: first.parameters.clone(),
        })
    }

    /// A prompt with one version.
    pub(super) fn of(new: NewPrompt) -> Self {
        Self {
            slug: new.slug,
            title: new.title,
            description: new.description,
            category: new.category,
            tags: new.tags,
            language: new.language,
            licence: new.licence,
            attribution: new.attribution,
            visibility: new.visibility,
            archived: false,
            aliases: BTreeMap::new(),
            versions: vec![NewPromptVersion {
                note: String::new(),
                variables: new.variables,
                parameters: new.parameters,
                body: new.body,
            }],
        }
    }

    /// The changes that turn the metadata of `known` into those of this prompt.
    pub(super) fn difference(&self, known: &Prompt) -> Result<PromptChange> {
        fn changed<T: PartialEq + Clone>(new: &T, known: &T) -> Option<T> {
            (new != known).then(|| new.clone())
        }
        let tags = normalise_tags(&self.tags).map_err(|wrong| Error::Invalid(vec![wrong]))?;
        Ok(PromptChange {
            title: changed(&self.title, &known.title),
            description: changed(&self.description, &known.description),
            category: changed(&self.category, &known.category),
            tags: changed(&tags, &known.tags),
            language: changed(&self.language, &known.language),
            licence: changed(&self.licence, &known.licence),
            attribution: changed(&self.attribution, &known.attribution),
            visibility: self
                .visibility
                .filter(|visibility| *visibility != known.visibility),
            archived: changed(&self.archived, &known.archived),
        })
    }
}

/// Parses one prompt of a JSON source.
pub(super) fn parse(value: Value) -> ParsedRow {
    serde_json::from_value(value).map_err(|error| {
        // The message of serde may quote the value, so it is shortened to keep the report small.
        let message: String = error.to_string().chars().take(200).collect();
        vec![FieldError::new("", message)]
    })
}

/// Gives a slug to every prompt without one: made from its title, or, if that is impossible or taken by an earlier row,
/// with the beginning of the title's hash. The same source always gives the same slugs.
pub(super) fn name(rows: &mut [ParsedRow]) {
    let given = rows.iter().flatten().filter_map(|row| row.slug.clone());
    let mut taken: HashSet<String> = given.collect();
    // The last number tried for each name, so that a thousand rows with one title do not retry all earlier numbers.
    let mut copies: HashMap<String, u32> = HashMap::new();
    for row in rows.iter_mut().flatten().filter(|row| row.slug.is_none()) {
        let mut slug = slug_of(&row.title);
        if check_slug(&slug).is_err() || taken.contains(&slug) {
            let hash = Sha256::digest(row.title.as_bytes());
            let hash = format!(
                "{:02x}{:02x}{:02x}{:02x}",
                hash[0], hash[1], hash[2], hash[3]
            );
            let start: String = slug.chars().take(60).collect();
            slug = match start.trim_end_matches('-') {
                "" => format!("prompt-{hash}"),
                start => format!("{start}-{hash}"),
            };
            let base = slug.clone();
            while taken.contains(&slug) {
                let copy = copies.entry(base.clone()).or_insert(1);
                *copy += 1;
                slug = format!("{base}-{copy}");
            }
        }
        taken.insert(slug.clone());
        row.slug = Some(slug);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_title_are_numbered_in_one_pass() {
        let row = || parse(serde_json::json!({"title": "a", "versions": []}));
        // Trying every number from the start for each row would take hours.
        let mut rows: Vec<ParsedRow> = (0..200_000).map(|_| row()).collect();
        name(&mut rows);
        let slug = |at: usize| rows[at].as_ref().unwrap().slug.clone().unwrap();
        let first = slug(0);
        assert!(slug(1).starts_with("a-"), "{first} {}", slug(1));
        assert_eq!(slug(199_999), format!("{}-199999", slug(1)));
    }
}
