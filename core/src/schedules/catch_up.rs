//! The handling of ticks, on time or missed. Pure.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Calendar;

/// The delay after which a tick counts as missed.
const ON_TIME: Duration = Duration::minutes(5);
/// Maximum number of ticks per step; if a schedule was inactive longer, the older ones are skipped.
const MOST_TICKS: u32 = 10_000;

/// What to do about missed ticks, when no scheduler ran.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "catch_up", rename_all = "snake_case")]
pub enum CatchUp {
    /// They are skipped.
    Skip,
    /// One run is submitted for the newest missed tick.
    #[default]
    Once,
    /// A run is submitted for each, up to the schedule's limit, oldest first.
    All,
}

/// The settings by which a schedule handles its ticks.
#[derive(Debug, Clone)]
pub(super) struct Pace<'a> {
    pub(super) id: Uuid,
    pub(super) calendar: &'a Calendar,
    pub(super) catch_up: CatchUp,
    pub(super) catch_up_limit: u32,
    pub(super) jitter_seconds: u32,
}

/// The action for one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// The tick; this settles it and all before it.
    pub(super) due: DateTime<Utc>,
    /// Whether a run is submitted.
    pub(super) fires: bool,
    /// Number of ticks before it that are skipped.
    pub(super) missed: u32,
}

impl Pace<'_> {
    /// When schedulers handle a tick: its time plus a jitter that is the same for each scheduler and different for each
    /// tick.
    pub(super) fn jittered(&self, due: DateTime<Utc>) -> DateTime<Utc> {
        let mut hash = Sha256::new_with_prefix(self.id.as_bytes());
        hash.update(due.timestamp().to_be_bytes());
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        let wait = u32::from_be_bytes([a, b, c, d]) % (self.jitter_seconds + 1);
        due + Duration::seconds(wait.into())
    }

    /// When to handle the next tick.
    pub(super) fn next_at(&self, settled: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.calendar.next_after(settled)?;
        Some(self.jittered(next))
    }

    /// The next step if every tick up to `settled` is settled; `None` if no tick is due yet.
    pub(super) fn step(&self, settled: DateTime<Utc>, now: DateTime<Utc>) -> Option<Step> {
        let ripe = self
            .calendar
            .ticks_after(settled)
            .take_while(|due| self.jittered(*due) <= now);
        let wanted = match self.catch_up {
            CatchUp::All => self.catch_up_limit,
            CatchUp::Skip | CatchUp::Once => 1,
        };
        // The newest ticks that get a run, and the number of all.
        let mut newest = std::collections::VecDeque::new();
        let mut count = 0;
        for due in ripe {
            newest.push_back(due);
            if newest.len() > wanted as usize {
                newest.pop_front();
            }
            count += 1;
            if count == MOST_TICKS {
                return Some(Step {
                    due,
                    fires: false,
                    missed: count - 1,
                });
            }
        }
        let due = newest.front().copied()?;
        let on_time = now - self.jittered(due) <= ON_TIME;
        Some(Step {
            due,
            fires: on_time || self.catch_up != CatchUp::Skip,
            missed: count.saturating_sub(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    /// The steps of an hourly schedule that was settled at 06:00, as `hour`, or `-hour` for a skipped tick, with the
    /// number of ticks before it.
    fn steps(catch_up: CatchUp, limit: u32, now: &str) -> Vec<(String, u32)> {
        let calendar = Calendar::parse("0 * * * *", "UTC").unwrap();
        let pace = Pace {
            id: Uuid::nil(),
            calendar: &calendar,
            catch_up,
            catch_up_limit: limit,
            jitter_seconds: 0,
        };
        let mut settled = time("06:00:00");
        let mut steps = Vec::new();
        while let Some(step) = pace.step(settled, time(now)) {
            settled = step.due;
            let sign = if step.fires { "" } else { "-" };
            steps.push((format!("{sign}{}", step.due.format("%H")), step.missed));
        }
        steps
    }

    #[test]
    fn missed_ticks_follow_the_policy() {
        let check = |catch_up, limit, now: &str, expect: &[(&str, u32)]| {
            let expect: Vec<_> = expect
                .iter()
                .map(|(hour, missed)| ((*hour).to_owned(), *missed))
                .collect();
            assert_eq!(
                steps(catch_up, limit, now),
                expect,
                "{catch_up:?} {limit} {now}"
            );
        };
        for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
            check(catch_up, 9, "06:59:59", &[]);
            check(catch_up, 9, "07:00:00", &[("07", 0)]);
            check(catch_up, 9, "07:04:59", &[("07", 0)]);
        }
        check(CatchUp::Skip, 9, "07:06:00", &[("-07", 0)]);
        check(CatchUp::Skip, 9, "10:06:00", &[("-10", 3)]);
        check(CatchUp::Skip, 9, "10:01:00", &[("10", 3)]);
        check(CatchUp::Once, 9, "07:06:00", &[("07", 0)]);
        check(CatchUp::Once, 9, "10:30:00", &[("10", 3)]);
        check(
            CatchUp::All,
            9,
            "09:30:00",
            &[("07", 0), ("08", 0), ("09", 0)],
        );
        check(CatchUp::All, 2, "10:30:00", &[("09", 2), ("10", 0)]);
    }

    #[test]
    fn a_schedule_that_slept_for_years_wakes_up_in_steps() {
        let calendar = Calendar::parse("* * * * *", "UTC").unwrap();
        let pace = Pace {
            id: Uuid::nil(),
            calendar: &calendar,
            catch_up: CatchUp::Once,
            catch_up_limit: 1,
            jitter_seconds: 0,
        };
        let slept = Duration::minutes(25_000);
        let mut settled = time("06:00:00") - slept;
        let mut steps = Vec::new();
        while let Some(step) = pace.step(settled, time("06:00:00")) {
            settled = step.due;
            steps.push((step.fires, step.missed));
        }
        assert_eq!(steps, [(false, 9_999), (false, 9_999), (true, 4_999)]);
    }

    #[test]
    fn jitter_is_the_same_for_everybody_and_spread() {
        let calendar = Calendar::parse("* * * * *", "UTC").unwrap();
        let of = |id: u128, jitter_seconds, due: &str| {
            let pace = Pace {
                id: Uuid::from_u128(id),
                calendar: &calendar,
                catch_up: CatchUp::Once,
                catch_up_limit: 1,
                jitter_seconds,
            };
            (pace.jittered(time(due)) - time(due)).num_seconds()
        };
        assert_eq!(of(1, 0, "07:00:00"), 0);
        assert_eq!(of(1, 600, "07:00:00"), of(1, 600, "07:00:00"));
        let waits: Vec<i64> = (0..1000).map(|id| of(id, 600, "07:00:00")).collect();
        assert!(waits.iter().all(|wait| (0..=600).contains(wait)));
        let mean = waits.iter().sum::<i64>() / 1000;
        assert!((270..330).contains(&mean), "{mean}");
    }
}
