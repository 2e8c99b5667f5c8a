//! Alerts on the runs of a schedule: what fires, what is resolved, and who is told.

use opb_core::{
    alerts::{self, Alert, AlertKind, AlertState, NewAlert, Silence},
    auth::CurrentUser,
    library::{NewPromptVersion, add_version},
    outbound::OutboundPolicy,
    runs::SubmitRun,
    schedules::{CatchUp, NewSchedule, Schedule},
    sealing::MasterKey,
    template::PromptBody,
    webhooks::{self, NewWebhook, WebhookEvent, WebhookFormat},
};
use opb_testing::{TestDatabase, fixtures, without_rules};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

const ITEMS: usize = 300;

/// A schedule whose runs are made by hand.
struct World {
    owner: CurrentUser,
    schedule: Schedule,
    request: SubmitRun,
    runs: i32,
    chance: u64,
}

impl World {
    async fn new(conn: &mut PgConnection) -> Self {
        let owner = fixtures::library(conn, ITEMS).await;
        let request = SubmitRun {
            prompts: vec!["plain".into()],
            ..fixtures::request(json!(["simulated:strong"]), 1)
        };
        let new = NewSchedule {
            name: "hourly".into(),
            cron: "0 * * * *".into(),
            time_zone: "UTC".into(),
            request: request.clone(),
            catch_up: CatchUp::Once,
            catch_up_limit: 1,
            jitter_seconds: 0,
        };
        let schedule = without_rules::create_schedule(conn, &owner, &new)
            .await
            .unwrap();
        Self {
            owner,
            schedule,
            request,
            runs: 0,
            chance: 11,
        }
    }

    async fn alert(&self, conn: &mut PgConnection, kind: AlertKind, threshold: f64) -> Alert {
        let new = NewAlert {
            name: format!("{kind:?} {threshold}"),
            schedule: self.schedule.id.to_string(),
            kind,
            threshold,
            false_alarm_runs: 10_000,
            mail: true,
        };
        alerts::create_alert(conn, &self.owner, &new).await.unwrap()
    }

    /// A run of the schedule whose items pass with a chance, the first few being errors; the alerts have looked at it.
    async fn run(&mut self, conn: &mut PgConnection, passes: f32, errors: usize) -> Uuid {
        let run = without_rules::submit_run(conn, &self.owner, &self.request, None)
            .await
            .unwrap();
        self.runs += 1;
        fixtures::fire(conn, self.schedule.id, self.runs, run.id).await;
        let scores: Vec<Option<f32>> = (0..ITEMS)
            .map(|item| {
                self.chance = self
                    .chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let luck = f32::from(u16::try_from(self.chance >> 48).unwrap()) / 65_536.0;
                (item >= errors).then_some(if luck < passes { 1.0 } else { 0.0 })
            })
            .collect();
        fixtures::finish(conn, run.id, &scores).await;
        assert!(alerts::check_next_run(conn).await.unwrap());
        assert!(
            !alerts::check_next_run(conn).await.unwrap(),
            "each run is looked at once"
        );
        run.id
    }

    async fn firing(&self, conn: &mut PgConnection, alert: &Alert) -> usize {
        let alert = alerts::find_alert(conn, &self.owner, alert.id)
            .await
            .unwrap();
        alert.firing.len()
    }

    async fn history(&self, conn: &mut PgConnection, alert: &Alert) -> Vec<alerts::AlertEvent> {
        let events = alerts::list_alert_events(conn, &self.owner, alert.id, None, 100).await;
        events.unwrap().items
    }
}

/// What the webhook of the owner is told, oldest first.
async fn told(conn: &mut PgConnection) -> Vec<(String, Value)> {
    let told = "select event::text, data from webhook_deliveries where event <> 'run.finished' order by id";
    sqlx::query_as(told).fetch_all(conn).await.unwrap()
}

