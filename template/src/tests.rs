//! Tests: valid templates, rejected templates, and attacks.
#![expect(
    clippy::disallowed_methods,
    reason = "children of tests need what the tests need"
)]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn variables(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("variables must be a map, not {other}"),
    }
}

fn sample() -> Map<String, Value> {
    variables(json!({
        "name": "Ada", "n": 3, "rate": 1.23456, "yes": true, "nothing": null, "empty": [],
        "list": [3, 1, 2], "words": ["b", "A", "b"], "map": {"k": "v", "deep": {"x": [10, 20]}},
        "people": [{"name": "Bo", "age": 30}, {"name": "Al", "age": 25}],
        "html": "<b>&\"'</b>", "long": "grüße",
    }))
}

fn render(template: &str) -> Result<String, TemplateError> {
    CompiledText::compile(template, "text")?.render(&sample(), None)
}

#[test]
fn renders_the_subset() {
    let check = |template: &str, expect: &str| {
        assert_eq!(render(template).as_deref(), Ok(expect), "{template}");
    };
    check("", "");
    check("plain {text} stays\n\n", "plain {text} stays\n\n");
    check("Hello {{ name }}!", "Hello Ada!");
    check("{{ html }}", "<b>&\"'</b>");
    check(
        "{# gone #}{{ n }} {{ rate }} {{ yes }} {{ nothing }}",
        "3 1.23456 true none",
    );
    check(
        "{{ map.k }} {{ map['k'] }} {{ map.deep.x[-1] }} {{ list[0] }} {{ name[1] }}",
        "v v 20 3 d",
    );
    check("{{ list }} {{ map.deep }}", "[3,1,2] {\"x\":[10,20]}");
    check("{% raw %}{{ name }}{% endraw %}", "{{ name }}");
    check("a\n  {%- if yes %} b{% endif %}", "a b");
    check(
        "{% if n > 5 %}big{% elif n == 3 %}three{% else %}small{% endif %}",
        "three",
    );
    check(
        "{% for x in list %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
        "1/3:3, 2/3:1, 3/3:2",
    );
    check("{% for x in empty %}x{% else %}none{% endfor %}", "none");
    check(
        "{% for p in people if p.age > 26 %}{{ p.name }}{{ loop.length }}{% endfor %}",
        "Bo1",
    );
    check(
        "{% for k, v in map|items %}{{ k }}={{ v }};{% endfor %}",
        "deep={\"x\":[10,20]};k=v;",
    );
    check("{% for k in map %}{{ k }};{% endfor %}", "deep;k;");
    check(
        "{% for i in range(3) %}{% for j in range(1, 3) %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
        "01 02 11 12 21 22 ",
    );
    check(
        "{% for i in range(5, 0, -2) %}{% if true %}{{ loop.index0 }}{{ i }} {% endif %}{% endfor %}",
        "05 13 21 ",
    );
    check(
        "{% with a = name ~ '!', b = 2 %}{{ a }}{{ b }}{% endwith %}",
        "Ada!2",
    );
    check(
        "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 + 2 * 3 }} {{ 0.5 + 1 }}",
        "3 -4 -4 2 3.5 1024 7 1.5",
    );
}

