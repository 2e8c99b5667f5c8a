//! Maps the parameters of a model to the fields of each API.
//!
//! Parameters have the names of `OpenAI`'s chat completions. Those with another name in an API are moved; those that an
//! API does not support are refused; unknown ones are sent unchanged. docs/PROVIDERS.md has the table.

use anyhow::Context as _;
use opb_core::template::{Message, Role};
use serde_json::{Map, Value};

use super::{CallError, CallErrorKind};

/// The mapping of a parameter: its name, and the path of the field.
pub(super) type Place = (&'static str, &'static [&'static str]);

/// The fields of a request that are the same for every call, except for the seed.
pub(super) struct Fields {
    fields: Map<String, Value>,
    seed: &'static [&'static str],
}

impl Fields {
    /// Moves parameters to their fields. `seed` is the path of the seed, or empty if the API does not support one.
    ///
    /// # Errors
    /// A parameter is invalid, given twice, or set by the worker.
    pub(super) fn new(
        mut parameters: Map<String, Value>,
        places: &[Place],
        seed: &'static [&'static str],
        ours: &[&str],
    ) -> anyhow::Result<Self> {
        for name in ours {
            anyhow::ensure!(
                !parameters.contains_key(*name),
                "the parameter `{name}` is set by the worker"
            );
        }
        for (name, place) in places {
            if let Some(value) = parameters.remove(*name) {
                put(&mut parameters, place, value)?;
            }
        }
        Ok(Self {
            fields: parameters,
            seed,
        })
    }

    /// Sets a field of the worker.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// Whether there are no fields.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the fields of a request. Repeats of an item have different seeds.
    pub(super) fn of_repeat(&self, repeat: i16) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        if let Some((last, path)) = self.seed.split_last() {
            let mut at = Some(&mut fields);
            for name in path {
                at = at.and_then(|object| object.get_mut(*name)?.as_object_mut());
            }
            if let Some(seed) = at.and_then(|object| object.get_mut(*last))
                && let Some(number) = seed.as_i64()
            {
                *seed = number.wrapping_add(repeat.into()).into();
            }
        }
        fields
    }
}

/// Sets the field at `place`, creating objects as needed.
///
/// # Errors
/// The field exists already: the parameter was given twice, by two names.
pub(super) fn put(
    fields: &mut Map<String, Value>,
    place: &[&str],
    value: Value,
) -> anyhow::Result<()> {
    let path = place.join(".");
    let (last, way) = place.split_last().context("a place has a name")?;
    let mut at = fields;
    for name in way {
        at = at
            .entry(*name)
            .or_insert_with(|| Map::new().into())
            .as_object_mut()
            .with_context(|| format!("the parameter `{name}` must be an object"))?;
    }
    anyhow::ensure!(
        !at.contains_key(*last),
        "the parameter `{path}` is given twice, by two names"
    );
    at.insert((*last).to_owned(), value);
    Ok(())
}

/// Returns whether responses are streamed, which is the default.
///
/// # Errors
/// It is neither true nor false.
pub(super) fn take_stream(parameters: &mut Map<String, Value>) -> anyhow::Result<bool> {
    let stream = parameters.remove("stream");
    stream.map_or(Ok(true), |stream| {
        stream
            .as_bool()
            .context("the parameter `stream` must be true or false")
    })
}

/// Refuses `stream` for an API that is not streamed; only `false` is allowed.
///
/// # Errors
/// A stream is requested.
pub(super) fn refuse_stream(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    let stream = parameters.remove("stream");
    anyhow::ensure!(
        matches!(stream, None | Some(Value::Bool(false))),
        "the parameter `stream` must be false or absent: providers of this kind are asked for whole answers"
    );
    Ok(())
}

/// Refuses parameters that an API does not support.
///
/// # Errors
/// One of them is given.
pub(super) fn refuse(parameters: &Map<String, Value>, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        anyhow::ensure!(
            !parameters.contains_key(*name),
            "the parameter `{name}` has no place in this provider's API; leave it out for this model"
        );
    }
    Ok(())
}

/// Takes `stop` as a list.
pub(super) fn take_stop(parameters: &mut Map<String, Value>) -> Option<Value> {
    match parameters.remove("stop")? {
        one @ Value::String(_) => Some(vec![one].into()),
        other => Some(other),
    }
}

