//! Schedules: recurring runs.
//!
//! `calendar` computes the times, `catch_up` handles missed ticks, `manage` creates and changes schedules, `parts`
//! resolves the names in requests, and `fire` submits runs. A tick is never stored in advance: it is computed from the
//! last settled one, and its outcome is a row that is inserted with its run in one transaction. So any number of
//! schedulers may run, and stop at any point.

mod calendar;
mod catch_up;
mod fire;
mod manage;
mod parts;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

pub use calendar::Calendar;
pub use catch_up::CatchUp;
pub use fire::{delete_old_firings, fire_due};
pub use manage::{
    create_schedule, delete_schedule, find_schedule, list_firings, list_schedules, name_schedule,
    pause_schedule, resume_schedule, update_schedule,
};

use crate::runs::SubmitRun;

/// Number of upcoming times shown.
const TIMES_SHOWN: usize = 5;

/// A recurring run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// The schedule's id.
    pub id: Uuid,
    /// Its name, which is also the name of its runs unless the request has one.
    pub name: String,
    /// The name of its owner.
    pub owner: String,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The IANA name of the time zone of the expression.
    pub time_zone: String,
    /// The request that is submitted. A benchmark or prompt that was deleted, or that the viewer may not read, has its
    /// id in place of its slug; the runs of the schedule are refused then.
    #[schema(value_type = SubmitRun)]
    pub request: Json<SubmitRun>,
    /// What to do about missed ticks.
    pub catch_up: CatchUp,
    /// With `all`, the maximum number of missed ticks that are made up for.
    pub catch_up_limit: i32,
    /// Each tick is delayed by 0 to this many seconds; the delay of a tick is always the same.
    pub jitter_seconds: i32,
    /// When it was paused; null if it is not paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// The next five ticks, without jitter; empty while it is paused.
    pub next_times: Vec<DateTime<Utc>>,
    /// The outcome of the newest tick.
    pub last_firing: Option<Firing>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A schedule to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// 1 to 100 characters.
    pub name: String,
    /// Five fields: minute, hour, day of the month, month, day of the week, as in `30 6 * * 1-5`.
    pub cron: String,
    /// The IANA name of a time zone; absent: `UTC`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The request to submit. `slug@2` always means that version, `slug` or `slug@latest` the newest version at the
    /// time of the run, and an alias its target at that time. Slugs are resolved now; renaming what they name later has
    /// no effect.
    pub request: SubmitRun,
    /// What to do about missed ticks; absent: `once`.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// With `all`, the maximum number of missed ticks that are made up for; absent: 10.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 100)]
    pub catch_up_limit: i32,
    /// Each tick is delayed by 0 to this many seconds; the delay of a tick is always the same; absent: 0.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 3600)]
    pub jitter_seconds: i32,
}

/// Changes of a schedule; absent fields stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSchedule {
    /// 1 to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Five fields; a change settles all ticks until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA name of a time zone; a change settles all ticks until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The request to submit from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<SubmitRun>,
    /// What to do about missed ticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// With `all`, the maximum number of missed ticks that are made up for.
    #[schema(minimum = 1, maximum = 100)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up_limit: Option<i32>,
    /// Each tick is delayed by 0 to this many seconds; the delay of a tick is always the same.
    #[schema(minimum = 0, maximum = 3600)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_seconds: Option<i32>,
}

/// The outcome of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "firing_state", rename_all = "snake_case")]
pub enum FiringState {
    /// A run was submitted.
    Submitted,
    /// The run was refused.
    Refused,
    /// The tick was missed, and the schedule skips missed ticks.
    Skipped,
}

impl FiringState {
    /// The name in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
        }
    }
}

/// A settled tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Firing {
    /// The time by the cron expression, without jitter.
    pub due_at: DateTime<Utc>,
    /// When it was settled.
    pub fired_at: DateTime<Utc>,
    /// The outcome.
    pub state: FiringState,
    /// Number of missed ticks before it that were skipped.
    pub missed: i32,
    /// The submitted run; null if none was submitted, or if it was deleted.
    pub run_id: Option<Uuid>,
    /// Why no run was submitted.
    pub reason: String,
}

fn utc() -> String {
    "UTC".into()
}

fn ten() -> i32 {
    10
}
