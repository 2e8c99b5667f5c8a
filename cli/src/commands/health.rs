//! `opb health`: whether a process is ready. For health checks of containers, which have no other HTTP client.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{print, print_json};
use crate::outcome::Outcome;

/// Timeout: a health check has to end before the next one starts.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of bytes of a response that are shown.
const MAX_SHOWN_BYTES: usize = 64 << 10;

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
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("no connection can be made")?;
        let url = &self.health_url;
        let mut response = http
            .get(url)
            .send()
            .await
            .with_context(|| format!("{url} does not answer"))?;
        let status = response.status();
        let mut said = Vec::new();
        if let Some(location) = response.headers().get(reqwest::header::LOCATION) {
            said.extend_from_slice(b"it redirects to ");
            said.extend_from_slice(location.as_bytes());
            said.push(b' ');
        }
        // Health responses are short; of anything longer the beginning is enough.
        while said.len() < MAX_SHOWN_BYTES
            && let Ok(Some(piece)) = response.chunk().await
        {
            said.extend_from_slice(&piece);
        }
        said.truncate(MAX_SHOWN_BYTES);
        let said = String::from_utf8_lossy(&said);
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
            Outcome::ChecksFailed
        })
    }
}