#[test]
fn renders_operators_and_filters() {
    let check = |template: &str, expect: &str| {
        assert_eq!(render(template).as_deref(), Ok(expect), "{template}");
    };
    check(
        "{{ 'a' ~ n }} {{ 'ab' * 2 }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1, 'x') }} {{ {'a': 1} }}",
        "a3 abab ab [1,2] [1,\"x\"] {\"a\":1}",
    );
    check(
        "{{ 1 < n < 5 }} {{ 'd' in name }} {{ 3 not in list }} {{ 'k' in map }} {{ 1 == 1.0 }} {{ not yes }}",
        "true true false true true false",
    );
    check(
        "{{ yes and 'x' or 'y' }} {{ 'a' if n is odd else 'b' }}[{{ 'a' if n is even }}]",
        "x a[]",
    );
    check(
        "{{ list[1:] }} {{ list[::-1] }} {{ long[1:3] }} {{ list[:-1] }} {{ name[5:] }}",
        "[1,2] [2,1,3] rü [3,1] ",
    );
    check(
        "{{ missing | default('d') }} {{ map.nope | d('e') }} {{ '' | default('f', true) }} {{ missing is defined }} {{ n is undefined }}",
        "d e f false false",
    );
    check(
        "{{ long | upper }} {{ name | lower }} {{ 'a b-c' | title }} {{ 'aBC' | capitalize }} [{{ '  x ' | trim }}]",
        "GRÜSSE ada A B-C Abc [x]",
    );
    check(
        "{{ list | sort }} {{ list | sort(reverse=true) }} {{ words | sort }} {{ words | unique }} {{ people | sort(attribute='age') | map(attribute='name') | join(', ') }}",
        "[1,2,3] [3,2,1] [\"A\",\"b\",\"b\"] [\"b\",\"A\"] Al, Bo",
    );
    check(
        "{{ list | first }} {{ list | last }} {{ list | length }} {{ list | max }} {{ list | min }} {{ list | sum }} {{ long | length }}",
        "3 2 3 3 1 6 5",
    );
    check(
        "{{ list | join('-') }} {{ people | join('+', attribute='name') }} {{ 'aXbX' | replace('X', '..') }} {{ 'abc' | reverse }} {{ 'ab' | list }}",
        "3-1-2 Bo+Al a..b.. cba [\"a\",\"b\"]",
    );
    check(
        "{{ map.deep | tojson }} {{ list | dump }} {{ map.deep | dump(2) }}",
        "{\"x\":[10,20]} [3,1,2] {\n  \"x\": [\n    10,\n    20\n  ]\n}",
    );
    check(
        "{{ '42' | int + 1 }} {{ 'x' | int(7) }} {{ '1.5' | float }} {{ 2 | float }} {{ rate | round(2) }} {{ -3 | abs }} {{ 3.9 | int }} {{ n | string ~ '' }}",
        "43 7 1.5 2.0 1.23 3 3 3",
    );
    check(
        "{{ name is string }} {{ n is divisibleby(3) }} {{ name is startingwith('A') }} {{ nothing is none }} {{ list is sequence }} {{ n is eq 3 }} {{ 1 is in list }}",
        "true true true true true true true",
    );
    check("{{ html | safe }}", "<b>&\"'</b>");
}

#[test]
fn says_what_is_wrong_and_how_to_mend_it() {
    use TemplateErrorKind::{Limit, Refused, Syntax, Undefined, Value};
    let check = |template: &str, kind, line: usize, part: &str| {
        let error = render(template).expect_err(template);
        assert_eq!(
            (error.kind, error.line),
            (kind, line),
            "{template}: {error}"
        );
        assert!(error.message.contains(part), "{template}: {error}");
    };
    check(
        "a\nb {{ absent }}",
        Undefined,
        2,
        "`absent` is not defined; add it",
    );
    check("{{ map.deep.y }}", Undefined, 1, "`map.deep.y`");
    check("{{ map.y.z }}", Undefined, 1, "`map.y` is not defined");
    check("{% if absent %}x{% endif %}", Undefined, 1, "`absent`");
    check(
        "\n{% for x in list %}\n{{ x.y }}{% endfor %}",
        Undefined,
        3,
        "`x.y`",
    );
    check("{{ name", Syntax, 1, "raw");
    check("\n\n{% if yes %}", Syntax, 3, "");
    check("{{ 1 + }}", Syntax, 1, "unexpected");
    check(
        "{% set a = 1 %}",
        Refused,
        1,
        "use `if`, `for`, `with` or `raw`; write `{% with name",
    );
    check("x\n{% macro m() %}{% endmacro %}", Refused, 2, "`macro`");
    check(
        "{{ name | indent(4) }}",
        Refused,
        1,
        "use one of abs, capitalize",
    );
    check("{{ name is callable }}", Refused, 1, "use one of boolean");
    check("{{ debug() }}", Refused, 1, "only function is `range`");
    check("{{ name.upper() }}", Refused, 1, "`value | name`");
    check("{{ name | upper(1) }}", Refused, 1, "takes no arguments");
    check(
        "{{ name | replace('a', 'b', count=1) }}",
        Refused,
        1,
        "old, new",
    );
    check("{{ loop.index }}", Refused, 1, "inside a `for`");
    check("{{ 1 / 0 }}", Value, 1, "division by zero");
    check("{{ n + name }}", Value, 1, "use `~`");
    check("{{ name | abs }}", Value, 1, "not a number");
    check("{% for x in name %}{% endfor %}", Value, 1, "not a string");
    check("{{ range(20000) }}", Limit, 1, "at most 10000");
    check(&"x".repeat(MAX_TEMPLATE_BYTES + 1), Limit, 1, "larger than");
}

