//! Text for people: numbers with units, and text from a server made safe for a terminal.
//!
//! A server's text may come from a model or another user. It must not move the cursor, change colours or hide other
//! text.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use opb_core::{auth::Visibility, deletion::Deletion, runs::Run};

pub use opb_core::models::parse_dollars;

use crate::tables::layout::Cell;

/// Who may see something.
pub fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private: its owner and administrators see it",
        Visibility::Unlisted => "unlisted: logged-in users who know its address see it",
        Visibility::Public => "public: everybody sees it",
    }
}

/// Reports what happened to something deleted.
pub fn deleted(what: &str, deletion: Deletion) -> String {
    let what = plain(what);
    if deletion.withdrawn {
        format!(
            "withdrew {what}: runs use it; it accepts no more runs, and is deleted with the last of them"
        )
    } else {
        format!("deleted {what}")
    }
}

/// Removes control characters, escape sequences and marks that change the direction of writing.
pub fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' && letters.peek() == Some(&'[') {
            // A control sequence ends with a byte from @ to ~ after its bracket.
            letters.next();
            while letters
                .next_if(|next| !('@'..='~').contains(next))
                .is_some()
            {}
            letters.next();
        } else if matches!(letter, '\n' | '\t') {
            safe.push(' ');
        } else if !letter.is_control() && !hides_text(letter) {
            safe.push(letter);
        }
    }
    safe
}

/// Like [`plain`], but keeps the lines of the text.
pub fn plain_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plain).collect();
    lines.join("\n")
}

/// `82.5 % [77.1, 86.9]`
pub fn score(score: f64, low: f64, high: f64) -> String {
    format!(
        "{:.1} % [{:.1}, {:.1}]",
        score * 100.0,
        low * 100.0,
        high * 100.0
    )
}

/// `1–2`, or `3` for a single rank.
pub fn rank(low: i32, high: i32) -> String {
    if low == high {
        low.to_string()
    } else {
        format!("{low}–{high}")
    }
}

/// Dollars from micro-dollars: `$0.42`, with more digits for small amounts; only zero is `$0.00`.
pub fn dollars(microusd: i64) -> String {
    let sign = if microusd < 0 { "-" } else { "" };
    let amount = microusd.unsigned_abs();
    match amount {
        1..100 => {
            let rest = format!("{amount:06}");
            format!("{sign}$0.{}", rest.trim_end_matches('0'))
        }
        100..1_000_000 if !amount.is_multiple_of(10_000) => {
            format!("{sign}$0.{:04}", ((amount + 50) / 100).min(9_999))
        }
        // Cents, rounded half up, without floating point.
        _ => {
            let cents = (u128::from(amount) + 5_000) / 10_000;
            format!("{sign}${}.{:02}", cents / 100, cents % 100)
        }
    }
}

/// Dollars from micro-dollars that may be fractional.
pub fn small_dollars(microusd: f64) -> String {
    if microusd > 0.0 && microusd < 0.5 {
        return "<$0.000001".to_owned();
    }
    // Far below 2⁶³ micro-dollars, and fractions are not shown.
    #[expect(clippy::cast_possible_truncation, reason = "an amount of money")]
    dollars(microusd.round() as i64)
}

/// The cost of a run; unknown if a model has no price, but a price of zero counts.
pub fn run_cost(run: &Run) -> String {
    match (run.unpriced, run.cost_microusd) {
        (0, cost) => dollars(cost),
        (_, 0) => "cost unknown".to_owned(),
        (_, cost) => format!("at least {}", dollars(cost)),
    }
}

/// `1 error`, `2 errors`
pub fn counted(number: impl Into<i64>, noun: &str) -> String {
    many(number.into(), noun, &format!("{noun}s"))
}

/// `1 retry`, `2 retries`
pub fn many(number: i64, one: &str, several: &str) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { one } else { several }
    )
}

/// A cell for a number; the column is hidden if it is 0 everywhere.
pub fn none_or_count(number: i64) -> Cell {
    if number == 0 {
        Cell::idle("0")
    } else {
        count(number).into()
    }
}

/// `3.3 s`, `125 s`, `12 min 5 s`, `3 h 4 min`
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration is not negative, and not longer than 2⁶³ seconds"
)]
pub fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    if whole < 300 {
        format!("{whole} s")
    } else if whole < 3_600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3_600, whole % 3_600 / 60)
    }
}

