//! `opb alert`: from a schedule's tick to an alert that fires, is silenced and is seen to.

use opb_testing::TestDatabase;
use serde_json::{Value, json};

use crate::site::{Site, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_fires_is_silenced_and_is_seen_to() {
    let database = TestDatabase::new().await;
    let site = Site::new();
    site.check(&["migrate", "--database-url", database.url()], 0);
    let _up = site.up(&["--database-url", database.url()]);
    schedule_hourly(&site);
    assert_eq!(site.check(&["alert", "list"], 0).out, "no alerts yet\n");

    let add = |kind: &str, threshold: &str, code: i32| {
        let words = ["alert", "add", "slow", "--schedule", "hourly", "--json"];
        let words = [&words[..], &["--kind", kind, "--threshold", threshold]].concat();
        site.check(&words, code)
    };
    assert!(
        add("score-drop", "20", 2).problem()["detail"]
            .as_str()
            .unwrap()
            .contains("threshold: must be the smallest drop")
    );
    let unknown = add("weather", "1", 2).err;
    assert!(
        unknown.contains("score-drop") && !unknown.contains("score_drop"),
        "{unknown}"
    );
    check_thresholds_of_money(&site);
    let alert = add("latency", "0", 0).json();
    assert_eq!(alert["schedule"], "hourly");
    let id = alert["id"].as_str().unwrap();
    let alerts = |action: &str, words: &[&str]| {
        site.check(&[&["alert", action, "slow", "--json"], words].concat(), 0)
            .json()
    };
    let quiet = site.check(&["alert", "list"], 0).out;
    assert!(
        quiet.contains("latency is above 0 ms") && quiet.contains("quiet"),
        "{quiet}"
    );

    // As if an hour had passed.
    let tick = "update schedules set last_due_at = date_trunc('hour', now()) - interval '1 hour', next_at = now()";
    sqlx::query(tick).execute(&database.pool).await.unwrap();
    wait_until("the alert", || {
        alerts("show", &[])["alert"]["firing"] != json!([])
    });
    let shown = site.check(&["alert", "show", id], 0).out;
    for part in [
        "firing: 1",
        "number-only on simulated:strong",
        "95th percentile",
        "yes",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let silenced = alerts("silence", &["--hours=2"]);
    assert!(silenced["silenced_until"].is_string(), "{silenced}");
    assert!(
        site.check(&["alert", "list"], 0)
            .out
            .contains("silent until")
    );
    assert_eq!(alerts("silence", &["--end"])["silenced_until"], Value::Null);
    let neither = site.check(&["alert", "silence", id], 2);
    assert!(neither.err.contains("--hours"), "{}", neither.err);

    assert_eq!(alerts("resolve", &[])["firing"], json!([]));
    let again = site.check(&["alert", "resolve", "slow"], 2);
    assert!(again.error().contains("does not fire"), "{}", again.err);
    let events = alerts("show", &[])["events"].clone();
    assert_eq!(
        (&events[0]["state"], &events[1]["state"]),
        (&json!("resolved"), &json!("firing"))
    );

    let changed = alerts("change", &["--threshold=60000", "--mail=false"]);
    assert_eq!(
        (&changed["threshold"], &changed["mail"]),
        (&json!(60_000.0), &json!(false))
    );
    assert_eq!(changed["name"], "slow", "what is not named stays");
    let removed = site.check(&["alert", "remove", id], 0);
    assert_eq!(removed.out, format!("removed alert {id}\n"));
    site.check(&["alert", "show", id], 2);
}

fn schedule_hourly(site: &Site) {
    let schedule = [
        "schedule",
        "add",
        "hourly",
        "--cron=0 * * * *",
        "--benchmark=first-steps",
        "--prompt=number-only",
        "--model=simulated:strong",
        "--json",
    ];
    let schedule = site.check(&schedule, 0).json();
    assert_eq!(schedule["name"], "hourly");
}

fn check_thresholds_of_money(site: &Site) {
    let misspelt = site.check(
        &[
            "alert",
            "add",
            "slow",
            "--schedule=hourl",
            "--kind=cost",
            "--threshold=1",
        ],
        2,
    );
    assert!(
        misspelt.error().contains("did you mean `hourly`?"),
        "{}",
        misspelt.err
    );
    let dear = site.check(
        &[
            "alert",
            "add",
            "dear",
            "--schedule=hourly",
            "--kind=cost",
            "--threshold=0.50",
        ],
        0,
    );
    assert!(
        dear.out.contains("a run costs more than $0.50"),
        "{}",
        dear.out
    );
    let dear = site
        .check(&["alert", "change", "dear", "--threshold=$2", "--json"], 0)
        .json();
    assert_eq!(dear["threshold"], 2_000_000.0);
    site.check(&["alerts", "remove", "dear"], 0);
}
