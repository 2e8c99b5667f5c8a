//! Parameters of models whose names every API knows: a value that none of them takes is refused before a call is paid.
//!
//! What is not known here is the provider's business, and so is what a provider makes of a value that is possible.

use serde_json::{Map, Value};

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A whole number of at least so much.
    Whole(i64),
    /// A number between two.
    Number(f64, f64),
    Bool,
    Text,
    /// A text, or a list of texts.
    Texts,
    List,
    Map,
    /// A truth value, or a whole number of at least 0.
    BoolOrWhole,
    /// A text or an object.
    TextOrMap,
}

const KNOWN: [(&str, Kind); 24] = [
    ("frequency_penalty", Kind::Number(-2.0, 2.0)),
    ("logit_bias", Kind::Map),
    ("logprobs", Kind::BoolOrWhole),
    ("max_completion_tokens", Kind::Whole(1)),
    ("max_output_tokens", Kind::Whole(1)),
    ("max_tokens", Kind::Whole(1)),
    ("min_p", Kind::Number(0.0, 1.0)),
    ("parallel_tool_calls", Kind::Bool),
    ("presence_penalty", Kind::Number(-2.0, 2.0)),
    ("reasoning_effort", Kind::Text),
    ("repetition_penalty", Kind::Number(0.0, f64::MAX)),
    ("response_format", Kind::Map),
    ("seed", Kind::Whole(i64::MIN)),
    ("service_tier", Kind::Text),
    ("stop", Kind::Texts),
    ("stream", Kind::Bool),
    ("stream_options", Kind::Map),
    // Some APIs take more than the 2 of others.
    ("temperature", Kind::Number(0.0, 100.0)),
    ("tool_choice", Kind::TextOrMap),
    ("tools", Kind::List),
    ("top_k", Kind::Whole(-1)),
    ("top_logprobs", Kind::Whole(0)),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("user", Kind::Text),
];

/// Says which parameter has a value that cannot be, if one has.
pub(super) fn wrong_parameter(parameters: &Map<String, Value>) -> Option<String> {
    parameters.iter().find_map(|(name, value)| {
        let (_, kind) = KNOWN.iter().find(|(known, _)| known == name)?;
        // Some clients send null for what they leave to the provider.
        if value.is_null() || kind.takes(value) {
            return None;
        }
        let shown: String = value.to_string().chars().take(60).collect();
        Some(format!(
            "the parameter `{name}` must be {}, and is {shown}",
            kind.words()
        ))
    })
}

impl Kind {
    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Whole(least) => is_whole(value, least),
            Self::Number(low, high) => value
                .as_f64()
                .is_some_and(|number| (low..=high).contains(&number)),
            Self::Bool => value.is_boolean(),
            Self::Text => value.is_string(),
            Self::Texts => {
                value.is_string()
                    || value
                        .as_array()
                        .is_some_and(|texts| texts.iter().all(Value::is_string))
            }
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
            Self::BoolOrWhole => value.is_boolean() || is_whole(value, 0),
            Self::TextOrMap => value.is_string() || value.is_object(),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Whole(i64::MIN) => "a whole number".to_owned(),
            Self::Whole(least) => format!("a whole number of at least {least}"),
            Self::Number(low, f64::MAX) => format!("a number of at least {low}"),
            Self::Number(low, high) => format!("a number between {low} and {high}"),
            Self::Bool => "true or false".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Texts => "a text or a list of texts".to_owned(),
            Self::List => "a list".to_owned(),
            Self::Map => "an object".to_owned(),
            Self::BoolOrWhole => "true, false or a whole number".to_owned(),
            Self::TextOrMap => "a text or an object".to_owned(),
        }
    }
}

/// Whether a value is a whole number, `100.0` included: JSON knows one kind of numbers.
fn is_whole(value: &Value, least: i64) -> bool {
    if let Some(number) = value.as_i64() {
        return number >= least;
    }
    #[expect(clippy::cast_precision_loss, reason = "the least numbers are small")]
    value
        .as_f64()
        .is_some_and(|number| number.fract() == 0.0 && number >= least as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_api_takes_is_refused() {
        let check = |parameters: Value, expect: Option<&str>| {
            let found = wrong_parameter(parameters.as_object().unwrap());
            match expect {
                None => assert_eq!(found, None, "{parameters}"),
                Some(part) => assert!(
                    found.as_deref().is_some_and(|found| found.contains(part)),
                    "{parameters}: {found:?}"
                ),
            }
        };
        check(json!({}), None);
        check(
            json!({"max_tokens": 100, "temperature": 0, "top_p": 0.9, "seed": -7}),
            None,
        );
        check(
            json!({"max_tokens": 100.0, "stop": ["a"], "top_k": -1, "temperature": null}),
            None,
        );
        check(json!({"unheard_of": "abc"}), None);
        check(
            json!({"max_tokens": "abc"}),
            Some("`max_tokens` must be a whole number of at least 1, and is \"abc\""),
        );
        check(json!({"max_tokens": "100"}), Some("and is \"100\""));
        check(json!({"max_completion_tokens": 0}), Some("at least 1"));
        check(json!({"max_tokens": 1.5}), Some("whole number"));
        check(
            json!({"temperature": "hot"}),
            Some("a number between 0 and 100"),
        );
        check(json!({"temperature": -1}), Some("between"));
        check(json!({"top_p": 2}), Some("between 0 and 1"));
        check(json!({"stop": [1]}), Some("list of texts"));
        check(json!({"stream": "yes"}), Some("true or false"));
        check(json!({"tools": {}}), Some("a list"));
        check(json!({"response_format": "json"}), Some("an object"));
    }
}
