//! Lists of model parameters whose cost a budget can bound, and of parameters that only administrators may send.
//!
//! A budget reserves the most expensive response that the length limit allows, at the model's price. A parameter that
//! makes a call cost more (discarded responses, searches, audio, more expensive service tiers, another model) would
//! break the budget, and a provider may add such a parameter any day. So there is no list of expensive parameters, but
//! one for each kind of provider of those known to change only the response. docs/PROVIDERS.md lists them.

use serde_json::{Map, Value};

use super::ProviderKind;
use crate::FieldError;

/// Parameters that redirect a call or carry a credential; each is known to some client or server library. They are
/// compared without regard to case, dashes and underscores.
const DIVERTING: [&str; 24] = [
    "apibase",
    "apikey",
    "apitype",
    "apiversion",
    "authorization",
    "azureadtoken",
    "azureendpoint",
    "baseurl",
    "credential",
    "credentials",
    "customllmprovider",
    "defaultheaders",
    "endpoint",
    "extrabody",
    "extraheaders",
    "extraquery",
    "headers",
    "host",
    "httpclient",
    "organization",
    "proxy",
    "region",
    "serverurl",
    "url",
];

/// The values of a parameter for which its cost is known.
enum Rule {
    /// Any value: its bytes are counted as tokens, and it changes only the response.
    Any,
    /// An object with only these fields.
    Object(&'static [(&'static str, Rule)]),
    /// A list of values that match the rule.
    List(&'static Rule),
    /// One of these words, or a list of them.
    Words(&'static [&'static str]),
    /// A function that the model may call, in the format of any API. Tools that the provider runs itself cost extra.
    Function,
    /// The choice of the function to call.
    Choice,
}

use Rule::{Any, Choice, Function, List, Object, Words};

/// The parameters of chat completions, which are translated for every kind's API.
const COMMON: &[(&str, Rule)] = &[
    ("frequency_penalty", Any),
    ("logprobs", Any),
    ("max_completion_tokens", Any),
    ("max_tokens", Any),
    ("parallel_tool_calls", Any),
    ("presence_penalty", Any),
    ("reasoning_effort", Any),
    ("response_format", Any),
    ("seed", Any),
    ("stop", Any),
    ("stream", Any),
    ("temperature", Any),
    ("tool_choice", Choice),
    ("tools", List(&Function)),
    ("top_k", Any),
    ("top_logprobs", Any),
    ("top_p", Any),
];

const CHAT: &[(&str, Rule)] = &[
    ("logit_bias", Any),
    ("min_p", Any),
    ("modalities", Words(&["text"])),
    ("repetition_penalty", Any),
    ("service_tier", Words(&["default"])),
    ("store", Any),
    ("user", Any),
    ("verbosity", Any),
];

const RESPONSES: &[(&str, Rule)] = &[
    (
        "include",
        Words(&[
            "message.output_text.logprobs",
            "reasoning.encrypted_content",
        ]),
    ),
    ("max_output_tokens", Any),
    (
        "reasoning",
        Object(&[("effort", Any), ("generate_summary", Any), ("summary", Any)]),
    ),
    ("service_tier", Words(&["default"])),
    ("store", Any),
    ("text", Object(&[("format", Any), ("verbosity", Any)])),
    ("truncation", Any),
    ("user", Any),
];

/// Reasoning counts against `max_tokens` here.
const ANTHROPIC: &[(&str, Rule)] = &[
    ("metadata", Object(&[("user_id", Any)])),
    ("output_config", Object(&[("effort", Any), ("format", Any)])),
    ("service_tier", Words(&["standard_only"])),
    ("stop_sequences", Any),
    (
        "thinking",
        Object(&[("budget_tokens", Any), ("display", Any), ("type", Any)]),
    ),
];

