//! Rendering a prompt to look at it, without a model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{PromptVersion, lint::field_of};
use crate::{Error, FieldError, Result, paging::json_bytes, template::Message};

/// What to render a prompt with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The number of a version or an alias; the newest version, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The values of the variables; those with a default may be left out.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub variables: Map<String, Value>,
}

/// A rendered prompt: what a model would be sent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// `slug@number` of the version.
    pub prompt: String,
    /// The messages, first to last. A text prompt is one message of the user.
    pub messages: Vec<Message>,
}

/// The most bytes of an answer.
const MAX_BYTES: usize = 256 * 1024;

/// Renders a version. Nothing for whoever holds a connection: it may take a tenth of a second.
///
/// # Errors
/// [`Error::Unrenderable`] with the field at fault, [`Error::Invalid`] for more than an answer may hold.
pub fn preview(version: &PromptVersion, variables: &Map<String, Value>) -> Result<Preview> {
    let messages = render(version, variables)?;
    if json_bytes(&messages) > MAX_BYTES {
        let message = format!(
            "make the rendered prompt larger than {MAX_BYTES} bytes, the most that a preview shows; use smaller values"
        );
        return Err(Error::invalid("variables", message));
    }
    Ok(Preview {
        prompt: format!("{}@{}", version.prompt, version.number),
        messages,
    })
}

/// Renders a version into messages, under the budget that every rendering has.
pub(super) fn render(
    version: &PromptVersion,
    variables: &Map<String, Value>,
) -> Result<Vec<Message>> {
    for variable in version.variables.iter() {
        if let Some(value) = variables.get(&variable.name)
            && !variable.kind.holds(value)
        {
            let path = format!("variables.{}", variable.name);
            let message = format!("must be {}", variable.kind.described());
            return Err(Error::Unrenderable(FieldError::new(path, message)));
        }
    }
    let compiled = version.compile();
    let rendered = compiled.and_then(|compiled| compiled.render(variables));
    rendered.map_err(|error| Error::Unrenderable(field_of(&error)))
}
