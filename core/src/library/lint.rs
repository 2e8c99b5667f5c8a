//! Checks of a version that an author saves: errors refuse it, warnings are returned in the response.
//!
//! Pure. It renders the template once with made-up values, to detect templates that always exceed the rendering budget.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    Variable, VariableType,
    variables::{check_variables, defaults},
};
use crate::{
    FieldError,
    template::{CompiledPrompt, Content, Part, PromptBody, TemplateError, TemplateErrorKind},
};

/// A warning for the author; the version is saved nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// The kind of warning, for programs.
    pub code: WarningCode,
    /// The path of the field.
    pub path: String,
    /// What is wrong and how to fix it.
    pub message: String,
}

/// The kinds of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// A variable is declared but not used by any template.
    UnusedVariable,
    /// A template uses an undeclared variable.
    UndeclaredVariable,
    /// The text holds invisible characters, which can hide instructions.
    HiddenCharacters,
    /// The text holds something that looks like a password or a key.
    LooksLikeASecret,
}

/// Prefixes of secrets that are often pasted by mistake, with their minimum length.
const SECRETS: [(&str, usize); 9] = [
    ("sk-", 24),
    ("sk_live_", 24),
    ("opb_", 24),
    ("ghp_", 36),
    ("github_pat_", 40),
    ("xoxb-", 24),
    ("AKIA", 20),
    ("AIza", 35),
    ("glpat-", 24),
];

/// Checks the content of a version.
///
/// # Errors
/// Every error: an invalid declaration, or a template that does not compile or always exceeds the rendering budget.
pub fn lint(body: &PromptBody, variables: &[Variable]) -> Result<Vec<Warning>, Vec<FieldError>> {
    let mut wrong = check_variables(variables);
    let compiled = match CompiledPrompt::compile(body) {
        Ok(compiled) => compiled,
        Err(error) => {
            wrong.insert(0, field_of(&error));
            return Err(wrong);
        }
    };
    wrong.extend(empty(body));
    let names = compiled.names();
    if wrong.is_empty()
        && let Some(error) = unaffordable(&compiled, &names, variables)
    {
        wrong.push(field_of(&error));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut warnings = Vec::new();
    let mut warn = |code, path: String, message: String| {
        warnings.push(Warning {
            code,
            path,
            message,
        });
    };
    for (at, variable) in variables.iter().enumerate() {
        if !names.contains(&variable.name) {
            let message = format!("`{}` is declared and never used", variable.name);
            warn(
                WarningCode::UnusedVariable,
                format!("variables[{at}]"),
                message,
            );
        }
    }
    for name in &names {
        if !variables.iter().any(|variable| variable.name == *name) {
            let message = format!(
                "`{name}` is used and not declared; declare it, so that others know what to put in"
            );
            warn(WarningCode::UndeclaredVariable, "variables".into(), message);
        }
    }
    for (path, text) in texts(body) {
        if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
            let message = format!(
                "holds the invisible character U+{:04X}; remove it",
                u32::from(hidden)
            );
            warn(WarningCode::HiddenCharacters, path.clone(), message);
        }
        if let Some(start) = secret_in(text) {
            let message = format!(
                "holds what looks like a key (`{start}…`); everybody who sees the prompt sees it"
            );
            warn(WarningCode::LooksLikeASecret, path, message);
        }
    }
    Ok(warnings)
}

/// A template error as an error of the field `body`.
pub(super) fn field_of(error: &TemplateError) -> FieldError {
    FieldError::new(
        format!("body.{}", error.path),
        format!("line {}: {}", error.line, error.message),
    )
}

/// The error of a body without text for the model.
fn empty(body: &PromptBody) -> Option<FieldError> {
    let says_nothing = |content: &Content| match content {
        Content::Text(text) => text.trim().is_empty(),
        Content::Parts(parts) => parts
            .iter()
            .all(|part| matches!(part, Part::Text { text } if text.trim().is_empty())),
    };
    let path = match body {
        PromptBody::Text { text } if text.trim().is_empty() => "body.text",
        PromptBody::Chat { messages } if messages.iter().all(|it| says_nothing(&it.content)) => {
            "body.messages"
        }
        _ => return None,
    };
    Some(FieldError::new(
        path,
        "must not be empty: write what the model is asked",
    ))
}

/// The error of a template that exceeds the rendering budget even with small values.
fn unaffordable(
    compiled: &CompiledPrompt,
    names: &BTreeSet<String>,
    variables: &[Variable],
) -> Option<TemplateError> {
    let sample = |name: &String| {
        let declared = variables.iter().find(|variable| variable.name == *name);
        let value = match declared.map_or(VariableType::Text, |variable| variable.kind) {
            VariableType::Text => json!("x"),
            VariableType::Number => json!(1),
            VariableType::Boolean => json!(true),
            VariableType::List => json!(["x"]),
            VariableType::Object => json!({}),
        };
        (name.clone(), value)
    };
    let samples: Map<String, Value> = names
        .iter()
        .map(sample)
        .chain(defaults(variables))
        .collect();
    // The made-up values may not fit the template; only the cost matters here.
    let rendered = compiled.render(&samples);
    rendered
        .err()
        .filter(|error| error.kind == TemplateErrorKind::Limit)
}

