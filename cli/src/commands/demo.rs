//! `opb demo`: a first benchmark on simulated models, up to its leaderboard.

use clap::{Arg, Args};
use opb_core::{
    leaderboards::Leaderboard,
    models::ModelRequest,
    runs::{Run, RunState, SubmitRun},
};
use opb_settings::LogSettings;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{print, print_json, run, up::start_log};
use crate::{
    bank::{Bank, BankSettings},
    client::Client,
    data_folder::DataFolder,
    outcome::Outcome,
    packs, tables,
};

/// The models of the demonstration.
const MODELS: [&str; 4] = [
    "simulated:strong",
    "simulated:balanced",
    "simulated:fast",
    "simulated:weak",
];

/// Run a first benchmark on simulated models and print its leaderboard; needs no key and no network
///
/// Uses the bank that serves from the data folder, or starts one for as long as it takes.
#[derive(Debug, Args)]
#[command(
    mut_arg("listen", |arg| arg.default_value("127.0.0.1:0")),
    mut_arg("log", |arg| arg.default_value("warn")),
    mut_args(hide_unless_needed),
    after_help = "All options of `opb up` work here, too: opb up --help"
)]
pub struct Demo {
    #[command(flatten)]
    bank: BankSettings,
    #[command(flatten)]
    log: LogSettings,
}

/// Hides the options of a server, which `opb up` explains, from the help of the demonstration.
fn hide_unless_needed(arg: Arg) -> Arg {
    let is_needed = [
        "data",
        "database_url",
        "listen",
        "json",
        "wide",
        "config",
        "help",
    ]
    .contains(&arg.get_id().as_str());
    arg.hide(!is_needed)
}

/// The result of the demonstration.
#[derive(Serialize)]
pub struct DemoResult {
    run: Run,
    leaderboard: Leaderboard,
    /// The same as text.
    #[serde(skip)]
    pub text: String,
}

impl Demo {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        if let Some(client) = running_bank(&DataFolder::new(self.bank.data.as_deref())).await {
            eprintln!("using the bank that serves at {}", client.url());
            let docs = format!("API documentation: {}/api/docs", client.url());
            return finish(&demonstrate(&client).await?, json, &docs);
        }
        let stop = CancellationToken::new();
        opb_settings::stop_on_signals(stop.clone())?;
        eprintln!("starting a temporary bank");
        let Some(bank) = Bank::start(self.bank, stop.clone()).await? else {
            return Ok(Outcome::Interrupted);
        };
        let client = Client::new(&bank.url, Some(bank.key.clone()))?;
        let demonstrate = async {
            let shown = stop.run_until_cancelled(demonstrate(&client)).await;
            stop.cancel();
            shown
        };
        let (shown, ended) = tokio::join!(demonstrate, bank.wait());
        ended?;
        match shown {
            Some(shown) => finish(
                &shown?,
                json,
                "The demonstration's bank has stopped. To keep one serving: make up (or: opb up)\n\
                 API documentation, while it serves: http://127.0.0.1:8000/api/docs",
            ),
            None => Ok(Outcome::Interrupted),
        }
    }
}

fn finish(shown: &DemoResult, json: bool, remark: &str) -> anyhow::Result<Outcome> {
    if json {
        print_json(shown)?;
    } else {
        print(&format!("{}\n{remark}", shown.text))?;
    }
    Ok(if shown.run.state == RunState::Completed {
        Outcome::Done
    } else {
        Outcome::RunFailed
    })
}

/// Runs the first benchmark with each of its prompts on each simulated model, over REST like any other client.
pub async fn demonstrate(client: &Client) -> anyhow::Result<DemoResult> {
    let request = request()?;
    let run = run::submit(client, &request).await?;
    let run = run::follow(client, &run, false).await?;
    let leaderboard = run::leaderboard_of(client, &run, true).await?;
    let text = format!(
        "\n{}\n\n{}\n",
        tables::run_summary(&run),
        tables::leaderboard(&leaderboard)
    );
    Ok(DemoResult {
        run,
        leaderboard,
        text,
    })
}

fn request() -> anyhow::Result<SubmitRun> {
    let packs = packs::built_in_packs()?;
    let first = packs
        .iter()
        .find(|pack| pack.header.slug == packs::FIRST_BENCHMARK);
    Ok(SubmitRun {
        benchmark: packs::FIRST_BENCHMARK.to_owned(),
        prompts: first.map(packs::Pack::prompt_slugs).unwrap_or_default(),
        models: MODELS
            .iter()
            .map(|model| ModelRequest::Name((*model).to_owned()))
            .collect(),
        repeats: 1,
        limit: None,
        budget_microusd: None,
        priority: 0,
        cache: true,
        stop_early: false,
        concurrency: None,
        seed: 1,
        name: "demonstration".to_owned(),
        visibility: Some(opb_core::auth::Visibility::Public),
    })
}

/// The bank that serves from a folder, if one does.
async fn running_bank(folder: &DataFolder) -> Option<Client> {
    if !folder.is_served() {
        return None;
    }
    let client = Client::new(&folder.url()?, folder.api_key().ok()?).ok()?;
    client.get::<serde_json::Value>("/readyz").await.ok()?;
    Some(client)
}
