//! One table for each scorer, and one for their combination.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn compile(spec: &Value) -> Result<Scorer, String> {
    let spec: ScorerSpec =
        serde_json::from_value(spec.clone()).map_err(|error| error.to_string())?;
    Scorer::compile(&spec).map_err(|error| error.to_string())
}

fn outcome(spec: &Value, output: &str, expected: &Value) -> Outcome {
    let vars = json!({"name": "Ada", "pattern": "^A"});
    let vars = vars.as_object().expect("a map");
    let expected = Some(expected).filter(|value| !value.is_null());
    compile(spec)
        .expect("compiles")
        .score(&ScoreInput {
            output,
            expected,
            vars,
        })
        .outcome
}

/// Checks a scorer and its negation.
fn check(kind: &str, value: &Value, output: &str, expect: bool) {
    for (kind, expect) in [(kind.to_owned(), expect), (format!("not-{kind}"), !expect)] {
        let mut spec = json!({"type": kind});
        if !value.is_null() {
            spec["value"] = value.clone();
        }
        match outcome(&spec, output, &Value::Null) {
            Outcome::Scored {
                score,
                pass,
                reason,
            } => {
                assert_eq!(
                    (pass, score),
                    (expect, f64::from(u8::from(expect))),
                    "{spec} on {output:?}: {reason}"
                );
            }
            other => panic!("{spec} on {output:?}: {other:?}"),
        }
    }
}

#[test]
fn equals() {
    check("equals", &json!("Paris"), "Paris", true);
    check("equals", &json!("Paris"), "paris", false);
    check("equals", &json!("Paris"), "Paris ", false);
    check("equals", &json!(""), "", true);
    check("equals", &json!(42), "42", true);
    check("equals", &json!(true), "true", true);
    check("equals", &json!({"a": [1, 2]}), " {\"a\": [1.0, 2]} ", true);
    check("equals", &json!({"a": [1, 2]}), "{\"a\": [2, 1]}", false);
    check("equals", &json!({"a": 1}), "{\"a\": 1, \"b\": 2}", false);
    check("equals", &json!([1]), "not json", false);
    check("equals", &json!("{\"a\":1}"), "{\"a\": 1}", false);
}

