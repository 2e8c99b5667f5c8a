//! Prompt templates in Jinja syntax: parsed by minijinja, rendered here under a budget.
//!
//! Templates come from untrusted users, so rendering one must never harm the process.
//! minijinja's own virtual machine limits instructions but not bytes: a value that doubles, `indent(1e9)` or
//! `'%1000000000d'|format` exhausts the memory long before the fuel. Its parser also recurses without a limit in a few
//! places, which ends in a stack overflow.
//! Therefore only its tokenizer and parser are used (cargo feature `unstable_machinery`), behind a check of the tokens
//! in `guard`; `render` then evaluates the small subset that prompts need, and every step and every byte created or
//! read is charged to one budget.
//!
//! This crate must never read a file, a clock or the environment, and never treat rendered text as a template.

mod budget;
mod content;
mod filters;
mod guard;
mod json;
mod lower;
mod render;
mod value;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::budget::{Budget, Fault};

pub use content::{Content, Image, MAX_IMAGES, MAX_PARTS, Part, check_image};
pub use json::JsonTemplate;

/// Maximum size of a prompt, all messages together, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;
/// Maximum number of messages in a chat prompt.
pub const MAX_MESSAGES: usize = 256;
/// Maximum size of a rendered prompt, all messages together, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
/// Maximum number of bytes that one rendering may create or read, including intermediate values.
pub const MAX_WORK_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of statements and expressions that one rendering may evaluate.
pub const MAX_STEPS: u32 = 50_000;

/// The role of a message's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that frame the conversation.
    System,
    /// The person who asks.
    User,
    /// The model that answers.
    Assistant,
}

/// One message of a chat: a template in a prompt, plain text once rendered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The role of the author.
    pub role: Role,
    /// The content. Only messages of the user may contain images.
    pub content: Content,
}

/// The content of a prompt version, as templates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PromptBody {
    /// One template; it is sent as a single user message.
    Text {
        /// The template.
        text: String,
    },
    /// A conversation; each content is a template.
    Chat {
        /// The messages, in order.
        messages: Vec<Message>,
    },
}

/// The kind of a template error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateErrorKind {
    /// The text is not a template.
    Syntax,
    /// The template uses a construct that prompts may not use.
    Refused,
    /// A variable or attribute has no value.
    Undefined,
    /// A value does not fit its use.
    Value,
    /// The template is too large, or rendering it exceeds the budget.
    Limit,
}

/// Why a prompt could not be compiled or rendered, where, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}, line {line}: {message}")]
pub struct TemplateError {
    /// The kind of error.
    pub kind: TemplateErrorKind,
    /// The field at fault, such as `text` or `messages[1].content`.
    pub path: String,
    /// The line within that field, from 1.
    pub line: usize,
    /// What is wrong and how to fix it.
    pub message: String,
}

/// A prompt that was parsed once and can be rendered any number of times, from any thread.
#[derive(Debug)]
pub struct CompiledPrompt {
    messages: Vec<(Role, CompiledContent)>,
    defaults: Map<String, Value>,
}

/// The content of a message.
#[derive(Debug)]
enum CompiledContent {
    Text(CompiledText),
    Parts(Vec<CompiledPart>),
}

/// A part of a content: its text, or its image's URL.
#[derive(Debug)]
struct CompiledPart {
    is_image: bool,
    written: CompiledText,
}

impl CompiledPrompt {
    /// Parses a prompt body.
    ///
    /// # Errors
    /// The first error found: invalid syntax, a construct that is not allowed, or a size above its limit.
    pub fn compile(body: &PromptBody) -> Result<Self, TemplateError> {
        let too_large = |path: &str, message: String| TemplateError {
            kind: TemplateErrorKind::Limit,
            path: path.to_owned(),
            line: 1,
            message,
        };
        let messages = match body {
            PromptBody::Text { text } => {
                let text = CompiledText::compile(text, "text")?;
                vec![(Role::User, CompiledContent::Text(text))]
            }
            PromptBody::Chat { messages } => {
                if messages.is_empty() || messages.len() > MAX_MESSAGES {
                    return Err(too_large(
                        "messages",
                        format!(
                            "a chat has 1 to {MAX_MESSAGES} messages, this one {}",
                            messages.len()
                        ),
                    ));
                }
                if messages
                    .iter()
                    .map(|m| written_bytes(&m.content))
                    .sum::<usize>()
                    > MAX_TEMPLATE_BYTES
                {
                    return Err(too_large(
                        "messages",
                        format!(
                            "the messages are larger than {MAX_TEMPLATE_BYTES} bytes together; move long texts and images into the items' variables"
                        ),
                    ));
                }
                let images: usize = messages.iter().map(|m| m.content.images()).sum();
                if images > MAX_IMAGES {
                    return Err(too_large(
                        "messages",
                        format!("a prompt has at most {MAX_IMAGES} images, this one {images}"),
                    ));
                }
                let compile = |(at, message): (usize, &Message)| {
                    let path = format!("messages[{at}].content");
                    Ok((message.role, CompiledContent::compile(message, &path)?))
                };
                messages
                    .iter()
                    .enumerate()
                    .map(compile)
                    .collect::<Result<_, _>>()?
            }
        };
        Ok(Self {
            messages,
            defaults: Map::new(),
        })
    }

    /// Adds default values for variables that are not given.
    #[must_use]
    pub fn with_defaults(self, defaults: Map<String, Value>) -> Self {
        Self { defaults, ..self }
    }

