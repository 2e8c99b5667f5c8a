//! The filters and tests that prompts may use, each with Jinja's name and meaning.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

use crate::budget::{Budget, Fault};
use crate::lower::Operator;
use crate::render::Evaluated;
use crate::value::{self, Number, kind};
use crate::vocabulary::{FilterKind, TestKind};

const MAX_INDENT: i64 = 8;

/// `default`: the argument if the value is undefined, or if it is false and `boolean` is set.
pub(super) fn default<'s>(of: Evaluated<'s>, args: Vec<Evaluated<'s>>) -> Cow<'s, Value> {
    let mut args = args.into_iter();
    let (instead, boolean) = (args.next().flatten(), args.next().flatten());
    let boolean = boolean.is_some_and(|boolean| value::is_true(&boolean));
    of.filter(|of| !boolean || value::is_true(of))
        .or(instead)
        .unwrap_or_else(|| Cow::Owned(Value::String(String::new())))
}

/// Applies any filter except `default`.
pub(super) fn apply<'s>(
    filter: FilterKind,
    of: Cow<'s, Value>,
    args: &[Evaluated<'s>],
    budget: &Budget,
) -> Result<Evaluated<'s>, Fault> {
    let argument = |at: usize| args.get(at).and_then(Option::as_deref);
    let value = match filter {
        FilterKind::Safe | FilterKind::Default => return Ok(Some(of)),
        FilterKind::First => return Ok(value::items(of, budget)?.into_iter().next()),
        FilterKind::Last => return Ok(value::items(of, budget)?.into_iter().next_back()),
        FilterKind::Min | FilterKind::Max => return extreme(of, filter == FilterKind::Max, budget),
        FilterKind::Length => length(&of, budget)?,
        FilterKind::Capitalize
        | FilterKind::Lower
        | FilterKind::Title
        | FilterKind::Upper
        | FilterKind::String => Value::String(recase(filter, &value::text(&of, budget)?, budget)?),
        FilterKind::Trim => trim(&value::text(&of, budget)?, argument(0), budget)?,
        FilterKind::Replace => {
            let (Some(old), Some(new)) = (argument(0), argument(1)) else {
                return Err(Fault::value("`replace` needs the old and the new text"));
            };
            replace(
                &value::text(&of, budget)?,
                &value::text(old, budget)?,
                &value::text(new, budget)?,
                budget,
            )?
        }
        FilterKind::ToJson => {
            let indent = argument(0).and_then(Value::as_i64).unwrap_or(0);
            let indent = usize::try_from(indent.clamp(0, MAX_INDENT)).unwrap_or(0);
            Value::String(value::to_json(&of, indent, budget)?)
        }
        FilterKind::Abs | FilterKind::Round | FilterKind::Int | FilterKind::Float => {
            number(filter, &of, argument(0), budget)?
        }
        FilterKind::Items => match &*of {
            Value::Object(map) => value::pairs(map, budget)?,
            other => {
                return Err(Fault::value(format!(
                    "`items` needs a map, not {}",
                    kind(other)
                )));
            }
        },
        FilterKind::Join => {
            let separator = argument(0).map_or(Ok(Cow::Borrowed("")), |separator| {
                value::text(separator, budget)
            })?;
            join(of, &separator, argument(1), budget)?
        }
        FilterKind::Reverse => match &*of {
            Value::String(text) => {
                budget.pay(text.len())?;
                Value::String(text.chars().rev().collect())
            }
            _ => list(value::items(of, budget)?.into_iter().rev(), budget)?,
        },
        FilterKind::List => match &*of {
            Value::String(text) => {
                budget.pay(text.len().saturating_mul(96))?;
                Value::Array(
                    text.chars()
                        .map(|character| Value::String(character.to_string()))
                        .collect(),
                )
            }
            _ => list(value::items(of, budget)?, budget)?,
        },
        FilterKind::Map => {
            let found: Result<Vec<_>, _> = value::items(of, budget)?
                .into_iter()
                .map(|item| select(item, argument(0), budget))
                .collect();
            list(found?, budget)?
        }
        FilterKind::Sum => {
            let mut sum = Value::from(0);
            for item in value::items(of, budget)? {
                sum = value::operate(Operator::Add, &sum, &item, budget)?;
            }
            sum
        }
        FilterKind::Sort => sort(of, [argument(0), argument(1), argument(2)], budget)?,
        FilterKind::Unique => unique(of, budget)?,
    };
    Ok(Some(Cow::Owned(value)))
}

fn list<'s>(
    items: impl IntoIterator<Item = Cow<'s, Value>>,
    budget: &Budget,
) -> Result<Value, Fault> {
    items
        .into_iter()
        .map(|item| value::own(item, budget))
        .collect::<Result<_, _>>()
        .map(Value::Array)
}

