//! Converts the placeholders of prompts.chat, `${name}` and `${name:default}`, to Jinja variables. Pure.
//!
//! The rest of the text is kept exactly, even where it looks like Jinja: rendering the template with the placeholders
//! as values gives the original text.

use crate::library::{Variable, variables::MAX_VARIABLES};

/// Maximum length of a placeholder, in bytes.
const MAX_BYTES: usize = 400;
/// Reserved words of Jinja.
const KEYWORDS: [&str; 14] = [
    "and", "else", "elif", "false", "for", "if", "in", "is", "loop", "none", "not", "or", "range",
    "true",
];

/// A placeholder as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder<'a> {
    pub(super) name: &'a str,
    pub(super) default: Option<&'a str>,
}

/// Converts a text into a template and its variables.
pub(super) fn convert(text: &str) -> (String, Vec<Variable>) {
    let mut template = String::with_capacity(text.len() + text.len() / 8);
    let mut names = Names::default();
    let pieces = pieces(text);
    for placeholder in pieces.iter().filter_map(|piece| piece.as_ref().err()) {
        names.meet(placeholder);
    }
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Ok(literal) => {
                let expression_follows = pieces.get(at + 1).is_some();
                escape(literal, expression_follows, &mut template);
            }
            Err(placeholder) => {
                template.push_str("{{ ");
                template.push_str(names.of(placeholder));
                template.push_str(" }}");
            }
        }
    }
    (template, names.variables)
}

/// Splits the text into literals and placeholders.
pub(super) fn pieces(text: &str) -> Vec<Result<&str, Placeholder<'_>>> {
    let mut pieces = Vec::new();
    let (mut done, mut from) = (0, 0);
    while let Some(found) = text[from..].find("${") {
        let start = from + found;
        let Some((placeholder, end)) = placeholder_at(text, start) else {
            from = start + 2;
            continue;
        };
        if done < start {
            pieces.push(Ok(&text[done..start]));
        }
        pieces.push(Err(placeholder));
        (done, from) = (end, end);
    }
    if done < text.len() {
        pieces.push(Ok(&text[done..]));
    }
    pieces
}

/// The placeholder that begins at a `${`, and the position of its end.
fn placeholder_at(text: &str, start: usize) -> Option<(Placeholder<'_>, usize)> {
    let inside = &text[start + 2..];
    let end = inside
        .char_indices()
        .take_while(|(at, _)| *at <= MAX_BYTES)
        .find_map(|(at, c)| matches!(c, '}' | '{' | '\n' | '\r').then_some(at))?;
    if !inside[end..].starts_with('}') {
        return None;
    }
    let (name, default) = match inside[..end].split_once(':') {
        Some((name, default)) => (name.trim(), Some(default.trim())),
        None => (inside[..end].trim(), None),
    };
    let plain = |c: char| c.is_alphanumeric() || " _-'’/&,()#".contains(c);
    let is_name = name.chars().any(char::is_alphanumeric) && name.chars().all(plain);
    let default = default.filter(|default| !default.is_empty());
    is_name.then_some((Placeholder { name, default }, start + end + 3))
}

/// Escapes a literal so that Jinja does not interpret any part of it.
fn escape(literal: &str, expression_follows: bool, template: &mut String) {
    let mut rest = literal.chars().peekable();
    while let Some(c) = rest.next() {
        let opens = match rest.peek() {
            Some(next) => matches!(next, '{' | '%' | '#'),
            None => expression_follows,
        };
        if c == '{' && opens {
            template.push_str("{{ \"{\" }}");
        } else {
            template.push(c);
        }
    }
}

/// The variables of a text, with their placeholders.
#[derive(Default)]
struct Names {
    variables: Vec<Variable>,
    originals: Vec<String>,
}

impl Names {
    /// Declares the variable of a placeholder, unless it is already declared.
    /// A placeholder with the same name but a different default gets its own variable.
    fn meet(&mut self, placeholder: &Placeholder<'_>) {
        // One variable above the limit is enough to have the version refused; ignoring the rest saves time.
        if self.variables.len() > MAX_VARIABLES {
            return;
        }
        if let Some(at) = self.place(placeholder) {
            if let (None, Some(default)) = (&self.variables[at].default, placeholder.default) {
                self.variables[at].default = Some(default.into());
            }
            return;
        }
        let base = identifier(placeholder.name);
        let mut name = base.clone();
        for copy in 2.. {
            if !self.variables.iter().any(|variable| variable.name == name) {
                break;
            }
            name = format!("{base}_{copy}");
        }
        let description = if name == placeholder.name {
            ""
        } else {
            placeholder.name
        };
        self.variables.push(Variable {
            name,
            kind: crate::library::VariableType::Text,
            description: description.to_owned(),
            default: placeholder.default.map(Into::into),
        });
        self.originals.push(placeholder.name.to_owned());
    }

    fn place(&self, placeholder: &Placeholder<'_>) -> Option<usize> {
        let same = |at: &usize| {
            let default = self.variables[*at]
                .default
                .as_ref()
                .and_then(|value| value.as_str());
            self.originals[*at] == placeholder.name
                && (placeholder.default.is_none()
                    || default.is_none()
                    || default == placeholder.default)
        };
        (0..self.variables.len()).find(same)
    }

