//! Declarations of a version besides its text: variables and recommended model parameters.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{FieldError, texts, written_fields::or_default};

/// Maximum number of variables of a version.
pub(super) const MAX_VARIABLES: usize = 100;
/// Maximum size of a default, in bytes of JSON.
const MAX_DEFAULT_BYTES: usize = 16 * 1024;

/// A variable of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The name in the template.
    #[schema(example = "topic")]
    pub name: String,
    /// The type of its value; absent: text.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: VariableType,
    /// What the value should be; at most 1,000 characters.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub description: String,
    /// The value if none is given; without a default, the variable is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The type of a variable's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VariableType {
    /// A string.
    #[default]
    Text,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    List,
    /// An object.
    Object,
}

/// The model parameters that an author recommends. A run only uses its own parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Makes responses reproducible if the model supports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Texts that end the response; at most 8 of at most 100 characters.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub stop: Vec<String>,
}

impl Parameters {
    /// True if no parameter is recommended.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl VariableType {
    /// Whether a value has this type.
    #[must_use]
    pub fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    /// The type with its article, for messages.
    pub(crate) fn described(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// The defaults of variables that have one.
#[must_use]
pub fn defaults(variables: &[Variable]) -> Map<String, Value> {
    let named = |variable: &Variable| Some((variable.name.clone(), variable.default.clone()?));
    variables.iter().filter_map(named).collect()
}

/// The errors of declared variables.
pub(super) fn check_variables(variables: &[Variable]) -> Vec<FieldError> {
    if variables.len() > MAX_VARIABLES {
        let message = format!("must be at most {MAX_VARIABLES}");
        return vec![FieldError::new("variables", message)];
    }
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for (at, variable) in variables.iter().enumerate() {
        let mut refuse = |field: &str, message: String| {
            wrong.push(FieldError::new(format!("variables[{at}].{field}"), message));
        };
        if !is_name(&variable.name) {
            refuse("name", "must be a letter or an underscore and then letters, digits and underscores, at most 64".into());
        } else if !names.insert(variable.name.as_str()) {
            refuse("name", "is declared twice".into());
        }
        let description = &variable.description;
        if description.chars().count() > 1_000 || !texts::is_plain_text(description) {
            refuse(
                "description",
                "must have at most 1,000 characters, and no control characters but line breaks and tabs".into(),
            );
        }
        if let Some(default) = &variable.default {
            if !variable.kind.holds(default) {
                refuse(
                    "default",
                    format!("must be {}, as its type says", variable.kind.described()),
                );
            } else if default.to_string().len() > MAX_DEFAULT_BYTES {
                refuse(
                    "default",
                    format!("must have at most {MAX_DEFAULT_BYTES} bytes"),
                );
            }
        }
    }
    wrong
}

/// The errors of recommended parameters.
pub(super) fn check_parameters(parameters: &Parameters) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let mut within = |name: &str, value: Option<f64>, low: f64, high: f64| {
        if value.is_some_and(|value| !(low..=high).contains(&value)) {
            let message = format!("must be between {low} and {high}");
            wrong.push(FieldError::new(format!("parameters.{name}"), message));
        }
    };
    within("temperature", parameters.temperature, 0.0, 2.0);
    within("top_p", parameters.top_p, 0.0, 1.0);
    within("frequency_penalty", parameters.frequency_penalty, -2.0, 2.0);
    within("presence_penalty", parameters.presence_penalty, -2.0, 2.0);
    if parameters.max_tokens.is_some_and(|tokens| tokens < 1) {
        wrong.push(FieldError::new(
            "parameters.max_tokens",
            "must be at least 1",
        ));
    }
    let is_stop = |stop: &String| (1..=100).contains(&stop.chars().count());
    if parameters.stop.len() > 8 || !parameters.stop.iter().all(is_stop) {
        let message = "must be at most 8 texts of 1 to 100 characters";
        wrong.push(FieldError::new("parameters.stop", message));
    }
    wrong
}

/// Whether a template can use the text as a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(wrong: &[FieldError]) -> Vec<&str> {
        wrong.iter().map(|field| field.path.as_str()).collect()
    }

    #[test]
    fn a_wrong_declaration_is_named() {
        let check = |variables: Value, expect: &[&str]| {
            let variables: Vec<Variable> = serde_json::from_value(variables).unwrap();
            assert_eq!(paths(&check_variables(&variables)), expect);
        };
        check(
            json!([{"name": "a"}, {"name": "_b1", "type": "list", "default": []}]),
            &[],
        );
        check(json!([{"name": "1a"}]), &["variables[0].name"]);
        check(json!([{"name": "a b"}]), &["variables[0].name"]);
        check(
            json!([{"name": "a"}, {"name": "a"}]),
            &["variables[1].name"],
        );
        check(
            json!([{"name": "a", "default": 3}]),
            &["variables[0].default"],
        );
        check(
            json!([{"name": "a", "type": "boolean", "default": "yes"}]),
            &["variables[0].default"],
        );
        check(
            json!([{"name": "a", "description": "ü".repeat(1_001)}]),
            &["variables[0].description"],
        );
        check(
            json!([{"name": "a", "default": "x".repeat(20_000)}]),
            &["variables[0].default"],
        );
        check(json!(vec![json!({"name": "a"}); 101]), &["variables"]);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let check = |parameters: Value, expect: &[&str]| {
            let parameters: Parameters = serde_json::from_value(parameters).unwrap();
            assert_eq!(paths(&check_parameters(&parameters)), expect);
        };
        check(
            json!({"temperature": 0.7, "top_p": 1.0, "max_tokens": 1, "stop": ["\n"]}),
            &[],
        );
        check(json!({"temperature": 2.1}), &["parameters.temperature"]);
        check(json!({"top_p": -0.1}), &["parameters.top_p"]);
        check(json!({"max_tokens": 0}), &["parameters.max_tokens"]);
        check(json!({"stop": [""]}), &["parameters.stop"]);
    }
}
