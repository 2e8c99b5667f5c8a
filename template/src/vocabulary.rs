//! The names of the filters and tests that prompts may use.

use crate::budget::Fault;

/// A filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilterKind {
    Abs,
    Capitalize,
    Default,
    First,
    Float,
    Int,
    Items,
    Join,
    Last,
    Length,
    List,
    Lower,
    Map,
    Max,
    Min,
    Replace,
    Reverse,
    Round,
    Safe,
    Sort,
    String,
    Sum,
    Title,
    ToJson,
    Trim,
    Unique,
    Upper,
}

/// A test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TestKind {
    Boolean,
    Defined,
    DivisibleBy,
    EndingWith,
    Eq,
    Even,
    False,
    Float,
    In,
    Integer,
    Iterable,
    Mapping,
    Ne,
    None,
    Number,
    Odd,
    Sequence,
    StartingWith,
    String,
    True,
    Undefined,
}

type Named<K> = (&'static str, K, &'static [&'static str]);

/// Every filter with the names of its arguments, in their order.
const FILTERS: &[Named<FilterKind>] = &[
    ("abs", FilterKind::Abs, &[]),
    ("capitalize", FilterKind::Capitalize, &[]),
    ("count", FilterKind::Length, &[]),
    ("d", FilterKind::Default, &["default_value", "boolean"]),
    (
        "default",
        FilterKind::Default,
        &["default_value", "boolean"],
    ),
    ("dump", FilterKind::ToJson, &["indent"]),
    ("first", FilterKind::First, &[]),
    ("float", FilterKind::Float, &["default"]),
    ("int", FilterKind::Int, &["default"]),
    ("items", FilterKind::Items, &[]),
    ("join", FilterKind::Join, &["d", "attribute"]),
    ("last", FilterKind::Last, &[]),
    ("length", FilterKind::Length, &[]),
    ("list", FilterKind::List, &[]),
    ("lower", FilterKind::Lower, &[]),
    ("map", FilterKind::Map, &["attribute"]),
    ("max", FilterKind::Max, &[]),
    ("min", FilterKind::Min, &[]),
    ("replace", FilterKind::Replace, &["old", "new"]),
    ("reverse", FilterKind::Reverse, &[]),
    ("round", FilterKind::Round, &["precision"]),
    ("safe", FilterKind::Safe, &[]),
    (
        "sort",
        FilterKind::Sort,
        &["reverse", "case_sensitive", "attribute"],
    ),
    ("string", FilterKind::String, &[]),
    ("sum", FilterKind::Sum, &[]),
    ("title", FilterKind::Title, &[]),
    ("tojson", FilterKind::ToJson, &["indent"]),
    ("trim", FilterKind::Trim, &["chars"]),
    ("unique", FilterKind::Unique, &[]),
    ("upper", FilterKind::Upper, &[]),
];

/// Every test with the names of its arguments, in their order.
const TESTS: &[Named<TestKind>] = &[
    ("boolean", TestKind::Boolean, &[]),
    ("defined", TestKind::Defined, &[]),
    ("divisibleby", TestKind::DivisibleBy, &["num"]),
    ("endingwith", TestKind::EndingWith, &["other"]),
    ("eq", TestKind::Eq, &["other"]),
    ("equalto", TestKind::Eq, &["other"]),
    ("even", TestKind::Even, &[]),
    ("false", TestKind::False, &[]),
    ("float", TestKind::Float, &[]),
    ("in", TestKind::In, &["seq"]),
    ("integer", TestKind::Integer, &[]),
    ("iterable", TestKind::Iterable, &[]),
    ("mapping", TestKind::Mapping, &[]),
    ("ne", TestKind::Ne, &["other"]),
    ("none", TestKind::None, &[]),
    ("number", TestKind::Number, &[]),
    ("odd", TestKind::Odd, &[]),
    ("sequence", TestKind::Sequence, &[]),
    ("startingwith", TestKind::StartingWith, &["other"]),
    ("string", TestKind::String, &[]),
    ("true", TestKind::True, &[]),
    ("undefined", TestKind::Undefined, &[]),
];

/// Finds a filter and the names of its arguments.
pub(super) fn find_filter(name: &str) -> Result<(FilterKind, &'static [&'static str]), Fault> {
    find(FILTERS, name, "filter")
}

/// Finds a test and the names of its arguments.
pub(super) fn find_test(name: &str) -> Result<(TestKind, &'static [&'static str]), Fault> {
    find(TESTS, name, "test")
}

fn find<K: Copy>(
    table: &[Named<K>],
    name: &str,
    what: &str,
) -> Result<(K, &'static [&'static str]), Fault> {
    let found = table.iter().find(|(known, ..)| *known == name);
    found
        .map(|(_, kind, parameters)| (*kind, *parameters))
        .ok_or_else(|| {
            let known: Vec<_> = table.iter().map(|(known, ..)| *known).collect();
            let name: String = name.chars().take(80).collect();
            Fault::refused(format!(
                "the {what} `{name}` is not available in prompts; use one of {}",
                known.join(", ")
            ))
        })
}