#[test]
fn compiles_chats_and_names_the_field() {
    let chat: PromptBody = serde_json::from_value(json!({"kind": "chat", "messages": [
        {"role": "system", "content": "You speak {{ language }}."},
        {"role": "user", "content": "{% for x in xs %}{{ x }}{{ question }}{% endfor %}{{ x }}"},
    ]}))
    .expect("a chat");
    let prompt = CompiledPrompt::compile(&chat).expect("compiles");
    assert_eq!(
        prompt.variables().into_iter().collect::<Vec<_>>(),
        ["language", "question", "x", "xs"]
    );
    let error = prompt
        .render(&variables(json!({"language": "Latin", "xs": [1]})))
        .expect_err("no question");
    assert_eq!(
        error.to_string(),
        "messages[1].content, line 1: `question` is not defined; add it to the item's variables or write `{{ question | default('…') }}`"
    );
    let messages = prompt
        .render(&variables(
            json!({"language": "Latin", "xs": [1], "question": "?", "x": 2}),
        ))
        .expect("renders");
    assert_eq!(
        messages[0],
        Message {
            role: Role::System,
            content: "You speak Latin.".into()
        }
    );
    assert_eq!(messages[1].content, Content::from("1?2"));

    let text: PromptBody =
        serde_json::from_value(json!({"kind": "text", "text": "{{ q }}"})).expect("a text");
    let messages = CompiledPrompt::compile(&text)
        .and_then(|prompt| prompt.render(&variables(json!({"q": "hi"}))));
    assert_eq!(
        messages,
        Ok(vec![Message {
            role: Role::User,
            content: "hi".into()
        }])
    );
    assert_eq!(
        serde_json::to_value(&text).expect("json"),
        json!({"kind": "text", "text": "{{ q }}"})
    );
    assert!(
        serde_json::from_value::<PromptBody>(json!({"kind": "text", "text": "", "more": 1}))
            .is_err()
    );
    assert!(CompiledPrompt::compile(&PromptBody::Chat { messages: vec![] }).is_err());
    let big = Message {
        role: Role::User,
        content: "x".repeat(40_000).into(),
    };
    assert!(
        CompiledPrompt::compile(&PromptBody::Chat {
            messages: vec![big.clone(), big]
        })
        .is_err()
    );
}

