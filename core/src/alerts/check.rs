//! Checks the alerts of a schedule, once for each run that has ended or paused.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    AlertKind, AlertState,
    measures::{Column, CoursePoint, WatchedRun, columns, course, take_run},
};
use crate::{
    Result,
    runs::{PauseReason, RunState},
    stats::{Direction, Step, find_step},
    webhooks::{Message, WebhookEvent, announce},
};

/// An alert that checks a run.
struct Rule {
    id: Uuid,
    owner_id: i64,
    name: String,
    kind: AlertKind,
    threshold: f64,
    false_alarm_runs: i32,
    mail: bool,
    silenced: bool,
}

/// The result of an alert for a column, or for the run as a whole.
struct Finding {
    subject: String,
    label: String,
    /// `None` if there is too little data.
    fires: Option<bool>,
    /// Whether it is reported again although it already fires.
    anew: bool,
    summary: String,
    data: Value,
    /// The new start of the column's course.
    course_since: Option<DateTime<Utc>>,
}

/// Checks the alerts of the next run that waits for it; false if there is none.
///
/// # Errors
/// The database does not respond; the run is checked again later.
pub async fn check_next_run(conn: &mut PgConnection) -> Result<bool> {
    let mut tx = conn.begin().await?;
    let Some(run) = take_run(&mut tx).await? else {
        return Ok(false);
    };
    // Two runs of a schedule that end at the same time are checked one after the other.
    let rules = sqlx::query_as!(
        Rule,
        r#"-- check::check_next_run
        select id, owner_id, name, kind as "kind: AlertKind", threshold, false_alarm_runs, mail,
               coalesce(silenced_until > now(), false) as "silenced!"
        from alerts
        where schedule_id = $1
        order by id
        for update"#,
        run.schedule_id
    )
    .fetch_all(&mut *tx)
    .await?;
    if !rules.is_empty() && run.state != RunState::Cancelled {
        let columns = columns(&mut tx, run.id).await?;
        for rule in &rules {
            for finding in find(&mut tx, rule, &run, &columns).await? {
                note(&mut tx, rule, &run, finding).await?;
            }
        }
    }
    tx.commit().await?;
    Ok(true)
}

async fn find(
    tx: &mut PgConnection,
    rule: &Rule,
    run: &WatchedRun,
    columns: &[Column],
) -> Result<Vec<Finding>> {
    let ended = run.state != RunState::Paused;
    let findings = match rule.kind {
        AlertKind::Budget => budget(rule, run).into_iter().collect(),
        AlertKind::Cost if ended => vec![cost(rule, run)],
        AlertKind::Latency if ended => {
            let latency = |column: &Column| {
                let value = column.latency_p95_ms?;
                let text = format!(
                    "the 95th percentile of the latency is {value:.0} ms, the threshold {:.0} ms",
                    rule.threshold
                );
                Some(measured(rule, run, column, value, &text))
            };
            columns.iter().filter_map(latency).collect()
        }
        AlertKind::FailureRate if ended => {
            let failures = |column: &Column| {
                let value = share(column.errors, column.evaluations);
                let text = format!(
                    "{} of {} evaluations ended in an error ({:.1} %), the threshold is {:.1} %",
                    column.errors,
                    column.evaluations,
                    value * 100.0,
                    rule.threshold * 100.0
                );
                measured(rule, run, column, value, &text)
            };
            columns.iter().map(failures).collect()
        }
        AlertKind::ScoreDrop if run.state == RunState::Completed => {
            let mut findings = Vec::new();
            for column in columns {
                findings.extend(drop(tx, rule, run, column).await?);
            }
            findings
        }
        _ => Vec::new(),
    };
    Ok(findings)
}

fn cost(rule: &Rule, run: &WatchedRun) -> Finding {
    let value = number(run.spent_microusd);
    let summary = format!(
        "a run on {} spent {}, the threshold is {}",
        run.benchmark,
        dollars(value),
        dollars(rule.threshold)
    );
    of_run(run, value > rule.threshold, summary, value, rule.threshold)
}