/// `12/s`, `20/min`, `3/h`: the rate of a number in some seconds.
pub fn rate(number: f64, seconds: f64) -> String {
    let per_second = number / seconds;
    if per_second >= 10.0 {
        format!("{per_second:.0}/s")
    } else if per_second >= 1.0 {
        format!("{per_second:.1}/s")
    } else if per_second * 60.0 >= 1.0 {
        format!("{:.0}/min", per_second * 60.0)
    } else {
        format!("{:.0}/h", per_second * 3_600.0)
    }
}

/// `1,234,567`
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", groups.join(","))
}

/// Whole milliseconds, `-` if not measured.
pub fn millis(latency_ms: Option<f64>) -> String {
    latency_ms.map_or_else(|| "-".to_owned(), |latency| format!("{latency:.0}"))
}

/// `2026-05-01 12:34 UTC`
pub fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// `2026-05-01 14:34 CEST`: a time in a time zone, or in UTC if the zone is unknown.
pub fn time_in(time: DateTime<Utc>, zone: &str) -> String {
    let zone: Tz = zone.parse().unwrap_or(Tz::UTC);
    time.with_timezone(&zone)
        .format("%Y-%m-%d %H:%M %Z")
        .to_string()
}

/// Marks that change the direction of writing or have no width, and can disguise text.
fn hides_text(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_server_steers_the_terminal() {
        for (text, expect) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}", "]0;title"),
            ("\u{1b}[2J\u{1b}[1;1Hgone", "gone"),
            ("two\nlines\there\r", "two lines here"),
            ("\u{9b}31mred", "31mred"),
            ("abc\u{202e}cba", "abccba"),
            ("größe 東京", "größe 東京"),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(plain(text), expect, "{text:?}");
        }
    }

    #[test]
    fn a_time_is_that_of_its_zone() {
        let time = "2026-05-01T12:34:00Z".parse().unwrap();
        for (zone, expect) in [
            ("Europe/Berlin", "2026-05-01 14:34 CEST"),
            ("Asia/Kathmandu", "2026-05-01 18:19 +0545"),
            ("UTC", "2026-05-01 12:34 UTC"),
            ("nowhere", "2026-05-01 12:34 UTC"),
        ] {
            assert_eq!(time_in(time, zone), expect);
        }
    }

    #[test]
    fn numbers_have_their_units() {
        assert_eq!(score(0.825, 0.771, 0.869), "82.5 % [77.1, 86.9]");
        assert_eq!((rank(1, 2), rank(3, 3)), ("1–2".into(), "3".into()));
        for (microusd, expect) in [
            (0, "$0.00"),
            (4, "$0.000004"),
            (50, "$0.00005"),
            (100, "$0.0001"),
            (12_345, "$0.0123"),
            (425_500, "$0.4255"),
            (420_000, "$0.42"),
            (999_999, "$0.9999"),
            (-1, "-$0.000001"),
            (i64::MAX, "$9223372036854.78"),
            (1_234_567, "$1.23"),
            (12_995_000, "$13.00"),
        ] {
            assert_eq!(dollars(microusd), expect, "{microusd}");
        }
        for (microusd, expect) in [(0.0, "$0.00"), (0.2, "<$0.000001"), (0.5, "$0.000001")] {
            assert_eq!(small_dollars(microusd), expect, "{microusd}");
        }
        for (number, expect) in [(0, "0 errors"), (1, "1 error"), (1_000, "1,000 errors")] {
            assert_eq!(counted(number, "error"), expect);
        }
        assert_eq!(many(1, "retry", "retries"), "1 retry");
        assert_eq!(many(2, "retry", "retries"), "2 retries");
        for (seconds, expect) in [
            (-0.1, "0.0 s"),
            (3.26, "3.3 s"),
            (125.2, "125 s"),
            (725.0, "12 min 5 s"),
            (11_040.0, "3 h 4 min"),
        ] {
            assert_eq!(duration(seconds), expect, "{seconds}");
        }
        for (number, seconds, expect) in [
            (124.6, 10.0, "12/s"),
            (5.0, 3.0, "1.7/s"),
            (10.0, 30.0, "20/min"),
            (1.0, 1_200.0, "3/h"),
        ] {
            assert_eq!(rate(number, seconds), expect);
        }
        for (number, expect) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(count(number), expect);
        }
        assert_eq!(
            (millis(None), millis(Some(41.6))),
            ("-".into(), "42".into())
        );
    }
}
