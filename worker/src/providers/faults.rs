//! Classifies errors of providers in all their shapes, beside a status or in place of a response.
//!
//! No single field is decisive: servers put the same word into `type`, `code` or `status`, as a string or a number, or
//! only into the message.

use serde_json::Value;

use super::CallErrorKind;

/// Fields with words that identify the kind of error.
const FIELDS: [&str; 6] = ["type", "code", "status", "status_code", "reason", "error"];
/// Fields with an error message.
const SENTENCES: [&str; 7] = [
    "message", "Message", "msg", "detail", "error", "details", "errors",
];
/// Maximum nesting depth of errors.
const MAX_DEPTH: usize = 4;
/// Words in the errors for an account whose quota or credit is used up.
const USED_UP: [&str; 11] = [
    "insufficient_quota",
    "exceeded_current_quota",
    "billing_hard_limit",
    "billing_not_active",
    "insufficient_balance",
    "insufficient balance",
    "insufficient_credits",
    "insufficient credits",
    "credit balance is too low",
    "exceeded your current quota",
    "payment_required",
];

/// Returns the kind of an error by all its fields; `None` if nothing is recognised.
pub(super) fn kind_of(error: &Value) -> Option<CallErrorKind> {
    let mut found = Vec::new();
    collect(error, 0, &mut found);
    let sentence = message_of(error).unwrap_or_default().to_lowercase();
    if USED_UP.iter().any(|word| sentence.contains(word)) {
        found.push(CallErrorKind::Quota);
    }
    // Some use the same words for a limit per minute, with a time to retry.
    if found.contains(&CallErrorKind::Quota) && names_a_moment(error, 0) {
        return Some(CallErrorKind::RateLimit);
    }
    // By precedence: waiting is right if any field says so, whatever else is said.
    [
        CallErrorKind::Quota,
        CallErrorKind::RateLimit,
        CallErrorKind::Overloaded,
        CallErrorKind::Credential,
        CallErrorKind::Refused,
        CallErrorKind::Server,
    ]
    .into_iter()
    .find(|kind| found.contains(kind))
}

/// Returns the error message, wherever it is.
pub(super) fn message_of(error: &Value) -> Option<String> {
    sentence(error, 0)
}

fn sentence(error: &Value, depth: usize) -> Option<String> {
    if depth > MAX_DEPTH {
        return None;
    }
    match error {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Array(list) => list.iter().find_map(|inner| sentence(inner, depth + 1)),
        Value::Object(fields) => SENTENCES
            .iter()
            .find_map(|name| sentence(fields.get(*name)?, depth + 1)),
        _ => None,
    }
}

fn collect(error: &Value, depth: usize, found: &mut Vec<CallErrorKind>) {
    if depth > MAX_DEPTH {
        return;
    }
    match error {
        Value::Array(list) => {
            for inner in list {
                collect(inner, depth + 1, found);
            }
        }
        Value::Object(fields) => {
            for value in FIELDS.iter().filter_map(|name| fields.get(*name)) {
                match value {
                    Value::Number(number) => found.extend(number.as_i64().and_then(of_status)),
                    Value::String(word) => found.extend(of_word(word)),
                    inner => collect(inner, depth + 1, found),
                }
            }
        }
        _ => {}
    }
}

/// Returns whether an error says when to retry, as Google's details do.
fn names_a_moment(error: &Value, depth: usize) -> bool {
    let inside = |inner: &Value| depth < MAX_DEPTH && names_a_moment(inner, depth + 1);
    match error {
        Value::Array(list) => list.iter().any(inside),
        Value::Object(fields) => {
            fields.contains_key("retryDelay")
                || ["error", "details"]
                    .iter()
                    .any(|name| fields.get(*name).is_some_and(inside))
        }
        _ => false,
    }
}

/// Returns the kind of an HTTP status.
pub(super) fn of_status(status: i64) -> Option<CallErrorKind> {
    Some(match status {
        402 => CallErrorKind::Quota,
        429 => CallErrorKind::RateLimit,
        // 498 is Groq's: its cheaper tier has no capacity at the moment.
        498 | 503 | 529 => CallErrorKind::Overloaded,
        401 | 403 => CallErrorKind::Credential,
        408 | 409 | 500..=599 => CallErrorKind::Server,
        400..=499 => CallErrorKind::Refused,
        _ => return None,
    })
}

