//! Reader and writer of a folder of prompt files: `<slug>.md` holds a prompt with its newest version, `<slug>@1.md`,
//! `<slug>@2.md` … the earlier versions. `<slug>.txt` holds only a text, `<slug>.yaml` a prompt in the form of the REST
//! API.
//!
//! A Markdown file may begin with front matter, whose values are written as JSON, which is also YAML; the unchanged
//! text follows. The messages of a chat begin with a line such as `<|user|>`, the parts of a message with images with
//! `<|part:text|>` or `<|part:image|>`; a backslash escapes a line of text that looks like one. Reading a written file
//! gives back the exact text: writing adds one line end at the end of a file, and reading removes it.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ParsedRow, PortablePrompt, line_ends::as_edited, require_room};
use crate::{
    FieldError, Result as Outcome,
    auth::Visibility,
    exact_yaml::{read_yaml, unquoted_defaults},
    library::{
        NewPrompt, NewPromptVersion, Parameters, PromptKind, Variable, VariableType,
        fields::{is_slug, slug_of},
    },
    template::{Content, Message, Part, PromptBody, Role},
    written_fields::or_default,
};

/// The roles of messages, by their markers.
const ROLES: [(&str, Role); 3] = [
    ("<|system|>", Role::System),
    ("<|user|>", Role::User),
    ("<|assistant|>", Role::Assistant),
];

/// The markers of the parts of a message.
const TEXT_PART: &str = "<|part:text|>";
const IMAGE_PART: &str = "<|part:image|>";

/// A file in a folder of prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// Its path within the folder.
    #[schema(example = "linux-terminal.md")]
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The metadata before the text. Every field is optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrontMatter {
    /// 1 to 200 characters; absent: the name of the file with spaces for dashes.
    title: Option<String>,
    /// What the prompt is for, in Markdown.
    #[serde(deserialize_with = "or_default")]
    description: String,
    /// The slug of a category.
    category: Option<String>,
    /// At most 20 words.
    #[serde(deserialize_with = "or_default")]
    tags: Vec<String>,
    /// The language that it is written in, such as `en`.
    language: Option<String>,
    /// An SPDX licence such as `CC0-1.0`.
    licence: Option<String>,
    /// The author and the source, if that is not you.
    #[serde(deserialize_with = "or_default")]
    attribution: String,
    /// Who may read it; absent: this bank's default.
    visibility: Option<Visibility>,
    /// True for an archived prompt: it is not listed and takes no new versions.
    #[serde(deserialize_with = "or_default")]
    archived: bool,
    /// Aliases such as `production` with the number of their version.
    #[serde(deserialize_with = "or_default")]
    #[schema(value_type = Object)]
    aliases: BTreeMap<String, usize>,
    /// Whether the text below is one text or the messages of a chat.
    #[schema(default = "text")]
    kind: Option<PromptKind>,
    /// What changed with this version.
    #[serde(deserialize_with = "or_default")]
    note: String,
    /// The variables of the text; every item must provide those that are not declared.
    #[serde(deserialize_with = "or_default")]
    variables: Vec<Variable>,
    /// The model parameters that you recommend. A run only uses its own parameters.
    #[serde(deserialize_with = "or_default")]
    parameters: Parameters,
}

/// Writes a prompt as files.
#[must_use]
pub fn to_files(prompt: &PortablePrompt) -> Vec<PromptFile> {
    let slug = prompt.slug.as_deref().unwrap_or("prompt");
    let last = prompt.versions.len();
    let file = |(at, version): (usize, &NewPromptVersion)| {
        let newest = at + 1 == last;
        let path = if newest {
            format!("{slug}.md")
        } else {
            format!("{slug}@{}.md", at + 1)
        };
        let mut head = String::from("---\n");
        if newest {
            write_prompt(&mut head, prompt);
        }
        write_version(&mut head, version);
        head.push_str("---\n");
        write_body(&mut head, &version.body);
        PromptFile { path, text: head }
    };
    prompt.versions.iter().enumerate().map(file).collect()
}

/// Whether a file holds a prompt, judged by its name.
#[must_use]
pub fn is_prompt_file(path: &str) -> bool {
    name_of(path).is_some()
}

