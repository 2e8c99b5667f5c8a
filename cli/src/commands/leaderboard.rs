//! `opb leaderboard`: the standings of a benchmark, their effects or history, and the overall ranking.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use opb_core::{
    leaderboards::{
        BoardColumn, BoardFilter, BoardKind, HideStandings, HistoryFilter, Leaderboard,
        LeaderboardEffects, LeaderboardHistory, OverallBy, OverallFilter, OverallLeaderboard,
    },
    models::model_label,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    print, print_json,
    run::{RunName, parse_parameter},
};
use crate::{
    client::{Client, ClientSettings, segment},
    outcome::{BadUsage, Outcome},
    tables, text,
};

/// Print the leaderboard of a benchmark, or the overall ranking of all benchmarks; or hide standings
///
/// Each line is a standing: a prompt on a model, with the score that it last reached.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    override_usage = "opb leaderboard [BENCHMARK] [OPTIONS]\n       opb leaderboard <COMMAND>"
)]
pub struct LeaderboardCommand {
    #[command(subcommand)]
    command: Option<LeaderboardSubcommand>,
    #[command(flatten)]
    show: ShowLeaderboard,
}

#[derive(Debug, Subcommand)]
enum LeaderboardSubcommand {
    /// Hide standings of a run from boards; ranks are then those without them
    Hide(ChooseStandings),
    /// Show standings of a run again that were hidden
    Show(ChooseStandings),
}

/// Standings of a run.
///
/// The owner of a run hides them from every board; moderators and administrators hide those of others from the public board.
#[derive(Debug, Args)]
struct ChooseStandings {
    /// The run: its number, its id or the end of its id, or `last`
    #[arg(value_name = "RUN")]
    run: RunName,
    /// Only those of this prompt: `slug` or `slug@2`
    #[arg(long, short, value_name = "SLUG")]
    prompt: Option<String>,
    /// Only those of this model: `provider:name`
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    client: ClientSettings,
}

/// What of a board is shown.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
struct ShowLeaderboard {
    /// The benchmark: `slug`, or `slug@2` for one of its versions; without it, all benchmarks count
    #[arg(value_name = "BENCHMARK")]
    benchmark: Option<String>,
    /// Show the standings of simulated models
    #[arg(long, conflicts_with = "real")]
    simulated: bool,
    /// Show the standings of real models; without either option, real ones if there are any
    #[arg(long)]
    real: bool,
    /// Average the models, or the prompts
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Option<Averaged>,
    /// Show the history of each standing, and models that drift
    #[arg(long, requires = "benchmark", conflicts_with = "by")]
    history: bool,
    /// Show your own runs, or those that everybody may see; without it, your own if you have any results here
    #[arg(long, value_enum, value_name = "WHICH")]
    board: Option<Board>,
    /// Only this prompt: `slug` or `slug@2`
    #[arg(long, value_name = "PROMPT", requires = "benchmark")]
    prompt: Option<String>,
    /// Only the newest version of each prompt that was measured
    #[arg(long, requires = "benchmark", conflicts_with = "history")]
    newest: bool,
    /// Only models with this parameter, such as `temperature=0`; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter, requires = "benchmark", conflicts_with = "history")]
    parameters: Vec<(String, Value)>,
    /// With --history, only this model: `provider:name`
    #[arg(long, value_name = "MODEL", requires = "history")]
    model: Option<String>,
    /// Only what an administrator or a moderator measured on real models
    #[arg(long, conflicts_with_all = ["simulated", "history"])]
    verified: bool,
    /// Only models whose names begin with this, such as `gpt-5`
    #[arg(long, value_name = "NAME", conflicts_with = "history")]
    family: Option<String>,
    /// Only prompts of this category or one below it
    #[arg(
        long,
        value_name = "SLUG",
        requires = "benchmark",
        conflicts_with = "history"
    )]
    category: Option<String>,
    /// Maximum cost of 1,000 evaluations, in dollars
    #[arg(long, value_name = "DOLLARS", value_parser = text::parse_dollars, requires = "benchmark", conflicts_with = "history")]
    max_cost: Option<i64>,
    /// Maximum 95th percentile of the latency, in milliseconds
    #[arg(
        long,
        value_name = "MILLISECONDS",
        requires = "benchmark",
        conflicts_with = "history"
    )]
    max_latency: Option<f64>,
    /// Only what was measured at this time or later, as in 2026-11-22T00:00:00Z
    #[arg(
        long,
        value_name = "TIME",
        requires = "benchmark",
        conflicts_with = "history"
    )]
    since: Option<DateTime<Utc>>,
    /// Minimum share of the benchmarks that an entry was measured on, 0 to 1
    #[arg(long, value_name = "SHARE", conflicts_with = "benchmark")]
    min_coverage: Option<f64>,
    #[command(flatten)]
    client: ClientSettings,
}