    fn of(&self, placeholder: &Placeholder<'_>) -> &str {
        let place = self.place(placeholder).unwrap_or_default();
        self.variables
            .get(place)
            .map_or("", |variable| variable.name.as_str())
    }
}

fn identifier(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut identifier: String = words.join("_").chars().take(56).collect();
    if identifier.is_empty() {
        identifier.push_str("value");
    }
    if identifier.starts_with(|c: char| c.is_ascii_digit()) {
        identifier.insert(0, '_');
    }
    if KEYWORDS.contains(&identifier.as_str()) {
        identifier.push('_');
    }
    identifier
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::{
        library::defaults,
        template::{CompiledPrompt, PromptBody},
    };

    /// The text that rendering the template gives if every placeholder without a default is replaced by itself.
    fn round_trip(text: &str) -> String {
        let (template, variables) = convert(text);
        let mut values: Map<_, _> = variables
            .iter()
            .map(|variable| {
                let original = match variable.description.as_str() {
                    "" => &variable.name,
                    original => original,
                };
                (variable.name.clone(), format!("${{{original}}}").into())
            })
            .collect();
        values.extend(defaults(&variables));
        let compiled = CompiledPrompt::compile(&PromptBody::Text {
            text: template.clone(),
        });
        let compiled = compiled.unwrap_or_else(|error| panic!("{error}: {template}"));
        compiled
            .render(&values)
            .unwrap()
            .remove(0)
            .content
            .text()
            .into_owned()
    }

    #[test]
    fn placeholders_become_variables() {
        let check = |text: &str, template: &str, expect: &[(&str, Option<&str>)]| {
            let (found, variables) = convert(text);
            assert_eq!(found, template);
            let variables: Vec<_> = variables
                .iter()
                .map(|v| {
                    (
                        v.name.as_str(),
                        v.default.as_ref().map(|d| d.as_str().unwrap()),
                    )
                })
                .collect();
            assert_eq!(variables, expect, "{text}");
        };
        check(
            "a ${Job Title:Developer}!",
            "a {{ job_title }}!",
            &[("job_title", Some("Developer"))],
        );
        check(
            "${a} ${a:1} ${a}",
            "{{ a }} {{ a }} {{ a }}",
            &[("a", Some("1"))],
        );
        check(
            "${a:1} ${a:2}",
            "{{ a }} {{ a_2 }}",
            &[("a", Some("1")), ("a_2", Some("2"))],
        );
        check(
            "${1st} ${in} ${品}",
            "{{ _1st }} {{ in_ }} {{ value }}",
            &[("_1st", None), ("in_", None), ("value", None)],
        );
        check("{${x}}", "{{ \"{\" }}{{ x }}}", &[("x", None)]);
        check("${} ${f(x).y} ${a\nb} ${", "${} ${f(x).y} ${a\nb} ${", &[]);
        check(
            "{{#17.name#}} {% x %} {# y #} }} {a}",
            "{{ \"{\" }}{{ \"{\" }}#17.name#}} {{ \"{\" }}% x %} {{ \"{\" }}# y #} }} {a}",
            &[],
        );
    }

    #[test]
    fn nothing_but_placeholders_changes() {
        for (text, expect) in [
            (
                "{{#17.name#}} {{{% raw %}} {# #} \"{\" \r\n\t",
                "{{#17.name#}} {{{% raw %}} {# #} \"{\" \r\n\t",
            ),
            ("a ${b:c} {${d}} ${e: f }", "a c {${d}} f"),
            ("ends with {", "ends with {"),
            ("{% endraw %}{{ x }}\n", "{% endraw %}{{ x }}\n"),
        ] {
            assert_eq!(round_trip(text), expect);
        }
    }

    /// Converts all prompts of prompts.chat; .config/nextest.toml skips it where the file may be missing.
    #[test]
    fn with_data_the_real_prompts_come_through_to_the_letter() {
        let path = std::env::var("PROMPTS_CHAT_PATH")
            .expect("PROMPTS_CHAT_PATH names prompts.csv of prompts.chat");
        let mut rows = 0;
        for row in csv::Reader::from_path(path).unwrap().records() {
            let row = row.unwrap();
            let expect: String = pieces(&row[1])
                .iter()
                .map(|piece| match piece {
                    Ok(literal) => (*literal).to_owned(),
                    Err(p) => {
                        // A placeholder without a default uses the default of another one of the same name.
                        let same = |other: &Result<&str, Placeholder<'_>>| match other {
                            Err(other) if other.name == p.name => other.default.map(str::to_owned),
                            _ => None,
                        };
                        let lent = || pieces(&row[1]).iter().find_map(same);
                        let default = p.default.map(str::to_owned).or_else(lent);
                        default.unwrap_or_else(|| format!("${{{}}}", p.name))
                    }
                })
                .collect();
            assert_eq!(round_trip(&row[1]), expect, "{}", &row[0]);
            rows += 1;
        }
        assert_eq!(rows, 828);
    }
}
