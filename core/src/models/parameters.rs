//! Validates parameters of models that are known in every API: a value that no API accepts is refused before a call is
//! paid for.
//!
//! Unknown parameters, and the meaning of possible values, are left to the provider.

use serde_json::{Map, Value};

/// The type of a parameter.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// An integer of at least this value.
    Whole(i64),
    /// A number in this range.
    Number(f64, f64),
    Bool,
    Text,
    /// A text, or a list of texts.
    Texts,
    List,
    Map,
    /// A boolean, or an integer of at least 0.
    BoolOrWhole,
    /// A text or an object.
    TextOrMap,
    /// A list of texts.
    TextList,
    /// A boolean or an object.
    BoolOrMap,
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
    // Some APIs accept more than 2, the maximum of others.
    ("temperature", Kind::Number(0.0, 100.0)),
    ("tool_choice", Kind::TextOrMap),
    ("tools", Kind::List),
    ("top_k", Kind::Whole(-1)),
    ("top_logprobs", Kind::Whole(0)),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("user", Kind::Text),
];

/// Nested parameters of single providers' APIs, by path.
const WITHIN: [(&[&str], Kind); 28] = [
    (&["generationConfig"], Kind::Map),
    (
        &["generationConfig", "frequencyPenalty"],
        Kind::Number(-2.0, 2.0),
    ),
    (&["generationConfig", "logprobs"], Kind::Whole(0)),
    (&["generationConfig", "maxOutputTokens"], Kind::Whole(1)),
    (
        &["generationConfig", "presencePenalty"],
        Kind::Number(-2.0, 2.0),
    ),
    (&["generationConfig", "responseLogprobs"], Kind::Bool),
    (&["generationConfig", "responseMimeType"], Kind::Text),
    (&["generationConfig", "seed"], Kind::Whole(i64::MIN)),
    (&["generationConfig", "stopSequences"], Kind::TextList),
    (
        &["generationConfig", "temperature"],
        Kind::Number(0.0, 100.0),
    ),
    (&["generationConfig", "thinkingConfig"], Kind::Map),
    (
        &["generationConfig", "thinkingConfig", "includeThoughts"],
        Kind::Bool,
    ),
    (
        &["generationConfig", "thinkingConfig", "thinkingBudget"],
        Kind::Whole(-1),
    ),
    (
        &["generationConfig", "thinkingConfig", "thinkingLevel"],
        Kind::Text,
    ),
    (&["generationConfig", "topK"], Kind::Whole(1)),
    (&["generationConfig", "topP"], Kind::Number(0.0, 1.0)),
    (&["inferenceConfig"], Kind::Map),
    (&["inferenceConfig", "maxTokens"], Kind::Whole(1)),
    (&["inferenceConfig", "stopSequences"], Kind::TextList),
    (
        &["inferenceConfig", "temperature"],
        Kind::Number(0.0, 100.0),
    ),
    (&["inferenceConfig", "topP"], Kind::Number(0.0, 1.0)),
    (&["output_config"], Kind::Map),
    (&["output_config", "effort"], Kind::Text),
    (&["reasoning", "effort"], Kind::Text),
    (&["reasoning", "max_tokens"], Kind::Whole(1)),
    (&["thinking"], Kind::BoolOrMap),
    (&["thinking", "budget_tokens"], Kind::Whole(1)),
    (&["thinking", "type"], Kind::Text),
];

/// The parameters of simulated models; all others are refused, so that a typing error is noticed.
const SIMULATED: [(&str, Kind); 5] = [
    ("fault_rate", Kind::Number(0.0, 1.0)),
    ("faults", Kind::Texts),
    ("latency", Kind::Bool),
    ("max_tokens", Kind::Whole(1)),
    ("temperature", Kind::Number(0.0, 100.0)),
];

