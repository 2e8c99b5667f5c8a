//! Rankings of prompts: by votes, by recent votes, by measured quality, and combined.
//!
//! They are only read here; triggers maintain `prompt_ranks`, and docs/COMMUNITY.md explains the formulas.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Error, Result, paging::Page};

/// The order of a ranking, highest value first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RankOrder {
    /// Lower bound of the interval of the share of votes for it.
    Top,
    /// Recent votes.
    Trending,
    /// Lower bound of the interval of the best measured score.
    Quality,
    /// Measured quality and votes together.
    #[default]
    Combined,
}

/// A prompt with the values that it is ranked by.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RankedPrompt {
    /// The prompt's id.
    pub id: Uuid,
    /// The prompt's name in URLs.
    pub slug: String,
    /// The prompt's title.
    pub title: String,
    /// The name of its owner.
    pub owner: String,
    /// Votes for it.
    pub up: i32,
    /// Votes against it.
    pub down: i32,
    /// Number of users who have it as a favourite.
    pub favourites: i32,
    /// Lower bound of the 95 % Wilson interval of the share of votes for it.
    pub wilson: f64,
    /// Recent votes: a vote counts 1 when it is cast and half as much every week; votes against it count negatively.
    pub trend: f64,
    /// The best measured standing on the newest version of a public benchmark; absent if unmeasured.
    pub quality: Option<MeasuredQuality>,
    /// 0.6 × the lower bound of the measured quality + 0.4 × `wilson`; unknown values count as 0.
    pub combined: f64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// A standing of a real model, as evidence for a prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MeasuredQuality {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// Mean score, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's 95 % interval, which `quality` orders by.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// The run that measured it.
    pub run_id: Uuid,
}

/// A page of all public prompts, best first. A cursor is only valid for its order.
///
/// # Errors
/// [`Error::Invalid`] for a cursor of another list.
pub async fn list_ranked_prompts(
    conn: &mut PgConnection,
    order: RankOrder,
    cursor: Option<&str>,
    limit: i64,
) -> Result<Page<RankedPrompt>> {
    let column = order.column();
    let mut query = select("ranks::list_ranked_prompts", "null::text");
    query.push(" where prompts.visibility = 'public' and prompts.archived_at is null and prompts.deleted_at is null");
    if let Some(cursor) = cursor {
        let (value, id) = decode(order, cursor)?;
        query.push(" and (ranks.").push(column);
        query.push(", ranks.prompt_id) < (").push_bind(value);
        query.push(", ").push_bind(id).push(")");
    }
    query.push(" order by ranks.").push(column);
    query.push(" desc, ranks.prompt_id desc");
    fetch(conn, query, limit, |row| encode(order, row)).await
}

impl RankOrder {
    fn column(self) -> &'static str {
        match self {
            Self::Top => "wilson",
            Self::Trending => "trend",
            Self::Quality => "quality",
            Self::Combined => "combined",
        }
    }
}

/// The beginning of a query for [`RankedRow`]s; the rest joins and filters `prompts` and `ranks`.
/// `place` is the expression of the list's cursor.
pub(super) fn select(name: &'static str, place: &'static str) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("-- ");
    query.push(name).push("\nselect ").push(place).push(
        " as place, prompts.id, prompts.slug, prompts.title, users.username as owner, ranks.up, ranks.down, ranks.favourites,
               ranks.wilson, ranks.trend, ranks.trend / vote_weight(now()) as fresh, ranks.quality, ranks.combined,
               prompts.created_at,
               benchmarks.slug || '@' || benchmark_versions.number as quality_benchmark,
               prompts.slug || '@' || prompt_versions.number as quality_prompt,
               providers.name || ':' || models.name as quality_model,
               standings.score, standings.score_low, standings.score_high, standings.run_id
        from prompt_ranks ranks
        join prompts on prompts.id = ranks.prompt_id
        join users on users.id = prompts.owner_id
        left join standings on standings.benchmark_version_id = ranks.quality_benchmark_version_id
            and standings.prompt_version_id = ranks.quality_prompt_version_id
            and standings.model_id = ranks.quality_model_id
            and standings.audience_id is null and is_public_run(standings.run_id)
        left join benchmark_versions on benchmark_versions.id = standings.benchmark_version_id
        left join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        left join prompt_versions on prompt_versions.id = standings.prompt_version_id
        left join models on models.id = standings.model_id
        left join providers on providers.id = models.provider_id",
    );
    query
}

/// Runs a query begun by [`select`], and cuts the result into a page by its `place`.
pub(super) async fn fetch(
    conn: &mut PgConnection,
    mut query: QueryBuilder<Postgres>,
    limit: i64,
    cursor: impl Fn(&RankedRow) -> String,
) -> Result<Page<RankedPrompt>> {
    query.push(" limit ").push_bind(limit + 1);
    let rows: Vec<RankedRow> = query.build_query_as().fetch_all(conn).await?;
    let page = Page::cut(rows, limit, cursor);
    Ok(Page {
        items: page.items.into_iter().map(Into::into).collect(),
        next_cursor: page.next_cursor,
    })
}

/// A row of the ranking.
#[derive(FromRow, Serialize)]
pub(super) struct RankedRow {
    pub(super) place: Option<String>,
    id: Uuid,
    slug: String,
    title: String,
    owner: String,
    up: i32,
    down: i32,
    favourites: i32,
    wilson: f64,
    trend: f64,
    fresh: f64,
    quality: f64,
    combined: f64,
    created_at: DateTime<Utc>,
    quality_benchmark: Option<String>,
    quality_prompt: Option<String>,
    quality_model: Option<String>,
    score: Option<f64>,
    score_low: Option<f64>,
    score_high: Option<f64>,
    run_id: Option<Uuid>,
}

impl From<RankedRow> for RankedPrompt {
    fn from(row: RankedRow) -> Self {
        let quality = || {
            Some(MeasuredQuality {
                benchmark: row.quality_benchmark?,
                prompt: row.quality_prompt?,
                model: row.quality_model?,
                score: row.score?,
                score_low: row.score_low?,
                score_high: row.score_high?,
                run_id: row.run_id?,
            })
        };
        Self {
            quality: quality(),
            id: row.id,
            slug: row.slug,
            title: row.title,
            owner: row.owner,
            up: row.up,
            down: row.down,
            favourites: row.favourites,
            wilson: row.wilson,
            trend: row.fresh,
            combined: row.combined,
            created_at: row.created_at,
        }
    }
}

fn encode(order: RankOrder, row: &RankedRow) -> String {
    let value = match order {
        RankOrder::Top => row.wilson,
        RankOrder::Trending => row.trend,
        RankOrder::Quality => row.quality,
        RankOrder::Combined => row.combined,
    };
    // The number's bits, because the next page begins exactly here.
    let text = format!("{}.{:x}.{}", order.column(), value.to_bits(), row.id);
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn decode(order: RankOrder, cursor: &str) -> Result<(f64, Uuid)> {
    let parse = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut parts = text.split('.');
        let column = parts.next()?;
        let value = f64::from_bits(u64::from_str_radix(parts.next()?, 16).ok()?);
        let id = Uuid::try_parse(parts.next()?).ok()?;
        (column == order.column() && !value.is_nan() && parts.next().is_none())
            .then_some((value, id))
    };
    parse().ok_or_else(|| {
        Error::invalid(
            "cursor",
            "is not the `next_cursor` of a page of this list in this order",
        )
    })
}