fn of_word(word: &str) -> Option<CallErrorKind> {
    if let Ok(status) = word.trim().parse() {
        return of_status(status);
    }
    let word = word.trim().to_lowercase();
    if USED_UP.iter().any(|used_up| word.contains(used_up)) {
        return Some(CallErrorKind::Quota);
    }
    let says = |words: &[&str]| words.iter().any(|part| word.contains(part));
    if says(&[
        "rate_limit",
        "ratelimit",
        "too_many_requests",
        "resource_exhausted",
        "throttl",
    ]) {
        Some(CallErrorKind::RateLimit)
    } else if says(&["overloaded", "unavailable", "capacity"]) {
        Some(CallErrorKind::Overloaded)
    } else if says(&[
        "authentication",
        "permission",
        "api_key",
        "unauthenticated",
        "unauthorized",
        "forbidden",
    ]) {
        Some(CallErrorKind::Credential)
    } else if says(&[
        "invalid",
        "not_found",
        "bad_request",
        "badrequest",
        "context_length",
        "unsupported",
        "unprocessable",
    ]) {
        Some(CallErrorKind::Refused)
    } else if says(&["server_error", "internal", "timeout", "bad_gateway"]) {
        Some(CallErrorKind::Server)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_counts_and_numbers_are_statuses() {
        use CallErrorKind::{Credential, Overloaded, Quota, RateLimit, Refused, Server};
        for (error, expect) in [
            (
                json!({"message": "Provider returned error", "code": 429}),
                Some(RateLimit),
            ),
            (
                json!({"type": "tokens", "code": "rate_limit_exceeded"}),
                Some(RateLimit),
            ),
            (
                json!({"type": "error", "error": {"type": "rate_limit_error"}}),
                Some(RateLimit),
            ),
            (
                json!({"type": "requests", "code": "insufficient_quota"}),
                Some(Quota),
            ),
            (
                json!({"code": 429, "message": "You exceeded your current quota, please check your plan"}),
                Some(Quota),
            ),
            (
                json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota",
                    "details": [{"@type": "QuotaFailure"}, {"retryDelay": "34s"}]}}]),
                Some(RateLimit),
            ),
            (json!({"type": "exceeded_current_quota_error"}), Some(Quota)),
            (
                json!({"type": "invalid_request_error", "message": "Your credit balance is too low"}),
                Some(Quota),
            ),
            (json!({"code": 402}), Some(Quota)),
            (json!({"code": "429"}), Some(RateLimit)),
            (
                json!({"status": "RESOURCE_EXHAUSTED", "code": 429}),
                Some(RateLimit),
            ),
            (
                json!({"status": "UNAVAILABLE", "code": 503}),
                Some(Overloaded),
            ),
            (json!({"type": "overloaded_error"}), Some(Overloaded)),
            (
                json!({"code": 400, "type": "BadRequestError"}),
                Some(Refused),
            ),
            (json!({"code": 401}), Some(Credential)),
            (json!({"code": 502}), Some(Server)),
            (json!({"object": "error", "code": 500}), Some(Server)),
            (json!({"code": 200}), None),
            (json!("the engine is dead"), None),
            (json!(true), None),
        ] {
            assert_eq!(kind_of(&error), expect, "{error}");
        }
    }

    #[test]
    fn the_sentence_is_found_in_every_shape() {
        for (error, expect) in [
            (json!("boom"), Some("boom")),
            (json!({"message": "boom"}), Some("boom")),
            (json!({"error": {"message": "boom"}}), Some("boom")),
            (json!({"error": "boom"}), Some("boom")),
            (json!([{"error": {"message": "boom"}}]), Some("boom")),
            (
                json!({"detail": [{"loc": ["body"], "msg": "boom"}]}),
                Some("boom"),
            ),
            (json!({"message": "", "detail": "boom"}), Some("boom")),
            (json!({"code": 7}), None),
        ] {
            assert_eq!(message_of(&error).as_deref(), expect, "{error}");
        }
    }
}