/// Reads the files of a folder. Returns one row for each prompt, with the path of its main file. Other files are
/// ignored.
///
/// # Errors
/// The files hold too many prompts.
pub(super) fn read(files: Vec<PromptFile>, most: usize) -> Outcome<Vec<(String, ParsedRow)>> {
    let mut rows = Vec::new();
    let mut prompts: BTreeMap<String, BTreeMap<usize, PromptFile>> = BTreeMap::new();
    for file in files {
        let Some((name, extension)) = name_of(&file.path) else {
            continue;
        };
        if extension != "md" {
            let slug = slug_for(name);
            let row = if extension == "txt" {
                Ok(text_prompt(&slug, &file.text))
            } else {
                yaml_prompt(slug, &file)
            };
            rows.push((file.path, row));
            require_room(rows.len() + prompts.len(), most)?;
            continue;
        }
        let (slug, place) = match name.split_once('@') {
            Some((slug, number)) => (slug, number.parse().unwrap_or(0)),
            // The newest version comes after all numbered ones.
            None => (name, usize::MAX),
        };
        prompts
            .entry(slug_for(slug))
            .or_default()
            .insert(place, file);
        require_room(rows.len() + prompts.len(), most)?;
    }
    rows.extend(prompts.into_iter().map(|(slug, files)| {
        let newest = files.last_key_value();
        let path = newest.map_or_else(String::new, |(_, file)| file.path.clone());
        (path, read_prompt(slug, files))
    }));
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    refuse_doubles(&mut rows);
    Ok(rows)
}

/// The name without extension and the extension of a prompt file.
fn name_of(path: &str) -> Option<(&str, &str)> {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let (name, extension) = name.rsplit_once('.')?;
    let is_prompt = matches!(extension, "md" | "txt" | "yaml" | "yml");
    (is_prompt && name != "README" && !name.is_empty()).then_some((name, extension))
}

/// The slug for a file's name; validation refuses names that cannot become a slug.
fn slug_for(name: &str) -> String {
    if is_slug(name) {
        return name.to_owned();
    }
    match slug_of(name) {
        slug if slug.is_empty() => name.to_owned(),
        slug => slug,
    }
}

fn text_prompt(slug: &str, text: &str) -> PortablePrompt {
    let text = as_edited(text, false);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let body = PromptBody::Text {
        text: text.to_owned(),
    };
    PortablePrompt::of(NewPrompt {
        slug: Some(slug.to_owned()),
        ..NewPrompt::new(slug.replace('-', " "), body)
    })
}

fn yaml_prompt(slug: String, file: &PromptFile) -> ParsedRow {
    let mut new: NewPrompt = read_yaml(&file.text)
        .map_err(|message| vec![FieldError::new(shown(&file.path), message)])?;
    keep_written_defaults(&mut new.variables, &file.text);
    Ok(PortablePrompt::of(NewPrompt {
        slug: Some(new.slug.unwrap_or(slug)),
        ..new
    }))
}

/// Refuses two files with the same slug: they would become versions of one prompt in an arbitrary order.
fn refuse_doubles(rows: &mut [(String, ParsedRow)]) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (path, row) in rows {
        let slug = row.as_ref().ok().and_then(|prompt| prompt.slug.clone());
        let Some(slug) = slug else { continue };
        match taken.get(&slug) {
            Some(other) => {
                let message = format!("has the slug `{slug}`, as has {}", shown(other));
                *row = Err(vec![FieldError::new(shown(path), message)]);
            }
            None => {
                taken.insert(slug, path.clone());
            }
        }
    }
}

fn shown(path: &str) -> String {
    path.chars().take(100).collect()
}