#[test]
fn f34_numbers_are_compared_as_javascript_writes_them() {
    for (value, output) in [
        (json!(1.0), "1"),
        (json!(1e3), "1000"),
        (json!(-2.50), "-2.5"),
        (json!(-0.0), "0"),
        (json!(0.000_001), "0.000001"),
        (json!(1e-7), "1e-7"),
        (json!(1e20), "100000000000000000000"),
        (json!(1.5e21), "1.5e+21"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        check("equals", &value, output, true);
        check("contains", &value, &format!("it is {output}."), true);
        let expected = outcome(&json!({"type": "equals"}), output, &value);
        assert!(
            matches!(expected, Outcome::Scored { pass: true, .. }),
            "{value}: {expected:?}"
        );
    }
    check("equals", &json!(1.0), "1.0", false);
    // Items keep the digits of large numbers in texts, and so does the comparison as JSON.
    let long = "123456789012345678901";
    check("equals", &json!(long), long, true);
    check(
        "equals",
        &json!({"n": long}),
        &format!("{{\"n\": {long}}}"),
        true,
    );
    check(
        "equals",
        &json!({"n": long}),
        "{\"n\": 123456789012345678902}",
        false,
    );
}

#[test]
fn contains_and_icontains() {
    check("contains", &json!("ell"), "Hello", true);
    check("contains", &json!("ELL"), "Hello", false);
    check("contains", &json!(42), "it is 42.", true);
    check("icontains", &json!("ELL"), "Hello", true);
    check("icontains", &json!("ÜBER"), "das ist über", true);
    check("icontains", &json!("x"), "Hello", false);
    for kind in ["contains", "icontains", "not-contains", "regex"] {
        let refused = compile(&json!({"type": kind, "value": ""}));
        let reason = refused.expect_err("every output contains nothing");
        assert!(
            reason.contains("value must not be empty"),
            "{kind}: {reason}"
        );
    }
}

#[test]
fn f22_a_missing_value_is_an_error_and_never_a_pass() {
    let kinds = ["contains", "icontains", "regex"];
    let kinds = kinds
        .into_iter()
        .flat_map(|kind| [kind.to_owned(), format!("not-{kind}")]);
    for kind in kinds {
        let refused = compile(&json!({"type": kind, "value": ""}));
        assert!(refused.unwrap_err().contains("must not be empty"), "{kind}");
        for (spec, expected) in [
            (json!({"type": kind}), json!("")),
            (json!({"type": kind}), Value::Null),
            (json!({"type": kind}), json!([])),
            (json!({"type": kind, "value": null}), Value::Null),
            (json!({"type": kind, "value": "{{ expected }}"}), json!("")),
            (
                json!({"type": kind, "value": "{{ name[0:0] }}"}),
                json!("x"),
            ),
        ] {
            let found = outcome(&spec, "anything", &expected);
            assert!(matches!(found, Outcome::Error { .. }), "{spec}: {found:?}");
        }
    }
    // Patterns that any output matches say as little as an empty one.
    for pattern in [".*", "(?i)", "a|", "(x)?", "[^]*", "(?:)"] {
        let refused = compile(&json!({"type": "regex", "value": pattern})).unwrap_err();
        assert!(
            refused.contains("matches every output"),
            "{pattern}: {refused}"
        );
    }
    for pattern in ["^$", "^a*$", r"\b", ".+"] {
        compile(&json!({"type": "regex", "value": pattern})).unwrap();
    }
}

#[test]
fn f21_patterns_mean_what_they_mean_in_javascript() {
    let check = |pattern: &str, yes: &[&str], no: &[&str]| {
        let outputs = yes.iter().map(|yes| (yes, true));
        for (output, expect) in outputs.chain(no.iter().map(|no| (no, false))) {
            check("regex", &json!(pattern), output, expect);
        }
    };
    // Letters, digits and words are ASCII, spaces are those of Unicode.
    check(r"^\w+$", &["Zurich_1"], &["Zürich", "café", ""]);
    check(r"^\W$", &["ü", "-", "١"], &["a", "_"]);
    check(r"^\d+$", &["12"], &["١٢", "1a"]);
    check(r"^\D$", &["١"], &["1"]);
    check(
        r"^\s$",
        &["\u{feff}", "\u{a0}", "\u{2028}", "\u{b}"],
        &["\u{85}", "\u{200b}"],
    );
    check(r"^\S$", &["\u{85}", "x"], &["\u{feff}"]);
    check(r"\bla\b", &["laß", "la"], &["lab"]);
    check(r"f\B\S", &["fe"], &["fé"]);
    // A dot excludes four line ends, and an end is the end of the text.
    check(
        "^a.b$",
        &["a\u{85}b", "aüb", "a😀b"],
        &["a\rb", "a\nb", "a\u{2028}b", "a\u{2029}b"],
    );
    check("(?s)^a.b$", &["a\rb", "a\nb"], &["ab"]);
    check("b$", &["a\nb"], &["b\n", "b\na"]);
    check("(?m)^b$", &["a\nb\r\nc", "a\rb"], &["ab"]);
    // What means something in Rust only is a letter.
    check("^{$", &["{"], &[""]);
    check(r#"{"a": \{}}"#, &[r#"{"a": {}}"#], &[]);
    check("^a{,2}$", &["a{,2}"], &["aa"]);
    check("^a{2}b{1,}c{0,1}$", &["aab", "aabbc"], &["aabcc"]);
    check("^x{y}]}$", &["x{y}]}"], &[]);
    check("^[a&&b]+$", &["a&b"], &["c"]);
    check("^[[]$", &["["], &["]"]);
    check("^[[:alpha:]]$", &["[]", "a]", ":]"], &["b"]);
    check("^[*--z~~]+$", &["+-z~"], &["a"]);
    check(r"^[\w-.]+$", &["a-b.c"], &["ü"]);
    check(r"^[^\W\d]+$", &["ab"], &["a1", "ü"]);
    check(r"^[\]\\\-^]+$", &["]-\\^"], &["a"]);
    check("a[]b|c", &["c"], &["ab", "a[]b"]);
    check("^a[^]b$", &["a\nb"], &["ab"]);
    // Escapes.
    check(r"^\/\-\_\é\e\@\ $", &["/-_ée@ "], &[]);
    check(
        r"^\cJ\cj\x41\u0042\t\v\f\0$",
        &["\n\nAB\t\u{b}\u{c}\0"],
        &[],
    );
    check(r"^\c$", &["\\c"], &[]);
    check(r"^[\c1\b\B]+$", &["\u{11}\u{8}B"], &["c"]);
    check(r"^\xq\uq\101\8$", &["xquqA8"], &[]);
    check(r"^\ud83d\ude00\u{1F600}$", &["😀😀"], &[]);
    check(r"^\p{Lu}\P{L}[\p{Ll}]$", &["Ü1ß"], &["ü1ß"]);
    // Groups.
    check(
        "^(?<year>[0-9]{4})-(?P<m>[0-9]{2})$",
        &["2026-11"],
        &["2026-1"],
    );
    check("^(?:a|b)+?(c)$", &["abc"], &["ab"]);
    check("(?i)^yes$", &["YES", "yes"], &["no"]);
    check("^(?i:a)b$", &["Ab"], &["AB"]);
    check("(?i)^\\w$", &["K"], &["\u{212a}"]);
    check("^é$", &["é"], &["e\u{301}"]);
}

#[test]
fn f21_patterns_that_are_none_are_refused_in_plain_words() {
    for (pattern, part) in [
        ("(?=x)", "look-around and back-references are not available"),
        (
            "(?<!x)y",
            "look-around and back-references are not available",
        ),
        (r"(a)\1", "a back-reference such as"),
        (r"(?<n>a)\k<n>", "a back-reference such as"),
        ("*a", "nothing to repeat: `*`"),
        ("a**", "nothing to repeat"),
        ("a++", "nothing to repeat"),
        ("^*", "nothing to repeat"),
        ("{2}", "nothing to repeat: `{2}`"),
        ("a{3,2}", "repetition"),
        ("[b-a]", "out of order"),
        ("[a", "unclosed class"),
        ("(a", "unclosed group"),
        ("a)", "unopened group"),
        ("a\\", "must not end in a single"),
        ("(?x)a", "the flags `i`, `m` and `s` are known"),
        ("(?)", "the flags `i`, `m` and `s` are known"),
        (r"\Aa", "write `^` for the start"),
        (r"\ud83d", "is not a character"),
        (r"\p{Nonsense}", "property"),
    ] {
        let refused = compile(&json!({"type": "regex", "value": pattern})).unwrap_err();
        assert!(
            refused.contains(part) && !refused.contains("(?-i:") && !refused.contains('\n'),
            "{pattern}: {refused}"
        );
    }
}

#[test]
fn regex_patterns() {
    check("regex", &json!("^\\d{3}$"), "123", true);
    check("regex", &json!("^\\d{3}$"), "1234", false);
    check("regex", &json!("(?i)yes"), "well, YES", true);
    check("regex", &json!("(.*)*(.*)*x"), &"a".repeat(300_000), false);
    check(
        "regex",
        &json!("end"),
        &format!("{}end", "é".repeat(200_000)),
        false,
    ); // beyond what is searched
}

#[test]
fn is_json_of_the_whole_output() {
    check("is-json", &Value::Null, " {\"a\": 1}\n", true);
    check("is-json", &Value::Null, "3", true);
    check("is-json", &Value::Null, "{\"a\": 1} and more", false);
    check("is-json", &Value::Null, "```json\n{}\n```", false);
    check("is-json", &Value::Null, "", false);
    check("is-json", &Value::Null, &"[".repeat(100_000), false);
}

#[test]
fn finds_the_last_number() {
    let check = |text: &str, expect: Option<f64>| assert_eq!(last_number(text), expect, "{text:?}");
    check("She sold 48/2 = 24 clips.\n#### 1,234", Some(1234.0));
    check("The answer is $18.00.", Some(18.0));
    check("**Answer: 70,000**", Some(70000.0));
    check("so 5 + 13 = 18", Some(18.0));
    check("$1,234,567.89 in all", Some(1_234_567.89));
    check("between 3-5", Some(5.0));
    check("it is -3", Some(-3.0));
    check("−4.5 °C", Some(-4.5));
    check("a loss of -$20", Some(-20.0));
    check("(a)-2", Some(2.0));
    check("75%", Some(75.0));
    check("75 % ", Some(75.0));
    check("18kg", Some(18.0));
    check(".5", Some(0.5));
    check("1.5e-3", Some(0.0015));
    check("2E3!", Some(2000.0));
    check("3eggs", Some(3.0));
    check("1, 2, 3", Some(3.0));
    check("1,2,3", Some(3.0));
    check("1,2345", Some(2345.0));
    check("7 says GPT-4 with x2 and H2O", Some(7.0));
    check("5 in version 1.2.3", Some(5.0));
    check("x=3", Some(3.0));
    check("café9", None);
    check("1e999", None);
    check("no number", None);
    check("", None);
    check("12. ", Some(12.0));
    check("1.", Some(1.0));
    check(&format!("9 {}", "é".repeat(200_000)), None);
    check(&format!("{} 9", "é".repeat(200_000)), Some(9.0));
}

#[test]
fn f11_finds_numbers_in_the_typography_of_models() {
    let check = |text: &str, expect: f64| assert_eq!(last_number(text), Some(expect), "{text:?}");
    check(r"\boxed{9{,}500}", 9500.0);
    check(r"$1{,}234{,}567.5$", 1_234_567.5);
    check(r"12\!345, 12,\!345, 12\,345", 12345.0);
    check(r"$12,\!345,\!678$", 12_345_678.0);
    check("12\u{202f}345", 12345.0);
    check("12\u{a0}345 km", 12345.0);
    check("1\u{2009}234\u{2009}567", 1_234_567.0);
    check("1'234’567, 1’234’567", 1_234_567.0);
    // Decimal commas, where they cannot separate anything else.
    check("12\u{202f}345,67", 12345.67);
    check("12\u{202f}345,678 m", 12345.678);
    check("1'234,5", 1234.5);
    check(r"3{,}25", 3.25);
    check(r"0{,}125", 0.125);
    check("1.234,56 €", 1234.56);
    check("1.234.567,8", 1_234_567.8);
    // Signs.
    check("–5", -5.0);
    check("\u{2011}5", -5.0);
    check("it is −5", -5.0);
    check("x = - 5", -5.0);
    check("**Answer:** – 5", -5.0);
    check("- 5", -5.0);
    check("(\u{2011} 5)", -5.0);
    check(r"\boxed{-\$5}", -5.0);
    check(r"− \$1,200", -1200.0);
    // Dashes that are no signs.
    check("3–5", 5.0);
    check("$3–$5", 5.0);
    check("10 %–12 %", 12.0);
    check("3 - 5", 5.0);
    check("x = 3 - 5", 5.0);
    check("Steps:\n- 4\n- 5", 5.0);
    check("Result–5", 5.0);
    check("4 with GPT\u{2011}5", 4.0);
    // Lists and neighbours.
    check("see 12 345", 345.0);
    check("2024\u{a0}500", 500.0);
    check("1\u{a0}2", 2.0);
    check("1234,567", 567.0);
    check("1,234\u{a0}567", 567.0);
    check("(1.5,2.25)", 2.25);
    check("1.234,5.678", 5.678);
    check(r"1{,}234{,}5", 5.0);
    check("it's 5'11", 11.0);
}

#[test]
fn numeric() {
    check("numeric", &json!(1234), "… #### 1,234", true);
    check("numeric", &json!("$18"), "The answer is $18.00.", true);
    check("numeric", &json!("1,234.50"), "1234.5", true);
    check("numeric", &json!(18), "the 18 apples cost 20", false);
    check("numeric", &json!(3), "none", false);
    check("numeric", &json!(1e9), "1,000,000,500", true); // relative 10⁻⁶
    check("numeric", &json!(1e9), "1,000,002,000", false);
    check("numeric", &json!(0), "0.0000005", true);
    check("numeric", &json!("{{ 40 + 2 }}"), "42", true);
    let tolerant = |output: &str| {
        outcome(
            &json!({"type": "numeric", "value": 18, "tolerance": 0.1}),
            output,
            &Value::Null,
        )
    };
    assert!(matches!(
        tolerant("18.1"),
        Outcome::Scored { pass: true, .. }
    ));
    assert!(matches!(
        tolerant("18.11"),
        Outcome::Scored { pass: false, .. }
    ));
    for expected in [
        json!("many"),
        json!("18 or 19"),
        json!("x 18"),
        json!([18]),
        json!({"n": 18}),
        json!(true),
        json!(""),
        json!("#### 18"),
        Value::Null,
    ] {
        for kind in ["numeric", "not-numeric"] {
            let found = outcome(&json!({"type": kind}), "18", &expected);
            assert!(
                matches!(found, Outcome::Error { .. }),
                "{kind} {expected}: {found:?}"
            );
        }
    }
    for expected in [
        json!(18),
        json!("18"),
        json!(" 18.0 "),
        json!("$18"),
        json!("18%"),
        json!("1.8e1"),
    ] {
        let found = outcome(&json!({"type": "numeric"}), "18", &expected);
        assert!(
            matches!(found, Outcome::Scored { pass: true, .. }),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn takes_the_expected_value_and_templates() {
    let pass = |spec: Value, output: &str, expected: Value| {
        matches!(
            outcome(&spec, output, &expected),
            Outcome::Scored { pass: true, .. }
        )
    };
    assert!(pass(json!({"type": "equals"}), "x", json!("x")));
    assert!(pass(json!({"type": "equals"}), "{{x}}", json!("{{x}}"))); // expected values are never templates
    assert!(pass(json!({"type": "equals"}), "[1]", json!([1])));
    assert!(pass(
        json!({"type": "icontains"}),
        "say HELLO",
        json!("Hello")
    ));
    assert!(pass(json!({"type": "regex"}), "abc", json!("b+")));
    assert!(pass(
        json!({"type": "contains", "value": "{{name}}: {{expected}}"}),
        "> Ada: 7",
        json!(7)
    ));
    assert!(pass(
        json!({"type": "regex", "value": "{{ pattern }}"}),
        "Ada",
        Value::Null
    ));
    for kind in [
        "equals",
        "not-equals",
        "contains",
        "not-icontains",
        "not-regex",
    ] {
        assert!(
            matches!(
                outcome(&json!({"type": kind}), "x", &Value::Null),
                Outcome::Error { .. }
            ),
            "{kind}"
        );
    }
    let broken = outcome(
        &json!({"type": "not-contains", "value": "{{ missing }}"}),
        "x",
        &Value::Null,
    );
    assert!(
        matches!(&broken, Outcome::Error { reason } if reason.contains("`missing` is not defined")),
        "{broken:?}"
    );
    let broken = outcome(&json!({"type": "not-regex"}), "x", &json!("("));
    assert!(matches!(broken, Outcome::Error { .. }));
}

#[test]
fn refuses_what_it_does_not_know() {
    let check = |spec: Value, part: &str| {
        let error = compile(&spec).expect_err("refused");
        assert!(error.contains(part), "{spec}: {error}");
    };
    check(
        json!({"type": "equal"}),
        "unknown variant `equal`, expected one of `equals`, `not-equals`, `contains`",
    );
    check(
        json!({"type": "equals", "values": 1}),
        "unknown field `values`, expected one of `type`, `value`, `weight`, `metric`, `tolerance`",
    );
    check(json!({"value": 1}), "missing field `type`");
    check(json!({"type": "regex", "value": "("}), "unclosed group");
    check(
        json!({"type": "regex", "value": "(?=x)"}),
        "look-around and back-references are not available",
    );
    check(
        json!({"type": "regex", "value": "(?:\\w{1000}){100}"}),
        "too complex",
    );
    check(
        json!({"type": "regex", "value": "x".repeat(1001)}),
        "longer than 1000",
    );
    check(
        json!({"type": "regex", "value": [1]}),
        "must be a string or a number",
    );
    check(
        json!({"type": "is-json", "value": {"type": "object"}}),
        "schema is not supported yet",
    );
    check(
        json!({"type": "numeric", "value": "many"}),
        "must be a number",
    );
    check(
        json!({"type": "numeric", "value": 1, "tolerance": -1}),
        "tolerance must be",
    );
    check(
        json!({"type": "equals", "value": 1, "tolerance": 1}),
        "only for the scorer `numeric`",
    );
    check(json!({"type": "equals", "weight": -1}), "weight must be");
    check(
        json!({"type": "equals", "value": "{% set a = 1 %}"}),
        "not a valid template: value, line 1: the statement `set`",
    );
    let spec = json!({"type": "not-icontains", "value": "…", "weight": 2.0, "metric": "tone"});
    let read: ScorerSpec = serde_json::from_value(spec.clone()).expect("reads");
    assert_eq!(serde_json::to_value(&read).expect("writes"), spec);
    let scorer = Scorer::compile(&read).expect("compiles");
    assert_eq!((scorer.weight(), scorer.metric()), (2.0, Some("tone")));
}

#[test]
fn combines() {
    let scored = |score: f64, pass: bool| ScoreResult {
        outcome: Outcome::Scored {
            score,
            pass,
            reason: "".into(),
        },
    };
    let skipped = || ScoreResult {
        outcome: Outcome::NotApplicable { reason: "".into() },
    };
    let failed = || ScoreResult {
        outcome: Outcome::Error {
            reason: "broken".into(),
        },
    };
    let check = |results: &[(f64, Option<&str>, ScoreResult)], expect: Value| {
        assert_eq!(
            serde_json::to_value(combine(results)).expect("json"),
            expect
        );
    };
    let nothing = json!({"score": null, "pass": null, "error": null, "metrics": {}});
    check(&[], nothing.clone());
    check(&[(1.0, None, skipped())], nothing);
    check(
        &[
            (1.0, None, scored(1.0, true)),
            (3.0, None, scored(0.0, false)),
        ],
        json!({"score": 0.25, "pass": false, "error": null, "metrics": {}}),
    );
    check(
        &[
            (1e308, None, scored(1.0, true)),
            (1e308, None, scored(0.0, false)),
        ],
        json!({"score": 0.5, "pass": false, "error": null, "metrics": {}}),
    );
    check(
        &[(1.0, None, scored(1.0, true)), (1.0, None, skipped())],
        json!({"score": 1.0, "pass": true, "error": null, "metrics": {}}),
    );
    check(
        &[
            (1.0, None, scored(1.0, true)),
            (0.0, Some("m"), scored(0.0, false)),
        ],
        json!({"score": 1.0, "pass": true, "error": null, "metrics": {"m": 0.0}}),
    );
    check(
        &[(0.0, None, scored(1.0, true))],
        json!({"score": null, "pass": null, "error": null, "metrics": {}}),
    );
    check(
        &[
            (1.0, Some("a"), scored(1.0, true)),
            (3.0, Some("a"), scored(0.5, true)),
            (1.0, Some("b"), failed()),
        ],
        json!({"score": null, "pass": null, "error": "broken", "metrics": {"a": 0.625}}),
    );
}

proptest! {
    /// Any text is read without a panic, and a written number is read back.
    #[test]
    fn numbers_are_read_back(text in "\\PC{0,40}", digits in "[-+$€,.0-9eE% a-z]{0,30}", number in -1e12..1e12_f64) {
        let _ = (last_number(&text), last_number(&digits), number::of(&Value::String(digits.clone())));
        prop_assert_eq!(last_number(&format!("{text} is {number}.")), Some(number));
    }

    /// Any pattern is refused or translated, and then it is one of the `regex` crate within the limits.
    #[test]
    fn f21_odd_patterns_do_not_panic(
        any in "\\PC{0,20}",
        odd in "(\\\\|[a-z0-9]|[\\[\\](){}^$.*+?|,:<>=!&~-]|\\(\\?|\\\\u|\\\\x|\\\\c|é|😀){0,24}",
    ) {
        for pattern in [any, odd] {
            if let Err(refused) = Scorer::compile(&ScorerSpec {
                kind: ScorerType::Regex,
                value: Some(Value::String(pattern.clone())),
                weight: 1.0,
                metric: None,
                tolerance: None,
            }) {
                // What is translated is always a pattern; only these are left to the `regex` crate.
                let refused = refused.to_string();
                prop_assert!(!refused.contains("escape sequence"), "{}: {}", pattern, refused);
            }
        }
    }

    /// A grouped number is read whole, with every separator and sign; a list ends in its last number.
    #[test]
    fn f11_grouped_numbers_are_read_back(
        whole in 1_000..1_000_000_000_000_u64,
        cents in proptest::option::of(0..100_u32),
        separator in prop::sample::select(vec![",", "{,}", "\\!", ",\\!", "\\,", "\u{a0}", "\u{2009}", "\u{202f}", "'", "’"]),
        sign in prop::sample::select(vec!["", "-", "−", "–", "\u{2011}", "-$", "−\\$"]),
        before in prop::sample::select(vec!["", "It is ", "= ", "$", "1, 2, 3, ", "(", "pages 3–4: "]),
        after in prop::sample::select(vec!["", ".", ", as asked", " km", "%", "\u{202f}€", "}$", "\n"]),
    ) {
        let digits = whole.to_string();
        let first = digits.len() % 3;
        let groups = digits.as_bytes()[first..].chunks(3);
        let groups = std::iter::once(&digits.as_bytes()[..first]).chain(groups);
        let groups: Vec<&str> = groups
            .filter_map(|group| std::str::from_utf8(group).ok())
            .filter(|group| !group.is_empty())
            .collect();
        let cents = cents.map(|cents| format!(".{cents:02}")).unwrap_or_default();
        let text = format!("{before}{sign}{}{cents}{after}", groups.join(separator));
        let expect: f64 = format!("{digits}{cents}").parse().unwrap();
        let expect = if sign.is_empty() { expect } else { -expect };
        prop_assert_eq!(last_number(&text), Some(expect), "{:?}", text);
    }

    /// Texts of digits and of everything that numbers may contain end in a number or in none, without a panic.
    #[test]
    fn f11_odd_numbers_do_not_panic(text in "([0-9]{1,4}|\\{,\\}|\\\\[!,$]|[-–−‑+.,'’$€ \u{a0}\u{2009}\u{202f}=:(){}eE%\n]){0,20}") {
        let _ = (last_number(&text), number::of(&Value::String(text.clone())));
    }

    #[test]
    fn f11_lists_end_in_their_last_number(numbers in proptest::collection::vec(0..100_000_u32, 1..6), separator in prop::sample::select(vec![", ", "; ", " ", "\n- ", " – ", "/"])) {
        let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        prop_assert_eq!(last_number(&texts.join(separator)), numbers.last().map(|last| f64::from(*last)));
    }
}

#[test]
fn thoughts_are_no_part_of_the_answer() {
    check("equals", &json!("4"), "<think>5? No.</think>\n\n4", true);
    check("contains", &json!("5"), "<think>5? No.</think>\n\n4", false);
    check("contains", &json!("5"), "\n<think>Perhaps 5, or", false);
    check(
        "equals",
        &json!("a <think>b</think>"),
        "a <think>b</think>",
        true,
    );
    check("is-json", &Value::Null, "<think></think>{}", true);
}

#[test]
fn weights_are_from_0_to_1000() {
    for (weight, is_right) in [(0.0, true), (1000.0, true), (-0.1, false), (1000.1, false)] {
        let spec = json!({"type": "is-json", "weight": weight});
        assert_eq!(compile(&spec).is_ok(), is_right, "{weight}");
    }
}