/// Reasoning counts against `maxOutputTokens` here.
const GEMINI: &[(&str, Rule)] = &[
    (
        "generationConfig",
        Object(&[
            ("frequencyPenalty", Any),
            ("logprobs", Any),
            ("maxOutputTokens", Any),
            ("presencePenalty", Any),
            ("responseJsonSchema", Any),
            ("responseLogprobs", Any),
            ("responseMimeType", Any),
            ("responseModalities", Words(&["TEXT"])),
            ("responseSchema", Any),
            ("seed", Any),
            ("stopSequences", Any),
            ("temperature", Any),
            (
                "thinkingConfig",
                Object(&[
                    ("includeThoughts", Any),
                    ("thinkingBudget", Any),
                    ("thinkingLevel", Any),
                ]),
            ),
            ("topK", Any),
            ("topP", Any),
        ]),
    ),
    ("safetySettings", Any),
    (
        "toolConfig",
        Object(&[(
            "functionCallingConfig",
            Object(&[("allowedFunctionNames", Any), ("mode", Any)]),
        )]),
    ),
];

const BEDROCK: &[(&str, Rule)] = &[
    (
        "inferenceConfig",
        Object(&[
            ("maxTokens", Any),
            ("stopSequences", Any),
            ("temperature", Any),
            ("topP", Any),
        ]),
    ),
    (
        "outputConfig",
        Object(&[("effort", Any), ("textFormat", Any)]),
    ),
    (
        "toolConfig",
        Object(&[("toolChoice", Choice), ("tools", List(&Function))]),
    ),
];

/// The parameters whose cost a budget cannot bound, as paths such as `generationConfig.speechConfig`.
#[must_use]
pub fn unknown_costs(kind: ProviderKind, parameters: &Map<String, Value>) -> Vec<String> {
    let own = match kind {
        ProviderKind::Openai | ProviderKind::AzureOpenai => CHAT,
        ProviderKind::OpenaiResponses => RESPONSES,
        ProviderKind::Anthropic => ANTHROPIC,
        ProviderKind::Gemini => GEMINI,
        ProviderKind::Bedrock => BEDROCK,
        // Its template decides what is sent, so only the common names have a known meaning.
        ProviderKind::Http => &[],
        // All calls are free.
        ProviderKind::Echo | ProviderKind::Simulated => return Vec::new(),
    };
    let mut unknown = Vec::new();
    for (name, value) in parameters {
        let rule = own.iter().chain(COMMON).find(|(known, _)| known == name);
        match rule {
            Some((_, rule)) => look(rule, name, value, &mut unknown),
            None => unknown.push(name.clone()),
        }
    }
    unknown
}

/// The names of parameters that only an administrator may send: those that redirect a call or carry a credential.
#[must_use]
pub fn diverting(parameters: &Map<String, Value>) -> Vec<&str> {
    let plain = |name: &str| -> String {
        let letters = name.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' '));
        letters.flat_map(char::to_lowercase).collect()
    };
    let leads_away = |name: &&str| {
        let plain = plain(name);
        DIVERTING.contains(&plain.as_str())
            || plain.starts_with("aws")
            || plain.starts_with("vertex")
    };
    parameters
        .keys()
        .map(String::as_str)
        .filter(leads_away)
        .collect()
}

/// The errors of a user's model at `path`: parameters that only an administrator may send, and under a budget also
/// those without a known cost.
pub(crate) fn refuse_parameters(
    path: &str,
    kind: ProviderKind,
    parameters: &Map<String, Value>,
    budgeted: bool,
) -> Vec<FieldError> {
    let at = |name: &str| {
        let name: String = name.chars().take(100).collect();
        format!("{path}.parameters.{name}")
    };
    let diverting = diverting(parameters);
    let mut wrong: Vec<FieldError> = diverting
        .iter()
        .map(|name| {
            let message = "may only be sent by administrators: it can lead a call elsewhere or carry a credential; leave it out";
            FieldError::new(at(name), message)
        })
        .collect();
    if budgeted {
        let unknown = unknown_costs(kind, parameters);
        let unknown = unknown
            .iter()
            .filter(|name| !diverting.contains(&name.as_str()));
        wrong.extend(unknown.map(|name| {
            let message = "has a cost that a budget cannot bound, so only administrators may send it; leave it out";
            FieldError::new(at(name), message)
        }));
    }
    wrong.truncate(20);
    wrong
}

