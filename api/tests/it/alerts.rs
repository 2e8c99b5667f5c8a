//! Mails about alerts, from a run's scores to the mail server.

use opb_core::{
    alerts::{self, AlertKind, NewAlert},
    auth::CurrentUser,
    library::{NewPromptVersion, add_version},
    runs::SubmitRun,
    schedules::{CatchUp, NewSchedule},
    template::PromptBody,
};
use opb_testing::{
    fixtures,
    without_rules::{self, submit_run},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    mailbox::{Mailbox, PUBLIC_URL, send_to},
    recovery::until,
    server::Server,
};

const ITEMS: i32 = 200;

/// A schedule of the prompt `plain` on `simulated:strong`, and an alert on drops of its score.
async fn watch(conn: &mut PgConnection) -> (CurrentUser, SubmitRun, Uuid) {
    let owner = fixtures::library(conn, ITEMS.unsigned_abs() as usize).await;
    let request = SubmitRun {
        prompts: vec!["plain".into()],
        ..fixtures::request(json!(["simulated:strong"]), 1)
    };
    let schedule = NewSchedule {
        name: "hourly".into(),
        cron: "0 * * * *".into(),
        time_zone: "UTC".into(),
        request: request.clone(),
        catch_up: CatchUp::Once,
        catch_up_limit: 1,
        jitter_seconds: 0,
    };
    let schedule = without_rules::create_schedule(conn, &owner, &schedule).await;
    let schedule_id = schedule.unwrap().id;
    let alert = NewAlert {
        name: "drift".into(),
        schedule: schedule_id.to_string(),
        kind: AlertKind::ScoreDrop,
        threshold: 0.02,
        false_alarm_runs: 10_000,
        mail: true,
    };
    alerts::create_alert(conn, &owner, &alert).await.unwrap();
    (owner, request, schedule_id)
}

/// Eight runs in which four of five items pass, and eight in which three do; the alert looks at each. The prompt may have
/// got another version in between.
async fn a_drop(is_rewritten: bool, is_verified: bool) -> (Server, Mailbox) {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    let conn = &mut server.database.pool.acquire().await.unwrap();
    let (owner, request, schedule) = watch(conn).await;
    if is_verified {
        server.sql("update users set email = 'ada@example.org', email_verified_at = now() where username = 'openpromptbank'").await;
    }
    for turn in 0..16 {
        if turn == 8 && is_rewritten {
            let body = PromptBody::Text {
                text: "Worse: {{ question }}".into(),
            };
            let version = NewPromptVersion::new(body);
            add_version(conn, &owner, "plain", version.checked().unwrap())
                .await
                .unwrap();
        }
        let run = submit_run(conn, &owner, &request, None).await.unwrap();
        fixtures::fire(conn, schedule, turn, run.id).await;
        let of_five = if turn < 8 { 4 } else { 3 };
        let score = |item: i32| {
            if (item + turn) % 5 < of_five {
                1.0
            } else {
                0.0
            }
        };
        let scores: Vec<_> = (0..ITEMS).map(|item| Some(score(item))).collect();
        fixtures::finish(conn, run.id, &scores).await;
        assert!(alerts::check_next_run(conn).await.unwrap());
    }
    (server, mailbox)
}

/// The one mail says all of this.
async fn check(mailbox: &Mailbox, parts: &[&str]) {
    let mail = mailbox.wait_for("Alert firing").await;
    for part in parts {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert_eq!(mailbox.mails().len(), 1, "it is told once");
}

#[tokio::test]
async fn a_mail_names_the_prompt_that_changed_with_the_score() {
    let (server, mailbox) = a_drop(true, true).await;
    let parts = [
        "To: ada@example.org",
        "Subject: Alert firing: drift",
        "Hello openpromptbank,",
        "plain on simulated:strong: the score on sums@1 fell from 80.0 % to 60.0 %, since the run of ",
        "the prompt changed with it, from plain@1 to plain@2",
        &format!("OpenPromptBank at {PUBLIC_URL}"),
    ];
    check(&mailbox, &parts).await;
    until(
        &server,
        "select bool_and(state = 'sent' and kind = 'alert' and sealed_text is null) from mails",
    )
    .await;
}

#[tokio::test]
async fn a_mail_names_the_model_when_nothing_else_changed() {
    let (_server, mailbox) = a_drop(false, true).await;
    let parts = [
        "the score on sums@1 fell from 80.0 % to 60.0 %",
        "prompt and benchmark are the same, so what changed is simulated:strong or how it is served",
    ];
    check(&mailbox, &parts).await;
}

#[tokio::test]
async fn an_address_that_nobody_has_verified_gets_no_mail() {
    let (server, mailbox) = a_drop(false, false).await;
    until(&server, "select bool_and(not mail_waits) from alert_events").await;
    until(&server, "select count(*) = 0 from mails").await;
    assert!(mailbox.mails().is_empty());
}