#[test]
fn images_are_templates_and_checked() {
    const PIXEL: &str =
        "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
    let body = |role: &str, content: Value| -> PromptBody {
        let messages = json!([{"role": role, "content": content}]);
        serde_json::from_value(json!({"kind": "chat", "messages": messages})).expect("a chat")
    };
    let text = json!({"type": "text", "text": "What is on {{ what }}?"});
    let asked = body(
        "user",
        json!([text, {"type": "image", "url": "{{ photo }}"}]),
    );
    let prompt = CompiledPrompt::compile(&asked).expect("compiles");
    assert!(prompt.variables().contains("photo") && prompt.variables().contains("what"));
    let rendered = prompt
        .render(&variables(json!({"what": "it", "photo": PIXEL})))
        .expect("renders");
    assert_eq!(
        serde_json::to_value(&rendered).expect("json"),
        json!([{"role": "user", "content": [
            {"type": "text", "text": "What is on it?"}, {"type": "image", "url": PIXEL},
        ]}])
    );
    assert_eq!(
        serde_json::to_value(&asked).expect("json")["messages"][0]["content"][0],
        text
    );
    let wrong = prompt.render(&variables(json!({"what": "it", "photo": "http://a.b/c"})));
    let wrong = wrong.expect_err("no image").to_string();
    assert!(
        wrong.starts_with("messages[0].content[1].url, line 1: an image must be a data URL"),
        "{wrong}"
    );
    let image = json!({"type": "image", "url": PIXEL});
    for (body, expect) in [
        (body("user", json!([])), "1 to 64 parts"),
        (body("system", json!([image])), "only messages of the user"),
        (
            body("assistant", json!([image])),
            "only messages of the user",
        ),
        (
            body("user", vec![image.clone(); 17].into()),
            "at most 16 images",
        ),
        (
            body("user", json!([{"type": "image", "url": "x"}])),
            "data URL",
        ),
        (body("user", vec![text.clone(); 65].into()), "1 to 64 parts"),
    ] {
        let error = CompiledPrompt::compile(&body)
            .expect_err(expect)
            .to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<CompiledPrompt>();
    assert_eq!(
        CompiledText::compile("plain", "t")
            .expect("compiles")
            .as_constant(),
        Some("plain")
    );
    assert_eq!(
        CompiledText::compile("{{ x }}", "t")
            .expect("compiles")
            .as_constant(),
        None
    );
}

/// The peak resident memory of this process since the last reset, in KiB.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("VmHWM");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// CPU time of this process, to 10 ms; unaffected by other load on the machine.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    // The second field, in brackets, may contain spaces; user and system time are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').expect("the command ends");
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(10 * ticks)
}

/// Runs the attacks in a child process, so that other tests do not disturb the measurement and an abort fails this
/// test.
#[test]
fn attacks_end_in_an_error_or_a_bounded_text() {
    let name = "attacks_end_in_an_error_or_a_bounded_text";
    if std::env::var_os("OPB_TEMPLATE_ATTACKS").is_some() {
        return attack();
    }
    let module = module_path!().split_once("::").expect("inside a crate").1;
    let this = std::env::current_exe().expect("the test binary");
    let child = std::process::Command::new(this)
        .args(["--exact", &format!("{module}::{name}"), "--nocapture"])
        .env("OPB_TEMPLATE_ATTACKS", "1")
        .output()
        .expect("the attacks start");
    let said = String::from_utf8_lossy(&child.stderr);
    eprintln!("{said}");
    assert!(child.status.success(), "{}", child.status);
    assert!(
        said.contains("deepest elifs that are allowed"),
        "the table was not run"
    );
}

