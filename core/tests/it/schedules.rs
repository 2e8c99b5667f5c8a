//! Schedules: what a tick becomes, and what becomes of ticks that cannot.

use chrono::{DateTime, Utc};
use opb_core::{
    Error,
    auth::{CurrentUser, UserRole, Visibility},
    library::{NewPrompt, NewPromptVersion, add_version, create_prompt, delete_prompt},
    runs::{self, RunRules},
    schedules::{
        self, CatchUp, Firing, FiringState, NewSchedule, Schedule, UpdateSchedule, fire_due,
    },
    template::PromptBody,
};
use opb_testing::{TestDatabase, fixtures, without_rules};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

fn hourly(prompts: &[&str]) -> NewSchedule {
    NewSchedule {
        name: "hourly".into(),
        cron: "0 * * * *".into(),
        time_zone: "UTC".into(),
        request: runs::SubmitRun {
            prompts: prompts.iter().map(|prompt| (*prompt).into()).collect(),
            ..fixtures::request(json!(["simulated:strong"]), 1)
        },
        catch_up: CatchUp::Once,
        catch_up_limit: 10,
        jitter_seconds: 0,
    }
}

/// As if so many of its hours had passed.
async fn sleep_hours(conn: &mut PgConnection, schedule: &Schedule, hours: i32) {
    let sleep = "update schedules
                 set last_due_at = date_trunc('hour', now()) - make_interval(hours => $2), next_at = now() where id = $1";
    let sleep = sqlx::query(sleep).bind(schedule.id).bind(hours);
    sleep.execute(conn).await.unwrap();
}

async fn fire(conn: &mut PgConnection) -> Option<Firing> {
    fire_due(conn, &RunRules::default()).await.unwrap()
}

#[tokio::test]
async fn a_tick_becomes_a_run_of_its_owner_once() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let new = hourly(&["plain@1", "steps"]);
    let schedule = without_rules::create_schedule(conn, &owner, &new)
        .await
        .unwrap();
    assert_eq!(schedule.next_times.len(), 5);
    let hour: DateTime<Utc> = sqlx::query_scalar("select date_trunc('hour', now())")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(schedule.next_times[0], hour + chrono::Duration::hours(1));
    assert_eq!(fire(conn).await, None, "nothing is due yet");

    sleep_hours(conn, &schedule, 3).await;
    let firing = fire(conn).await.unwrap();
    assert_eq!((firing.due_at, firing.missed), (hour, 2));
    assert_eq!(firing.state, FiringState::Submitted);
    assert_eq!(fire(conn).await, None, "it is settled");
    let run = runs::find_run(conn, None, firing.run_id.unwrap())
        .await
        .unwrap();
    assert_eq!(
        (run.owner.as_str(), run.name.as_str()),
        ("openpromptbank", "hourly")
    );
    assert_eq!(run.prompts, ["plain@1", "steps@1"]);

    // The newest version where none is named, and always the same where one is.
    for slug in ["plain", "steps"] {
        let body = PromptBody::Text {
            text: "New: {{ question }}".into(),
        };
        add_version(
            conn,
            &owner,
            slug,
            NewPromptVersion::new(body).checked().unwrap(),
        )
        .await
        .unwrap();
    }
    sleep_hours(conn, &schedule, 1).await;
    sqlx::query("delete from firings")
        .execute(&mut **conn)
        .await
        .unwrap();
    let firing = fire(conn).await.unwrap();
    let run = runs::find_run(conn, None, firing.run_id.unwrap())
        .await
        .unwrap();
    assert_eq!(run.prompts, ["plain@1", "steps@2"]);
}

#[tokio::test]
async fn a_tick_that_is_settled_never_fires_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let schedule = without_rules::create_schedule(conn, &owner, &hourly(&["plain"]))
        .await
        .unwrap();
    sleep_hours(conn, &schedule, 1).await;
    fire(conn).await.unwrap();
    // A scheduler whose books are wrong, as after a restored backup: the key of the table holds.
    sleep_hours(conn, &schedule, 1).await;
    let again = fire_due(conn, &RunRules::default()).await;
    assert!(again.unwrap_err().violates("firings_pkey"));
    let runs: i64 = sqlx::query_scalar("select count(*) from runs")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(runs, 1, "the second run went with its row");
    assert_eq!(fire(conn).await, None, "it does not keep others waiting");
}

#[tokio::test]
async fn a_tick_that_cannot_be_submitted_says_why() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let user = person(conn, "ada").await;
    let schedule = without_rules::create_schedule(conn, &user, &hourly(&["plain"]))
        .await
        .unwrap();
    let refuse = async |conn: &mut PgConnection, rules: &RunRules, expect: &str| {
        sqlx::query("delete from firings")
            .execute(&mut *conn)
            .await
            .unwrap();
        sleep_hours(conn, &schedule, 1).await;
        let firing = fire_due(conn, rules).await.unwrap().unwrap();
        assert_eq!((firing.state, firing.run_id), (FiringState::Refused, None));
        assert!(firing.reason.contains(expect), "{}", firing.reason);
        let runs: i64 = sqlx::query_scalar("select count(*) from runs")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        assert_eq!(runs, 0);
    };
    let verified = RunRules {
        require_verified_email: true,
        ..RunRules::default()
    };
    refuse(conn, &verified, "verify your email").await;
    sqlx::query("update providers set kind = 'openai', base_url = 'https://models.example.org'")
        .execute(&mut **conn)
        .await
        .unwrap();
    refuse(conn, &RunRules::default(), "budget_microusd").await;
    sqlx::query("update providers set kind = 'simulated', base_url = null")
        .execute(&mut **conn)
        .await
        .unwrap();
    opb_core::library::change_prompt(
        conn,
        &owner,
        "plain",
        serde_json::from_value(json!({"visibility": "private"})).unwrap(),
    )
    .await
    .unwrap();
    refuse(conn, &RunRules::default(), "plain` was not found").await;
    sqlx::query("update users set disabled_at = now() where username = 'ada'")
        .execute(&mut **conn)
        .await
        .unwrap();
    refuse(conn, &RunRules::default(), "disabled").await;
}

