//! Rate limits in responses of providers, in all their forms: how long to wait, and how much of a limit remains.
//!
//! Nothing here waits; values that cannot be parsed are ignored.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Maximum plausible time; callers limit it further.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Headers of a limit of requests: the limit, the remainder, and when it is reset; the first complete set counts.
const REQUESTS: [[&str; 3]; 2] = [
    [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ],
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
];
/// The same for tokens; the limit with the smallest remaining fraction counts.
const TOKENS: [[&str; 3]; 4] = [
    [
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ],
    [
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ],
    [
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    [
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ],
];

/// What remains of a provider's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Announced {
    /// The limit of requests.
    pub(crate) requests: Option<Left>,
    /// The limit of tokens; if input and output are counted separately, the one with the smaller remaining fraction.
    pub(crate) tokens: Option<Left>,
}

/// What remains of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Left {
    /// The limit.
    pub(crate) limit: f64,
    /// The remainder.
    pub(crate) remaining: f64,
    /// The time until it is fully replenished.
    pub(crate) reset: Duration,
}

impl Left {
    /// The remaining fraction, 0 to 1.
    pub(crate) fn part(self) -> f64 {
        self.remaining / self.limit
    }
}

/// Parses the limits in a response's headers: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as sent by
/// `OpenAI` and many others, and
/// `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`.
pub(crate) fn announced(headers: &HeaderMap, now: DateTime<Utc>) -> Announced {
    let left = |[limit, remaining, reset]: [&'static str; 3]| {
        let limit = number(text(headers, limit)?).filter(|limit| *limit >= 1.0)?;
        Some(Left {
            limit,
            remaining: number(text(headers, remaining)?)?.clamp(0.0, limit),
            reset: moment(text(headers, reset)?, now)?,
        })
    };
    Announced {
        requests: REQUESTS.into_iter().find_map(left),
        tokens: TOKENS
            .into_iter()
            .filter_map(left)
            .min_by(|one, other| one.part().total_cmp(&other.part())),
    }
}

