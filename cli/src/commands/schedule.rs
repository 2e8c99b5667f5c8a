//! `opb schedule`: recurring runs.

use clap::{Args, Subcommand, ValueEnum};
use opb_core::{
    paging::Page,
    schedules::{CatchUp, Firing, NewSchedule, Schedule, UpdateSchedule},
};

use super::{print, print_json, print_removed, run::RequestOptions};
use crate::{
    client::{ClientSettings, segment},
    outcome::Outcome,
    tables,
};

/// The REST resource.
const PATH: &str = "/api/v1/schedules";

/// Add, list, change, pause and remove schedules: recurring runs
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ScheduleCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Box<AddSchedule>),
    List(ListSchedules),
    /// Show a schedule: what it runs, its next five times, and the results of its last ticks
    Show(NamedSchedule),
    Change(ChangeSchedule),
    /// Pause a schedule; ticks during the pause are not caught up
    Pause(NamedSchedule),
    /// Resume a paused schedule with its next time
    Resume(NamedSchedule),
    /// Remove a schedule; its runs stay
    Remove(NamedSchedule),
}

/// Add a schedule
#[derive(Debug, Args)]
#[command(
    override_usage = "opb schedule add [OPTIONS] --cron <CRON> --benchmark <SLUG>\n                        --prompt <SLUG> --model <MODEL> <NAME>",
    after_help = "Example:\n  opb schedule add nightly --cron '30 6 * * 1-5' --time-zone Europe/Berlin \\\n    --benchmark first-steps --prompt step-by-step --model simulated:strong"
)]
struct AddSchedule {
    /// The schedule's name
    #[arg(value_name = "NAME")]
    schedule: String,
    /// Minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "CRON")]
    cron: String,
    /// Time zone of the schedule, such as Europe/Berlin
    #[arg(
        long,
        env = "OPB_TIME_ZONE",
        value_name = "ZONE",
        default_value = "UTC"
    )]
    time_zone: String,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    request: RequestOptions,
    #[command(flatten)]
    client: ClientSettings,
}

/// List your schedules, newest first
#[derive(Debug, Args)]
struct ListSchedules {
    #[command(flatten)]
    client: ClientSettings,
}

/// Names a schedule.
#[derive(Debug, Args)]
struct NamedSchedule {
    /// Name or id of the schedule
    #[arg(value_name = "SCHEDULE")]
    schedule: String,
    #[command(flatten)]
    client: ClientSettings,
}

/// Change when a schedule is due, or how it catches up
#[derive(Debug, Args)]
struct ChangeSchedule {
    #[command(flatten)]
    named: NamedSchedule,
    /// Minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,
    /// Time zone of the schedule, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    #[command(flatten)]
    pace: Pace,
}

/// What happens to missed ticks.
#[derive(Debug, Args)]
struct Pace {
    /// After missed ticks: no run, one run for all, or a run for each
    #[arg(long, value_name = "POLICY", value_enum)]
    catch_up: Option<Policy>,
    /// With `--catch-up all`, maximum number of missed ticks that are caught up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100))]
    catch_up_limit: Option<i32>,
    /// Delay each tick by 0 to SECONDS, always the same for the same tick
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i32).range(0..=3600))]
    jitter: Option<i32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    Skip,
    Once,
    All,
}

impl From<Policy> for CatchUp {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Skip => Self::Skip,
            Policy::Once => Self::Once,
            Policy::All => Self::All,
        }
    }
}

impl ScheduleCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Add(command) => command.execute(json).await?,
            Action::List(command) => command.execute(json).await?,
            Action::Show(command) => {
                let client = command.client.connect()?;
                let schedule: Schedule = client.get(&command.path("")).await?;
                if json {
                    print_json(&schedule)?;
                } else {
                    let firings: Page<Firing> = client.get(&command.path("/firings")).await?;
                    print(&tables::schedule(&schedule, &firings.items))?;
                }
            }
            Action::Change(command) => command.execute(json).await?,
            Action::Pause(command) => command.tell("/pause", json).await?,
            Action::Resume(command) => command.tell("/resume", json).await?,
            Action::Remove(command) => {
                command.client.connect()?.delete(&command.path("")).await?;
                print_removed("schedule", &command.schedule, json)?;
            }
        }
        Ok(Outcome::Done)
    }
}

impl AddSchedule {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let new = NewSchedule {
            name: self.schedule,
            cron: self.cron,
            time_zone: self.time_zone,
            request: self.request.request(),
            catch_up: self.pace.catch_up.map(Into::into).unwrap_or_default(),
            catch_up_limit: self.pace.catch_up_limit.unwrap_or(10),
            jitter_seconds: self.pace.jitter.unwrap_or(0),
        };
        let client = self.client.connect()?;
        let schedule: Schedule = client.post(PATH, &new).await?;
        show(&schedule, json)
    }
}

impl ListSchedules {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let client = self.client.connect()?;
        let page: Page<Schedule> = client.get(&format!("{PATH}?limit=100")).await?;
        if json {
            return print_json(&page);
        }
        if page.items.is_empty() {
            return print("no schedules yet");
        }
        print(&tables::schedules(&page.items))
    }
}

impl ChangeSchedule {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let change = UpdateSchedule {
            cron: self.cron,
            time_zone: self.time_zone,
            catch_up: self.pace.catch_up.map(Into::into),
            catch_up_limit: self.pace.catch_up_limit,
            jitter_seconds: self.pace.jitter,
            ..UpdateSchedule::default()
        };
        let client = self.named.client.connect()?;
        let schedule: Schedule = client.patch(&self.named.path(""), &change).await?;
        show(&schedule, json)
    }
}

impl NamedSchedule {
    fn path(&self, rest: &str) -> String {
        format!("{PATH}/{}{rest}", segment(&self.schedule))
    }

    async fn tell(self, what: &str, json: bool) -> anyhow::Result<()> {
        let client = self.client.connect()?;
        let nothing = serde_json::Value::Null;
        let schedule: Schedule = client.post(&self.path(what), &nothing).await?;
        show(&schedule, json)
    }
}

fn show(schedule: &Schedule, json: bool) -> anyhow::Result<()> {
    if json {
        print_json(schedule)
    } else {
        print(&tables::schedule(schedule, &[]))
    }
}
