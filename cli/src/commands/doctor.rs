//! `opb doctor`: looks at everything that a bank needs, and says how to mend what is missing.

mod checks;

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{print, print_json};
use crate::{client::ClientSettings, data_folder::DataFolder, outcome::Outcome};

/// Check configuration, database, server, providers and disk, and say how to mend what is wrong
///
/// Exit code 1 when a check fails; a warning is no failure.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Address of a Postgres server that is used instead of an embedded one
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Database"
    )]
    database_url: Option<SecretString>,
    #[command(flatten)]
    client: ClientSettings,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    message: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            message: message.into(),
            mend: None,
        }
    }

    fn warn(name: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Warn,
            message: message.into(),
            mend: Some(mend.into()),
        }
    }

    fn fail(name: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Fail,
            message: message.into(),
            mend: Some(mend.into()),
        }
    }
}

impl Doctor {
    pub async fn execute(self, json: bool, config: Option<PathBuf>) -> anyhow::Result<Outcome> {
        let folder = DataFolder::new(self.client.data.as_deref());
        let mut report = vec![
            checks::check_config(config.as_deref()),
            checks::check_folder(&folder),
            checks::check_disk(&folder).await,
        ];
        report.extend(checks::check_secrets(&folder));
        match self
            .database_url
            .as_ref()
            .filter(|url| !url.expose_secret().is_empty())
        {
            Some(url) => report.extend(checks::check_database(url).await),
            None => report.push(checks::check_programs(&folder)),
        }
        report.extend(checks::check_server(&self.client).await);
        if json {
            print_json(&report)?;
        } else {
            for check in &report {
                print_check(check)?;
            }
        }
        let fails = report.iter().any(|check| check.verdict == Verdict::Fail);
        Ok(if fails {
            Outcome::Faulty
        } else {
            Outcome::Done
        })
    }
}

fn print_check(check: &Check) -> anyhow::Result<()> {
    let verdict = match check.verdict {
        Verdict::Ok => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    print(&format!("{verdict}  {:<14} {}", check.name, check.message))?;
    match &check.mend {
        Some(mend) => print(&format!("      {:<14} to mend: {mend}", "")),
        None => Ok(()),
    }
}
