//! One benchmark's leaderboard, or a selection of it. Ranks are those within the selection.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    BoardKind, CONFIDENCE, Figures,
    audience::Audience,
    standing::{Line, Standing, load_lines},
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    benchmarks::resolve_benchmark,
    stats::{self, Estimate, Interval, Offer, Rank},
};

/// A benchmark version's standings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Leaderboard {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// Whose runs it is made of: those that everybody may read, or your own.
    pub board: BoardKind,
    /// How many items the version has.
    pub item_count: i32,
    /// True when these are the standings of simulated models.
    pub simulated: bool,
    /// The level of all intervals and comparisons.
    pub confidence: f64,
    /// Best first.
    pub standings: Vec<Standing>,
    /// What the columns of open runs have reached so far, best first. Each has the rank that it would have if it ended
    /// here; the standings are ranked without them, and the numbers will still change.
    pub provisional: Vec<Standing>,
}

/// Which standings. What a filter does not mention stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BoardFilter {
    /// The public board, or that of your own runs; when absent, your own if you have results there, else the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub board: Option<BoardKind>,
    /// Those of simulated models, or those of real ones; when absent, the real ones if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// Only what an administrator or a moderator measured on real models.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub verified: bool,
    /// Only this prompt: `slug`, or `slug@number` for one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Only the newest version of each prompt that was measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub newest: bool,
    /// Only models that are sent these parameters, among others: a JSON object, as in `{"temperature":0}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// The slug of a category of prompts; the categories below it count too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How the names of models begin, up to the end of a word: `gpt-5` or `openai:gpt-5`, upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The most that 1,000 evaluations may cost, in micro-dollars; what has no known cost is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub max_cost_per_1000_microusd: Option<i64>,
    /// The highest 95th percentile of the latency, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub max_latency_p95_ms: Option<f64>,
    /// Only what was measured at this time or later, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

impl BoardFilter {
    /// Refuses what no standing could answer.
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

    /// The parameters that models must have, as they are stored.
    pub(super) fn wanted_parameters(&self) -> Result<Option<Value>> {
        let Some(text) = &self.parameters else {
            return Ok(None);
        };
        match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => Ok(Some(object)),
            _ => Err(Error::invalid("parameters", "must be a JSON object")),
        }
    }

    /// Whether to show simulated standings or real ones.
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

/// Reads a leaderboard. Real and simulated standings never mix; when the caller does not say which, the real ones
/// come if there are any.
///
/// # Errors
/// [`Error::NotFound`] when there is no such benchmark, [`Error::Invalid`] for a filter that makes no sense.
pub async fn read_leaderboard(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    filter: &BoardFilter,
) -> Result<Leaderboard> {
    filter.check()?;
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let audience = Audience::choose(conn, viewer, filter.board, Some(version.id)).await?;
    let simulated = filter.wants_simulated(conn, version.id, audience).await?;
    let (mut finals, mut provisional) =
        load_lines(conn, viewer, version.id, audience, simulated, filter).await?;
    place_finals(&mut finals);
    place_provisional(&finals, &mut provisional);
    Ok(Leaderboard {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        board: audience.kind(),
        item_count: version.item_count,
        simulated,
        confidence: CONFIDENCE,
        standings: finals.into_iter().map(|line| line.standing).collect(),
        provisional: provisional.into_iter().map(|line| line.standing).collect(),
    })
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

/// Ranks a selection among itself, by the comparisons that were made when the board was ranked.
fn place_finals(lines: &mut [Line]) {
    let index: HashMap<i64, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((line.id?, at)))
        .collect();
    let count = lines.len();
    let mut better = vec![false; count * count];
    for (worse, line) in lines.iter().enumerate() {
        for id in &line.worse_than {
            if let Some(at) = index.get(id) {
                better[at * count + worse] = true;
            }
        }
    }
    let scores: Vec<f64> = lines
        .iter()
        .map(|line| line.standing.figures.score)
        .collect();
    let ranks = stats::place(&scores, |i, j| better[i * count + j]);
    let offers: Vec<Offer> = lines
        .iter()
        .map(|line| offer(&line.standing.figures))
        .collect();
    let places = stats::frontier(&offers);
    for ((line, rank), place) in lines.iter_mut().zip(ranks).zip(places) {
        line.standing.set_rank(rank);
        line.standing.frontier = place;
    }
}

/// Gives each provisional line the rank that it would have among the standings, in the place of its own one.
fn place_provisional(finals: &[Line], lines: &mut [Line]) {
    let offers = finals
        .iter()
        .chain(&*lines)
        .map(|line| offer(&line.standing.figures));
    let places = stats::frontier(&offers.collect::<Vec<_>>());
    for (line, place) in lines.iter_mut().zip(&places[finals.len()..]) {
        let column = (line.prompt_version_id, line.model_id);
        let others = finals
            .iter()
            .filter(|other| (other.prompt_version_id, other.model_id) != column);
        let (mut better, mut worse, mut count) = (0, 0, 1);
        let mut groups = 1;
        for other in others {
            count += 1;
            let Some(id) = other.id else { continue };
            if line.worse_than.contains(&id) {
                better += 1;
                groups = groups.max(other.standing.tie_group + 1);
            }
            worse += usize::from(line.better_than.contains(&id));
        }
        line.standing.set_rank(Rank {
            rank_low: better + 1,
            rank_high: count - worse,
            tie_group: usize::try_from(groups).unwrap_or(1),
        });
        line.standing.frontier = *place;
    }
}

/// What a column offers for its price and its time.
#[expect(clippy::cast_precision_loss, reason = "money is far below 2⁵³")]
fn offer(figures: &Figures) -> Offer {
    let estimate = |value: f64, low: Option<f64>, high: Option<f64>| Estimate {
        value,
        interval: Interval {
            low: low.unwrap_or(0.0),
            high: high.unwrap_or(f64::INFINITY),
        },
    };
    Offer {
        quality: estimate(
            figures.score,
            Some(figures.score_low),
            Some(figures.score_high),
        ),
        cost: figures.cost_per_1000_microusd.map(|cost| {
            estimate(
                cost as f64,
                figures.cost_per_1000_low_microusd.map(|low| low as f64),
                figures.cost_per_1000_high_microusd.map(|high| high as f64),
            )
        }),
        latency: figures.latency_p50_ms.map(|latency| {
            estimate(
                latency,
                figures.latency_p50_low_ms,
                figures.latency_p50_high_ms,
            )
        }),
    }
}