/// A function that a model may call.
pub(super) struct Function {
    pub(super) name: Value,
    pub(super) description: Option<Value>,
    pub(super) parameters: Option<Value>,
    pub(super) strict: Option<Value>,
}

/// Takes `tools`, in the form of chat completions; those in another form are the API's own and remain unchanged.
///
/// # Errors
/// It is not a list.
pub(super) fn take_tools(
    parameters: &mut Map<String, Value>,
) -> anyhow::Result<Option<Vec<Result<Function, Value>>>> {
    let Some(tools) = parameters.remove("tools") else {
        return Ok(None);
    };
    let Value::Array(tools) = tools else {
        anyhow::bail!("the parameter `tools` must be a list");
    };
    let read = |mut tool: Value| {
        let Some(Value::Object(function)) = tool.get_mut("function").map(Value::take) else {
            return Err(tool);
        };
        let part = |name: &str| function.get(name).cloned();
        Ok(Function {
            name: part("name").unwrap_or_default(),
            description: part("description"),
            parameters: part("parameters"),
            strict: part("strict"),
        })
    };
    Ok(Some(tools.into_iter().map(read).collect()))
}

/// The meaning of `tool_choice`.
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Function(String),
    /// The API's own form.
    Other(Value),
}

/// Takes `tool_choice`, if given.
pub(super) fn take_tool_choice(parameters: &mut Map<String, Value>) -> Option<ToolChoice> {
    let choice = parameters.remove("tool_choice")?;
    let named = choice.pointer("/function/name").and_then(Value::as_str);
    Some(match (choice.as_str(), named) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("none"), _) => ToolChoice::None,
        (Some("required"), _) => ToolChoice::Required,
        (_, Some(name)) => ToolChoice::Function(name.to_owned()),
        _ => ToolChoice::Other(choice),
    })
}

/// The meaning of `response_format`.
pub(super) enum Format {
    Text,
    Object,
    Schema {
        name: Option<Value>,
        schema: Value,
        strict: Option<Value>,
    },
}

/// Takes `response_format`, if given.
///
/// # Errors
/// It does not have the form of chat completions.
pub(super) fn take_format(parameters: &mut Map<String, Value>) -> anyhow::Result<Option<Format>> {
    let Some(format) = parameters.remove("response_format") else {
        return Ok(None);
    };
    let schema = format.pointer("/json_schema/schema").cloned();
    let part = |name: &str| format.get("json_schema")?.get(name).cloned();
    match (format.get("type").and_then(Value::as_str), schema) {
        (Some("text"), _) => Ok(Some(Format::Text)),
        (Some("json_object"), _) => Ok(Some(Format::Object)),
        (Some("json_schema"), Some(schema)) => Ok(Some(Format::Schema {
            name: part("name"),
            schema,
            strict: part("strict"),
        })),
        _ => anyhow::bail!(
            "the parameter `response_format` must be {{\"type\": \"json_schema\", \"json_schema\": {{\"name\": …, \"schema\": …}}}}, or of the type `json_object` or `text`"
        ),
    }
}

/// Splits the messages into the joined system messages and the conversation, for APIs that separate the two.
///
/// # Errors
/// There is no conversation.
pub(super) fn split_system(
    messages: &[Message],
) -> Result<(Option<String>, Vec<&Message>), CallError> {
    let (system, talk): (Vec<&Message>, Vec<&Message>) = messages
        .iter()
        .partition(|message| message.role == Role::System);
    if talk.is_empty() {
        return Err(CallError::new(
            CallErrorKind::Request,
            "this provider's API needs a message of the user besides the instructions",
        ));
    }
    let system: Vec<_> = system
        .iter()
        .map(|message| message.content.text())
        .collect();
    Ok(((!system.is_empty()).then(|| system.join("\n\n")), talk))
}

/// Serialises a request to JSON.
///
/// # Errors
/// Serialisation fails.
pub(super) fn to_json(body: &impl serde::Serialize) -> Result<Vec<u8>, CallError> {
    serde_json::to_vec(body).map_err(|error| {
        CallError::new(
            CallErrorKind::Request,
            format!("the request cannot be made: {error}"),
        )
    })
}
