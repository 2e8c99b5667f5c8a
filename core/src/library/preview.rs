//! Preview of a prompt: renders it without calling a model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{PromptVersion, lint::field_of};
use crate::{Error, FieldError, Result, paging::json_bytes, template::Message};

/// A request for a preview.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The number of a version or an alias; absent: the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The values of the variables; those with a default are optional.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub variables: Map<String, Value>,
}

/// A rendered prompt, as it would be sent to a model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// `slug@number` of the version.
    pub prompt: String,
    /// The messages, in order. A text prompt is one user message.
    pub messages: Vec<Message>,
}

/// Maximum size of a response, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Renders a version. It may take a tenth of a second: do not call it while holding a connection.
///
/// # Errors
/// [`Error::Unrenderable`] with the field at fault, [`Error::Invalid`] if the result exceeds the maximum size of a
/// response.
pub fn preview(version: &PromptVersion, variables: &Map<String, Value>) -> Result<Preview> {
    let messages = render(version, variables)?;
    if json_bytes(&messages) > MAX_BYTES {
        let message = format!(
            "make the rendered prompt larger than {MAX_BYTES} bytes, the maximum of a preview; use smaller values"
        );
        return Err(Error::invalid("variables", message));
    }
    Ok(Preview {
        prompt: format!("{}@{}", version.prompt, version.number),
        messages,
    })
}

/// Renders a version into messages, within the usual rendering budget.
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
