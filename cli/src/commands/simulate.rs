//! `opb simulate`: the simulated provider over HTTP.

use clap::Args;
use opb_settings::LogSettings;
use tokio_util::sync::CancellationToken;

use super::up::start_log;
use crate::{
    outcome::Outcome,
    simulate::{SimulateSettings, serve},
};

/// Serve simulated models in OpenAI's format, for tests and load measurements
#[derive(Debug, Args)]
pub struct Simulate {
    #[command(flatten)]
    settings: SimulateSettings,
    #[command(flatten)]
    log: LogSettings,
}

impl Simulate {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        let stop = CancellationToken::new();
        opb_settings::stop_on_signals(stop.clone())?;
        serve(self.settings, stop, |address| {
            // A closed output must not stop the server.
            let line = if json {
                format!("{{\"ready\":\"http://{address}\"}}")
            } else {
                format!("ready http://{address}")
            };
            let _ = super::print(&line);
        })
        .await?;
        Ok(Outcome::Done)
    }
}
