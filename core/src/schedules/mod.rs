//! Schedules: runs that are submitted again and again.
//!
//! `calendar` says when, `catch_up` what becomes of ticks that were missed, `manage` keeps the schedules, `parts` what they
//! name, and `fire` submits. A tick is never stored ahead: it is computed from the last one that was settled, and what became of it is a
//! row that is inserted with its run in one transaction. So any number of schedulers may run, and stop anywhere.

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

/// So many times ahead are shown.
const TIMES_SHOWN: usize = 5;

/// A recurring run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// The schedule's id.
    pub id: Uuid,
    /// Its name; its runs have it, too, unless the request names them.
    pub name: String,
    /// The name of its owner.
    pub owner: String,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The IANA name of the time zone whose wall clock the expression speaks of.
    pub time_zone: String,
    /// What is submitted. A benchmark or prompt that is gone, or that the viewer may not see, has its id in the place of its
    /// slug; the runs of the schedule are refused then.
    #[schema(value_type = SubmitRun)]
    pub request: Json<SubmitRun>,
    /// What becomes of ticks that were missed.
    pub catch_up: CatchUp,
    /// With `all`, so many missed ticks are made up for at most.
    pub catch_up_limit: i32,
    /// Each tick is put off by 0 to so many seconds, always by the same.
    pub jitter_seconds: i32,
    /// When it was paused; null when it is not.
    pub paused_at: Option<DateTime<Utc>>,
    /// The next five ticks, without jitter; none while it is paused.
    pub next_times: Vec<DateTime<Utc>>,
    /// What became of the newest tick.
    pub last_firing: Option<Firing>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A schedule to make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// 1 to 100 characters.
    pub name: String,
    /// Five fields: minute, hour, day of the month, month, day of the week, as in `30 6 * * 1-5`.
    pub cron: String,
    /// The IANA name of a time zone; `UTC` when absent.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What to submit. `slug@2` is always that version, `slug` or `slug@latest` the newest at that time, and an alias
    /// what it points at then. Slugs mean what they name now, also when that is called otherwise later.
    pub request: SubmitRun,
    /// What becomes of ticks that were missed; `once` when absent.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// With `all`, so many missed ticks are made up for at most; 10 when absent.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 100)]
    pub catch_up_limit: i32,
    /// Each tick is put off by 0 to so many seconds, always by the same; 0 when absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 3600)]
    pub jitter_seconds: i32,
}

/// What to change about a schedule; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSchedule {
    /// 1 to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Five fields; ticks until now are settled then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA name of a time zone; ticks until now are settled then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What to submit from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<SubmitRun>,
    /// What becomes of ticks that were missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// With `all`, so many missed ticks are made up for at most.
    #[schema(minimum = 1, maximum = 100)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up_limit: Option<i32>,
    /// Each tick is put off by 0 to so many seconds, always by the same.
    #[schema(minimum = 0, maximum = 3600)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_seconds: Option<i32>,
}

/// What became of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "firing_state", rename_all = "snake_case")]
pub enum FiringState {
    /// A run was submitted.
    Submitted,
    /// The run was refused.
    Refused,
    /// The tick was missed, and the schedule's policy is to leave it out.
    Skipped,
}

impl FiringState {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
        }
    }
}

/// A tick that is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Firing {
    /// The time by the cron expression, without jitter.
    pub due_at: DateTime<Utc>,
    /// When it was settled.
    pub fired_at: DateTime<Utc>,
    /// What became of it.
    pub state: FiringState,
    /// So many ticks before it were missed and left out.
    pub missed: i32,
    /// The run that was submitted; null when none was, or when it has been deleted.
    pub run_id: Option<Uuid>,
    /// Why nothing was submitted.
    pub reason: String,
}

fn utc() -> String {
    "UTC".into()
}

fn ten() -> i32 {
    10
}