fn budget(rule: &Rule, run: &WatchedRun) -> Option<Finding> {
    let budget = number(run.budget_microusd?);
    let value = if budget > 0.0 {
        number(run.spent_microusd) / budget
    } else {
        1.0
    };
    // The next call did not fit into the budget, whatever share is spent.
    let used_up = run.state == RunState::Paused && run.paused_for == Some(PauseReason::Budget);
    if run.state == RunState::Paused && !used_up && value < rule.threshold {
        return None;
    }
    let summary = format!(
        "a run on {} has spent {:.0} % of its budget of {}, the threshold is {:.0} %",
        run.benchmark,
        value * 100.0,
        dollars(budget),
        rule.threshold * 100.0
    );
    let fires = used_up || value >= rule.threshold;
    Some(of_run(run, fires, summary, value, rule.threshold))
}

/// Looks for a step change in the course of a column.
async fn drop(
    tx: &mut PgConnection,
    rule: &Rule,
    run: &WatchedRun,
    column: &Column,
) -> Result<Option<Finding>> {
    let since = sqlx::query_scalar!(
        "-- check::drop
        select course_since from alert_subjects where alert_id = $1 and subject = $2",
        rule.id,
        column.subject()
    )
    .fetch_optional(&mut *tx)
    .await?
    .flatten();
    let points = course(tx, run, column, since).await?;
    let scores: Vec<Vec<Option<f32>>> = points
        .iter()
        .map(|point| point.item_scores.clone())
        .collect();
    let runs = f64::from(rule.false_alarm_runs);
    let look = |direction| find_step(&scores, direction, rule.threshold, runs);
    let (fires, step) = match look(Direction::Down) {
        Some(step) => (true, step),
        None => match look(Direction::Up) {
            Some(step) => (false, step),
            None => return Ok(None),
        },
    };
    let [.., before, _] = &points[..=step.at] else {
        return Ok(None);
    };
    let first = &points[step.at];
    let summary = tell_step(run, column, &points, step, fires);
    let changed = if before.version == first.version {
        json!({"model": column.model})
    } else {
        json!({"prompt": {"from": before.version, "to": first.version}})
    };
    Ok(Some(Finding {
        subject: column.subject(),
        label: column.label(),
        fires: Some(fires),
        anew: fires,
        summary,
        data: json!({
            "prompt": format!("{}@{}", column.prompt, column.version),
            "model": column.model,
            "benchmark": run.benchmark,
            "before": step.before,
            "after": step.after,
            "since": first.due_at,
            "first_run_id": first.run_id,
            "last_run_before_id": before.run_id,
            "runs_since": points.len() - step.at,
            "evidence": step.evidence,
            "changed": changed,
        }),
        course_since: Some(first.due_at),
    }))
}

fn tell_step(
    run: &WatchedRun,
    column: &Column,
    points: &[CoursePoint],
    step: Step,
    fell: bool,
) -> String {
    let first = &points[step.at];
    let before = points
        .get(step.at.wrapping_sub(1))
        .map_or(first.version, |point| point.version);
    let changed = if before == first.version {
        format!(
            "prompt and benchmark are the same, so what changed is {} or how it is served",
            column.model
        )
    } else {
        format!(
            "the prompt changed with it, from {0}@{before} to {0}@{1}",
            column.prompt, first.version
        )
    };
    format!(
        "the score on {} {} from {:.1} % to {:.1} %, since the run of {} ({} so far); {changed}",
        run.benchmark,
        if fell { "fell" } else { "rose" },
        step.before * 100.0,
        step.after * 100.0,
        first.due_at.format("%Y-%m-%d %H:%M UTC"),
        points.len() - step.at,
    )
}