fn look(rule: &Rule, path: &str, value: &Value, unknown: &mut Vec<String>) {
    let known = match (rule, value) {
        // Null leaves the parameter unset.
        (_, Value::Null) | (Any, _) => true,
        (Object(fields), Value::Object(values)) => {
            for (name, value) in values {
                let path = format!("{path}.{name}");
                match fields.iter().find(|(known, _)| known == name) {
                    Some((_, rule)) => look(rule, &path, value, unknown),
                    None => unknown.push(path),
                }
            }
            true
        }
        (List(rule), Value::Array(values)) => {
            for (at, value) in values.iter().enumerate() {
                look(rule, &format!("{path}[{at}]"), value, unknown);
            }
            true
        }
        (Words(words), Value::String(word)) => words.contains(&word.as_str()),
        (Words(words), Value::Array(values)) => values
            .iter()
            .all(|value| value.as_str().is_some_and(|word| words.contains(&word))),
        (Function, value) => is_function(value),
        (Choice, value) => is_choice(value),
        _ => false,
    };
    if !known {
        unknown.push(path.to_owned());
    }
}

/// Whether a tool is a function that the model may call and the provider does not run, in the format of any API.
fn is_function(tool: &Value) -> bool {
    let Some(fields) = tool.as_object() else {
        return false;
    };
    let only = |object: &Map<String, Value>, names: &[&str]| {
        object.keys().all(|name| names.contains(&name.as_str()))
    };
    let described = |function: &Value| {
        let names = ["name", "description", "parameters", "strict"];
        let fields = function.as_object();
        fields.is_some_and(|fields| only(fields, &names) && is_name(fields.get("name")))
    };
    let kind = fields.get("type").and_then(Value::as_str);
    // Chat completions.
    if let Some(function) = fields.get("function") {
        return only(fields, &["type", "function"])
            && (kind == Some("function") || !fields.contains_key("type"))
            && described(function);
    }
    // Gemini.
    if let Some(Value::Array(functions)) = fields.get("functionDeclarations") {
        let names = ["name", "description", "parameters", "parametersJsonSchema"];
        let described = |function: &Value| {
            let fields = function.as_object();
            fields.is_some_and(|fields| only(fields, &names) && is_name(fields.get("name")))
        };
        return fields.len() == 1 && functions.iter().all(described);
    }
    // Bedrock.
    if let Some(Value::Object(function)) = fields.get("toolSpec") {
        let names = ["name", "description", "inputSchema", "strict"];
        return fields.len() == 1 && only(function, &names) && is_name(function.get("name"));
    }
    // The responses API and Anthropic.
    let names = [
        "type",
        "name",
        "description",
        "parameters",
        "strict",
        "input_schema",
    ];
    let own = match kind {
        Some("function" | "custom") => true,
        None => !fields.contains_key("type") && fields.contains_key("input_schema"),
        Some(_) => false,
    };
    own && only(fields, &names) && is_name(fields.get("name"))
}

/// Whether the name is a plain function name; some servers give names with other characters a special meaning.
fn is_name(name: Option<&Value>) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty() && name.chars().all(plain))
}

