//! The parameters of a model on their way to where each API wants them.
//!
//! Parameters are named as in `OpenAI`'s chat completions. What an API calls otherwise is moved to its place; what it has
//! no place for is refused; what is not known here is sent along as it is. docs/PROVIDERS.md has the table.

use anyhow::Context as _;
use opb_core::template::{Message, Role};
use serde_json::{Map, Value};

use super::{CallError, CallErrorKind};

/// Where a parameter goes: its name, and the fields that lead to its place.
pub(super) type Place = (&'static str, &'static [&'static str]);

/// The fields of a request that are the same for every call, but for the seed.
pub(super) struct Fields {
    fields: Map<String, Value>,
    seed: &'static [&'static str],
}

impl Fields {
    /// Moves parameters to their places. `seed` is where the API takes a seed, or empty if it takes none.
    ///
    /// # Errors
    /// A parameter is wrong, given twice, or ours.
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

    /// Sets a field that is ours.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// True when there is nothing to send along.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields of a request. Repeats of one item have different seeds.
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

/// Puts a value where `place` leads, making the objects on the way.
///
/// # Errors
/// There is a value already: the parameter was given twice, by two names.
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

/// Whether answers are to be streamed, which is the default.
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

/// For an API that answers whole: `stream` may say so, and nothing else.
///
/// # Errors
/// It asks for a stream.
pub(super) fn refuse_stream(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    let stream = parameters.remove("stream");
    anyhow::ensure!(
        matches!(stream, None | Some(Value::Bool(false))),
        "the parameter `stream` must be false or absent: providers of this kind are asked for whole answers"
    );
    Ok(())
}

/// Refuses what an API has no place for.
///
/// # Errors
/// One of the names is given.
pub(super) fn refuse(parameters: &Map<String, Value>, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        anyhow::ensure!(
            !parameters.contains_key(*name),
            "the parameter `{name}` has no place in this provider's API; leave it out for this model"
        );
    }
    Ok(())
}

/// `stop` as a list.
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

/// `tools`, in the shape of chat completions; what has another shape is the API's own and stays as it is.
///
/// # Errors
/// It is no list.
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

/// What `tool_choice` says.
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Function(String),
    /// The API's own shape.
    Other(Value),
}

/// `tool_choice`, if it is given.
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

/// What `response_format` asks for.
pub(super) enum Format {
    Text,
    Object,
    Schema {
        name: Option<Value>,
        schema: Value,
        strict: Option<Value>,
    },
}

/// `response_format`, if it is given.
///
/// # Errors
/// It has another shape than chat completions know.
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

/// The instructions, joined, and the conversation without them. For APIs that keep the two apart.
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

/// A request as JSON.
///
/// # Errors
/// It cannot be written.
pub(super) fn to_json(body: &impl serde::Serialize) -> Result<Vec<u8>, CallError> {
    serde_json::to_vec(body).map_err(|error| {
        CallError::new(
            CallErrorKind::Request,
            format!("the request cannot be made: {error}"),
        )
    })
}
