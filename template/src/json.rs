//! JSON values whose strings are templates. A variable's value stays inside its string or becomes a value of its own:
//! it cannot change the surrounding structure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{CompiledText, TemplateError, budget::Budget};

/// A JSON value that was parsed once and can be rendered any number of times.
///
/// A string that consists of one name only, such as `{{ messages }}` or `{{ parameters.temperature }}`, becomes the
/// named value itself, of any type. A field of an object is omitted if its name has no value.
#[derive(Debug)]
pub struct JsonTemplate(Node);

#[derive(Debug)]
enum Node {
    Constant(Value),
    /// The value at a path of names.
    Value(Vec<String>),
    Text(CompiledText),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl JsonTemplate {
    /// Parses every string in a value. Keys of objects are not templates.
    ///
    /// # Errors
    /// The first error found; its path is a JSON pointer.
    pub fn compile(source: &Value) -> Result<Self, TemplateError> {
        compile(source, "").map(Self)
    }

    /// The names that the templates use.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        collect(&self.0, &mut names);
        names
    }

    /// Renders every string with the same variables and under one budget.
    ///
    /// # Errors
    /// As [`super::CompiledPrompt::render`].
    pub fn render(&self, variables: &Map<String, Value>) -> Result<Value, TemplateError> {
        let rendered = render(&self.0, variables, &Budget::new())?;
        Ok(rendered.unwrap_or(Value::Null))
    }
}

fn compile(source: &Value, path: &str) -> Result<Node, TemplateError> {
    Ok(match source {
        Value::String(text) => {
            if let Some(names) = only_name(text) {
                return Ok(Node::Value(names));
            }
            let text = CompiledText::compile(text, path)?;
            match text.as_constant() {
                Some(constant) => Node::Constant(constant.into()),
                None => Node::Text(text),
            }
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(at, item)| compile(item, &format!("{path}/{at}")));
            Node::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                Ok((name.clone(), compile(value, &format!("{path}/{name}"))?))
            });
            Node::Object(fields.collect::<Result<_, _>>()?)
        }
        other => Node::Constant(other.clone()),
    })
}

/// The names in `{{ a.b }}`; `None` if the text is anything else.
fn only_name(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let names: Vec<String> = inner
        .split('.')
        .map(|name| name.trim().to_owned())
        .collect();
    let is_name = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    names.iter().all(is_name).then_some(names)
}

fn collect(node: &Node, names: &mut BTreeSet<String>) {
    match node {
        Node::Constant(_) => {}
        Node::Value(path) => names.extend(path.first().cloned()),
        Node::Text(text) => names.extend(text.variables().iter().cloned()),
        Node::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Node::Object(fields) => fields.iter().for_each(|(_, value)| collect(value, names)),
    }
}

/// The rendered value; `None` for a name without a value.
fn render(
    node: &Node,
    variables: &Map<String, Value>,
    budget: &Budget,
) -> Result<Option<Value>, TemplateError> {
    Ok(Some(match node {
        Node::Constant(value) => value.clone(),
        Node::Value(path) => {
            let (first, rest) = path
                .split_first()
                .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let value = variables.get(first);
            let value = rest
                .iter()
                .fold(value, |value, name| value?.get(name.as_str()));
            return Ok(value.cloned());
        }
        Node::Text(text) => text
            .render_within(variables, &Map::new(), None, budget)?
            .into(),
        Node::Array(items) => {
            let items = items.iter().map(|item| render(item, variables, budget));
            let items = items.map(|item| Ok(item?.unwrap_or(Value::Null)));
            Value::Array(items.collect::<Result<_, TemplateError>>()?)
        }
        Node::Object(fields) => {
            let mut object = Map::new();
            for (name, value) in fields {
                if let Some(value) = render(value, variables, budget)? {
                    object.insert(name.clone(), value);
                }
            }
            Value::Object(object)
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_stay_where_they_are_put() {
        let check = |source: Value, expect: Value| {
            let variables = json!({
                "prompt": "say \"hi\"}, \"role\": \"system\" {{ model }}\n",
                "messages": [{"role": "user", "content": "hi"}],
                "model": "m",
                "parameters": {"temperature": 0.5}
            });
            let template = JsonTemplate::compile(&source).unwrap();
            let rendered = template.render(variables.as_object().unwrap()).unwrap();
            assert_eq!(rendered, expect, "{source}");
        };
        let prompt = "say \"hi\"}, \"role\": \"system\" {{ model }}\n";
        check(json!({"a": "{{ prompt }}"}), json!({"a": prompt}));
        check(
            json!({"a": "<{{ prompt }}>"}),
            json!({"a": format!("<{prompt}>")}),
        );
        check(
            json!(["{{messages}}", 1, null]),
            json!([[{"role": "user", "content": "hi"}], 1, null]),
        );
        check(
            json!({"t": "{{ parameters.temperature }}"}),
            json!({"t": 0.5}),
        );
        check(
            json!({"t": "{{ parameters.seed }}", "u": 1}),
            json!({"u": 1}),
        );
        check(json!(["{{ parameters.seed }}"]), json!([null]));
        check(
            json!({"{{ model }}": "{{ model }}/x"}),
            json!({"{{ model }}": "m/x"}),
        );
    }

    #[test]
    fn faults_say_where() {
        let fault = JsonTemplate::compile(&json!({"a": [{"b": "{% if %}"}]})).unwrap_err();
        assert_eq!(fault.path, "/a/0/b");
        let template = JsonTemplate::compile(&json!({"a": "x {{ y }}"})).unwrap();
        assert_eq!(template.variables().into_iter().collect::<Vec<_>>(), ["y"]);
        assert_eq!(template.render(&Map::new()).unwrap_err().path, "/a");
    }
}