/// Whether the choice is a word, or the choice of a function in the format of any API.
fn is_choice(choice: &Value) -> bool {
    match choice {
        Value::String(_) => true,
        Value::Object(fields) => {
            let kinds = ["any", "auto", "function", "none", "tool"];
            let names = [
                "any",
                "auto",
                "disable_parallel_tool_use",
                "function",
                "name",
                "tool",
                "type",
            ];
            let kind = fields.get("type");
            fields.keys().all(|name| names.contains(&name.as_str()))
                && kind.is_none_or(|kind| kind.as_str().is_some_and(|kind| kinds.contains(&kind)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it is called with literals")]
    fn check(kind: ProviderKind, parameters: Value, expect: &[&str]) {
        let parameters = parameters.as_object().cloned().unwrap();
        let found = unknown_costs(kind, &parameters);
        assert_eq!(found, expect, "{kind:?} {parameters:?}");
    }

    #[test]
    fn what_costs_more_than_a_budget_knows_is_found_wherever_it_is() {
        use ProviderKind::{
            Anthropic, AzureOpenai, Bedrock, Gemini, Http, Openai, OpenaiResponses,
        };
        let usual = json!({"temperature": 0, "max_tokens": 9, "stop": ["x"], "seed": 1, "top_p": 1, "reasoning_effort": "low",
            "response_format": {"type": "json_object"}, "tool_choice": {"type": "function", "function": {"name": "a"}},
            "tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}]});
        for kind in [
            Openai,
            AzureOpenai,
            OpenaiResponses,
            Anthropic,
            Gemini,
            Bedrock,
            Http,
        ] {
            check(kind, usual.clone(), &[]);
            for name in [
                "best_of",
                "n",
                "web_search_options",
                "extra_body",
                "base_url",
                "models",
                "plugins",
                "prediction",
                "audio",
                "provider",
                "transforms",
                "data_sources",
                "background",
                "mcp_servers",
                "cachedContent",
                "serviceTier",
                "performanceConfig",
                "additionalModelRequestFields",
                "generation_config",
                "speed",
                "Max_Tokens",
            ] {
                check(kind, json!({name: 1}), &[name]);
            }
            for tool in [
                json!({"type": "web_search"}),
                json!({"type": "web_search_20250305", "name": "web_search"}),
                json!({"type": "mcp", "server_url": "http://x"}),
                json!({"googleSearch": {}}),
                json!({"functionDeclarations": [], "googleSearch": {}}),
                json!({"type": "builtin_function", "function": {"name": "$web_search"}}),
                json!({"type": "function", "function": {"name": "$web_search"}}),
                json!({"name": "a", "input_schema": {}, "cache_control": {"type": "ephemeral"}}),
                json!({"cachePoint": {"type": "default"}}),
                json!("web_search"),
            ] {
                let found = ["tools[1]"];
                check(
                    kind,
                    json!({"tools": [{"function": {"name": "a"}}, tool]}),
                    &found,
                );
            }
            check(kind, json!({"tools": {"type": "web_search"}}), &["tools"]);
            check(
                kind,
                json!({"tool_choice": {"type": "web_search_preview"}}),
                &["tool_choice"],
            );
        }
    }

    #[test]
    fn each_kind_has_fields_that_cost_more() {
        use ProviderKind::{Anthropic, Bedrock, Gemini, Openai, OpenaiResponses, Simulated};
        check(
            Openai,
            json!({"service_tier": "priority"}),
            &["service_tier"],
        );
        check(
            Openai,
            json!({"service_tier": "default", "modalities": ["text"]}),
            &[],
        );
        check(
            Openai,
            json!({"modalities": ["text", "audio"]}),
            &["modalities"],
        );
        check(
            Openai,
            json!({"reasoning": {"max_tokens": 1}, "thinking": {}}),
            &["reasoning", "thinking"],
        );
        check(
            OpenaiResponses,
            json!({"reasoning": {"effort": "low"}, "include": ["web_search_call.results"]}),
            &["include"],
        );
        check(
            OpenaiResponses,
            json!({"tools": [{"type": "function", "name": "a", "parameters": {}}]}),
            &[],
        );
        check(
            Anthropic,
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}, "service_tier": "auto"}),
            &["service_tier"],
        );
        check(
            Anthropic,
            json!({"tools": [{"name": "a", "input_schema": {}}]}),
            &[],
        );
        check(
            Gemini,
            json!({"generationConfig": {"temperature": 0, "candidateCount": 8, "responseModalities": ["TEXT", "AUDIO"]}}),
            &[
                "generationConfig.candidateCount",
                "generationConfig.responseModalities",
            ],
        );
        check(
            Bedrock,
            json!({"toolConfig": {"tools": [{"toolSpec": {"name": "a"}}], "x": 1}}),
            &["toolConfig.x"],
        );
        check(Simulated, json!({"fault_rate": 1}), &[]);
    }

    #[test]
    fn what_leads_a_call_elsewhere_is_known_by_any_spelling() {
        let check = |name: &str, expect: bool| {
            let parameters = Map::from_iter([(name.to_owned(), json!("x"))]);
            assert_eq!(!diverting(&parameters).is_empty(), expect, "{name}");
        };
        for name in [
            "base_url",
            "baseURL",
            "api_key",
            "API-Key",
            "extra_headers",
            "aws_region_name",
            "vertex_project",
            "url",
        ] {
            check(name, true);
        }
        for name in ["temperature", "user", "region_of_interest", "stop"] {
            check(name, false);
        }
    }
}
