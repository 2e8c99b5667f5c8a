//! Small templates say the same here and in minijinja's own machine.
//!
//! What is meant to differ is left out: values of other kinds than texts and numbers are printed as JSON here.

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use opb_template::{CompiledPrompt, Content, PromptBody, TemplateError, TemplateErrorKind};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn variables() -> Map<String, Value> {
    let variables = json!({
        "name": "Ada", "empty": "", "wide": "  grüße  ", "n": 3, "m": -7, "list": [3, 1, 2], "words": ["b", "A", "cc"],
        "people": [{"name": "Bo", "age": 30}, {"name": "Al", "age": 25}], "map": {"k": "v", "n": 2},
    });
    match variables {
        Value::Object(variables) => variables,
        _ => Map::new(),
    }
}

fn ours(template: &str) -> Result<String, TemplateError> {
    let body = PromptBody::Text {
        text: template.to_owned(),
    };
    let messages = CompiledPrompt::compile(&body)?.render(&variables())?;
    match &messages[0].content {
        Content::Text(text) => Ok(text.clone()),
        Content::Parts(parts) => panic!("a text has no parts: {parts:?}"),
    }
}

fn theirs(template: &str) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .build()
            .unwrap(),
    );
    environment
        .render_str(template, Serde(variables()))
        .map_err(|error| error.to_string())
}

/// An expression whose value is a whole number.
fn number() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        (0..12_i32).prop_map(|n| n.to_string()),
        prop::sample::select(vec![
            "n",
            "m",
            "map.n",
            "list[0]",
            "list[-1]",
            "words | length",
            "list | sum",
            "list | max",
            "people[1].age",
            "name | length",
            "(list | sort)[1]",
        ])
        .prop_map(|text| format!("({text})")),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), inner, 0..5_usize).prop_map(|(one, other, operator)| {
            let operator = ["+", "-", "*", "//", "%"][operator];
            format!("({one} {operator} {other})")
        })
    })
}

/// An expression whose value is a text.
fn text() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "'x'",
            "''",
            "'a b'",
            "name",
            "empty",
            "wide",
            "map.k",
            "words[1]",
            "(words | join('-'))",
            "(people | map(attribute='name') | join(', '))",
            "name[1:]",
            "(missing | default('none'))",
        ])
        .prop_map(str::to_owned),
        number().prop_map(|number| format!("('' ~ {number})")),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} ~ {other})")),
            (inner.clone(), 0..6_usize).prop_map(|(text, filter)| {
                let filter = [
                    "upper",
                    "lower",
                    "trim",
                    "capitalize",
                    "replace('a', 'oo')",
                    "reverse",
                ][filter];
                format!("({text} | {filter})")
            }),
            (inner.clone(), truth(), inner)
                .prop_map(|(one, condition, other)| format!("({one} if {condition} else {other})")),
        ]
    })
}

/// An expression that is true or false.
fn truth() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        (number(), number(), 0..6_usize).prop_map(|(one, other, operator)| {
            let operator = ["<", "<=", "==", "!=", ">", ">="][operator];
            format!("({one} {operator} {other})")
        }),
        prop::sample::select(vec![
            "true",
            "false",
            "name",
            "empty",
            "(1 in list)",
            "('k' in map)",
            "('A' not in words)",
            "(missing is defined)",
            "(n is odd)",
            "(name is string)",
            "list",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} and {other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} or {other})")),
            inner.prop_map(|one| format!("(not {one})")),
        ]
    })
}

/// A template.
fn template() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "plain",
            " a ",
            "\n",
            "  \n b",
            "{ }",
            "{# gone #}",
            "{% raw %}{{ x }}{% endraw %}",
            "ü"
        ])
        .prop_map(str::to_owned),
        (number(), dash(), dash())
            .prop_map(|(it, left, right)| format!("{{{{{left} {it} {right}}}}}")),
        (text(), dash(), dash())
            .prop_map(|(it, left, right)| format!("{{{{{left} {it} {right}}}}}")),
        Just("{{ missing }}".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let block = prop::collection::vec(inner, 0..3).prop_map(|parts| parts.concat());
        prop_oneof![
            prop::collection::vec(block.clone(), 2..4).prop_map(|parts| parts.concat()),
            (truth(), block.clone(), block.clone(), dash()).prop_map(|(condition, one, other, dash)| {
                format!("{{%{dash} if {condition} {dash}%}}{one}{{% else %}}{other}{{%{dash} endif %}}")
            }),
            (block.clone(), block.clone()).prop_map(|(one, other)| {
                format!("{{% for x in list %}}{{{{ loop.index }}}}:{{{{ x }}}}{one}{{% else %}}{other}{{% endfor %}}")
            }),
            (truth(), block.clone()).prop_map(|(condition, one)| {
                format!("{{% for w in words if {condition} %}}{{{{ w ~ loop.length }}}}{one}{{% if not loop.last %}},{{% endif %}}{{% endfor %}}")
            }),
            (number(), block).prop_map(|(value, one)| {
                format!("{{% with n = {value} %}}{{{{ n }}}}{one}{{% endwith %}}")
            }),
        ]
    })
}

/// Whether a tag takes the white space beside it.
fn dash() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["", "", "-"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_templates_say_the_same_as_in_minijinja(template in template()) {
        match (ours(&template), theirs(&template)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(_), Err(_)) => {}
            // Only here has a template bounds.
            (Err(error), Ok(_)) if error.kind == TemplateErrorKind::Limit => {}
            (ours, theirs) => prop_assert!(false, "{:?} here, {:?} there", ours, theirs),
        }
    }
}
