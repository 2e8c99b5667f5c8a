//! `opb alerts`: rules on the runs of schedules, and what they found.

use chrono::{TimeDelta, Utc};
use clap::{Args, Subcommand};
use opb_core::{
    alerts::{Alert, AlertEvent, AlertKind, NewAlert, Silence, UpdateAlert},
    library::Page,
};
use serde_json::json;
use uuid::Uuid;

use super::{parse_word, print, print_json};
use crate::{client::ClientSettings, outcome::Outcome, tables};

/// The REST resource.
const PATH: &str = "/api/v1/alerts";

/// Add, list, change, silence, resolve and remove alerts: rules on the runs of a schedule
#[derive(Debug, Args)]
#[command(arg_required_else_help = false)]
pub struct AlertsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(AddAlert),
    List(ListAlerts),
    /// Show an alert, what fires now, and when it fired and was resolved
    Show(NamedAlert),
    Change(ChangeAlert),
    Silence(SilenceAlert),
    /// Say that what fires has been seen to: what is now is the new normal
    Resolve(NamedAlert),
    /// Remove an alert with its history
    Remove(NamedAlert),
}

/// Add an alert to a schedule; it begins with the next run that ends
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  opb alerts add drift --schedule SCHEDULE --kind score-drop --threshold 0.02\n\n\
    SCHEDULE is an id of `opb schedules list`."
)]
struct AddAlert {
    /// The alert's name
    #[arg(value_name = "NAME")]
    alert: String,
    /// The schedule whose runs it watches
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Uuid,
    /// What it watches: score-drop, cost, latency, failure-rate or budget
    #[arg(long, value_name = "KIND", value_parser = parse_word::<AlertKind>)]
    kind: AlertKind,
    /// The smallest drop that matters (0.02 is two points), micro-dollars, milliseconds, or a share of evaluations or
    /// of the budget (0.8), as the kind says
    #[arg(long, value_name = "NUMBER")]
    threshold: f64,
    /// Of a drop: noise alone makes a column fire once in so many runs at most, on average
    #[arg(long, value_name = "RUNS", default_value_t = 10_000)]
    false_alarm_runs: i32,
    /// Send no mail
    #[arg(long)]
    no_mail: bool,
    #[command(flatten)]
    client: ClientSettings,
}

/// List your alerts, newest first
#[derive(Debug, Args)]
struct ListAlerts {
    #[command(flatten)]
    client: ClientSettings,
}

/// Names an alert.
#[derive(Debug, Args)]
struct NamedAlert {
    /// The alert's id
    #[arg(value_name = "ALERT")]
    alert: Uuid,
    #[command(flatten)]
    client: ClientSettings,
}

/// Change an alert; what is not named stays
#[derive(Debug, Args)]
struct ChangeAlert {
    #[command(flatten)]
    named: NamedAlert,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another threshold; see `opb alerts add --help`
    #[arg(long, value_name = "NUMBER")]
    threshold: Option<f64>,
    /// Of a drop: noise alone makes a column fire once in so many runs at most, on average
    #[arg(long, value_name = "RUNS")]
    false_alarm_runs: Option<i32>,
    /// Whether you get a mail, too
    #[arg(long, value_name = "BOOL")]
    mail: Option<bool>,
}

/// Make an alert silent for a while: it keeps its history and tells nobody
#[derive(Debug, Args)]
struct SilenceAlert {
    #[command(flatten)]
    named: NamedAlert,
    /// For so many hours from now
    #[arg(long, value_name = "N", required_unless_present = "end", value_parser = clap::value_parser!(i64).range(1..=8760))]
    hours: Option<i64>,
    /// End the silence
    #[arg(long, conflicts_with = "hours")]
    end: bool,
}

impl AlertsCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Add(command) => command.execute(json).await?,
            Action::List(command) => command.execute(json).await?,
            Action::Show(command) => command.show(json).await?,
            Action::Change(command) => command.execute(json).await?,
            Action::Silence(command) => command.execute(json).await?,
            Action::Resolve(command) => {
                let client = command.client.connect()?;
                let alert: Alert = client.post(&command.path("/resolve"), &json!({})).await?;
                show(&alert, &[], json)?;
            }
            Action::Remove(command) => {
                command.client.connect()?.delete(&command.path("")).await?;
                if !json {
                    print(&format!("removed alert {}", command.alert))?;
                }
            }
        }
        Ok(Outcome::Done)
    }
}

impl AddAlert {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let new = NewAlert {
            name: self.alert,
            schedule_id: self.schedule,
            kind: self.kind,
            threshold: self.threshold,
            false_alarm_runs: self.false_alarm_runs,
            mail: !self.no_mail,
        };
        let alert: Alert = self.client.connect()?.post(PATH, &new).await?;
        show(&alert, &[], json)
    }
}

impl ListAlerts {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let client = self.client.connect()?;
        let page: Page<Alert> = client.get(&format!("{PATH}?limit=100")).await?;
        if json {
            return print_json(&page);
        }
        if page.items.is_empty() {
            return print("no alerts yet");
        }
        print(&tables::alerts(&page.items))
    }
}

impl ChangeAlert {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let change = UpdateAlert {
            name: self.name,
            threshold: self.threshold,
            false_alarm_runs: self.false_alarm_runs,
            mail: self.mail,
        };
        let client = self.named.client.connect()?;
        let alert: Alert = client.patch(&self.named.path(""), &change).await?;
        show(&alert, &[], json)
    }
}

impl SilenceAlert {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let until = self.hours.map(|hours| Utc::now() + TimeDelta::hours(hours));
        let client = self.named.client.connect()?;
        let path = self.named.path("/silence");
        let alert: Alert = client.put(&path, &Silence { until }).await?;
        show(&alert, &[], json)
    }
}

impl NamedAlert {
    fn path(&self, rest: &str) -> String {
        format!("{PATH}/{}{rest}", self.alert)
    }

    async fn show(&self, json: bool) -> anyhow::Result<()> {
        let client = self.client.connect()?;
        let alert: Alert = client.get(&self.path("")).await?;
        let events: Page<AlertEvent> = client.get(&self.path("/events")).await?;
        if json {
            return print_json(&json!({"alert": alert, "events": events.items}));
        }
        show(&alert, &events.items, json)
    }
}

fn show(alert: &Alert, events: &[AlertEvent], json: bool) -> anyhow::Result<()> {
    if json {
        print_json(alert)
    } else {
        print(&tables::alert(alert, events))
    }
}
