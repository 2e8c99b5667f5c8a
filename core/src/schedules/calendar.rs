//! The times of a schedule: a cron expression on the wall clock of a time zone. Pure, and without a clock of its own.
//!
//! Every time that the expression names occurs exactly once. Where the wall clock is set back, only the first
//! occurrence of a repeated time counts; where it is set forward, a skipped time counts at the first moment after the
//! gap. Several skipped times, and one at that moment itself, are one tick.

use std::str::FromStr as _;

use chrono::{DateTime, Days, Duration, MappedLocalTime, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::Cron;

use crate::{Error, FieldError, Result};

/// Maximum length of a cron expression, in bytes.
const MAX_CRON_BYTES: usize = 200;
/// The longest gap of a wall clock: Samoa once skipped a whole day.
const LONGEST_GAP: Days = Days::new(2);

/// The times of a schedule.
#[derive(Debug, Clone)]
pub struct Calendar {
    cron: Cron,
    time_zone: Tz,
}

impl Calendar {
    /// Parses a cron expression of five fields and the IANA name of a time zone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the fields `cron` and `time_zone`, also for an expression that never matches.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self> {
        let (cron, time_zone) = (parse_cron(cron), parse_time_zone(time_zone));
        match (cron, time_zone) {
            (Ok(cron), Ok(time_zone)) => {
                let calendar = Self { cron, time_zone };
                match calendar.next_after(DateTime::UNIX_EPOCH) {
                    Some(_) => Ok(calendar),
                    None => Err(Error::invalid("cron", "names a date that never occurs")),
                }
            }
            (cron, time_zone) => {
                let wrong = [cron.err(), time_zone.err()];
                Err(Error::Invalid(wrong.into_iter().flatten().collect()))
            }
        }
    }

    /// The first tick after a time.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut wall = after.with_timezone(&self.time_zone).naive_local();
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).ok()?;
            let tick = self.moment(wall)?;
            // On the second pass of a repeated hour, its times are over.
            if tick > after {
                return Some(tick);
            }
        }
    }

    /// All ticks after a time, in order.
    pub fn ticks_after(&self, after: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        std::iter::successors(self.next_after(after), |tick| self.next_after(*tick))
    }

    /// The moment at which the wall clock shows a time, or, if the time is skipped, the first moment after the gap.
    fn moment(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let end = wall.checked_add_days(LONGEST_GAP)?;
        let mut shown = wall;
        while shown < end {
            match self.time_zone.from_local_datetime(&shown) {
                MappedLocalTime::Single(moment) => return Some(moment.to_utc()),
                MappedLocalTime::Ambiguous(first, _) => return Some(first.to_utc()),
                // Clocks change at full minutes.
                MappedLocalTime::None => shown = shown.checked_add_signed(Duration::minutes(1))?,
            }
        }
        None
    }
}

fn parse_cron(text: &str) -> Result<Cron, FieldError> {
    let wrong = |message: String| FieldError::new("cron", message);
    if text.split_whitespace().count() != 5 || text.len() > MAX_CRON_BYTES {
        return Err(wrong(
            "must have five fields: minute, hour, day of the month, month, day of the week, as in `30 6 * * 1-5`"
                .into(),
        ));
    }
    Cron::from_str(text).map_err(|_| wrong(wrong_field(text)))
}

/// The names of an expression's fields, and their ranges.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, or `L` for the last"),
    ("month", "1 to 12, or JAN to DEC"),
    (
        "day of the week",
        "0 to 7 (0 and 7 are Sunday), or SUN to SAT",
    ),
];

/// Finds the invalid field, because the parser does not report it.
fn wrong_field(text: &str) -> String {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let alone = |at: usize| {
        let field = fields.get(at).copied().unwrap_or("*");
        let others = (0..FIELDS.len()).map(|other| if other == at { field } else { "*" });
        others.collect::<Vec<_>>().join(" ")
    };
    let found = (0..FIELDS.len()).find(|at| Cron::from_str(&alone(*at)).is_err());
    let Some((at, (name, expected))) = found.and_then(|at| Some((at, FIELDS.get(at)?))) else {
        return "cannot be read".into();
    };
    let field = fields.get(at).copied().unwrap_or_default();
    format!(
        "cannot be read: the {name} is `{field}`, expected {expected}, also as lists `1,3`, ranges `1-5` and steps `*/2`"
    )
}

