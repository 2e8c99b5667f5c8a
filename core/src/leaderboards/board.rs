//! The leaderboard of one benchmark, or a selection of it. Ranks are those within the selection.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    BoardKind, CONFIDENCE,
    audience::Audience,
    placing::{place_finals, place_provisional},
    renew::{Board, count_lines},
    standing::{Line, Standing, load_lines},
};
use crate::{
    Error, FieldError, Result, auth::CurrentUser, benchmarks::resolve_benchmark, computing::Loaded,
    paging::json_bytes,
};

/// Maximum size of the lines in a response, in bytes of JSON.
const MAX_BYTES: usize = 4 << 20;

/// The standings of a benchmark version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Leaderboard {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// The runs behind it: those that everybody may read, or your own.
    pub board: BoardKind,
    /// Number of items of the version.
    pub item_count: i32,
    /// True when these are the standings of simulated models.
    pub simulated: bool,
    /// The confidence level of all intervals and comparisons.
    pub confidence: f64,
    /// What is not shown, and where to see it; absent if everything is here. A board keeps its best lines: 2,000 of
    /// them, fewer for versions of more than 1,000 items, 200 for one of 100,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The standings, best first.
    pub standings: Vec<Standing>,
    /// The results of open runs' columns so far, best first. Each has the rank that it would have if its run ended now;
    /// the standings are ranked without them, and the numbers will still change.
    pub provisional: Vec<Standing>,
}

/// A selection of standings. Filters that are absent do not restrict it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BoardFilter {
    /// The public board, or that of your own runs; absent: your own if you have results there, else the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub board: Option<BoardKind>,
    /// Simulated or real models; absent: the real ones if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// Only results that an administrator or a moderator measured on real models.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub verified: bool,
    /// Only this prompt: `slug`, or `slug@number` for one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Only the newest measured version of each prompt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub newest: bool,
    /// Only models with at least these parameters: a JSON object, as in `{"temperature":0}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// The slug of a category of prompts; its subcategories are included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// A prefix of the names of models, up to the end of a word: `gpt-5` or `openai:gpt-5`, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Maximum cost of 1,000 evaluations, in micro-dollars; standings without a known cost are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub max_cost_per_1000_microusd: Option<i64>,
    /// Maximum 95th percentile of the latency, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub max_latency_p95_ms: Option<f64>,
    /// Only results measured at this time or later, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

impl BoardFilter {
    /// Refuses filters that no standing could match.
    pub(super) fn check(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.verified && self.simulated == Some(true) {
            let message = "excludes simulated models; leave `simulated` out, or say `false`";
            wrong.push(FieldError::new("verified", message));
        }
        if self
            .max_latency_p95_ms
            .is_some_and(|limit| !limit.is_finite() || limit < 0.0)
        {
            let message = "must be a number of milliseconds, 0 or more";
            wrong.push(FieldError::new("max_latency_p95_ms", message));
        }
        if self
            .max_cost_per_1000_microusd
            .is_some_and(|limit| limit < 0)
        {
            let message = "must be a number of micro-dollars, 0 or more";
            wrong.push(FieldError::new("max_cost_per_1000_microusd", message));
        }
        let family = self.family.as_deref().map(str::trim);
        if family.is_some_and(|family| family.is_empty() || family.chars().count() > 200) {
            let message = "must be the beginning of a model's name, 1 to 200 characters";
            wrong.push(FieldError::new("family", message));
        }
        if self.parameters.is_some() && self.wanted_parameters().is_err() {
            let message = "must be a JSON object, as in {\"temperature\":0}";
            wrong.push(FieldError::new("parameters", message));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(wrong))
        }
    }

    /// The required parameters of models, in their stored form.
    pub(super) fn wanted_parameters(&self) -> Result<Option<Value>> {
        let Some(text) = &self.parameters else {
            return Ok(None);
        };
        match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => Ok(Some(object)),
            _ => Err(Error::invalid("parameters", "must be a JSON object")),
        }
    }

    /// Whether to show simulated or real standings.
    pub(super) async fn wants_simulated(
        &self,
        conn: &mut PgConnection,
        benchmark_version_id: Uuid,
        audience: Audience,
    ) -> Result<bool> {
        match self.simulated {
            Some(simulated) => Ok(simulated),
            None if self.verified => Ok(false),
            None => only_simulated(conn, benchmark_version_id, audience).await,
        }
    }
}