/// The error of the first parameter that a simulated model does not accept.
pub(super) fn wrong_simulated_parameter(parameters: &Map<String, Value>) -> Option<String> {
    parameters.iter().find_map(|(name, value)| {
        let Some((_, kind)) = SIMULATED.iter().find(|(known, _)| known == name) else {
            let shown: String = name.chars().take(60).collect();
            let known = SIMULATED.map(|(known, _)| known);
            let nearest = known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, &shown), known))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|(one, _), (other, _)| one.total_cmp(other));
            let hint = nearest.map_or_else(String::new, |(_, known)| {
                format!(" (did you mean `{known}`?)")
            });
            return Some(format!(
                "simulated models have no parameter `{shown}`{hint}; they have {}",
                known.join(", ")
            ));
        };
        let is_list = matches!(kind, Kind::Texts) && value.is_string();
        if kind.takes(value) && !is_list {
            return None;
        }
        let shown: String = value.to_string().chars().take(60).collect();
        Some(format!(
            "the parameter `{name}` must be {}, and is {shown}",
            kind.words()
        ))
    })
}

/// The error of the first parameter with an impossible value; nested parameters are named by their full path.
pub(super) fn wrong_parameter(parameters: &Map<String, Value>) -> Option<String> {
    let known = KNOWN.iter().map(|(name, kind)| (vec![*name], *kind));
    let within = WITHIN.iter().map(|(path, kind)| (path.to_vec(), *kind));
    known.chain(within).find_map(|(path, kind)| {
        let value = value_at(parameters, &path)?;
        // Some clients send null for parameters that they leave to the provider.
        if value.is_null() || kind.takes(value) {
            return None;
        }
        let shown: String = value.to_string().chars().take(60).collect();
        Some(format!(
            "the parameter `{}` must be {}, and is {shown}",
            path.join("."),
            kind.words()
        ))
    })
}

/// The value at a path, if every step but the last is an object.
fn value_at<'v>(parameters: &'v Map<String, Value>, path: &[&str]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    let value = parameters.get(*first)?;
    rest.iter().try_fold(value, |value, name| value.get(*name))
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
            Self::TextList => value.is_array() && Self::Texts.takes(value),
            Self::BoolOrMap => value.is_boolean() || value.is_object(),
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
            Self::TextList => "a list of texts".to_owned(),
            Self::BoolOrMap => "true, false or an object".to_owned(),
        }
    }
}

/// Whether a value is an integer of at least `least`; `100.0` is one, because JSON has only one type of numbers.
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
    fn what_no_simulated_model_takes_is_refused() {
        let check = |parameters: Value, expect: Option<&str>| {
            let found = wrong_simulated_parameter(parameters.as_object().unwrap());
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
            json!({"fault_rate": 0.5, "faults": ["reset"], "latency": false, "max_tokens": 9, "temperature": 1}),
            None,
        );
        check(
            json!({"temprature": 1}),
            Some("`temprature` (did you mean `temperature`?)"),
        );
        check(json!({"seed": 1}), Some("they have fault_rate, faults"));
        check(json!({"fault_rate": 2}), Some("between 0 and 1"));
        check(json!({"latency": "no"}), Some("true or false"));
    }

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
        // Nested parameters of single APIs are named by their path.
        check(
            json!({"generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"thinkingBudget": -1}}}),
            None,
        );
        check(
            json!({"inferenceConfig": {"maxTokens": 9, "stopSequences": ["a"]}, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
            None,
        );
        check(json!({"generationConfig": null, "thinking": false}), None);
        check(
            json!({"generationConfig": {"maxOutputTokens": "abc"}}),
            Some(
                "`generationConfig.maxOutputTokens` must be a whole number of at least 1, and is \"abc\"",
            ),
        );
        check(
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": "much"}}}),
            Some("`generationConfig.thinkingConfig.thinkingBudget`"),
        );
        check(
            json!({"inferenceConfig": {"maxTokens": "x"}}),
            Some("`inferenceConfig.maxTokens`"),
        );
        check(
            json!({"inferenceConfig": {"stopSequences": "a"}}),
            Some("a list of texts"),
        );
        check(json!({"inferenceConfig": 2}), Some("an object"));
        check(
            json!({"thinking": "x"}),
            Some("`thinking` must be true, false or an object"),
        );
        check(
            json!({"thinking": {"budget_tokens": "x"}}),
            Some("`thinking.budget_tokens`"),
        );
    }
}