fn read_prompt(slug: String, files: BTreeMap<usize, PromptFile>) -> ParsedRow {
    let mut versions = Vec::new();
    let mut about = None;
    for (place, file) in files {
        let path = shown(&file.path);
        let wrong = |message: String| vec![FieldError::new(path.clone(), message)];
        let (mut front, body) = read_file(&file.text).map_err(wrong)?;
        let newest = place == usize::MAX;
        if !newest && place != versions.len() + 1 {
            return Err(wrong(format!(
                "the versions of `{slug}` must be numbered from 1 without gaps"
            )));
        }
        versions.push(NewPromptVersion {
            note: std::mem::take(&mut front.note),
            variables: std::mem::take(&mut front.variables),
            parameters: std::mem::take(&mut front.parameters),
            body,
        });
        if newest {
            about = Some(front);
        }
    }
    let Some(front) = about else {
        return Err(vec![FieldError::new(
            slug.clone(),
            format!("there is no {slug}.md with the newest version"),
        )]);
    };
    Ok(PortablePrompt {
        title: front.title.unwrap_or_else(|| slug.replace('-', " ")),
        slug: Some(slug),
        description: front.description,
        category: front.category,
        tags: front.tags,
        language: front.language,
        licence: front.licence,
        attribution: front.attribution,
        visibility: front.visibility,
        archived: front.archived,
        aliases: front.aliases,
        versions,
    })
}

/// Gives the defaults of texts back the spelling that a number loses: `1.0` and `1e3` are written without quotes.
fn keep_written_defaults(variables: &mut [Variable], yaml: &str) {
    let is_no_text = |variable: &Variable| {
        let default = variable.default.as_ref();
        variable.kind == VariableType::Text
            && default.is_some_and(|value| value.is_number() || value.is_boolean())
    };
    if !variables.iter().any(is_no_text) {
        return;
    }
    let mut written = unquoted_defaults(yaml);
    for (at, variable) in variables.iter_mut().enumerate() {
        if is_no_text(variable)
            && let Some(text) = written.remove(&at)
        {
            variable.default = Some(Value::String(text));
        }
    }
}

fn read_file(text: &str) -> Result<(FrontMatter, PromptBody), String> {
    let text = &*as_edited(text, true);
    let mut lines = text.split_inclusive('\n');
    let is_fence = |line: &str| line.trim_end() == "---";
    if !lines.next().is_some_and(is_fence) {
        let text = text.strip_suffix('\n').unwrap_or(text).to_owned();
        return Ok((FrontMatter::default(), PromptBody::Text { text }));
    }
    let mut yaml = String::new();
    let mut closed = false;
    for line in lines.by_ref() {
        if is_fence(line) {
            closed = true;
            break;
        }
        yaml.push_str(line);
    }
    if !closed {
        return Err("the front matter must end with a line `---`".into());
    }
    let mut front: FrontMatter = if yaml.trim().is_empty() {
        FrontMatter::default()
    } else {
        read_yaml(&yaml).map_err(|message| format!("the front matter cannot be read: {message}"))?
    };
    keep_written_defaults(&mut front.variables, &yaml);
    let rest: String = lines.collect();
    let rest = rest.strip_suffix('\n').unwrap_or(&rest);
    let body = match front.kind {
        Some(PromptKind::Chat) => read_chat(rest)?,
        Some(PromptKind::Text) | None => PromptBody::Text {
            text: rest.to_owned(),
        },
    };
    Ok((front, body))
}

fn read_chat(text: &str) -> Result<PromptBody, String> {
    let mut messages: Vec<(Role, Vec<&str>)> = Vec::new();
    for line in text.split('\n') {
        if let Some(role) = role_of(line) {
            messages.push((role, Vec::new()));
        } else if let Some((_, lines)) = messages.last_mut() {
            lines.push(line);
        } else if !line.trim().is_empty() {
            return Err("a chat must begin with a line such as `<|user|>`".into());
        }
    }
    let message = |(role, lines): (Role, Vec<&str>)| Message {
        role,
        content: read_content(&lines),
    };
    Ok(PromptBody::Chat {
        messages: messages.into_iter().map(message).collect(),
    })
}

/// Parses a text, or the parts between their markers.
fn read_content(lines: &[&str]) -> Content {
    let is_part = |line: &&str| [TEXT_PART, IMAGE_PART].contains(&line.trim_end());
    if !lines.first().is_some_and(is_part) {
        return Content::Text(unescaped(lines));
    }
    let mut starts = lines.iter().enumerate().filter(|(_, line)| is_part(line));
    let ends = starts
        .clone()
        .skip(1)
        .map(|(at, _)| at)
        .chain([lines.len()]);
    let parts = starts.by_ref().zip(ends).map(|((start, marker), end)| {
        let written = unescaped(&lines[start + 1..end]);
        if marker.trim_end() == IMAGE_PART {
            Part::Image { url: written }
        } else {
            Part::Text { text: written }
        }
    });
    Content::Parts(parts.collect())
}