fn attacks() -> Vec<(&'static str, String)> {
    let mut doubling = String::from("{{ a }}");
    for at in (0..15).rev() {
        doubling = format!("{{% with a = a ~ a ~ a ~ a %}}{doubling}{{% endwith %}}{at}");
    }
    let loops = format!(
        "{}{}{}",
        "{% for x in big_list %}".repeat(10),
        "x",
        "{% endfor %}".repeat(10)
    );
    vec![
        ("set doubling", "{% set a = 'x' %}{% set a = a ~ a %}{{ a }}".to_owned()),
        ("namespace doubling", "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}".to_owned()),
        ("with doubling", doubling.clone()),
        ("with doubling of a large variable", doubling.replace("= a ~", "= big ~")),
        ("for doubling", "{% for b in [big ~ big] %}{% for c in [b ~ b] %}{% for d in [c ~ c] %}{% for e in [d ~ d ~ d ~ d] %}{{ e }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}".to_owned()),
        ("list doubling", "{% with a = [big_list, big_list] %}{% with a = [a, a, a, a] %}{% with a = [a, a, a, a] %}{{ a }}{% endwith %}{% endwith %}{% endwith %}".to_owned()),
                (
            "list doubling, deeper",
            format!(
                "{}{}{{{{ a | length }}}}{}",
                "{% with a = big_list %}",
                "{% with a = [a, a, a, a, a, a, a, a] %}".repeat(7),
                "{% endwith %}".repeat(8)
            ),
        ),
        (
            "steps that touch no bytes",
            format!(
                "{{% for i in range(9999) %}}{}{{% endfor %}}",
                format!("{{% if 1{} == 0 %}}{{% endif %}}", "+1".repeat(110)).repeat(40)
            ),
        ),
("long concatenation", format!("{{{{ big{} }}}}", " ~ big".repeat(120))),
        ("string times number", "{{ 'A' * 1000000000 }}".to_owned()),
        ("constant folding", "{{ 'A' * 30000000 ~ 'A' * 30000000 }}".to_owned()),
        ("list times number", "{{ [1] * 1000000000 }}".to_owned()),
        ("power", "{{ 9 ** 9 ** 9 ** 9 }}".to_owned()),
        ("indent", "{{ 'x' | indent(1000000000) }}".to_owned()),
        ("format", "{{ '%1000000000d' | format(1) }}".to_owned()),
        ("percent format", "{{ '%1000000000d' % 1 }}".to_owned()),
        ("center", "{{ 'x' | center(1000000000) }}".to_owned()),
        ("join of a range with a large separator", "{{ range(10000) | join(big) }}".to_owned()),
        ("nested joins", "{{ range(9999) | join(range(9999) | join(range(9999) | join('x'))) }}".to_owned()),
        ("replace of nothing", "{{ big | replace('', big) }}".to_owned()),
        ("replace that doubles", format!("{{{{ big{} }}}}", " | replace('x', 'xx')".repeat(40))),
        ("tojson with indent", "{{ nested | tojson(indent=1000000000) }}".to_owned()),
        ("tojson of tojson", format!("{{{{ big{} }}}}", " | tojson".repeat(60))),
        ("set block capture", "{% set a %}{{ big }}{% endset %}{{ a }}".to_owned()),
        ("filter block", "{% filter upper %}{{ big }}{% endfilter %}".to_owned()),
        ("macro recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned()),
        ("call block", "{% call m() %}{% endcall %}".to_owned()),
        ("include of itself", "{% include 'text' %}".to_owned()),
        ("import", "{% import '/etc/passwd' as p %}".to_owned()),
        ("extends", "{% extends 'x' %}".to_owned()),
        ("recursive loop", "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}".to_owned()),
        ("debug", "{{ debug() }}".to_owned()),
        ("large range", "{{ range(1000000000000) | length }}".to_owned()),
        ("backwards range", "{{ range(0, -9223372036854775807, -9223372036854775807) | length }}".to_owned()),
        ("nested loops", "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}".to_owned()),
        ("nested loops over a variable", loops),
        ("work on a large variable in a loop", "{% for i in range(9999) %}{% if big | upper | lower == 'x' %}{% endif %}{% endfor %}".to_owned()),
        ("search in a large variable in a loop", "{% for i in range(9999) %}{% if 'zz' in big %}{% endif %}{% endfor %}".to_owned()),
        ("equality of large variables in a loop", "{% for i in range(9999) %}{% if big_list == big_list %}{% endif %}{% endfor %}".to_owned()),
        ("slices in a loop", "{% for i in range(9999) %}{% if big[::-1] %}{% endif %}{% endfor %}".to_owned()),
        ("sort in a loop", "{% for i in range(9999) %}{% if big_list | sort | unique | reverse %}{% endif %}{% endfor %}".to_owned()),
        ("trim with many characters", "{{ big | trim(big) }}".to_owned()),
        ("output in a loop", "{% for i in range(9999) %}{{ big }}{% endfor %}".to_owned()),
        ("many steps", "{% for i in range(9999) %}{{ 1+1+1+1+1+1+1+1+1+1 }}{% endfor %}".to_owned()),
        ("minus signs overflow the parser's stack", format!("{{{{ {}1 }}}}", "-".repeat(60_000))),
        ("nots overflow the parser's stack", format!("{{{{ {}1 }}}}", "not ".repeat(16_000))),
        ("elifs overflow the parser's stack", format!("{{% if a %}}{}{{% endif %}}", "{%elif a%}".repeat(6_400))),
        ("loop targets overflow the parser's stack", format!("{{% for {}x", "(".repeat(60_000))),
        ("else chains overflow the parser's stack", format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(5_000))),
        ("brackets", format!("{{{{ {}1{} }}}}", "[".repeat(30_000), "]".repeat(30_000))),
        ("attributes", format!("{{{{ a{} }}}}", ".a".repeat(30_000))),
        ("filters", format!("{{{{ 'a'{} }}}}", "|e".repeat(30_000))),
        ("blocks", "{% if 1 %}".repeat(6_000)),
        ("deepest that is allowed", {
            let open = format!("{{% for x in [1] if {}1 %}}", "not not ".repeat(100)).repeat(15);
            format!("{open}{{{{ {}{}1{} }}}}{}", "not ".repeat(200), "[".repeat(15), "]".repeat(15), "{% endfor %}".repeat(15))
        }),
        ("deepest elifs that are allowed", {
            let open = format!("{{% if 0 %}}{}", "{% elif 0 %}".repeat(4)).repeat(15);
            format!("{open}x{}", "{% endif %}".repeat(15))
        }),
    ]
}

