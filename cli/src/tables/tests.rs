//! Tests of every table at 60, 80, 120 and 200 columns, with long names, numbers and ids.

use opb_core::runs::Run;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::{Report, layout::Screen};

const ID: &str = "01a229bc-8f6e-7000-8000-0123456789ab";
const OTHER_ID: &str = "01a229bc-8f6e-7000-8000-ba9876543210";
const LONG: &str = "classify-support-tickets-into-queues-tersely";
const WIDE: &str = "一般的な質問に日本語で丁寧に答えるプロンプト";
const MODEL: &str = "openrouter:meta-llama/llama-3.3-70b-instruct:free";
const TIME: &str = "2026-11-30T05:30:00Z";

/// Deserializes a response.
#[track_caller]
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The report at each width; no line is wider, and no id is broken.
#[track_caller]
fn shown(report: &Report) -> String {
    let at = |width: usize| {
        let text = report.at(Screen {
            width: Some(width),
            bold: false,
        });
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
        for part in text
            .split_whitespace()
            .filter(|part| part.starts_with(&ID[..8]))
        {
            assert!(part.starts_with(ID) || part.starts_with(OTHER_ID), "{part}");
        }
        format!("== {width} columns\n{text}\n")
    };
    let piped = report.at(Screen {
        width: None,
        bold: false,
    });
    assert!(
        !piped.contains('…') && !piped.contains("Not shown"),
        "{piped}"
    );
    [60, 80, 120, 200].map(at).join("\n")
}

fn standing(rank: i32, prompt: &str, model: &str, more: &Value) -> Value {
    let mut standing = json!({
        "rank_low": rank, "rank_high": rank + 1, "tie_group": 1, "frontier": "off", "prompt": prompt, "model": model,
        "parameters": {"temperature": 0}, "simulated": false, "verified": true, "score": 0.9583, "score_low": 0.867,
        "score_high": 1.0, "interval_method": "wilson", "pass_rate": 0.95, "items": 1319, "evaluations": 1319, "errors": 0,
        "stopped_early": false, "runs": 1, "trend": null, "trend_low": null, "trend_high": null,
        "cost_per_1000_microusd": null, "cost_per_1000_low_microusd": null, "cost_per_1000_high_microusd": null,
        "cost_per_pass_microusd": null, "cost_per_pass_low_microusd": null, "cost_per_pass_high_microusd": null,
        "latency_p50_ms": 412.3, "latency_p50_low_ms": null, "latency_p50_high_ms": null, "latency_p95_ms": 3158.9,
        "latency_p95_low_ms": null, "latency_p95_high_ms": null, "first_token_p50_ms": null,
        "output_tokens_per_second": null, "run_id": ID, "updated_at": TIME,
    });
    for (name, value) in more.as_object().unwrap() {
        standing[name] = value.clone();
    }
    standing
}

fn board(standings: &[Value], provisional: &[Value]) -> Report {
    super::leaderboard(&of(json!({
        "benchmark": format!("{LONG}@12"), "board": "public", "item_count": 1319, "simulated": false, "confidence": 0.95,
        "standings": standings, "provisional": provisional,
    })))
}