/// An item, or the value of a dotted attribute of it.
fn select<'s>(
    item: Cow<'s, Value>,
    attribute: Option<&Value>,
    budget: &Budget,
) -> Result<Cow<'s, Value>, Fault> {
    let Some(attribute) = attribute else {
        return Ok(item);
    };
    let Value::String(path) = attribute else {
        return Err(Fault::value("an attribute is named by a string"));
    };
    budget.pay(path.len())?;
    let found = path.split('.').try_fold(item, value::attribute);
    found.ok_or_else(|| {
        Fault::value(format!(
            "an item has no attribute `{}`",
            path.chars().take(80).collect::<String>()
        ))
    })
}

fn length(of: &Value, budget: &Budget) -> Result<Value, Fault> {
    Ok(Value::from(match of {
        Value::String(text) => {
            budget.pay(text.len())?;
            text.chars().count()
        }
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        other => return Err(Fault::value(format!("{} has no length", kind(other)))),
    }))
}

fn trim(text: &str, chars: Option<&Value>, budget: &Budget) -> Result<Value, Fault> {
    budget.pay(text.len())?;
    let Some(chars) = chars else {
        return Ok(Value::String(text.trim().to_owned()));
    };
    let chars = value::text(chars, budget)?;
    budget.pay(text.len().saturating_mul(chars.len()))?;
    let trimmed = text.trim_matches(|character| chars.contains(character));
    Ok(Value::String(trimmed.to_owned()))
}

/// The first occurrence of each value; values are compared by their JSON.
fn unique(of: Cow<Value>, budget: &Budget) -> Result<Value, Fault> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for item in value::items(of, budget)? {
        budget.pay(128)?;
        if seen.insert(value::to_json(&item, 0, budget)?) {
            kept.push(item);
        }
    }
    list(kept, budget)
}

fn recase(filter: FilterKind, text: &str, budget: &Budget) -> Result<String, Fault> {
    // Some characters grow when their case changes, to at most three times their bytes.
    let copy_bytes = if text.is_ascii() {
        text.len()
    } else {
        text.len().saturating_mul(3)
    };
    budget.pay(copy_bytes)?;
    Ok(match filter {
        FilterKind::Lower => text.to_lowercase(),
        FilterKind::Upper => text.to_uppercase(),
        FilterKind::Capitalize | FilterKind::Title => {
            let mut starts = true;
            let mut out = String::with_capacity(text.len());
            for character in text.chars() {
                if starts {
                    out.extend(character.to_uppercase());
                } else {
                    out.extend(character.to_lowercase());
                }
                starts = filter == FilterKind::Title
                    && !character.is_alphanumeric()
                    && character != '\'';
            }
            out
        }
        _ => text.to_owned(),
    })
}

fn replace(text: &str, old: &str, new: &str, budget: &Budget) -> Result<Value, Fault> {
    budget.pay(text.len() + old.len())?;
    let found = text.matches(old).count();
    budget.pay(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::String(text.replace(old, new)))
}

fn join(
    of: Cow<Value>,
    separator: &str,
    attribute: Option<&Value>,
    budget: &Budget,
) -> Result<Value, Fault> {
    let mut out = String::new();
    for (at, item) in value::items(of, budget)?.into_iter().enumerate() {
        let item = select(item, attribute, budget)?;
        let item = value::text(&item, budget)?;
        let separator = if at == 0 { "" } else { separator };
        budget.pay(separator.len() + item.len())?;
        out.push_str(separator);
        out.push_str(&item);
    }
    Ok(Value::String(out))
}

fn extreme<'s>(of: Cow<'s, Value>, largest: bool, budget: &Budget) -> Result<Evaluated<'s>, Fault> {
    let mut best: Evaluated<'s> = None;
    for item in value::items(of, budget)? {
        let better = match &best {
            None => true,
            Some(best) => {
                value::compare(&item, best, budget)?
                    == if largest {
                        std::cmp::Ordering::Greater
                    } else {
                        std::cmp::Ordering::Less
                    }
            }
        };
        if better {
            best = Some(item);
        }
    }
    Ok(best)
}