fn parse_time_zone(text: &str) -> Result<Tz, FieldError> {
    Tz::from_str(text).map_err(|_| {
        FieldError::new(
            "time_zone",
            "must be the name of a time zone, as in `Europe/Berlin` or `UTC`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the ticks after a time, each as the wall clock of its zone shows it.
    #[track_caller]
    fn check(cron: &str, time_zone: &str, after: &str, expect: &[&str]) {
        let calendar = Calendar::parse(cron, time_zone).unwrap();
        let after = after.parse::<DateTime<Utc>>().unwrap();
        let ticks: Vec<String> = calendar
            .ticks_after(after)
            .take(expect.len())
            .map(|tick| {
                let local = tick.with_timezone(&calendar.time_zone);
                local.format("%m-%d %H:%M %:z").to_string()
            })
            .collect();
        assert_eq!(ticks, expect, "{cron} in {time_zone}");
    }

    #[test]
    fn every_time_of_the_wall_clock_comes_once() {
        // Berlin: 2026-03-29 02:00 → 03:00, 2026-10-25 03:00 → 02:00.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-27T12:00:00Z",
            &[
                "03-28 02:30 +01:00",
                "03-29 03:00 +02:00",
                "03-30 02:30 +02:00",
            ],
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["10-25 02:30 +02:00", "10-26 02:30 +01:00"],
        );
        // All skipped times and 03:00 itself are one tick.
        check(
            "*/20 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:30:00Z",
            &[
                "03-29 01:40 +01:00",
                "03-29 03:00 +02:00",
                "03-29 03:20 +02:00",
            ],
        );
        // The repeated hour counts once, and a schedule created in its second pass begins after it.
        let after_the_hour = ["10-25 03:00 +01:00", "10-25 03:30 +01:00"];
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            &after_the_hour,
        );
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:10:00Z",
            &after_the_hour,
        );
        // New York: 2026-03-08 02:00 → 03:00, 2026-11-01 02:00 → 01:00.
        check(
            "15 2 * * 0",
            "America/New_York",
            "2026-03-02T00:00:00Z",
            &["03-08 03:00 -04:00", "03-15 02:15 -04:00"],
        );
        check(
            "0 1,2 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            &[
                "11-01 01:00 -04:00",
                "11-01 02:00 -05:00",
                "11-02 01:00 -05:00",
            ],
        );
        // Lord Howe: by half an hour; 2026-10-04 02:00 → 02:30, 2026-04-05 02:00 → 01:30.
        check(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T20:00:00Z",
            &["10-04 02:30 +11:00", "10-05 02:15 +11:00"],
        );
        check(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T20:00:00Z",
            &["04-05 01:45 +11:00", "04-06 01:45 +10:30"],
        );
        // Without summer time, and with an offset of three quarters of an hour.
        check(
            "0 6 * * 1-5",
            "Asia/Kathmandu",
            "2026-11-20T12:00:00Z",
            &["11-23 06:00 +05:45", "11-24 06:00 +05:45"],
        );
        check(
            "30 2 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["02-29 02:30 +00:00"],
        );
        // Samoa had no 30 December 2011.
        check(
            "0 9 30 12 *",
            "Pacific/Apia",
            "2011-12-20T00:00:00Z",
            &["12-31 00:00 +14:00", "12-30 09:00 +14:00"],
        );
        check(
            "0 0 L * *",
            "UTC",
            "2026-01-30T12:00:00Z",
            &["01-31 00:00 +00:00", "02-28 00:00 +00:00"],
        );
    }

    #[test]
    fn a_wrong_expression_says_what_is_wrong() {
        let check = |cron: &str, time_zone: &str, expect: &[(&str, &str)]| {
            let Err(Error::Invalid(fields)) = Calendar::parse(cron, time_zone) else {
                panic!("{cron} in {time_zone} is accepted");
            };
            assert_eq!(fields.len(), expect.len(), "{fields:?}");
            for (field, (path, part)) in fields.iter().zip(expect) {
                assert!(
                    field.path == *path && field.message.contains(part),
                    "{field:?}"
                );
            }
        };
        check("* * * * * *", "UTC", &[("cron", "five fields")]);
        check("@daily", "UTC", &[("cron", "five fields")]);
        check(
            "61 * * * *",
            "UTC",
            &[("cron", "the minute is `61`, expected 0 to 59")],
        );
        check(
            "0 24 * * *",
            "UTC",
            &[("cron", "the hour is `24`, expected 0 to 23")],
        );
        check(
            "0 0 0 * *",
            "UTC",
            &[("cron", "the day of the month is `0`")],
        );
        check(
            "0 0 * MAI *",
            "UTC",
            &[("cron", "the month is `MAI`, expected 1 to 12, or JAN")],
        );
        check(
            "0 0 * * 8",
            "UTC",
            &[("cron", "the day of the week is `8`")],
        );
        check("*/x * * * *", "UTC", &[("cron", "the minute is `*/x`")]);
        check("0 0 30 2 *", "UTC", &[("cron", "never occurs")]);
        check("0 0 * * *", "Berlin", &[("time_zone", "Europe/Berlin")]);
        check("", "", &[("cron", "five fields"), ("time_zone", "UTC")]);
    }
}