/// Compares a number of a column with the threshold.
fn measured(rule: &Rule, run: &WatchedRun, column: &Column, value: f64, text: &str) -> Finding {
    Finding {
        subject: column.subject(),
        label: column.label(),
        fires: Some(value > rule.threshold),
        anew: false,
        summary: format!("on {}, {text}", run.benchmark),
        data: json!({
            "prompt": format!("{}@{}", column.prompt, column.version),
            "model": column.model,
            "benchmark": run.benchmark,
            "value": value,
            "threshold": rule.threshold,
        }),
        course_since: None,
    }
}

/// Compares a number of a run as a whole with the threshold.
fn of_run(run: &WatchedRun, fires: bool, summary: String, value: f64, threshold: f64) -> Finding {
    Finding {
        subject: String::new(),
        label: "run".into(),
        fires: Some(fires),
        anew: false,
        summary,
        data: json!({"benchmark": run.benchmark, "value": value, "threshold": threshold}),
        course_since: None,
    }
}

/// Stores a finding. A change of state is added to the history and reported, unless the alert is silenced.
async fn note(
    tx: &mut PgConnection,
    rule: &Rule,
    run: &WatchedRun,
    finding: Finding,
) -> Result<()> {
    let before = sqlx::query_scalar!(
        r#"-- check::note (read)
        select firing_since is not null as "firing!" from alert_subjects where alert_id = $1 and subject = $2"#,
        rule.id,
        finding.subject
    )
    .fetch_optional(&mut *tx)
    .await?
    .unwrap_or(false);
    let fires = finding.fires.unwrap_or(before);
    sqlx::query!(
        "-- check::note
        insert into alert_subjects (alert_id, subject, label, firing_since, summary, course_since)
        values ($1, $2, $3, case when $4 then now() end, case when $4 then $5 else '' end, $6)
        on conflict (alert_id, subject) do update
        set label = excluded.label, summary = excluded.summary,
            firing_since = case when $4 then coalesce(alert_subjects.firing_since, now()) end,
            course_since = coalesce(excluded.course_since, alert_subjects.course_since)",
        rule.id,
        finding.subject,
        finding.label,
        fires,
        finding.summary,
        finding.course_since
    )
    .execute(&mut *tx)
    .await?;
    if fires == before && !(fires && finding.anew) {
        return Ok(());
    }
    let (state, event, word) = if fires {
        (AlertState::Firing, WebhookEvent::AlertFiring, "firing")
    } else {
        (
            AlertState::Resolved,
            WebhookEvent::AlertResolved,
            "resolved",
        )
    };
    let id = Uuid::now_v7();
    sqlx::query!(
        "-- check::note (event)
        insert into alert_events (id, alert_id, subject, label, state, summary, data, run_id, silenced, mail_waits)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        id,
        rule.id,
        finding.subject,
        finding.label,
        state as AlertState,
        finding.summary,
        finding.data,
        run.id,
        rule.silenced,
        rule.mail && !rule.silenced
    )
    .execute(&mut *tx)
    .await?;
    tracing::info!(
        alert.id = %rule.id,
        alert.state = word,
        run.id = %run.id,
        "alert {} is {word} after run {}",
        rule.id,
        run.id
    );
    if rule.silenced {
        return Ok(());
    }
    let summary = format!(
        "Alert {} is {word}: {}: {}",
        rule.name, finding.label, finding.summary
    );
    let data = json!({
        "id": id,
        "alert_id": rule.id,
        "alert": rule.name,
        "kind": rule.kind,
        "state": word,
        "schedule_id": run.schedule_id,
        "run_id": run.id,
        "label": finding.label,
        "summary": finding.summary,
        "measured": finding.data,
    });
    let message = Message {
        event,
        summary: &summary,
        data: &data,
    };
    announce(tx, rule.owner_id, &message).await
}

fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        number(part) / number(whole)
    }
}

fn dollars(microusd: f64) -> String {
    format!("${:.2}", microusd / 1e6)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and money are far below 2⁵³"
)]
fn number(count: i64) -> f64 {
    count as f64
}
