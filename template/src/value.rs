//! Operators on JSON values; each charges the bytes that it creates or reads.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::budget::{Budget, Fault};
use crate::lower::Operator;
use crate::render::Evaluated;

/// The memory charged for any value, and for a map, whose first node is large.
const VALUE_BYTES: usize = 64;
const MAP_BYTES: usize = 640;

/// Charges the whole of a value; stops early when the budget is exceeded.
pub(super) fn pay_for(value: &Value, budget: &Budget) -> Result<(), Fault> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => budget.pay(VALUE_BYTES),
        Value::String(text) => budget.pay(VALUE_BYTES + text.len()),
        Value::Array(items) => {
            budget.pay(VALUE_BYTES)?;
            items.iter().try_for_each(|item| pay_for(item, budget))
        }
        Value::Object(map) => {
            budget.pay(MAP_BYTES)?;
            map.iter().try_for_each(|(key, item)| {
                budget.pay(VALUE_BYTES + key.len())?;
                pay_for(item, budget)
            })
        }
    }
}

/// An owned value; a borrowed one is copied and charged.
pub(super) fn own(value: Cow<Value>, budget: &Budget) -> Result<Value, Fault> {
    if let Cow::Borrowed(value) = value {
        pay_for(value, budget)?;
    }
    Ok(value.into_owned())
}

/// Whether a value is truthy: not null, 0, false or empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The items of a list, or the keys of a map.
pub(super) fn items<'s>(of: Cow<'s, Value>, budget: &Budget) -> Result<Vec<Cow<'s, Value>>, Fault> {
    let key = |key: &str| {
        budget.pay(VALUE_BYTES + key.len())?;
        Ok(Cow::Owned(Value::String(key.to_owned())))
    };
    match of {
        Cow::Borrowed(Value::Array(items)) => {
            budget.pay(VALUE_BYTES * items.len())?;
            Ok(items.iter().map(Cow::Borrowed).collect())
        }
        Cow::Owned(Value::Array(items)) => Ok(items.into_iter().map(Cow::Owned).collect()),
        Cow::Borrowed(Value::Object(map)) => map.keys().map(|name| key(name)).collect(),
        Cow::Owned(Value::Object(map)) => map.keys().map(|name| key(name)).collect(),
        other => Err(Fault::value(format!(
            "a list or a map is needed here, not {}",
            kind(&other)
        ))),
    }
}

/// A map's value by name; `None` for other values.
pub(super) fn attribute<'s>(of: Cow<'s, Value>, name: &str) -> Evaluated<'s> {
    match of {
        Cow::Borrowed(Value::Object(map)) => map.get(name).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut map)) => map.remove(name).map(Cow::Owned),
        _ => None,
    }
}

/// A list's item by index (negative from the end), or a map's value by key.
pub(super) fn item<'s>(
    of: Cow<'s, Value>,
    key: &Value,
    budget: &Budget,
) -> Result<Evaluated<'s>, Fault> {
    let at = |length: usize| {
        let at = key.as_i64()?;
        let length = i64::try_from(length).ok()?;
        usize::try_from(if at < 0 { at + length } else { at }).ok()
    };
    Ok(match (of, key) {
        (of, Value::String(name)) => {
            budget.pay(name.len())?;
            attribute(of, name)
        }
        (Cow::Borrowed(Value::Array(items)), _) => at(items.len())
            .and_then(|at| items.get(at))
            .map(Cow::Borrowed),
        (Cow::Owned(Value::Array(mut items)), _) => at(items.len())
            .filter(|at| *at < items.len())
            .map(|at| Cow::Owned(items.swap_remove(at))),
        (of, _) => {
            let Value::String(text) = &*of else {
                return Ok(None);
            };
            budget.pay(text.len())?;
            let found = at(text.chars().count()).and_then(|at| text.chars().nth(at));
            found.map(|character| Cow::Owned(Value::String(character.to_string())))
        }
    })
}