/// Loads a leaderboard. Real and simulated standings never mix; by default, the real ones are shown if there are any.
///
/// # Errors
/// [`Error::NotFound`] if there is no such benchmark, [`Error::Invalid`] for an invalid filter.
pub async fn load_leaderboard(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    filter: &BoardFilter,
) -> Result<Loaded<Leaderboard>> {
    filter.check()?;
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let audience = Audience::choose(conn, viewer, filter.board, Some(version.id)).await?;
    let simulated = filter.wants_simulated(conn, version.id, audience).await?;
    let board = Board {
        benchmark_version_id: version.id,
        simulated,
        audience,
    };
    let (lines, max_lines) = count_lines(conn, board).await?;
    let (finals, provisional) = load_lines(conn, viewer, board, version.item_count, filter).await?;
    let leaderboard = Leaderboard {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        board: audience.kind(),
        item_count: version.item_count,
        simulated,
        confidence: CONFIDENCE,
        notice: (lines >= max_lines).then(|| format!(
            "this board is full: it keeps its best {max_lines} lines; see those with lower scores in the tables of their runs"
        )),
        standings: Vec::new(),
        provisional: Vec::new(),
    };
    Ok(Loaded::new(move || {
        Ok(leaderboard.with(finals, provisional))
    }))
}

impl Leaderboard {
    /// Ranks the lines, and includes as many as fit into a response.
    fn with(self, mut finals: Vec<Line>, mut provisional: Vec<Line>) -> Self {
        place_finals(&mut finals);
        place_provisional(&finals, &mut provisional);
        let standings = |lines: Vec<Line>| lines.into_iter().map(|line| line.standing).collect();
        let mut standings: [Vec<Standing>; 2] = [standings(finals), standings(provisional)];
        let found: usize = standings.iter().map(Vec::len).sum();
        let mut left = MAX_BYTES;
        for lines in &mut standings {
            let fit = lines.iter().take_while(|standing| {
                left = left.saturating_sub(json_bytes(standing));
                left > 0
            });
            lines.truncate(fit.count());
        }
        let shown: usize = standings.iter().map(Vec::len).sum();
        let cut = (shown < found).then(|| format!(
            "only the best {shown} of {found} lines fit into one response; see others by `prompt`, `newest`, `category`, `family` or `since`"
        ));
        let notices: Vec<String> = self.notice.into_iter().chain(cut).collect();
        let [standings, provisional] = standings;
        Self {
            notice: (!notices.is_empty()).then(|| notices.join("; ")),
            standings,
            provisional,
            ..self
        }
    }
}

/// True when the public board of a benchmark version has simulated standings and no real ones.
pub(crate) async fn only_simulated_in_public(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
) -> Result<bool> {
    only_simulated(conn, benchmark_version_id, Audience::Public).await
}

/// True when a board has simulated standings and no real ones.
pub(super) async fn only_simulated(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
    audience: Audience,
) -> Result<bool> {
    let only = sqlx::query_scalar!(
        r#"-- board::only_simulated
        select coalesce((select bool_and(simulated) from standings
                         where benchmark_version_id = $1 and audience_id is not distinct from $2
                           and ($2::bigint is not null or is_public_run(run_id))),
                        (select bool_and(simulated) from provisional_standings
                         join runs on runs.id = run_id
                         where provisional_standings.benchmark_version_id = $1
                           and case when $2::bigint is null then is_public_run(runs.id) else runs.owner_id = $2 end),
                        false) as "only!""#,
        benchmark_version_id,
        audience.id()
    )
    .fetch_one(conn)
    .await?;
    Ok(only)
}