/// Parses the pause requested by a refusal: `retry-after-ms`, `Retry-After` in seconds or as a date, or `retryDelay` in
/// the details of Google's errors.
pub(crate) fn retry_after(
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Option<Duration> {
    let milliseconds = || {
        let milliseconds = number(text(headers, "retry-after-ms")?)?;
        seconds(milliseconds / 1000.0)
    };
    let header = || {
        let value = text(headers, "retry-after")?;
        number(value)
            .and_then(|number| span_or_moment(number, now))
            .or_else(|| until(DateTime::parse_from_rfc2822(value).ok()?.into(), now))
    };
    milliseconds().or_else(header).or_else(|| google(body))
}

/// `{"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}`, in an
/// array for streamed responses.
fn google(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let details = body
        .pointer("/error/details")
        .or_else(|| body.pointer("/0/error/details"))?;
    let delay = details
        .as_array()?
        .iter()
        .find_map(|detail| detail.get("retryDelay"))?;
    span(delay.as_str()?)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn seconds(seconds: f64) -> Option<Duration> {
    let bounded = seconds.clamp(0.0, LONGEST.as_secs_f64());
    Duration::try_from_secs_f64(bounded).ok()
}

/// Parses a duration such as `6m0s`, a number of seconds, or an RFC 3339 time.
fn moment(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    number(text)
        .and_then(|number| span_or_moment(number, now))
        .or_else(|| span(text))
        .or_else(|| until(DateTime::parse_from_rfc3339(text).ok()?.into(), now))
}

/// A number of seconds; or a Unix time in seconds or milliseconds, if it would be a duration of years.
fn span_or_moment(number: f64, now: DateTime<Utc>) -> Option<Duration> {
    const YEAR: f64 = 366.0 * 86_400.0;
    const MILLISECONDS: f64 = 1e11;
    if number < YEAR {
        return seconds(number);
    }
    let since_1970 = if number < MILLISECONDS {
        number
    } else {
        number / 1000.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "floats saturate when they become integers"
    )]
    let then = DateTime::from_timestamp_millis((since_1970 * 1000.0) as i64)?;
    until(then, now)
}

fn until(then: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    (then - now).max(TimeDelta::zero()).to_std().ok()
}

/// Parses a duration in Go's format: `6m0s`, `1s`, `20ms`, `1h2m3.5s`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count = number(&rest[..digits])?;
        let letters = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| digits + end);
        sum += count
            * match &rest[digits..letters] {
                "d" => 86_400.0,
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    if text.is_empty() { None } else { seconds(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-22T04:00:00Z".parse().unwrap()
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        lines.collect()
    }

    #[test]
    fn reads_what_a_refusal_asks_to_wait() {
        let check = |lines: &[(&'static str, &str)], body: &str, expect: Option<f64>| {
            let wait = retry_after(&headers(lines), body.as_bytes(), now());
            assert_eq!(
                wait.map(|wait| wait.as_secs_f64()),
                expect,
                "{lines:?} {body}"
            );
        };
        check(&[("retry-after", "7")], "", Some(7.0));
        check(&[("retry-after", "0.25")], "", Some(0.25));
        // Times, and implausible durations.
        let moment = now().timestamp() + 90;
        check(&[("retry-after", &moment.to_string())], "", Some(90.0));
        check(&[("retry-after", &format!("{moment}000"))], "", Some(90.0));
        check(&[("retry-after", "1000000000")], "", Some(0.0));
        check(&[("retry-after", "-5")], "", Some(0.0));
        for nonsense in ["NaN", "inf", "soon", "", "1e999"] {
            check(&[("retry-after", nonsense)], "", None);
        }
        check(
            &[("retry-after", "Sun, 22 Nov 2026 04:01:30 GMT")],
            "",
            Some(90.0),
        );
        check(
            &[("retry-after", "Sun, 22 Nov 2026 03:00:00 GMT")],
            "",
            Some(0.0),
        );
        check(&[("retry-after-ms", "2500")], "", Some(2.5));
        check(
            &[("retry-after", "3"), ("retry-after-ms", "2500")],
            "",
            Some(2.5),
        );
        let google = r#"{"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
        check(&[], google, Some(34.5));
        check(&[], &format!("[{google}]"), Some(34.5));
        check(&[("retry-after", "3")], google, Some(3.0));
        check(&[], r#"{"error":{"details":[{"retryDelay":7}]}}"#, None);
        check(&[], "not JSON", None);
    }

    #[test]
    fn reads_spans() {
        for (text, expect) in [
            ("6m0s", Some(360.0)),
            ("1s", Some(1.0)),
            ("20ms", Some(0.02)),
            ("1h2m3.5s", Some(3723.5)),
            ("17.4s", Some(17.4)),
            ("1d", Some(86_400.0)),
            ("0s", Some(0.0)),
            ("", None),
            ("s", None),
            ("6", None),
            ("6x", None),
            ("-6s", None),
            ("6m 0s", None),
            ("1..2s", None),
            ("99999999999999999999h", Some(1e9)),
        ] {
            assert_eq!(span(text).map(|span| span.as_secs_f64()), expect, "{text}");
        }
    }

    #[test]
    fn reads_what_is_left_of_limits() {
        let left = |limit, remaining, reset| {
            Some(Left {
                limit,
                remaining,
                reset: Duration::from_secs_f64(reset),
            })
        };
        let check = |lines: &[(&'static str, &str)], requests, tokens| {
            let expect = Announced { requests, tokens };
            assert_eq!(announced(&headers(lines), now()), expect, "{lines:?}");
        };
        check(
            &[
                ("x-ratelimit-limit-requests", "600"),
                ("x-ratelimit-remaining-requests", "599"),
                ("x-ratelimit-reset-requests", "100ms"),
                ("x-ratelimit-limit-tokens", "150000"),
                ("x-ratelimit-remaining-tokens", "149984"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            left(600.0, 599.0, 0.1),
            left(150_000.0, 149_984.0, 360.0),
        );
        check(
            &[
                ("anthropic-ratelimit-requests-limit", "50"),
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-22T04:00:42Z"),
                ("anthropic-ratelimit-input-tokens-limit", "1000"),
                ("anthropic-ratelimit-input-tokens-remaining", "900"),
                (
                    "anthropic-ratelimit-input-tokens-reset",
                    "2026-11-22T03:59:00Z",
                ),
                ("anthropic-ratelimit-output-tokens-limit", "1000"),
                ("anthropic-ratelimit-output-tokens-remaining", "100"),
                (
                    "anthropic-ratelimit-output-tokens-reset",
                    "2026-11-22T04:00:30.5Z",
                ),
            ],
            left(50.0, 0.0, 42.0),
            left(1000.0, 100.0, 30.5),
        );
        // Some servers send seconds.
        check(
            &[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "70"),
                ("x-ratelimit-reset-requests", "0.5"),
            ],
            left(60.0, 60.0, 0.5),
            None,
        );
        for (limit, remaining, reset) in [
            ("0", "0", "1s"),
            ("many", "1", "1s"),
            ("60", "-", "1s"),
            ("60", "1", "later"),
        ] {
            check(
                &[
                    ("x-ratelimit-limit-requests", limit),
                    ("x-ratelimit-remaining-requests", remaining),
                    ("x-ratelimit-reset-requests", reset),
                ],
                None,
                None,
            );
        }
        check(&[("x-ratelimit-remaining-requests", "5")], None, None);
    }
}