/// `of[start:stop:step]` with Python's rules, for lists and strings.
pub(super) fn slice(
    of: &Value,
    [start, stop, by]: [Option<i64>; 3],
    budget: &Budget,
) -> Result<Value, Fault> {
    let by = by.unwrap_or(1);
    if by == 0 {
        return Err(Fault::value("the step of a slice must not be 0"));
    }
    let pick = |length: usize| {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let (low, high) = if by > 0 {
            (0, length)
        } else {
            (-1, length - 1)
        };
        let clamp = |bound: i64| {
            if bound < 0 {
                bound.saturating_add(length)
            } else {
                bound
            }
            .clamp(low, high)
        };
        let start = start.map_or(if by > 0 { low } else { high }, clamp);
        let stop = stop.map_or(if by > 0 { high } else { low }, clamp);
        std::iter::successors(Some(start), move |at| at.checked_add(by))
            .take_while(move |at| if by > 0 { *at < stop } else { *at > stop })
            .filter_map(|at| usize::try_from(at).ok())
    };
    match of {
        Value::Array(items) => {
            let copy = |at| own(Cow::Borrowed(&items[at]), budget);
            pick(items.len())
                .map(copy)
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        Value::String(text) => {
            budget.pay(text.len().saturating_mul(5))?;
            let characters: Vec<char> = text.chars().collect();
            Ok(Value::String(
                pick(characters.len()).map(|at| characters[at]).collect(),
            ))
        }
        other => Err(Fault::value(format!(
            "a list or a string is needed for a slice, not {}",
            kind(other)
        ))),
    }
}

/// A number as the operators treat it.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let Value::Number(number) = value else {
            return None;
        };
        number
            .as_i64()
            .map(Self::Int)
            .or_else(|| number.as_f64().map(Self::Float))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "mixed arithmetic is done in floating point, as in Jinja"
    )]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Int(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }

    pub(super) fn into_value(self) -> Result<Value, Fault> {
        match self {
            Self::Int(whole) => Ok(Value::from(whole)),
            Self::Float(float) => serde_json::Number::from_f64(float)
                .map(Value::Number)
                .ok_or_else(overflow),
        }
    }
}

fn overflow() -> Fault {
    Fault::value("the result of this calculation is not a number that can be written")
}

/// `-of`.
pub(super) fn negate(of: &Value) -> Result<Value, Fault> {
    match Number::of(of) {
        Some(Number::Int(whole)) => whole.checked_neg().map(Value::from).ok_or_else(overflow),
        Some(Number::Float(float)) => Number::Float(-float).into_value(),
        None => Err(Fault::value(format!(
            "a number is needed after `-`, not {}",
            kind(of)
        ))),
    }
}

/// Applies an operator to both of its sides.
pub(super) fn operate(
    op: Operator,
    left: &Value,
    right: &Value,
    budget: &Budget,
) -> Result<Value, Fault> {
    Ok(match op {
        Operator::Eq => Value::Bool(equal(left, right, budget)?),
        Operator::Ne => Value::Bool(!equal(left, right, budget)?),
        Operator::Lt => Value::Bool(compare(left, right, budget)?.is_lt()),
        Operator::Le => Value::Bool(compare(left, right, budget)?.is_le()),
        Operator::Gt => Value::Bool(compare(left, right, budget)?.is_gt()),
        Operator::Ge => Value::Bool(compare(left, right, budget)?.is_ge()),
        Operator::In => Value::Bool(contains(right, left, budget)?),
        Operator::NotIn => Value::Bool(!contains(right, left, budget)?),
        Operator::Concat => {
            let (left, right) = (text(left, budget)?, text(right, budget)?);
            concat(&left, &right, budget)?
        }
        Operator::Add => match (left, right) {
            (Value::String(left), Value::String(right)) => concat(left, right, budget)?,
            (Value::Array(first), Value::Array(second)) => {
                let copy = |item| own(Cow::Borrowed(item), budget);
                Value::Array(
                    first
                        .iter()
                        .chain(second)
                        .map(copy)
                        .collect::<Result<_, _>>()?,
                )
            }
            _ => arithmetic(op, left, right)?,
        },
        Operator::Mul => match (left, right) {
            (Value::String(text), Value::Number(times))
            | (Value::Number(times), Value::String(text)) => {
                let times =
                    usize::try_from(times.as_i64().unwrap_or(-1).max(0)).unwrap_or(usize::MAX);
                budget.pay(text.len().saturating_mul(times))?;
                Value::String(text.repeat(times))
            }
            _ => arithmetic(op, left, right)?,
        },
        Operator::Sub | Operator::Div | Operator::FloorDiv | Operator::Rem | Operator::Pow => {
            arithmetic(op, left, right)?
        }
    })
}

fn concat(left: &str, right: &str, budget: &Budget) -> Result<Value, Fault> {
    budget.pay(VALUE_BYTES + left.len() + right.len())?;
    Ok(Value::String([left, right].concat()))
}

fn arithmetic(op: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) else {
        return Err(Fault::value(format!(
            "this operator cannot join {} and {}; use `~` to join texts",
            kind(left),
            kind(right)
        )));
    };
    let divides = matches!(op, Operator::Div | Operator::FloorDiv | Operator::Rem);
    if divides && b.as_f64() == 0.0 {
        return Err(Fault::value("division by zero"));
    }
    if let (Number::Int(a), Number::Int(b)) = (a, b) {
        let whole = match op {
            Operator::Add => a.checked_add(b),
            Operator::Sub => a.checked_sub(b),
            Operator::Mul => a.checked_mul(b),
            // Rounded down, as in Python: `-7 // 2` is -4 and `-7 % 2` is 1.
            Operator::FloorDiv => a.checked_div_euclid(b).map(|q| {
                if b < 0 && a.rem_euclid(b) != 0 {
                    q - 1
                } else {
                    q
                }
            }),
            Operator::Rem => a.checked_rem(b).map(|rest| {
                if rest != 0 && (rest < 0) != (b < 0) {
                    rest + b
                } else {
                    rest
                }
            }),
            Operator::Pow if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            _ => return float_arithmetic(op, Number::Int(a).as_f64(), Number::Int(b).as_f64()),
        };
        return whole.map(Value::from).ok_or_else(overflow);
    }
    float_arithmetic(op, a.as_f64(), b.as_f64())
}

