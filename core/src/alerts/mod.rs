//! Alerts: rules on the runs of a schedule.
//!
//! `manage` creates and changes them, `measures` loads a run, `check` decides what fires and what is resolved and
//! writes the history and the messages in one transaction, `letters` writes the mails. A drop of a score is detected by
//! sequential change detection (`stats::find_step`), everything else by a threshold.

mod check;
mod mail_templates;
mod manage;
mod measures;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

pub use check::check_next_run;
pub use mail_templates::write_mails;
pub use manage::{
    create_alert, delete_alert, find_alert, list_alert_events, list_alerts, name_alert,
    resolve_alert, silence_alert, update_alert,
};

/// The kinds of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "alert_kind", rename_all = "snake_case")]
pub enum AlertKind {
    /// The score of a column has dropped permanently. `threshold` is the smallest drop that matters: 0.02 for two
    /// points.
    ScoreDrop,
    /// A run spent more than `threshold` micro-dollars.
    Cost,
    /// The 95th percentile of a column's latency is above `threshold` milliseconds.
    Latency,
    /// More than the share `threshold` of a column's evaluations ended in an error.
    FailureRate,
    /// A run spent at least the share `threshold` of its budget.
    Budget,
}

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "alert_state", rename_all = "snake_case")]
pub enum AlertState {
    /// It started to fire.
    Firing,
    /// The condition no longer holds.
    Resolved,
}

/// A rule on the runs of a schedule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// The alert's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The schedule whose runs it watches.
    pub schedule_id: Uuid,
    /// The name of that schedule.
    pub schedule: String,
    /// Its kind.
    pub kind: AlertKind,
    /// The threshold; see `kind`.
    pub threshold: f64,
    /// For a score drop: without a real change, a column fires at most once in this many runs, on average.
    pub false_alarm_runs: i32,
    /// Whether its owner also gets a mail, if the server sends mail.
    pub mail: bool,
    /// Until then it records its history without notifying anybody.
    pub silenced_until: Option<DateTime<Utc>>,
    /// What fires now.
    #[schema(value_type = Vec<FiringSubject>)]
    pub firing: sqlx::types::Json<Vec<FiringSubject>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A column that an alert fires for, or a run as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FiringSubject {
    /// The prompt and the model; `run` for a run as a whole.
    pub label: String,
    /// When it started to fire.
    pub since: DateTime<Utc>,
    /// What happened.
    pub summary: String,
}

/// An alert to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlert {
    /// 1 to 100 characters.
    pub name: String,
    /// The schedule whose runs it watches: the id or the name of one of the caller's schedules.
    #[serde(alias = "schedule_id")]
    pub schedule: String,
    /// Its kind.
    pub kind: AlertKind,
    /// The threshold; see `kind`.
    pub threshold: f64,
    /// For a score drop: without a real change, a column fires at most once in this many runs, on average; absent:
    /// 10,000.
    #[serde(default = "ten_thousand")]
    #[schema(minimum = 100, maximum = 1_000_000)]
    pub false_alarm_runs: i32,
    /// Whether its owner also gets a mail, if the server sends mail; absent: yes.
    #[serde(default = "yes")]
    pub mail: bool,
}

/// Changes of an alert; absent fields stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateAlert {
    /// 1 to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The threshold; see `kind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// For a score drop: without a real change, a column fires at most once in this many runs, on average.
    #[schema(minimum = 100, maximum = 1_000_000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_alarm_runs: Option<i32>,
    /// Whether its owner also gets a mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<bool>,
}

/// The end of an alert's silence.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Until then it records its history without notifying anybody; null ends the silence.
    #[serde(default, deserialize_with = "crate::bounds::optional_time")]
    pub until: Option<DateTime<Utc>>,
}

/// An entry of an alert's history.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AlertEvent {
    /// The event's id.
    pub id: Uuid,
    /// The prompt and the model; `run` for a run as a whole.
    pub label: String,
    /// Whether it started to fire or was resolved.
    pub state: AlertState,
    /// What happened.
    pub summary: String,
    /// The numbers, and what changed: the prompt, the benchmark, or neither, which leaves the model.
    #[schema(value_type = Object)]
    pub data: Value,
    /// The run that was checked; null if it was deleted, or if the owner resolved the alert.
    pub run_id: Option<Uuid>,
    /// Whether the alert was silenced then.
    pub silenced: bool,
    /// When it happened.
    pub created_at: DateTime<Utc>,
}

fn ten_thousand() -> i32 {
    10_000
}

fn yes() -> bool {
    true
}
