//! `opb run set-visibility`: who may see a run.

use clap::Args;
use opb_core::{
    auth::Visibility,
    runs::{Run, UpdateRun},
};

use super::{RunName, print, print_json};
use crate::{client::ClientSettings, outcome::Outcome, text};

/// Set who may see a run; not wider than its benchmark and its prompts
#[derive(Debug, Args)]
pub struct SetVisibility {
    /// The run: its number, its id or the end of its id, or `last`
    #[arg(value_name = "RUN")]
    run: RunName,
    /// Who may see it
    #[arg(value_name = "WHO", value_enum)]
    visibility: Visibility,
    #[command(flatten)]
    client: ClientSettings,
}

impl SetVisibility {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let change = UpdateRun {
            visibility: Some(self.visibility),
            ..UpdateRun::default()
        };
        let run: Run = self
            .client
            .connect()?
            .patch(&self.run.path(), &change)
            .await?;
        if json {
            print_json(&run)?;
        } else {
            let visibility = text::visibility(run.visibility);
            print(&format!("run #{} is {visibility}", run.number))?;
        }
        Ok(Outcome::Done)
    }
}
