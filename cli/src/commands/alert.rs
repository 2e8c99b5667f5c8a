//! `opb alert`: rules on the runs of schedules, and their history.

use chrono::{TimeDelta, Utc};
use clap::{Args, Subcommand};
use opb_core::{
    alerts::{Alert, AlertEvent, AlertKind, NewAlert, Silence, UpdateAlert},
    paging::Page,
};
use serde_json::json;

use super::{parse_word, print, print_json, print_removed};
use crate::{
    client::{Client, ClientSettings, segment},
    outcome::{BadUsage, Outcome},
    tables,
};

/// The REST resource.
const PATH: &str = "/api/v1/alerts";

/// Add, list, change, silence, resolve and remove alerts: rules on the runs of a schedule
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct AlertCommand {
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
    /// Mark what fires as resolved: the current values become the new baseline
    Resolve(NamedAlert),
    /// Remove an alert with its history
    Remove(NamedAlert),
}

/// Add an alert to a schedule; it begins with the next run that ends
#[derive(Debug, Args)]
#[command(
    override_usage = "opb alert add [OPTIONS] --schedule <SCHEDULE> --kind <KIND>\n                     --threshold <NUMBER> <NAME>",
    after_help = "Examples:\n  opb alert add drift --schedule nightly --kind score-drop --threshold 0.02\n  opb alert add dear --schedule nightly --kind cost --threshold 0.50"
)]
struct AddAlert {
    /// The alert's name
    #[arg(value_name = "NAME")]
    alert: String,
    /// Name or id of the schedule whose runs it watches
    #[arg(long, value_name = "SCHEDULE")]
    schedule: String,
    /// What it watches: score-drop, cost, latency, failure-rate or budget
    #[arg(long, value_name = "KIND", value_parser = parse_word::<AlertKind>)]
    kind: AlertKind,
    /// By kind: for score-drop the smallest drop that matters (0.02 is two points), for cost dollars (0.50), for latency
    /// milliseconds, for failure-rate a share of the evaluations (0.05), for budget a share of it (0.8)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = parse_threshold)]
    threshold: Threshold,
    /// For score-drop: on average at most one false alarm in this many runs
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

/// The name of an alert.
#[derive(Debug, Args)]
struct NamedAlert {
    /// Name or id of the alert
    #[arg(value_name = "ALERT")]
    alert: String,
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
    /// Another threshold; see `opb alert add --help`
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = parse_threshold)]
    threshold: Option<Threshold>,
    /// For score-drop: on average at most one false alarm in this many runs
    #[arg(long, value_name = "RUNS")]
    false_alarm_runs: Option<i32>,
    /// Whether mail is sent, too
    #[arg(long, value_name = "BOOL")]
    mail: Option<bool>,
}

/// Silence an alert for a while: it keeps its history and sends nothing
#[derive(Debug, Args)]
struct SilenceAlert {
    #[command(flatten)]
    named: NamedAlert,
    /// Number of hours from now
    #[arg(long, value_name = "N", required_unless_present = "end", value_parser = clap::value_parser!(i64).range(1..=8760))]
    hours: Option<i64>,
    /// End the silence
    #[arg(long, conflicts_with = "hours")]
    end: bool,
}

impl AlertCommand {
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
                print_removed("alert", &command.alert, json)?;
            }
        }
        Ok(Outcome::Done)
    }
}

impl AddAlert {
    async fn execute(self, json: bool) -> anyhow::Result<()> {
        let new = NewAlert {
            name: self.alert,
            schedule: self.schedule,
            kind: self.kind,
            threshold: self.threshold.of(self.kind)?,
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
        let client = self.named.client.connect()?;
        let threshold = match self.threshold {
            None => None,
            Some(threshold) => Some(threshold.of(self.named.kind(&client).await?)?),
        };
        let change = UpdateAlert {
            name: self.name,
            threshold,
            false_alarm_runs: self.false_alarm_runs,
            mail: self.mail,
        };
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
        format!("{PATH}/{}{rest}", segment(&self.alert))
    }

    /// The kind of the alert, which determines the unit of its threshold.
    async fn kind(&self, client: &Client) -> anyhow::Result<AlertKind> {
        let alert: Alert = client.get(&self.path("")).await?;
        Ok(alert.kind)
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

/// A threshold as it is typed: a number, or an amount such as `$0.50`.
#[derive(Debug, Clone, Copy)]
struct Threshold {
    number: f64,
    is_money: bool,
}

impl Threshold {
    /// The threshold in the REST unit of a kind.
    fn of(self, kind: AlertKind) -> anyhow::Result<f64> {
        let is_cost = matches!(kind, AlertKind::Cost);
        if self.is_money && !is_cost {
            let message = "--threshold: dollars are for alerts of the kind cost only";
            return Err(BadUsage(message.to_owned()).into());
        }
        if is_cost && self.number < 0.0 {
            return Err(BadUsage("--threshold: expected dollars, 0 or more".to_owned()).into());
        }
        Ok(if is_cost {
            (self.number * 1e6).round()
        } else {
            self.number
        })
    }
}

fn parse_threshold(text: &str) -> Result<Threshold, String> {
    let (number, is_money) = match text.strip_prefix('$') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let number = number
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite());
    let number = number
        .ok_or_else(|| "expected a number such as 0.02, or dollars such as 0.50".to_owned())?;
    Ok(Threshold { number, is_money })
}

fn show(alert: &Alert, events: &[AlertEvent], json: bool) -> anyhow::Result<()> {
    if json {
        print_json(alert)
    } else {
        print(&tables::alert(alert, events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_a_threshold_of_a_cost_is_in_dollars() {
        let check = |text: &str, kind: AlertKind, expect: Option<f64>| {
            let found = parse_threshold(text).ok().and_then(|it| it.of(kind).ok());
            assert_eq!(found, expect, "{text} {kind:?}");
        };
        check("0.5", AlertKind::Cost, Some(500_000.0));
        check("$0.50", AlertKind::Cost, Some(500_000.0));
        check("0.0000001", AlertKind::Cost, Some(0.0));
        check("-1", AlertKind::Cost, None);
        check("0.02", AlertKind::ScoreDrop, Some(0.02));
        check("$1", AlertKind::Latency, None);
        check("nan", AlertKind::Latency, None);
        check("", AlertKind::Cost, None);
    }
}
