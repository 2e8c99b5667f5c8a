//! Limits of the numbers in requests: money and times have one range each, wherever they occur.
//!
//! Values beyond them would overflow a sum, or could not be stored or shown. The functions are for
//! `#[serde(deserialize_with = …)]`, so that the range is declared with the field.

use std::{fmt, marker::PhantomData};

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Maximum amount of money, in micro-dollars: a billion dollars. Nine thousand of them fit into an `i64`.
pub const MAX_MICROUSD: i64 = 1_000_000_000_000_000;
/// Maximum count of evaluations, bytes and other things that are counted in millions.
pub const MAX_COUNT: i64 = 1_000_000_000_000_000;
/// The allowed range of years.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;

/// True for a time that can be stored and formatted as RFC 3339.
#[must_use]
pub fn is_time(time: DateTime<Utc>) -> bool {
    YEARS.contains(&time.year())
}

/// Deserializes an amount of money.
///
/// # Errors
/// It is negative, or more than [`MAX_MICROUSD`].
pub fn microusd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let microusd = i64::deserialize(deserializer)?;
    if (0..=MAX_MICROUSD).contains(&microusd) {
        return Ok(microusd);
    }
    Err(D::Error::custom(format!(
        "must be at least 0 and at most {MAX_MICROUSD} micro-dollars"
    )))
}

/// Deserializes an amount of money, or null.
///
/// # Errors
/// Those of [`microusd`].
pub fn optional_microusd<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    let given = Option::<i64>::deserialize(deserializer)?;
    match given {
        Some(sum) if !(0..=MAX_MICROUSD).contains(&sum) => Err(D::Error::custom(format!(
            "must be at least 0 and at most {MAX_MICROUSD} micro-dollars"
        ))),
        other => Ok(other),
    }
}

/// Deserializes a count, or null.
///
/// # Errors
/// It is negative, or more than [`MAX_COUNT`].
pub fn optional_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let given = Option::<i64>::deserialize(deserializer)?;
    match given {
        Some(count) if !(0..=MAX_COUNT).contains(&count) => Err(D::Error::custom(format!(
            "must be at least 0 and at most {MAX_COUNT}"
        ))),
        other => Ok(other),
    }
}

/// Deserializes a time, or null.
///
/// # Errors
/// It is not a time in the years 1970 to 2200.
pub fn optional_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let given = Option::<DateTime<Utc>>::deserialize(deserializer)?;
    match given {
        Some(time) if !is_time(time) => Err(D::Error::custom(format!(
            "must be a time from {} to {}, such as {}",
            YEARS.start(),
            YEARS.end(),
            DateTime::UNIX_EPOCH.to_rfc3339_opts(SecondsFormat::Secs, true)
        ))),
        other => Ok(other),
    }
}

/// Deserializes an object whose fields are all optional. Without this, serde would accept a list and take its entries
/// as the fields.
///
/// # Errors
/// It is not an object, or a field is invalid.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_beyond_their_range_are_refused() {
        let money = |value: Value, expect: bool| {
            assert_eq!(microusd(&value).is_ok(), expect, "{value}");
            assert_eq!(optional_microusd(&value).is_ok(), expect, "{value}");
            assert_eq!(optional_count(&value).is_ok(), expect, "{value}");
        };
        money(json!(0), true);
        money(json!(MAX_MICROUSD), true);
        money(json!(MAX_MICROUSD + 1), false);
        money(json!(i64::MAX), false);
        money(json!(-1), false);
        money(json!(i64::MIN), false);
        let time = |text: &str, expect: bool| {
            assert_eq!(optional_time(&json!(text)).is_ok(), expect, "{text}");
        };
        time("2026-11-30T00:00:00Z", true);
        time("2200-12-31T23:59:59Z", true);
        time("-262143-01-01T00:00:00Z", false);
        time("+262142-01-01T00:00:00Z", false);
        time("1969-12-31T23:59:59Z", false);
        time("2201-01-01T00:00:00Z", false);
        assert_eq!(optional_time(&Value::Null).unwrap(), None);
    }
}