#[test]
fn b2_a_plain_leaderboard() {
    let report = board(
        &[
            standing(1, "step-by-step@1", "local:large", &json!({})),
            standing(2, "number-only@1", "local:large", &json!({})),
            standing(3, "number-only@1", "local:small", &json!({})),
        ],
        &[],
    );
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn b2_a_leaderboard_with_everything() {
    let all = json!({
        "frontier": "on", "trend": -0.125, "cost_per_1000_microusd": 1_234_567_890_i64, "cost_per_pass_microusd": 0.2,
        "errors": 1234, "evaluations": 1_234_567, "stopped_early": true, "rank_high": 128,
        "parameters": {"temperature": 0, "stop": ["\n\n", "Question:"], "reasoning_effort": "high"},
    });
    let free = json!({
        "frontier": "perhaps", "cost_per_1000_microusd": 0, "cost_per_pass_microusd": 0.0,
        "parameters": {"temperature": 0, "reasoning_effort": "low"},
    });
    let report = board(
        &[
            standing(1, &format!("{LONG}@1"), MODEL, &all),
            standing(2, &format!("{LONG}@2"), MODEL, &free),
            standing(3, &format!("{WIDE}@1"), "local:small", &json!({})),
        ],
        &[standing(1, &format!("{LONG}@3"), MODEL, &json!({}))],
    );
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn b2_effects() {
    let effect = |name: &str, low: f64, high: f64| {
        json!({
            "rank_low": 1, "rank_high": 2, "tie_group": 1, "name": name, "parameters": {"temperature": 0}, "score": 0.958,
            "score_low": low, "score_high": high, "effect": 0.083, "standings": 4,
        })
    };
    let report = super::effects(
        &of(json!({
            "benchmark": "triage@1", "board": "own", "item_count": 12, "simulated": true, "confidence": 0.95, "method": "two_way",
            "items": 12, "grand_mean": 0.875, "explained": 0.5, "reason": null, "prompts": [],
            "models": [effect(MODEL, 0.867, 1.0), effect("local:small", 0.0, 0.3)],
        })),
        true,
    );
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn b2_a_history() {
    let point = |id: &str, change: bool, errors: i64| {
        json!({
            "run_id": id, "measured_at": TIME, "score": 0.825, "score_low": 0.771, "score_high": 0.869, "interval_method": "wilson", "change": change,
            "items": 240, "evaluations": 240, "errors": errors, "cost_per_1000_microusd": 250, "latency_p50_ms": null,
            "latency_p95_ms": 41.6,
        })
    };
    let report = super::history(&of(json!({
        "benchmark": "first-steps@1", "board": "own", "simulated": false, "confidence": 0.95,
        "courses": [{
            "prompt": format!("{LONG}@1"), "model": MODEL, "parameters": {"temperature": 0},
            "points": [point(ID, false, 0), point(OTHER_ID, true, 3)],
        }],
        "models": [{
            "model": MODEL, "parameters": {}, "first_run_id": ID, "first_measured_at": TIME, "drifted": true,
            "runs": [{"run_id": OTHER_ID, "measured_at": TIME, "difference": -0.12, "low": -0.2, "high": -0.01,
                      "items": 240, "drifted": true}],
        }],
    })));
    insta::assert_snapshot!(shown(&report));
}

fn overall_of(entries: &[Value], left_out: usize) -> Report {
    super::overall(&of(json!({
        "method": {
            "by": "column", "normalised_mean": "mean over the benchmarks of (score - floor) / (1 - floor), at least 0",
            "mean_win_rate": "the share of other entries that it beats", "ranks": "", "completeness":
            "entries that were measured on at least half of the benchmarks", "min_coverage": 0.5,
        },
        "board": "public", "simulated": false, "confidence": 0.95, "benchmarks": ["one@1"], "left_out": left_out, "entries": entries,
    })))
}

#[test]
fn b2_the_overall_ranking() {
    let entry = |prompt: &str| {
        json!({
            "rank_low": 1, "rank_high": 34, "tie_group": 1, "prompt": prompt, "model": MODEL,
            "parameters": {"temperature": 0}, "benchmarks": 1, "normalised_mean": 0.825, "normalised_low": 0.771,
            "normalised_high": 0.869, "mean_win_rate": 0.66, "scores": [0.8],
        })
    };
    let report = overall_of(
        &[entry(&format!("{LONG}@1")), entry(&format!("{LONG}@22"))],
        19,
    );
    insta::assert_snapshot!(shown(&report));
    let none = overall_of(&[], 19).at(Screen {
        width: None,
        bold: false,
    });
    assert!(
        none.contains("over 1 benchmark ") && none.contains("--min-coverage"),
        "{none}"
    );
}

#[test]
fn b2_a_comparison_and_its_flips() {
    let column = |prompt: &str, temperature: f64, cost: f64| {
        json!({
            "run_id": ID, "run_number": 128, "prompt": prompt, "model": MODEL, "parameters": {"temperature": temperature, "seed": 1},
            "evaluations": 1319, "errors": 2,
            "score": {"mean": 0.5, "interval": {"low": 0.439, "high": 1.0}, "interval_method": "wilson", "bootstrap": null,
                      "pass_rate": 0.5, "items": 1319},
            "cost_per_pass": {"microusd": cost, "interval": null},
            "latency": [],
            "tries": (1..=7).map(|k| json!({"k": k, "pass_at_k": 0.5 + 0.05 * f64::from(k), "pass_hat_k": 0.5 / f64::from(k), "items": 1317})).collect::<Vec<_>>(),
        })
    };
    let report = super::comparison(&of(json!({
        "benchmark": "triage@1", "item_count": 1319, "simulated": false, "provisional": true, "confidence": 0.95,
        "smallest_difference": 0.05,
        "columns": [column(&format!("{LONG}@1"), 0.0, 4.0), column(&format!("{LONG}@1"), 1.0, 0.0)],
        "comparisons": [{
            "baseline": 0, "candidate": 1, "verdict": "no_difference_shown", "difference": -0.025,
            "interval": {"low": -0.102, "high": 0.113}, "p_value": 0.5, "p_adjusted": 0.00001, "test": "mcnemar",
            "mcnemar": null, "shared_items": 1319, "wins": 120, "ties": 1000, "losses": 199,
            "detectable_difference": 0.041, "items_needed": 12345,
        }],
    })));
    let flips = super::flips(&of(json!({
        "items": [{
            "item_position": 0, "item": "ticket-2026-11-30-000001", "direction": "gained", "vars": {}, "expected": "refund",
            "baseline_score": 0.0, "candidate_score": 1.0,
            "baseline_output": "I am sorry to hear that!\nThis belongs to the queue for refunds.",
            "candidate_output": "払い戻しのキューに入れてください。払い戻しのキューに入れてください。",
        }],
        "next_cursor": "x",
    })));
    insta::assert_snapshot!(format!("{}\n{}", shown(&report), shown(&flips)));
}

fn run(id: &str, state: &str, more: &Value) -> Run {
    let mut run = json!({
        "id": id, "number": 128, "name": "", "owner": "ada", "benchmark": "first-steps@1", "prompts": ["a@1", "b@1"],
        "models": ["local:small", "local:large"], "parameters": [{}, {}], "parts_hidden": false, "cache": true, "answers_of": null, "stop_early": false, "settled": 0,
        "simulated": false, "state": state, "state_reason": "", "waiting_reason": null, "priority": 0,
        "visibility": "public", "repeats": 1, "seed": 0, "planned": 240, "recorded": 240, "skipped": 0, "passed": 200,
        "errors": 0, "retries": 0, "cost_microusd": 59_700, "spend_microusd": 59_700, "budget_microusd": null,
        "reserved_microusd": 0, "unaccounted_microusd": 0, "input_tokens": 1, "output_tokens": 1, "created_at": TIME,
        "active_since": TIME, "started_at": TIME, "finished_at": TIME, "pruned_at": null,
    });
    for (name, value) in more.as_object().unwrap() {
        run[name] = value.clone();
    }
    of(run)
}

#[test]
fn b2_a_run_by_groups() {
    let column = |prompt: &str, temperature: f64, score: Option<f64>| {
        json!({
            "prompt_position": 0, "prompt": prompt, "model_position": 0, "model": MODEL,
            "parameters": {"temperature": temperature, "seed": 1}, "evaluations": 40, "passed": 20, "failed": 18, "errors": 2,
            "scored_items": 38, "score": score, "score_low": score.map(|it| it - 0.1), "score_high": score.map(|it| it + 0.1),
        })
    };
    let group = |value: Option<&str>| {
        let columns = [
            column(LONG, 0.0, Some(0.5)),
            column(LONG, 1.0, Some(0.7)),
            column("b@1", 0.0, None),
        ];
        json!({"value": value, "items": 40, "columns": columns})
    };
    let report = super::run_groups(
        &run(ID, "running", &json!({})),
        &of(json!({
            "run_id": ID, "number": 128, "state": "running", "confidence": 0.95, "by": "queue",
            "groups": [group(Some("refunds-and-chargebacks")), group(Some(WIDE)), group(None)],
        })),
    );
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn b2_runs() {
    let report = super::runs(&[
        run(ID, "completed", &json!({})),
        run(
            OTHER_ID,
            "running",
            &json!({"benchmark": format!("{LONG}@12"), "name": WIDE, "recorded": 1_234_567, "planned": 9_999_999,
                    "errors": 12, "cost_microusd": 0, "unpriced": 3}),
        ),
        run(OTHER_ID, "failed", &json!({"simulated": true})),
    ]);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn b2_providers_presets_limits_and_prices() {
    let providers = super::providers(&of::<Vec<_>>(json!([
        {"id": ID, "name": "local", "kind": "openai", "base_url": "http://127.0.0.1:8081/v1", "settings": null,
         "credential_hint": null, "free": true, "created_at": TIME},
        {"id": ID, "name": "the-team-gateway-in-frankfurt", "kind": "azure_openai",
         "base_url": "https://gateway.internal.example.org/openai/deployments/v1", "settings": null,
         "credential_hint": "abcd", "free": false, "created_at": TIME},
    ])));
    let presets = super::presets(&opb_core::models::presets());
    let limits = super::limits(&of::<Vec<_>>(json!([
        {"requests_per_minute": 500, "tokens_per_minute": 200_000_000, "concurrent_calls": 16, "daily_microusd": 5_000_000,
         "spent_today_microusd": 1_234_567},
        {"model": MODEL, "requests_per_minute": 500, "spent_today_microusd": 0},
    ])));
    let prices = super::prices(&of::<Vec<_>>(json!([
        {"provider": "openai", "model": "gpt-5-mini", "input_microusd_per_mtok": 250_000, "output_microusd_per_mtok": 2_000_000,
         "cached_input_microusd_per_mtok": 25_000, "reasoning_microusd_per_mtok": null, "max_output_tokens": 128_000,
         "max_image_tokens": null, "source": "shipped", "updated_at": TIME},
        {"provider": "openrouter", "model": "meta-llama/llama-3.3-70b-instruct:free", "input_microusd_per_mtok": 0,
         "output_microusd_per_mtok": 1, "cached_input_microusd_per_mtok": null, "reasoning_microusd_per_mtok": null,
         "max_output_tokens": null, "max_image_tokens": null, "source": "hand", "updated_at": TIME},
    ])));
    let all = [providers, presets, limits, prices];
    insta::assert_snapshot!(all.iter().map(shown).collect::<Vec<_>>().join("\n"));
}

#[test]
fn b2_schedules_alerts_and_webhooks() {
    let request = json!({
        "benchmark": format!("{LONG}@12"), "prompts": ["a", "b@2"],
        "models": ["local:small", {"model": "local:large", "parameters": {"temperature": 0, "stop": ["\u{1b}[2J"]}}],
        "repeats": 3, "limit": 100, "budget_microusd": 1_500_000, "cache": false, "visibility": "public",
    });
    let schedule = json!({
        "id": ID, "name": "nightly", "owner": "ada", "cron": "30 6 * * 1-5", "time_zone": "Europe/Berlin", "request": request,
        "catch_up": "once", "catch_up_limit": 10, "jitter_seconds": 0, "paused_at": null, "next_times": [TIME],
        "last_firing": {"due_at": TIME, "fired_at": TIME, "state": "refused", "missed": 0, "run_id": null, "reason": "x"},
        "created_at": TIME, "updated_at": TIME,
    });
    let mut paused = schedule.clone();
    paused["name"] = json!(WIDE);
    paused["paused_at"] = json!(TIME);
    let firings: Vec<_> = of(json!([
        {"due_at": TIME, "fired_at": TIME, "state": "submitted", "missed": 3, "run_id": ID, "reason": ""},
        {"due_at": TIME, "fired_at": TIME, "state": "refused", "missed": 0, "run_id": null,
         "reason": "the benchmark `triag` (did you mean `triage`?) was not found"},
    ]));
    let alert = json!({
        "id": ID, "name": LONG, "schedule_id": OTHER_ID, "schedule": "nightly", "kind": "cost", "threshold": 500_000.0,
        "false_alarm_runs": 10000, "mail": true, "silenced_until": null,
        "firing": [{"label": "run", "since": TIME, "summary": "it cost $0.60"}], "created_at": TIME, "updated_at": TIME,
    });
    let events: Vec<_> = of(json!([{
        "id": ID, "label": format!("{LONG}@1 on {MODEL}"), "state": "firing",
        "summary": "the score fell by 12.5 points and has not come back since", "data": {}, "run_id": OTHER_ID,
        "silenced": false, "created_at": TIME,
    }]));
    let webhook = json!({
        "id": ID, "name": "ops", "host": "hooks.internal.example.org", "format": "standard",
        "events": ["run.finished", "budget.exhausted", "alert.firing", "alert.resolved"], "failures": 1,
        "failing_since": TIME, "disabled_at": null, "disabled_reason": "", "created_at": TIME, "updated_at": TIME,
    });
    let deliveries: Vec<_> = of(json!([{
        "id": OTHER_ID, "event": "run.finished", "summary": format!("the run of {LONG} completed"), "data": {},
        "state": "waiting", "attempts": 3, "next_attempt_at": TIME, "ended_at": null, "created_at": TIME,
    }]));
    let attempts: Vec<_> = of(json!([
        {"number": 1, "status": 503, "error": "the receiver answered 503 Service Unavailable, and will be asked again",
         "duration_ms": 10_000, "ended_at": TIME},
    ]));
    let all = [
        super::schedules(&[of(schedule.clone()), of(paused)]),
        super::schedule(&of(schedule), &firings),
        super::alerts(&[of(alert.clone())]),
        super::alert(&of(alert), &events),
        super::webhooks(&[of(webhook.clone())]),
        super::webhook(&of(webhook), &deliveries),
        super::attempts(&attempts),
    ];
    insta::assert_snapshot!(all.iter().map(shown).collect::<Vec<_>>().join("\n"));
}

#[test]
fn b2_an_estimate() {
    let interval = |expected: i64| json!({"low": 0, "expected": expected, "high": expected * 3});
    let report = super::estimate(&of(json!({
        "evaluations": 1, "stop_early": false, "calls": interval(1), "input_tokens": interval(123_456_789),
        "output_tokens": interval(9), "cost_microusd": interval(59_700), "seconds": interval(9), "unpriced": [MODEL],
        "columns": [
            {"prompt": format!("{LONG}@1"), "model": MODEL, "basis": "same_prompt_and_model", "witnesses": 1},
            {"prompt": "plain@1", "model": "local:small", "basis": "rough_rule", "witnesses": 0},
        ],
    })));
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn b2_benchmarks_prompts_and_models() {
    let benchmark = json!({
        "id": ID, "slug": LONG, "title": WIDE, "description": "One.\nTwo.", "visibility": "public", "owner": "ada",
        "latest_version": 12, "item_count": 1, "created_at": TIME,
    });
    let prompt = |slug: &str| {
        json!({
            "id": ID, "slug": slug, "title": "Classify support tickets into queues, tersely", "description": "",
            "category": "software", "kind": "chat", "visibility": "private", "owner": "ada", "latest_version": 1,
            "created_at": TIME, "updated_at": TIME,
        })
    };
    let prompts = super::prompts(&of(json!({
        "items": [prompt(LONG), prompt("terse")], "next_cursor": "x", "corrected_query": "linux",
    })));
    let version = of(json!({
        "id": ID, "prompt": LONG, "number": 2, "body": {"kind": "chat", "messages": [
            {"role": "system", "content": "Answer with one word."}, {"role": "user", "content": "{{ question }}\u{1b}[2J"}]},
        "variables": [{"name": "question"}], "parameters": {"temperature": 0}, "note": "", "author": "ada",
        "content_hash": "", "created_at": TIME,
    }));
    let model = |parameters: Value, input: Option<i64>| {
        json!({"id": ID, "model": MODEL, "parameters": parameters, "simulated": false, "input_microusd_per_mtok": input,
               "output_microusd_per_mtok": input})
    };
    let models = of::<Vec<_>>(json!([
        model(
            json!({"temperature": 0, "response_format": {"type": "json_object"}}),
            Some(0)
        ),
        model(json!({"temperature": 0}), None),
    ]));
    let all = [
        super::benchmarks(&[of(benchmark.clone())]),
        super::benchmark(&of(benchmark)),
        prompts,
        super::prompt("Tickets", &version),
        super::models(&models),
    ];
    insta::assert_snapshot!(all.iter().map(shown).collect::<Vec<_>>().join("\n"));
}