fn sort(
    of: Cow<Value>,
    [reverse, case_sensitive, attribute]: [Option<&Value>; 3],
    budget: &Budget,
) -> Result<Value, Fault> {
    let case_sensitive = case_sensitive.is_some_and(value::is_true);
    let mut keyed = Vec::new();
    for item in value::items(of, budget)? {
        let item = value::own(item, budget)?;
        let key = match (
            &*select(Cow::Borrowed(&item), attribute, budget)?,
            case_sensitive,
        ) {
            (Value::String(text), false) => Value::String(recase(FilterKind::Lower, text, budget)?),
            (key, _) => value::own(Cow::Borrowed(key), budget)?,
        };
        keyed.push((key, item));
    }
    let mut fault = None;
    keyed.sort_by(|(a, _), (b, _)| {
        // After a failed comparison the rest must cost nothing.
        if fault.is_some() {
            return std::cmp::Ordering::Equal;
        }
        value::compare(a, b, budget).unwrap_or_else(|found| {
            fault = Some(found);
            std::cmp::Ordering::Equal
        })
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    if reverse.is_some_and(value::is_true) {
        keyed.reverse();
    }
    Ok(Value::Array(
        keyed.into_iter().map(|(_, item)| item).collect(),
    ))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float outside the range of i64 saturates, which is then written as such"
)]
fn number(
    filter: FilterKind,
    of: &Value,
    argument: Option<&Value>,
    budget: &Budget,
) -> Result<Value, Fault> {
    let read = |text: &str| {
        let text = text.trim();
        text.parse()
            .map(Number::Int)
            .or_else(|_| text.parse().map(Number::Float))
            .ok()
    };
    let found = match of {
        Value::String(text) if matches!(filter, FilterKind::Int | FilterKind::Float) => {
            budget.pay(text.len())?;
            read(text).filter(|number| number.as_f64().is_finite())
        }
        Value::Bool(yes) if matches!(filter, FilterKind::Int | FilterKind::Float) => {
            Some(Number::Int(i64::from(*yes)))
        }
        _ => Number::of(of),
    };
    let Some(found) = found else {
        return match (filter, argument) {
            (FilterKind::Int | FilterKind::Float, Some(instead)) => {
                value::own(Cow::Borrowed(instead), budget)
            }
            _ => Err(Fault::value(format!(
                "this is not a number but {}",
                kind(of)
            ))),
        };
    };
    match (filter, found) {
        (FilterKind::Int, Number::Float(float)) => Number::Int(float.trunc() as i64),
        (FilterKind::Float, found) => Number::Float(found.as_f64()),
        (FilterKind::Abs, Number::Int(whole)) => Number::Int(whole.saturating_abs()),
        (FilterKind::Abs, Number::Float(float)) => Number::Float(float.abs()),
        (FilterKind::Round, Number::Float(float)) => {
            let digits = argument
                .and_then(Value::as_i64)
                .unwrap_or(0)
                .clamp(-300, 300);
            let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
            let rounded = (float * scale).round() / scale;
            Number::Float(if rounded.is_finite() { rounded } else { float })
        }
        (_, found) => found,
    }
    .into_value()
}

/// Applies any test except `defined` and `undefined`.
pub(super) fn test(
    test: TestKind,
    of: &Value,
    args: &[Evaluated],
    budget: &Budget,
) -> Result<bool, Fault> {
    let argument = args.first().and_then(Option::as_deref);
    let other = || argument.ok_or_else(|| Fault::value("this test needs a value to compare with"));
    let whole = || {
        of.as_i64()
            .ok_or_else(|| Fault::value(format!("a whole number is needed here, not {}", kind(of))))
    };
    let operate = |op, left, right| {
        value::operate(op, left, right, budget).map(|found| found == Value::Bool(true))
    };
    Ok(match test {
        TestKind::Defined => true,
        TestKind::Undefined => false,
        TestKind::Boolean => of.is_boolean(),
        TestKind::None => of.is_null(),
        TestKind::String => of.is_string(),
        TestKind::Number => of.is_number(),
        TestKind::Integer => of.is_i64() || of.is_u64(),
        TestKind::Float => of.is_f64(),
        TestKind::True => *of == Value::Bool(true),
        TestKind::False => *of == Value::Bool(false),
        TestKind::Sequence => of.is_array(),
        TestKind::Mapping => of.is_object(),
        TestKind::Iterable => of.is_array() || of.is_object(),
        TestKind::Even => whole()? % 2 == 0,
        TestKind::Odd => whole()? % 2 != 0,
        TestKind::DivisibleBy => match other()?.as_i64() {
            Some(by) if by != 0 => whole()?.checked_rem(by).is_none_or(|rest| rest == 0),
            _ => {
                return Err(Fault::value(
                    "`divisibleby` needs a whole number other than 0",
                ));
            }
        },
        TestKind::Eq => operate(Operator::Eq, of, other()?)?,
        TestKind::Ne => operate(Operator::Ne, of, other()?)?,
        TestKind::In => operate(Operator::In, of, other()?)?,
        TestKind::StartingWith | TestKind::EndingWith => {
            let (whole, part) = (value::text(of, budget)?, value::text(other()?, budget)?);
            budget.pay(part.len())?;
            if test == TestKind::StartingWith {
                whole.starts_with(&*part)
            } else {
                whole.ends_with(&*part)
            }
        }
    })
}
