//! `opb health`: is a process ready? For health checks of containers, which bring no other client.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{print, print_json};
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
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
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
        let (ready, said) = (status.is_success(), crate::text::plain(said.trim()));
        if json {
            print_json(
                &json!({"ready": ready, "url": url, "status": status.as_u16(), "detail": said}),
            )?;
        } else if ready {
            print("ready")?;
        } else {
            print(&format!("{url} answers {status}: {said}"))?;
        }
        Ok(if ready {
            Outcome::Done
        } else {
            Outcome::Faulty
        })
    }
}