async fn add_webhook(conn: &mut PgConnection, owner: &CurrentUser) {
    let new = NewWebhook {
        name: "mine".into(),
        url: "https://hooks.example.org/".into(),
        format: WebhookFormat::Standard,
        events: vec![
            WebhookEvent::AlertFiring,
            WebhookEvent::AlertResolved,
            WebhookEvent::RunFinished,
        ],
    };
    let key = MasterKey::generate();
    let policy = OutboundPolicy::default();
    webhooks::create_webhook(conn, owner, &key, &policy, &new)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_model_that_loses_five_points_is_told_within_the_expected_runs() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let mut world = World::new(conn).await;
    add_webhook(conn, &world.owner).await;
    let alert = world.alert(conn, AlertKind::ScoreDrop, 0.02).await;
    for _ in 0..20 {
        world.run(conn, 0.80, 0).await;
    }
    assert!(
        world.history(conn, &alert).await.is_empty(),
        "nothing has changed"
    );

    let first = world.run(conn, 0.75, 0).await;
    let mut runs_since = 1;
    while world.firing(conn, &alert).await == 0 {
        world.run(conn, 0.75, 0).await;
        runs_since += 1;
        assert!(runs_since <= 14, "95 of 100 such drops are told by now");
    }
    let history = world.history(conn, &alert).await;
    let [event] = history.as_slice() else {
        panic!("{history:?}");
    };
    assert_eq!(event.state, AlertState::Firing);
    assert_eq!(event.label, "plain on simulated:strong");
    assert!(
        event.summary.contains("sums@1 fell from "),
        "{}",
        event.summary
    );
    assert!(
        event
            .summary
            .contains("so what changed is simulated:strong"),
        "{}",
        event.summary
    );
    assert_eq!(event.data["changed"], json!({"model": "simulated:strong"}));
    // The moment is found within two runs of the truth.
    let found: Uuid = event.data["first_run_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let place = "select abs((select extract(epoch from due_at) from firings where run_id = $1)
                            - (select extract(epoch from due_at) from firings where run_id = $2))::float8 / 3600";
    let off: f64 = sqlx::query_scalar(place)
        .bind(found)
        .bind(first)
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert!(off <= 3.0, "{off}");
    let messages = told(conn).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, "alert.firing");
    assert_eq!(messages[0].1["label"], "plain on simulated:strong");

    // It fires once, and is resolved when the score is back.
    let mut runs_since = 0;
    while world.firing(conn, &alert).await == 1 {
        world.run(conn, 0.85, 0).await;
        runs_since += 1;
        assert!(runs_since <= 14);
    }
    let states: Vec<_> = world
        .history(conn, &alert)
        .await
        .iter()
        .map(|event| event.state)
        .collect();
    assert_eq!(states, [AlertState::Resolved, AlertState::Firing]);
    assert_eq!(told(conn).await.last().unwrap().0, "alert.resolved");
}

#[tokio::test]
async fn a_prompt_that_got_worse_is_named() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let mut world = World::new(conn).await;
    let alert = world.alert(conn, AlertKind::ScoreDrop, 0.02).await;
    for _ in 0..8 {
        world.run(conn, 0.80, 0).await;
    }
    let body = PromptBody::Text {
        text: "Worse: {{ question }}".into(),
    };
    add_version(
        conn,
        &world.owner,
        "plain",
        NewPromptVersion::new(body).checked().unwrap(),
    )
    .await
    .unwrap();
    while world.firing(conn, &alert).await == 0 {
        world.run(conn, 0.60, 0).await;
        assert!(world.runs <= 16);
    }
    let event = &world.history(conn, &alert).await[0];
    assert_eq!(
        event.data["changed"],
        json!({"prompt": {"from": 1, "to": 2}})
    );
    assert!(
        event.summary.contains("from plain@1 to plain@2"),
        "{}",
        event.summary
    );

    // Its owner has seen to it: what is now is the new normal.
    let resolved = alerts::resolve_alert(conn, &world.owner, alert.id)
        .await
        .unwrap();
    assert!(resolved.firing.is_empty());
    assert!(
        alerts::resolve_alert(conn, &world.owner, alert.id)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn thresholds_fire_once_are_resolved_and_can_be_silent() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let mut world = World::new(conn).await;
    add_webhook(conn, &world.owner).await;
    let failures = world.alert(conn, AlertKind::FailureRate, 0.05).await;
    let cost = world.alert(conn, AlertKind::Cost, 4_000.0).await;
    let cheap = world.alert(conn, AlertKind::Cost, 6_000.0).await;
    let slow = world.alert(conn, AlertKind::Latency, 99.0).await;
    world.run(conn, 0.8, 15).await;
    let count = async |conn: &mut PgConnection| {
        let mut counts = Vec::new();
        for alert in [&failures, &cost, &cheap, &slow] {
            counts.push(world.firing(conn, alert).await);
        }
        counts
    };
    assert_eq!(
        count(conn).await,
        [0, 1, 0, 1],
        "15 of 300 are not more than 5 %"
    );
    assert_eq!(told(conn).await.len(), 2);

    world.run(conn, 0.8, 16).await;
    assert_eq!(world.firing(conn, &failures).await, 1);
    world.run(conn, 0.8, 16).await;
    assert_eq!(
        told(conn).await.len(),
        3,
        "who fires already is not told again"
    );
    let silence = Silence {
        until: Some(chrono::Utc::now() + chrono::Duration::hours(1)),
    };
    alerts::silence_alert(conn, &world.owner, failures.id, silence)
        .await
        .unwrap();
    world.run(conn, 0.8, 0).await;
    assert_eq!(world.firing(conn, &failures).await, 0);
    assert_eq!(told(conn).await.len(), 3, "it is silent");
    let history = world.history(conn, &failures).await;
    assert!(history[0].silenced && history[0].state == AlertState::Resolved);
    assert!(
        !history[1].silenced && history[1].summary.contains("16 of 300"),
        "{history:?}"
    );
    let waiting: i64 = sqlx::query_scalar("select count(*) from alert_events where mail_waits")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(waiting, 3, "mails wait for whoever carries them");
}
