//! `opb health`: is a process ready? For health checks of containers, which bring no other client.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::print;
use crate::outcome::Outcome;

/// A health check has to end before its successor begins.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ask whether a process is ready; exit code 0 when it is, 1 when not
#[derive(Debug, Args)]
pub struct Health {
    /// Address to ask, which answers 200 when all is well
    #[arg(
        long,
        env = "OPB_HEALTH_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9100/readyz"
    )]
    health_url: String,
}

impl Health {
    pub async fn execute(self) -> anyhow::Result<Outcome> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .context("no connection can be made")?;
        let url = &self.health_url;
        let response = http
            .get(url)
            .send()
            .await
            .with_context(|| format!("{url} does not answer"))?;
        let status = response.status();
        let said = response.text().await.unwrap_or_default();
        if status.is_success() {
            print("ready")?;
            return Ok(Outcome::Done);
        }
        print(&format!(
            "{url} answers {status}: {}",
            crate::text::plain(said.trim())
        ))?;
        Ok(Outcome::Faulty)
    }
}
