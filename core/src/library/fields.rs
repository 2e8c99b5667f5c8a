//! Validation of a prompt's fields. Pure: every check collects all errors instead of stopping at the first.

use uuid::Uuid;

use crate::{
    Error, FieldError, Result,
    texts::{check_line, is_plain_text},
};

/// Maximum number of tags of a prompt.
const MAX_TAGS: usize = 20;
/// Path segments that are used where a URL would have the slug of a prompt or benchmark. A test of the API compares
/// them with its routes.
const RESERVED: [&str; 5] = ["community", "export", "import", "suggest", "tags"];

/// The user-provided fields, as far as they are present.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fields<'a> {
    pub(super) title: Option<&'a str>,
    pub(super) description: Option<&'a str>,
    pub(super) category: Option<&'a str>,
    pub(super) language: Option<&'a str>,
    pub(super) licence: Option<&'a str>,
    pub(super) attribution: Option<&'a str>,
}

impl Fields<'_> {
    /// Returns every error.
    pub(super) fn check(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        if let Some(title) = self.title {
            wrong.extend(check_line("title", title, 1..=200).err());
        }
        let mut demand = |path: &str, holds: bool, message: &str| {
            if !holds {
                wrong.push(FieldError::new(path, message));
            }
        };
        if let Some(text) = self.description {
            let holds = text.len() <= 20_000 && is_plain_text(text);
            demand(
                "description",
                holds,
                "must have at most 20,000 bytes and no control characters but line breaks and tabs",
            );
        }
        if let Some(category) = self.category {
            let holds = is_slug(category);
            demand("category", holds, "must be the slug of a category");
        }
        if let Some(language) = self.language {
            let message = "must be a language tag such as `en` or `pt-BR`";
            demand("language", is_language(language), message);
        }
        if let Some(licence) = self.licence {
            let plain = |c: char| c.is_ascii_alphanumeric() || " .+-()".contains(c);
            let holds = (1..=100).contains(&licence.len()) && licence.chars().all(plain);
            let message = "must be an SPDX licence such as `CC0-1.0` or `MIT OR Apache-2.0`";
            demand("licence", holds, message);
        }
        if let Some(text) = self.attribution {
            wrong.extend(check_line("attribution", text, 0..=500).err());
        }
        wrong
    }
}

/// Tags in their stored form: lower-case, words joined by dashes, sorted, without duplicates.
///
/// # Errors
/// The error in the tags.
pub(super) fn normalise_tags(tags: &[String]) -> Result<Vec<String>, FieldError> {
    let mut normal = Vec::new();
    for (at, tag) in tags.iter().enumerate() {
        let words: Vec<String> = tag.split_whitespace().map(str::to_lowercase).collect();
        let tag = words.join("-");
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '+' | '#');
        if tag.is_empty() || tag.chars().count() > 40 || !tag.chars().all(plain) {
            let message = "must have 1 to 40 letters, digits and dashes";
            return Err(FieldError::new(format!("tags[{at}]"), message));
        }
        normal.push(tag);
    }
    normal.sort_unstable();
    normal.dedup();
    if normal.len() > MAX_TAGS {
        return Err(FieldError::new(
            "tags",
            format!("must be at most {MAX_TAGS}"),
        ));
    }
    Ok(normal)
}

/// Refuses text that is not a slug, and slugs that would be ambiguous in a URL: a reserved word or an id.
///
/// # Errors
/// [`Error::Invalid`] at `slug`.
pub(crate) fn check_slug(slug: &str) -> Result<()> {
    if RESERVED.contains(&slug) {
        return Err(Error::invalid("slug", "is reserved; take another one"));
    }
    if Uuid::try_parse(slug).is_ok() {
        let message = "looks like an id, which would be ambiguous in URLs; take another one";
        return Err(Error::invalid("slug", message));
    }
    if is_slug(slug) {
        return Ok(());
    }
    let message = "must be lower-case letters and digits with single dashes between them, at most 80 characters";
    Err(Error::invalid("slug", message))
}

pub(super) fn is_slug(slug: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    slug.len() <= 80 && slug.split('-').all(word)
}

/// The slug for a title; empty if the title has no Latin letter and no digit.
pub(super) fn slug_of(title: &str) -> String {
    let words = title.to_lowercase();
    let words = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    slug.chars()
        .take(80)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let primary = parts.next().unwrap_or_default();
    tag.len() <= 35
        && (2..=3).contains(&primary.len())
        && primary.bytes().all(|c| c.is_ascii_lowercase())
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let fields = Fields {
            title: Some(" "),
            description: Some("\0"),
            category: Some("Not A Slug"),
            language: Some("english"),
            licence: Some("<b>"),
            attribution: Some(&"x".repeat(501)),
        };
        let wrong = fields.check();
        let paths: Vec<&str> = wrong.iter().map(|field| field.path.as_str()).collect();
        let expect = [
            "title",
            "description",
            "category",
            "language",
            "licence",
            "attribution",
        ];
        assert_eq!(paths, expect);
        let fields = Fields {
            language: Some("pt-BR"),
            licence: Some("MIT OR Apache-2.0"),
            ..Fields::default()
        };
        assert_eq!(fields.check(), []);
    }

    #[test]
    fn tags_have_one_form() {
        let tags = |tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(|&tag| tag.to_owned()).collect();
            normalise_tags(&tags)
        };
        assert_eq!(
            tags(&["Zebra", "role  play", "zebra"]).unwrap(),
            ["role-play", "zebra"]
        );
        assert_eq!(tags(&["a", "<b>"]).unwrap_err().path, "tags[1]");
        let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
        assert_eq!(normalise_tags(&many).unwrap_err().path, "tags");
    }

    #[test]
    fn a_title_suggests_a_slug() {
        for (title, slug) in [
            ("Linux Terminal", "linux-terminal"),
            ("  C++ / Rust! ", "c-rust"),
            ("论文降重指南", ""),
        ] {
            assert_eq!(slug_of(title), slug);
        }
        assert_eq!(slug_of(&"ab ".repeat(50)).len(), 80);
    }
}
