//! The tables of docs/BENCHMARKS.md: every field that the readers of files know, as the types themselves describe it.
//!
//! `make reference` writes them; this test fails when they are out of date.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use opb_core::{
    benchmarks::{FieldMap, Item, ItemsSource, PackHeader},
    library::{FrontMatter, NewPrompt, Parameters, Variable},
    scorers::ScorerSpec,
    template::{Message, PromptBody},
};
use serde_json::Value;
use utoipa::ToSchema;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/BENCHMARKS.md");

/// Every schema that the tables need, by name.
type Schemas = BTreeMap<String, Value>;

#[test]
fn the_tables_of_benchmarks_md_say_what_the_readers_read() {
    let page = fs::read_to_string(PAGE).unwrap();
    let renewed = with_tables(&page, &schemas());
    if std::env::var_os("OPB_WRITE_REFERENCE").is_some() {
        fs::write(PAGE, renewed).unwrap();
    } else {
        assert!(
            page == renewed,
            "the tables of docs/BENCHMARKS.md are out of date: run `make reference`"
        );
    }
}

#[test]
fn every_scorer_has_a_row_in_benchmarks_md() {
    let page = fs::read_to_string(PAGE).unwrap();
    let schemas = schemas();
    for name in schemas["ScorerType"]["enum"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        if !name.starts_with("not-") {
            assert!(
                page.contains(&format!("\n| `{name}` |")),
                "docs/BENCHMARKS.md has no row for the scorer `{name}`"
            );
        }
    }
}

fn schemas() -> Schemas {
    fn add<T: ToSchema>(schemas: &mut Schemas) {
        let mut needed = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut needed);
        for (name, schema) in needed {
            schemas.insert(name, serde_json::to_value(schema).unwrap());
        }
    }
    let mut schemas = Schemas::new();
    add::<PackHeader>(&mut schemas);
    add::<ItemsSource>(&mut schemas);
    add::<FieldMap>(&mut schemas);
    add::<Item>(&mut schemas);
    add::<ScorerSpec>(&mut schemas);
    add::<NewPrompt>(&mut schemas);
    add::<PromptBody>(&mut schemas);
    add::<Message>(&mut schemas);
    add::<Variable>(&mut schemas);
    add::<Parameters>(&mut schemas);
    add::<FrontMatter>(&mut schemas);
    schemas
}

/// The page with a table after each marker `<!-- fields of NAME -->`, up to `<!-- end -->`.
fn with_tables(page: &str, schemas: &Schemas) -> String {
    let mut pieces = page.split("<!-- fields of ");
    let mut renewed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once(" -->").expect("a marker ends with -->");
        let (_, rest) = rest
            .split_once("<!-- end -->")
            .expect("a table ends with <!-- end -->");
        let schema = schemas
            .get(name)
            .unwrap_or_else(|| panic!("add `{name}` to `schemas` of this test"));
        let table = table(schema, schemas);
        let _ = write!(
            renewed,
            "<!-- fields of {name} -->\n{table}<!-- end -->{rest}"
        );
    }
    renewed
}

/// Needed fields first.
fn table(schema: &Value, schemas: &Schemas) -> String {
    let mut table =
        "\n| field | what | when absent | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let needed: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let fields = schema["properties"]
        .as_object()
        .expect("a schema has fields");
    let (first, last): (Vec<_>, Vec<_>) = fields
        .iter()
        .partition(|(name, _)| needed.contains(&name.as_str()));
    for (name, field) in first.into_iter().chain(last) {
        let absent = if needed.contains(&name.as_str()) {
            "**needed**".to_owned()
        } else {
            default(&field["default"])
        };
        let _ = writeln!(
            table,
            "| `{name}` | {} | {absent} | {} |",
            kind(field, schemas),
            meaning(field, schemas)
        );
    }
    table.push('\n');
    table
}

/// What holds when a field is absent, where that is more than nothing.
fn default(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => format!("`{text}`"),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("`{}`", number.as_f64().unwrap_or_default()),
        _ => String::new(),
    }
}

/// What a field holds, in words.
fn kind(field: &Value, schemas: &Schemas) -> String {
    let field = resolved(field, schemas);
    if let Some(choices) = choices(field) {
        return choices;
    }
    let kinds = match &field["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::String(kind) => vec![kind.as_str()],
        // Without a type: a choice of shapes, or any value.
        _ if field["oneOf"].is_array() => return "see below".to_owned(),
        _ => return "any value".to_owned(),
    };
    let plain = kinds.into_iter().find(|kind| *kind != "null");
    match plain {
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("object") => "map".to_owned(),
        Some("array") if field["items"]["$ref"].is_string() => "list, see below".to_owned(),
        Some("array") => format!("list of {}s", kind(&field["items"], schemas)),
        other => other.unwrap_or("any value").to_owned(),
    }
}

/// The words of a closed set.
fn choices(field: &Value) -> Option<String> {
    let words = field["enum"].as_array()?;
    let plain: Vec<String> = words
        .iter()
        .filter_map(Value::as_str)
        .filter(|word| !word.starts_with("not-"))
        .map(|word| format!("`{word}`"))
        .collect();
    let negated = if plain.len() < words.len() {
        ", or `not-` and one of them"
    } else {
        ""
    };
    Some(format!("{}{negated}", plain.join(", ")))
}

/// The sentence of a field, or of its type.
fn meaning(field: &Value, schemas: &Schemas) -> String {
    let own = field["description"].as_str();
    let own = own.or_else(|| optional(field)["description"].as_str());
    let text = own.or_else(|| resolved(field, schemas)["description"].as_str());
    text.unwrap_or_default()
        .replace('\n', " ")
        .replace('|', "\\|")
}

/// The other choice of a field that may be null.
fn optional(field: &Value) -> &Value {
    let choices = field["oneOf"].as_array();
    let choices = choices.filter(|choices| choices.iter().any(|choice| choice["type"] == "null"));
    choices
        .and_then(|choices| choices.iter().find(|choice| choice["$ref"].is_string()))
        .unwrap_or(field)
}

/// What a reference leads to.
fn resolved<'a>(field: &'a Value, schemas: &'a Schemas) -> &'a Value {
    let field = optional(field);
    field["$ref"]
        .as_str()
        .and_then(|path| schemas.get(path.rsplit('/').next()?))
        .unwrap_or(field)
}