/// Removes the backslash before lines that look like a marker.
fn unescaped(lines: &[&str]) -> String {
    let lines = lines.iter().map(|line| match line.strip_prefix('\\') {
        Some(escaped) if is_marker(escaped) => escaped,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a line, without leading backslashes, is a marker of a message or a part.
fn is_marker(line: &str) -> bool {
    let line = line.trim_start_matches('\\');
    role_of(line).is_some() || [TEXT_PART, IMAGE_PART].contains(&line.trim_end())
}

fn role_of(line: &str) -> Option<Role> {
    let line = line.trim_end();
    ROLES
        .iter()
        .find(|(marker, _)| *marker == line)
        .map(|(_, role)| *role)
}

fn write_prompt(head: &mut String, prompt: &PortablePrompt) {
    // Names and omitted fields are the same as in JSON, in the order of the fields.
    if let Ok(Value::Object(fields)) = serde_json::to_value(prompt) {
        for name in [
            "title",
            "description",
            "category",
            "tags",
            "language",
            "licence",
            "attribution",
            "visibility",
            "archived",
            "aliases",
        ] {
            if let Some(value) = fields.get(name) {
                write_field(head, name, value);
            }
        }
    }
}

fn write_version(head: &mut String, version: &NewPromptVersion) {
    if matches!(version.body, PromptBody::Chat { .. }) {
        write_field(head, "kind", &"chat".into());
    }
    if let Ok(Value::Object(fields)) = serde_json::to_value(version) {
        for name in ["note", "variables", "parameters"] {
            if let Some(value) = fields.get(name) {
                write_field(head, name, value);
            }
        }
    }
}

fn write_field(head: &mut String, name: &str, value: &Value) {
    head.push_str(name);
    head.push_str(": ");
    for c in value.to_string().chars() {
        // Characters that end a line in YAML, or that YAML requires to be escaped.
        if matches!(
            c,
            '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        ) {
            // Writing to a string cannot fail.
            let _ = write!(head, "\\u{:04x}", u32::from(c));
        } else {
            head.push(c);
        }
    }
    head.push('\n');
}

fn write_text(out: &mut String, text: &str) {
    for line in text.split('\n') {
        if is_marker(line) {
            out.push('\\');
        }
        out.push_str(line);
        out.push('\n');
    }
}

fn write_body(out: &mut String, body: &PromptBody) {
    match body {
        PromptBody::Text { text } => {
            out.push_str(text);
            out.push('\n');
        }
        PromptBody::Chat { messages } => {
            for message in messages {
                let role = ROLES.iter().find(|(_, role)| *role == message.role);
                out.push_str(role.map_or("<|user|>", |(marker, _)| marker));
                out.push('\n');
                match &message.content {
                    Content::Text(text) => write_text(out, text),
                    Content::Parts(parts) => {
                        for part in parts {
                            let (marker, text) = match part {
                                Part::Text { text } => (TEXT_PART, text),
                                Part::Image { url } => (IMAGE_PART, url),
                            };
                            out.push_str(marker);
                            out.push('\n');
                            write_text(out, text);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn prompt(title: &str, description: &str, default: &str, texts: &[String]) -> PortablePrompt {
        let mut versions: Vec<NewPromptVersion> = texts
            .iter()
            .map(|text| NewPromptVersion::new(PromptBody::Text { text: text.clone() }))
            .collect();
        let messages = texts.iter().enumerate().map(|(at, text)| Message {
            role: ROLES[at % 3].1,
            content: if at % 2 == 0 {
                text.as_str().into()
            } else {
                Content::Parts(vec![
                    Part::Text { text: text.clone() },
                    Part::Image { url: text.clone() },
                    Part::Text {
                        text: String::new(),
                    },
                ])
            },
        });
        versions.push(NewPromptVersion {
            note: description.to_owned(),
            variables: serde_json::from_value(json!([{"name": "a", "default": default}])).unwrap(),
            parameters: serde_json::from_value(json!({"temperature": 0.1, "stop": [title]}))
                .unwrap(),
            body: PromptBody::Chat {
                messages: messages.collect(),
            },
        });
        PortablePrompt {
            slug: Some("a-b".into()),
            title: title.to_owned(),
            description: description.to_owned(),
            category: Some("coding".into()),
            tags: vec!["x".into(), "yes".into()],
            language: Some("no".into()),
            licence: None,
            attribution: default.to_owned(),
            visibility: Some(Visibility::Private),
            archived: true,
            aliases: BTreeMap::from([("production".into(), 1)]),
            versions,
        }
    }

    fn round_trip(prompt: &PortablePrompt) {
        let read = read(to_files(prompt), 10).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].1.as_ref().unwrap(), prompt);
    }

    #[test]
    fn odd_texts_survive_files() {
        let odd = [
            "",
            "\n",
            "\n\n",
            "---",
            "---\n---\n",
            "<|user|>",
            "\\<|user|>",
            "\\\\<|system|> \r",
            "a\r\nb\r",
            " <|user|>",
            "key: value",
            "\u{85}\u{2028}\u{FEFF}\u{7F}\t\u{1}",
            "\u{1F600} \u{10FFFF}",
            "'\"\\{}[]#&*!|>%@`",
        ];
        for text in odd {
            let texts = vec![
                text.to_owned(),
                format!("{text}{text}\n<|user|>\n{text}"),
                "x".into(),
            ];
            round_trip(&prompt(&format!("T{text}"), text, text, &texts));
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_files(title in ".*", text in "(?s).*", lines in proptest::collection::vec("[<|user>\\\\\n\r-]{0,20}", 1..4)) {
            round_trip(&prompt(&title, &text, &text, &lines));
        }
    }

    #[test]
    fn a25_texts_markdown_and_yaml_are_read_alike() {
        let file = |path: &str, text: &str| PromptFile {
            path: path.into(),
            text: text.into(),
        };
        let files = vec![
            file("terse.txt", "Answer: {{ question }}\n"),
            file("With Spaces.md", "Plain text.\n"),
            file("front.md", "---\ntitle: Front\n---\nText.\n"),
            file("rest.yaml", "title: Rest\nbody: {kind: text, text: x}\n"),
            file(
                "named.yml",
                "slug: other\ntitle: Named\nbody: {kind: text, text: x}\n",
            ),
            file("wrong.yaml", "heading: x\n"),
            file("terse.md", "Twice.\n"),
            file("photo.png", ""),
            file("README.md", "x"),
        ];
        let rows = read(files, 10).unwrap();
        let found: Vec<String> = rows
            .iter()
            .map(|(path, row)| match row {
                Ok(prompt) => {
                    let slug = prompt.slug.as_deref().unwrap();
                    format!("{path} {slug} {} {}", prompt.title, prompt.versions.len())
                }
                Err(wrong) => format!("{path} refused: {} {}", wrong[0].path, wrong[0].message),
            })
            .collect();
        assert_eq!(
            &found[..6],
            [
                "With Spaces.md with-spaces with spaces 1",
                "front.md front Front 1",
                "named.yml other Named 1",
                "rest.yaml rest Rest 1",
                "terse.md terse terse 1",
                "terse.txt refused: terse.txt has the slug `terse`, as has terse.md",
            ]
        );
        assert!(
            found[6].starts_with(
                "wrong.yaml refused: wrong.yaml line 1, column 1: unknown field `heading`"
            ),
            "{}",
            found[6]
        );
        assert_eq!(found.len(), 7);
    }

    fn only(path: &str, text: &str) -> PortablePrompt {
        let file = PromptFile {
            path: path.into(),
            text: text.into(),
        };
        let (_, row) = read(vec![file], 10).unwrap().remove(0);
        row.unwrap_or_else(|wrong| panic!("{path}: {wrong:?}"))
    }

    #[test]
    fn f24_files_of_windows_hold_the_same_prompts() {
        for (path, text) in [
            ("a.txt", "One\n\n{{ two }}\n"),
            ("a.md", "One\n\n{{ two }}\n"),
            ("a.md", "---\ntitle: A\ntags: [x]\n---\nOne\n\ntwo\n"),
            (
                "a.md",
                "---\nkind: chat\n---\n<|system|>\nOne\n<|user|>\ntwo\nthree\n",
            ),
            (
                "a.yaml",
                "title: A\nbody:\n  kind: text\n  text: |\n    One\n    two\n",
            ),
        ] {
            let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
            assert_eq!(only(path, &windows), only(path, text), "{path} {text}");
        }
    }

    #[test]
    fn f24_an_export_saved_by_a_windows_editor_is_unchanged() {
        let texts = ["a\nb\n".to_owned(), "<|user|>\nc".to_owned()];
        let prompt = prompt("T", "d\ne", "f", &texts);
        let files = to_files(&prompt).into_iter().map(|file| PromptFile {
            text: format!("\u{feff}{}", file.text.replace('\n', "\r\n")),
            ..file
        });
        let read = read(files.collect(), 10).unwrap();
        assert_eq!(read[0].1.as_ref().unwrap(), &prompt);
    }

    #[test]
    fn f09_defaults_of_texts_stay_as_written() {
        let variables = "variables:\n  - {name: a, default: no}\n  - {name: b, default: 1.0}\n  - {name: c, default: 010}\n  - {name: d, default: 1e3}\n  - {name: e, default: true}\n  - {name: f, default: 2026-01-01}\n  - {name: g, type: number, default: 1.5}\n  - {name: h, type: boolean, default: true}\n  - {name: i, default: '1.0'}\n  - {name: j, default: 18446744073709551615}\n";
        let body = "title: A\nbody: {kind: text, text: no}\n";
        for found in [
            only("a.md", &format!("---\n{variables}---\nx\n")),
            only("a.yaml", &format!("{body}{variables}")),
        ] {
            let defaults: Vec<Value> = found.versions[0]
                .variables
                .iter()
                .map(|variable| variable.default.clone().unwrap())
                .collect();
            let expect = json!([
                "no",
                "1.0",
                "010",
                "1e3",
                "true",
                "2026-01-01",
                1.5,
                true,
                "1.0",
                "18446744073709551615"
            ]);
            assert_eq!(Value::Array(defaults), expect);
        }
    }

    #[test]
    fn f36_a_field_that_is_left_empty_is_absent() {
        let front = "---\ntitle:\ndescription:\ncategory:\ntags:\nlanguage:\nattribution:\nvisibility:\narchived:\naliases:\nkind:\nnote:\nvariables:\nparameters:\n---\nx\n";
        assert_eq!(only("a.md", front), only("a.md", "x\n"));
        let yaml = "title: A\nbody: {kind: text, text: x}\n";
        let empty = "description:\ntags:\nattribution: ~\nvariables:\n  - {name: a, type: , description: , default: }\nparameters: {stop: }\nslug:\n";
        let found = only("a.yaml", &format!("{yaml}{empty}"));
        assert_eq!(
            found,
            only("a.yaml", &format!("{yaml}variables: [{{name: a}}]\n"))
        );
    }

    #[test]
    fn a_file_that_is_none_is_refused_by_name() {
        let check = |path: &str, text: &str, expect: &str| {
            let file = PromptFile {
                path: path.into(),
                text: text.into(),
            };
            let rows = read(vec![file], 10).unwrap();
            let wrong = rows[0].1.as_ref().unwrap_err();
            assert!(wrong[0].message.contains(expect), "{}", wrong[0].message);
        };
        check("a.md", "---\ntitle: x\n", "must end with a line");
        check("a.md", "---\ntitel: x\n---\n", "cannot be read");
        check("a.md", "---\ntitle: [\n---\n", "cannot be read");
        check(
            "a.md",
            "---\narchived: yes\n---\n",
            "line 1, column 11: must be true or false",
        );
        check(
            "a.yaml",
            "title:\nbody: {kind: text, text: x}\n",
            "nothing is written here; write a text",
        );
        check("a@2.md", "---\n---\nx\n", "numbered from 1");
        check("a@1.md", "---\n---\nx\n", "no a.md");
        check(
            "a.md",
            "---\nkind: chat\n---\nhello\n",
            "must begin with a line such as",
        );
        let readme = PromptFile {
            path: "x/README.md".into(),
            text: "x".into(),
        };
        assert!(read(vec![readme], 10).unwrap().is_empty());
    }
}