/// Every template of a body, with its path.
fn texts(body: &PromptBody) -> Vec<(String, &str)> {
    match body {
        PromptBody::Text { text } => vec![("body.text".into(), text)],
        PromptBody::Chat { messages } => {
            let each = messages.iter().enumerate();
            each.flat_map(|(at, message)| texts_of(&message.content, at))
                .collect()
        }
    }
}

/// The templates of a message, with their paths; without image data, which is not text.
fn texts_of(content: &Content, at: usize) -> Vec<(String, &str)> {
    let path = format!("body.messages[{at}].content");
    let parts = match content {
        Content::Text(text) => return vec![(path, text)],
        Content::Parts(parts) => parts.iter().enumerate(),
    };
    let texts = parts.filter_map(|(at, part)| match part {
        Part::Text { text } => Some((format!("{path}[{at}].text"), text.as_str())),
        Part::Image { url } if url.starts_with("data:") => None,
        Part::Image { url } => Some((format!("{path}[{at}].url"), url.as_str())),
    });
    texts.collect()
}

/// Invisible characters that change how text reads: direction overrides, tags, controls.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{E0000}'..='\u{E0FFF}' | '\u{200B}' | '\u{2060}'..='\u{2064}'
        | '\u{FEFF}' | '\u{0001}'..='\u{0008}' | '\u{000B}' | '\u{000C}' | '\u{000E}'..='\u{001F}' | '\u{007F}')
}

/// The prefix of the first word that looks like a secret.
fn secret_in(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Some("-----BEGIN");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(|c| !is_part(c)).find_map(|word| {
        let known = SECRETS
            .iter()
            .find(|(start, length)| word.starts_with(start) && word.len() >= *length);
        // A long word with dashes may be a name; a key has digits.
        known
            .filter(|_| word.bytes().filter(u8::is_ascii_digit).count() >= 3)
            .map(|(start, _)| *start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> PromptBody {
        PromptBody::Text { text: text.into() }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let check = |body: Value, expect: Option<&str>| {
            let body = serde_json::from_value(body).unwrap();
            let paths = lint(&body, &[]).map_err(|wrong| wrong[0].path.clone());
            assert_eq!(paths.err().as_deref(), expect, "{body:?}");
        };
        let chat = |contents: &[&str]| {
            let message = |content: &&str| json!({"role": "user", "content": content});
            let messages: Vec<Value> = contents.iter().map(message).collect();
            json!({"kind": "chat", "messages": messages})
        };
        check(json!({"kind": "text", "text": ""}), Some("body.text"));
        check(json!({"kind": "text", "text": " \n\t"}), Some("body.text"));
        check(json!({"kind": "text", "text": "."}), None);
        check(chat(&["", " "]), Some("body.messages"));
        check(chat(&["a", ""]), None);
    }

    #[test]
    fn warnings_say_what_to_look_at() {
        use WarningCode::{HiddenCharacters, LooksLikeASecret, UndeclaredVariable, UnusedVariable};

        let check = |template: &str, variables: Value, expect: &[(WarningCode, &str)]| {
            let variables: Vec<Variable> = serde_json::from_value(variables).unwrap();
            let found = lint(&text(template), &variables).unwrap();
            let found: Vec<_> = found.iter().map(|w| (w.code, w.path.as_str())).collect();
            assert_eq!(found, expect, "{template}");
        };
        check("{{ a }}", json!([{"name": "a"}]), &[]);
        check("{{ a }}", json!([]), &[(UndeclaredVariable, "variables")]);
        check(
            "a",
            json!([{"name": "a"}]),
            &[(UnusedVariable, "variables[0]")],
        );
        check(
            "{% for x in xs %}{{ x.y }}{% endfor %}",
            json!([{"name": "xs", "type": "list"}]),
            &[],
        );
        check(
            "be kind\u{202E}",
            json!([]),
            &[(HiddenCharacters, "body.text")],
        );
        check("\u{E0041}", json!([]), &[(HiddenCharacters, "body.text")]);
        check("zwj: 👩\u{200D}🔧, tab:\t", json!([]), &[]);
        check(
            "use sk-abc123def456ghi789jkl012",
            json!([]),
            &[(LooksLikeASecret, "body.text")],
        );
        check("a sk-learn-compatible-estimator-class", json!([]), &[]);
    }

    #[test]
    fn faults_refuse() {
        let check = |template: &str, expect: &str| {
            let wrong = lint(&text(template), &[]).unwrap_err();
            assert_eq!(wrong[0].path, "body.text", "{template}");
            assert!(
                wrong[0].message.contains(expect),
                "{template}: {}",
                wrong[0].message
            );
        };
        check("{{ question", "line 1");
        check(
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "steps",
        );
        check("{{ x.__class__ }}{% include 'a' %}", "not available");
        check("{{ 'x' * 100000000 }}", "");
    }
}