fn attack() {
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let hostile = variables(
        json!({"a": "x", "m": 1, "big": "x".repeat(1024 * 1024), "big_list": vec![json!(1); 20_000], "nested": nested}),
    );

    // Names the attack that exceeded a limit; all attacks run before the test fails.
    let mut broken = Vec::new();
    // An attack that is not stopped takes minutes; all of these together take a second in a debug build.
    let allowed = Duration::from_secs(20);
    for (name, template) in &attacks() {
        std::fs::write("/proc/self/clear_refs", "5").expect("the peak is reset");
        let memory_before = peak_memory_kib();
        let time_before = processor_time();
        let result =
            CompiledText::compile(template, "text").and_then(|text| text.render(&hostile, None));
        let took = processor_time().saturating_sub(time_before);
        let grown_kib = peak_memory_kib() - memory_before;
        let outcome = result
            .as_ref()
            .map(String::len)
            .map_err(|error| error.message.chars().take(70).collect::<String>());
        eprintln!("{took:>10.1?} {grown_kib:>6} KiB  {name}: {outcome:?}");
        if took > allowed
            || grown_kib > 64 * 1024
            || result.is_ok_and(|text| text.len() > MAX_OUTPUT_BYTES)
        {
            broken.push(format!("{name}: {took:?}, {grown_kib} KiB"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

proptest! {
    /// Any sequence of template fragments terminates, within the output limit and without a panic.
    #[test]
    fn soup_never_panics(pieces in prop::collection::vec(prop::sample::select(vec![
        "{{ ", " }}", "{% ", " %}", "for x in ", "endfor", "if ", "endif", "else", "name", "list", "map", "n", "x", " ~ ", " + ", " * ", " ** ",
        "|", "join(", "replace(", "sort", "tojson", "int", "round(", "(", ")", "[", "]", ":", ".", ",", "'a'", "-1", "9223372036854775807", "1e308",
        "loop.index", "range(", "is ", "not ", "in ", "==", "<", "//", "%", "text", "with y = ", "endwith", "\n", "é",
    ]), 0..24)) {
        if let Ok(text) = render(&pieces.concat()) {
            prop_assert!(text.len() <= MAX_OUTPUT_BYTES);
        }
    }

    /// Operators and filters on odd values never panic.
    #[test]
    fn expressions_never_panic(
        a in prop::sample::select(vec!["-9223372036854775807 - 1", "0", "-1", "2.5", "1e308", "'é'", "''", "list", "map", "none", "true", "nested"]),
        op in prop::sample::select(vec!["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or"]),
        b in prop::sample::select(vec!["-9223372036854775807", "-1", "0", "3", "64", "1e308", "0.1", "'é'", "[]", "map", "none"]),
        filter in prop::sample::select(vec!["abs", "int", "float", "round(-5)", "round(400)", "sort", "unique", "first", "last", "list", "length", "title", "sum", "max", "string"]),
        bounds in prop::sample::select(vec!["[0]", "[-9]", "[::-1]", "[5:-5:2]", "[-99:99]", "[9223372036854775807:0:-9223372036854775807]"]),
    ) {
        let _ = render(&format!("{{{{ (({a}) {op} ({b})) | {filter} }}}}"));
        let _ = render(&format!("{{{{ ({a}){bounds} }}}}"));
    }
}