    /// The names that the templates use but do not bind.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.messages
            .iter()
            .flat_map(|(_, content)| content.texts())
            .flat_map(|text| text.variables().iter().cloned())
            .collect()
    }

    /// The names that an item's variables must provide: those without a default.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<String> {
        let mut names = self.names();
        names.retain(|name| !self.defaults.contains_key(name));
        names
    }

    /// Renders every message with the same variables and under one budget.
    ///
    /// # Errors
    /// A variable without a value, a value that does not fit its use, or an exceeded limit.
    pub fn render(&self, variables: &Map<String, Value>) -> Result<Vec<Message>, TemplateError> {
        let budget = Budget::new();
        let written =
            |text: &CompiledText| text.render_within(variables, &self.defaults, None, &budget);
        let render = |(role, content): &(Role, CompiledContent)| {
            let content = match content {
                CompiledContent::Text(text) => Content::Text(written(text)?),
                CompiledContent::Parts(parts) => {
                    let parts = parts
                        .iter()
                        .map(|part| part.filled(written(&part.written)?));
                    Content::Parts(parts.collect::<Result<_, _>>()?)
                }
            };
            Ok(Message {
                role: *role,
                content,
            })
        };
        self.messages.iter().map(render).collect()
    }
}

impl CompiledContent {
    fn compile(message: &Message, path: &str) -> Result<Self, TemplateError> {
        let parts = match &message.content {
            Content::Text(text) => return Ok(Self::Text(CompiledText::compile(text, path)?)),
            Content::Parts(parts) => parts,
        };
        let refused = |message: String| Fault::refused(message).at(path);
        if parts.is_empty() || parts.len() > MAX_PARTS {
            let count = parts.len();
            let message = format!("a content has 1 to {MAX_PARTS} parts, this one {count}");
            return Err(refused(message));
        }
        if message.role != Role::User && message.content.images() > 0 {
            return Err(refused(
                "only messages of the user can hold images; move the image there".into(),
            ));
        }
        let compile = |(at, part): (usize, &Part)| {
            let is_image = part.text().is_none();
            let field = if is_image { "url" } else { "text" };
            let written = CompiledText::compile(part.written(), &format!("{path}[{at}].{field}"))?;
            let part = CompiledPart { is_image, written };
            // A part without variables is checked now, so that it is not first rejected in a run.
            if let Some(constant) = part.written.as_constant() {
                part.filled(constant.to_owned())?;
            }
            Ok(part)
        };
        let parts = parts.iter().enumerate().map(compile);
        Ok(Self::Parts(parts.collect::<Result<_, _>>()?))
    }

    fn texts(&self) -> Vec<&CompiledText> {
        match self {
            Self::Text(text) => vec![text],
            Self::Parts(parts) => parts.iter().map(|part| &part.written).collect(),
        }
    }
}

impl CompiledPart {
    /// The part with its rendered text or URL.
    fn filled(&self, written: String) -> Result<Part, TemplateError> {
        if !self.is_image {
            return Ok(Part::Text { text: written });
        }
        match check_image(&written) {
            Ok(()) => Ok(Part::Image { url: written }),
            Err(message) => Err(Fault::value(message).at(&self.written.path)),
        }
    }
}

/// The length of the templates of a content, in bytes.
fn written_bytes(content: &Content) -> usize {
    match content {
        Content::Text(text) => text.len(),
        Content::Parts(parts) => parts.iter().map(|part| part.written().len()).sum(),
    }
}

/// A single template that was parsed once, such as a message's content or a scorer's value.
#[derive(Debug)]
pub struct CompiledText {
    path: String,
    body: Vec<lower::Node>,
    variables: BTreeSet<String>,
}

impl CompiledText {
    /// Parses a template; `path` names the field in errors.
    ///
    /// # Errors
    /// Invalid syntax, a construct that is not allowed, or a text above [`MAX_TEMPLATE_BYTES`].
    pub fn compile(source: &str, path: &str) -> Result<Self, TemplateError> {
        let locate = |fault: Fault| fault.at(path);
        guard::check(source).map_err(locate)?;
        let (body, variables) = lower::lower(source).map_err(locate)?;
        Ok(Self {
            path: path.to_owned(),
            body,
            variables,
        })
    }

    /// The names that must have values when rendering.
    #[must_use]
    pub fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// The whole text if it contains no expression or statement, so that it needs no rendering.
    #[must_use]
    pub fn as_constant(&self) -> Option<&str> {
        match self.body.as_slice() {
            [] => Some(""),
            [lower::Node::Raw(text)] => Some(text),
            _ => None,
        }
    }

    /// Renders with the variables and, taking precedence, one more name such as `expected`.
    ///
    /// # Errors
    /// As [`CompiledPrompt::render`].
    pub fn render(
        &self,
        variables: &Map<String, Value>,
        extra: Option<(&str, &Value)>,
    ) -> Result<String, TemplateError> {
        self.render_within(variables, &Map::new(), extra, &Budget::new())
    }

    /// Like [`Self::render`], and returns the number of steps used.
    pub fn render_counting(
        &self,
        variables: &Map<String, Value>,
        extra: Option<(&str, &Value)>,
    ) -> (Result<String, TemplateError>, u64) {
        let budget = Budget::new();
        let rendered = self.render_within(variables, &Map::new(), extra, &budget);
        (rendered, budget.spent_steps())
    }

    fn render_within(
        &self,
        variables: &Map<String, Value>,
        defaults: &Map<String, Value>,
        extra: Option<(&str, &Value)>,
        budget: &Budget,
    ) -> Result<String, TemplateError> {
        render::render(&self.body, variables, defaults, extra, budget)
            .map_err(|fault| fault.at(&self.path))
    }
}