#[tokio::test]
async fn a_pause_is_no_miss_and_new_times_begin_now() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let new = hourly(&["plain"]);
    let schedule = without_rules::create_schedule(conn, &owner, &new)
        .await
        .unwrap();
    sleep_hours(conn, &schedule, 3).await;
    let paused = schedules::pause_schedule(conn, &owner, schedule.id)
        .await
        .unwrap();
    assert!(paused.paused_at.is_some() && paused.next_times.is_empty());
    let again = schedules::pause_schedule(conn, &owner, schedule.id).await;
    assert!(matches!(again, Err(Error::Conflict(_))));
    assert_eq!(fire(conn).await, None);
    let resumed = schedules::resume_schedule(conn, &owner, schedule.id)
        .await
        .unwrap();
    assert_eq!(resumed.next_times.len(), 5);
    assert_eq!(fire(conn).await, None);

    sleep_hours(conn, &schedule, 3).await;
    let change = UpdateSchedule {
        cron: Some("30 2 * * *".into()),
        time_zone: Some("Europe/Berlin".into()),
        ..UpdateSchedule::default()
    };
    let changed = schedules::update_schedule(conn, &owner, schedule.id, change)
        .await
        .unwrap();
    assert_eq!(changed.time_zone, "Europe/Berlin");
    assert_eq!(fire(conn).await, None);
    let missing = UpdateSchedule {
        request: Some(runs::SubmitRun {
            benchmark: "nothing".into(),
            ..new.request
        }),
        jitter_seconds: Some(-1),
        ..UpdateSchedule::default()
    };
    let Err(Error::Invalid(wrong)) =
        schedules::update_schedule(conn, &owner, schedule.id, missing).await
    else {
        panic!("it is accepted");
    };
    let paths: Vec<&str> = wrong.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["jitter_seconds", "request.benchmark"]);
}

async fn person(conn: &mut PgConnection, username: &str) -> CurrentUser {
    let insert =
        "insert into users (username, email) values ($1, $1 || '@example.org') returning id";
    let id = sqlx::query_scalar(insert)
        .bind(username)
        .fetch_one(conn)
        .await;
    CurrentUser {
        id: id.unwrap(),
        username: username.into(),
        role: UserRole::User,
    }
}

/// A user of this name, and a public prompt of theirs that repeats the question.
async fn author(conn: &mut PgConnection, name: &str, slug: &str) -> CurrentUser {
    let author = person(conn, name).await;
    let text = format!("{name} asks: {{{{ question }}}}");
    let prompt = NewPrompt {
        slug: Some(slug.into()),
        visibility: Some(Visibility::Public),
        ..NewPrompt::new(slug, PromptBody::Text { text })
    };
    let checked = prompt.checked().unwrap();
    create_prompt(conn, &author, checked).await.unwrap();
    author
}

#[tokio::test]
async fn a_slug_that_changes_hands_changes_no_schedule() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let eve = author(conn, "eve", "shared").await;
    let new = hourly(&["shared", "plain@1"]);
    let schedule = without_rules::create_schedule(conn, &owner, &new)
        .await
        .unwrap();
    let shown = |schedule: &Schedule| {
        let request = &schedule.request.0;
        (request.benchmark.clone(), request.prompts.clone())
    };
    let named = (
        "sums".to_owned(),
        vec!["shared".to_owned(), "plain@1".to_owned()],
    );
    assert_eq!(shown(&schedule), named);
    delete_prompt(conn, &eve, "shared").await.unwrap();
    author(conn, "mallory", "shared").await;

    sleep_hours(conn, &schedule, 1).await;
    let firing = fire(conn).await.unwrap();
    assert_eq!(firing.state, FiringState::Refused, "{firing:?}");
    assert!(firing.reason.contains("was not found"), "{}", firing.reason);
    let found = schedules::find_schedule(conn, &owner, schedule.id);
    let (_, prompts) = shown(&found.await.unwrap());
    assert!(Uuid::try_parse(&prompts[0]).is_ok(), "{prompts:?}");
    assert_eq!(prompts[1], "plain@1");
    // Another change of the schedule does not take the stranger's prompt either.
    let change = UpdateSchedule {
        name: Some("renamed".into()),
        ..UpdateSchedule::default()
    };
    let refused = schedules::update_schedule(conn, &owner, schedule.id, change).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    // Its owner may want just that.
    let change = UpdateSchedule {
        request: Some(new.request),
        ..UpdateSchedule::default()
    };
    let changed = schedules::update_schedule(conn, &owner, schedule.id, change).await;
    assert_eq!(shown(&changed.unwrap()), named);
    sleep_hours(conn, &schedule, 1).await;
    sqlx::query("delete from firings")
        .execute(&mut **conn)
        .await
        .unwrap();
    assert_eq!(fire(conn).await.unwrap().state, FiringState::Submitted);
}