fn float_arithmetic(op: Operator, a: f64, b: f64) -> Result<Value, Fault> {
    let result = match op {
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div => a / b,
        Operator::FloorDiv => (a / b).floor(),
        Operator::Rem => a - b * (a / b).floor(),
        Operator::Pow => a.powf(b),
        _ => a + b,
    };
    Number::Float(result).into_value()
}

/// Whether two values are equal; numbers by value.
#[expect(clippy::float_cmp, reason = "a template asks for equality")]
pub(super) fn equal(left: &Value, right: &Value, budget: &Budget) -> Result<bool, Fault> {
    budget.pay(8)?;
    Ok(match (left, right) {
        (Value::Number(_), Value::Number(_)) => match (Number::of(left), Number::of(right)) {
            (Some(Number::Int(a)), Some(Number::Int(b))) => a == b,
            (Some(a), Some(b)) => a.as_f64() == b.as_f64(),
            _ => false,
        },
        (Value::String(a), Value::String(b)) => {
            budget.pay(a.len().min(b.len()))?;
            a == b
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (a, b) in a.iter().zip(b) {
                if !equal(a, b, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            for (key, a) in a {
                budget.pay(key.len())?;
                let Some(b) = b.get(key) else {
                    return Ok(false);
                };
                if !equal(a, b, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Null, Value::Null) => true,
        _ => false,
    })
}

/// Orders two numbers or two strings.
pub(super) fn compare(left: &Value, right: &Value, budget: &Budget) -> Result<Ordering, Fault> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => {
            budget.pay(8 + a.len().min(b.len()))?;
            Ok(a.cmp(b))
        }
        _ => match (Number::of(left), Number::of(right)) {
            (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(a.cmp(&b)),
            (Some(a), Some(b)) => Ok(a.as_f64().total_cmp(&b.as_f64())),
            _ => Err(Fault::value(format!(
                "{} and {} have no order",
                kind(left),
                kind(right)
            ))),
        },
    }
}

fn contains(whole: &Value, part: &Value, budget: &Budget) -> Result<bool, Fault> {
    match (whole, part) {
        (Value::String(whole), Value::String(part)) => {
            budget.pay(whole.len() + part.len())?;
            Ok(whole.contains(part.as_str()))
        }
        (Value::Array(items), part) => {
            for item in items {
                if equal(item, part, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Object(map), Value::String(key)) => {
            budget.pay(key.len())?;
            Ok(map.contains_key(key))
        }
        _ => Err(Fault::value(format!(
            "`in` cannot look for {} in {}",
            kind(part),
            kind(whole)
        ))),
    }
}

/// The text of a value: strings as they are, lists and maps as JSON.
pub(super) fn text<'s>(value: &'s Value, budget: &Budget) -> Result<Cow<'s, str>, Fault> {
    Ok(match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed("none"),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Cow::Owned(to_json(value, 0, budget)?)
        }
    })
}

/// JSON, on one line or indented; charged while it is written.
pub(super) fn to_json(value: &Value, indent: usize, budget: &Budget) -> Result<String, Fault> {
    let mut writer = PaidWriter {
        bytes: Vec::new(),
        budget,
        fault: None,
    };
    let spaces = vec![b' '; indent];
    let written = if indent == 0 {
        serde_json::to_writer(&mut writer, value)
    } else {
        let pretty = serde_json::ser::PrettyFormatter::with_indent(&spaces);
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut writer,
            pretty,
        ))
    };
    match (written, writer.fault) {
        (_, Some(fault)) => Err(fault),
        (Ok(()), None) => String::from_utf8(writer.bytes)
            .map_err(|_| Fault::value("this value cannot be written as JSON")),
        (Err(_), None) => Err(Fault::value("this value cannot be written as JSON")),
    }
}

struct PaidWriter<'b> {
    bytes: Vec<u8>,
    budget: &'b Budget,
    fault: Option<Fault>,
}

impl io::Write for PaidWriter<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if let Err(fault) = self.budget.pay(part.len()) {
            self.fault = Some(fault);
            return Err(io::Error::other("budget"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The type of a value, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "none",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// A map's entries as a list of pairs.
pub(super) fn pairs(map: &Map<String, Value>, budget: &Budget) -> Result<Value, Fault> {
    let pair = |(key, item): (&String, &Value)| {
        budget.pay(2 * VALUE_BYTES + key.len())?;
        Ok(Value::Array(vec![
            Value::String(key.clone()),
            own(Cow::Borrowed(item), budget)?,
        ]))
    };
    map.iter()
        .map(pair)
        .collect::<Result<_, Fault>>()
        .map(Value::Array)
}
