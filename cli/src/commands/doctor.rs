//! `opb doctor`: checks everything that a bank needs, and says how to fix problems.

mod checks;
mod secrets;
mod server;

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use opb_settings::SecretSettings;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{print, print_json};
use crate::{client::ClientSettings, data_folder::DataFolder, outcome::Outcome};

/// Check configuration, database, server, workers, providers and disk, and say how to fix what is wrong
///
/// For a server elsewhere (--url), the folder and the disk of this machine are not checked. Exit code 1 when a check
/// fails; warnings do not count.
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
    /// File that holds the password for that server; it takes precedence over one in the address
    #[arg(
        long,
        env = "OPB_DATABASE_PASSWORD_FILE",
        value_name = "FILE",
        help_heading = "Database"
    )]
    database_password_file: Option<PathBuf>,
    #[command(flatten)]
    secrets: SecretSettings,
    /// Address and port that `opb up` listens on
    #[arg(
        long,
        env = "OPB_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8000",
        help_heading = "Server"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    client: ClientSettings,
}

/// The result of a check.
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
    /// How to fix it.
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
        let is_elsewhere = self.client.is_elsewhere();
        let mut report = vec![checks::check_config(config.as_deref())];
        let own_server = self.database_url.as_ref();
        let own_server = own_server.filter(|url| !url.expose_secret().is_empty());
        let mut key = None;
        if !is_elsewhere {
            report.push(checks::check_folder(&folder, own_server.is_none()));
            report.push(checks::check_disk(&folder).await);
            report.extend(checks::check_secrets(&folder));
            match secrets::check_key(&self.secrets, &folder, own_server.is_none()) {
                Ok((found, check)) => {
                    key = Some(found);
                    report.extend(check);
                }
                Err(check) => report.push(check),
            }
            if !folder.is_served() {
                report.push(checks::check_address(self.listen));
            }
        }
        match own_server {
            Some(url) => {
                let password = self.database_password_file.as_deref();
                report.extend(checks::check_database(url, password, key.as_ref()).await);
            }
            None if is_elsewhere => {}
            None => report.push(checks::check_programs(&folder)),
        }
        let is_served = !is_elsewhere && folder.is_served();
        report.extend(server::check_server(&self.client, is_served).await);
        if json {
            print_json(&report)?;
        } else {
            for check in &report {
                print_check(check)?;
            }
        }
        let fails = report.iter().any(|check| check.verdict == Verdict::Fail);
        Ok(if fails {
            Outcome::ChecksFailed
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
        Some(mend) => print(&format!("      {:<14} fix: {mend}", "")),
        None => Ok(()),
    }
}