/// Which board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Board {
    /// Your own runs, whatever their visibility
    Own,
    /// The runs that everybody may see
    Public,
}

impl From<Board> for BoardKind {
    fn from(board: Board) -> Self {
        match board {
            Board::Own => Self::Own,
            Board::Public => Self::Public,
        }
    }
}

/// Whose effect is shown, the other one averaged out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Averaged {
    /// Prompts, with the models averaged
    Prompt,
    /// Models, with the prompts averaged
    Model,
}

impl LeaderboardCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.command {
            None => self.show.execute(json).await,
            Some(LeaderboardSubcommand::Hide(chosen)) => chosen.set_hidden(true, json).await,
            Some(LeaderboardSubcommand::Show(chosen)) => chosen.set_hidden(false, json).await,
        }
    }
}

impl ChooseStandings {
    async fn set_hidden(self, hidden: bool, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("{}/standings", self.run.path());
        let body = HideStandings {
            hidden,
            prompt: self.prompt,
            model: self.model,
        };
        let columns: Vec<BoardColumn> = self.client.connect()?.patch(&path, &body).await?;
        if json {
            print_json(&columns)?;
            return Ok(Outcome::Done);
        }
        for column in &columns {
            let state = match (column.hidden_by_owner, column.hidden_by_moderator) {
                (false, false) => "shown",
                (true, false) => "hidden by its owner",
                (false, true) => "hidden by a moderator",
                (true, true) => "hidden by its owner and by a moderator",
            };
            let model = model_label(&column.model, &column.parameters);
            print(&format!(
                "{} on {}: {state}",
                text::plain(&column.prompt),
                text::plain(&model)
            ))?;
        }
        Ok(Outcome::Done)
    }
}

impl ShowLeaderboard {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let simulated = (self.simulated || self.real).then_some(self.simulated);
        let board = self.board.map(BoardKind::from);
        let Some(benchmark) = &self.benchmark else {
            let board = self.overall(&client, simulated).await?;
            return show(json, &board, tables::overall);
        };
        let path = format!("/api/v1/leaderboards/{}", segment(benchmark));
        if self.history {
            let query = HistoryFilter {
                board,
                simulated,
                prompt: self.prompt,
                model: self.model,
            };
            let path = with_query(&format!("{path}/history"), &query)?;
            let history: LeaderboardHistory = client.get(&path).await?;
            return show(json, &history, tables::history);
        }
        let parameters: Map<String, Value> = self.parameters.into_iter().collect();
        let filter = BoardFilter {
            board,
            prompt: self.prompt,
            newest: self.newest,
            parameters: (!parameters.is_empty()).then(|| Value::from(parameters).to_string()),
            simulated,
            verified: self.verified,
            category: self.category,
            family: self.family,
            max_cost_per_1000_microusd: self.max_cost,
            max_latency_p95_ms: self.max_latency,
            since: self.since,
        };
        let Some(by) = self.by else {
            let board: Leaderboard = client.get(&with_query(&path, &filter)?).await?;
            return show(json, &board, tables::leaderboard);
        };
        let path = with_query(&format!("{path}/effects"), &filter)?;
        let effects: LeaderboardEffects = client.get(&path).await?;
        show(json, &effects, |effects| {
            tables::effects(effects, by == Averaged::Model)
        })
    }

    async fn overall(
        &self,
        client: &Client,
        simulated: Option<bool>,
    ) -> anyhow::Result<OverallLeaderboard> {
        let filter = OverallFilter {
            by: match self.by {
                None => OverallBy::Column,
                Some(Averaged::Prompt) => OverallBy::Prompt,
                Some(Averaged::Model) => OverallBy::Model,
            },
            board: self.board.map(BoardKind::from),
            simulated,
            verified: self.verified,
            family: self.family.clone(),
            min_coverage: self.min_coverage,
        };
        client
            .get(&with_query("/api/v1/leaderboards", &filter)?)
            .await
    }
}

fn show<T: Serialize>(
    json: bool,
    answer: &T,
    table: impl FnOnce(&T) -> tables::Report,
) -> anyhow::Result<Outcome> {
    if json {
        print_json(answer)?;
    } else {
        print(&table(answer))?;
    }
    Ok(Outcome::Done)
}

/// Appends a filter to the path as a query string.
fn with_query(path: &str, filter: &impl Serialize) -> anyhow::Result<String> {
    let serde_json::Value::Object(fields) = serde_json::to_value(filter)? else {
        return Err(BadUsage("a filter has no names".into()).into());
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &fields {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        query.append_pair(name, &text);
    }
    let query = query.finish();
    Ok(if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    })
}
