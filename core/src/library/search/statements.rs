//! The statements behind a list of prompts. Their shape varies with the filters, so they are built at run time and not
//! checked by the compiler; every value is bound.
//!
//! They are planned for each request, because the best plan for a rare word is the worst for a common one. Lists
//! without words and filters, and rare words without filters, are planned once.

use sqlx::{Connection as _, FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    PromptSort,
    cursor::{SearchCursor, bad_cursor},
    filter::{Filter, Query},
    plan::{Estimates, Expected, First, Part, Source, WALKED, WALKED_DOCUMENT},
};
use crate::Result;

/// Maximum number of ranked matches; further matches follow, newest first.
const RANKED: i64 = 100;
/// Stands for the oldest ranked match if all are ranked: no prompt has a smaller id.
pub(super) const ALL_RANKED: Uuid = Uuid::nil();

/// A matching prompt and its position in the order.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct Match {
    /// The prompt's id.
    pub(super) id: Uuid,
    /// The relevance, if it was ranked.
    #[sqlx(default)]
    pub(super) score: Option<f32>,
    /// The oldest ranked prompt, if older matches were not ranked.
    #[sqlx(default)]
    pub(super) ranked: Option<Uuid>,
    /// The number of a community order.
    #[sqlx(default)]
    pub(super) rank: Option<f64>,
}

/// Prompts in an order that is defined for every prompt.
pub(super) async fn list_in_order(
    conn: &mut PgConnection,
    estimates: &Estimates,
    filter: &Filter,
    sort: PromptSort,
    after: Option<&SearchCursor>,
    limit: i64,
) -> Result<Vec<Match>> {
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        filter.push_filters(sql);
        filter.push_words(sql, "document", Query::Known);
        push_after(sql, sort, after)
    };
    let (of, columns, order) = match sort {
        PromptSort::Updated => (
            Source::Prompts,
            "prompts.id, updated_at",
            "updated_at desc, id desc",
        ),
        PromptSort::Title => (
            Source::Prompts,
            "prompts.id, title",
            "lower(title) collate \"C\", id",
        ),
        PromptSort::Newest | PromptSort::Relevance => (Source::Prompts, "prompts.id", "id desc"),
        PromptSort::Top => (
            Source::Ranks,
            "prompts.id, prompt_id, wilson",
            "wilson desc, prompt_id desc",
        ),
        PromptSort::Trending => (
            Source::Ranks,
            "prompts.id, prompt_id, trend",
            "trend desc, prompt_id desc",
        ),
        PromptSort::Quality => (
            Source::Ranks,
            "prompts.id, prompt_id, quality",
            "quality desc, prompt_id desc",
        ),
        PromptSort::Combined => (
            Source::Ranks,
            "prompts.id, prompt_id, combined",
            "combined desc, prompt_id desc",
        ),
    };
    let walked = match (&filter.words, filter.tags.as_slice()) {
        (Some(_), _) => Some(WALKED_DOCUMENT),
        (None, [_, ..]) => Some(WALKED),
        (None, []) => None,
    };
    let gather = match walked {
        None => false,
        Some(walked) => estimates
            .of(conn, filter, Part::List { of })
            .await?
            .are_rare(walked, limit),
    };
    let mut sql = QueryBuilder::new("-- search::list_in_order\nwith ");
    let first = First {
        of,
        columns,
        order,
        gather,
    };
    first.push(&mut sql, condition)?;
    let plain = filter.is_plain();
    if plain {
        sql.push(limit);
    } else {
        sql.push_bind(limit);
    }
    sql.push(") select id");
    if let Some(rank) = sort.rank() {
        sql.push(", ").push(rank).push(" as rank");
    }
    sql.push(" from first order by ").push(order);
    if plain {
        return Ok(sql.build_query_as().fetch_all(conn).await?);
    }
    read(conn, sql).await
}

/// The best matches in title, tags and description, after the end of the previous page, `after`.
pub(super) async fn rank_all(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<(f32, Uuid)>,
    limit: i64,
) -> Result<Vec<Match>> {
    // All rare words have the same plan: through the index of words.
    let once = filter.has_only_words();
    let mut sql = QueryBuilder::new(
        "-- search::rank_all
        select id, score, ",
    );
    sql.push_bind(ALL_RANKED)
        .push(" as ranked from (select prompts.id, ts_rank(head, (select websearch_to_tsquery('english', ")
        .push_bind(filter.words.clone().unwrap_or_default())
        .push(")), 1) as score from prompts");
    filter.push_heads(&mut sql, if once { Query::Unknown } else { Query::Known });
    sql.push(") as matches");
    push_page(&mut sql, after, limit);
    if once {
        return Ok(sql.build_query_as().fetch_all(conn).await?);
    }
    read(conn, sql).await
}

/// The best of the newest matches in title, tags and description, each with the oldest ranked one if there are more
/// than are ranked. `expected` is the estimated number of matches. `after` is the end of the previous page; it names
/// the oldest ranked match, so that a prompt added since then does not push one out.
pub(super) async fn rank_newest(
    conn: &mut PgConnection,
    filter: &Filter,
    expected: Expected,
    after: Option<(f32, Uuid, Option<Uuid>)>,
    limit: i64,
) -> Result<Vec<Match>> {
    let words = filter.words.clone().unwrap_or_default();
    let oldest = after.and_then(|(.., ranked)| ranked);
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        filter.push_heads(sql, Query::Known);
        if let Some(oldest) = oldest {
            sql.push(" and prompts.id >= ").push_bind(oldest);
        }
        Ok(())
    };
    let most = if oldest.is_some() { 2 * RANKED } else { RANKED };
    let first = First {
        of: Source::Prompts,
        columns: "prompts.id, head",
        order: "id desc",
        gather: expected.are_rare(WALKED, most),
    };
    let mut sql = QueryBuilder::new("-- search::rank_newest\nwith ");
    first.push(&mut sql, condition)?;
    sql.push_bind(most)
        .push(
            "), matches as materialized (select id, ts_rank(head, websearch_to_tsquery('english', ",
        )
        .push_bind(words.clone())
        .push("), 1) as score from first), oldest as (select coalesce(")
        .push_bind(oldest)
        .push("::uuid, case when count(*) = ")
        .push_bind(RANKED)
        .push(
            " then (array_agg(id order by id))[1] end) as ranked from matches)
            select id, score, (select ranked from oldest) as ranked from matches",
        );
    push_page(&mut sql, after.map(|(score, id, _)| (score, id)), limit);
    read(conn, sql).await
}

/// Appends the order, with the best matches first, after the end of the previous page.
fn push_page(sql: &mut QueryBuilder<Postgres>, after: Option<(f32, Uuid)>, limit: i64) {
    if let Some((score, id)) = after {
        sql.push(" where (score, id) < (")
            .push_bind(score)
            .push("::real, ")
            .push_bind(id)
            .push(")");
    }
    sql.push(format_args!(" order by score desc, id desc limit {limit}"));
}

/// Matches older than `ranked`, the oldest ranked one; newest first.
pub(super) async fn list_matches(
    conn: &mut PgConnection,
    estimates: &Estimates,
    filter: &Filter,
    ranked: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Match>> {
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        filter.push_filters(sql);
        filter.push_words(sql, "document", Query::Known);
        sql.push(" and not (true");
        filter.push_words(sql, "head", Query::Known);
        if let Some(ranked) = ranked {
            sql.push(" and prompts.id >= ").push_bind(ranked);
        }
        sql.push(")");
        if let Some(after) = after {
            sql.push(" and prompts.id < ").push_bind(after);
        }
        Ok(())
    };
    let first = First {
        of: Source::Prompts,
        columns: "prompts.id",
        order: "id desc",
        gather: estimates
            .of(conn, filter, Part::Rest)
            .await?
            .are_rare(WALKED_DOCUMENT, limit),
    };
    let mut sql = QueryBuilder::new("-- search::list_matches\nwith ");
    first.push(&mut sql, condition)?;
    sql.push_bind(limit)
        .push(") select id from first order by id desc");
    let mut matches = read(conn, sql).await?;
    for found in &mut matches {
        found.ranked = ranked;
    }
    Ok(matches)
}

/// Appends the condition for the next page in an order that is defined for every prompt.
fn push_after(
    sql: &mut QueryBuilder<Postgres>,
    sort: PromptSort,
    after: Option<&SearchCursor>,
) -> Result<()> {
    match (sort, after) {
        (_, None) => {}
        (PromptSort::Newest, Some(SearchCursor::Newest { id })) => {
            sql.push(" and prompts.id < ").push_bind(*id);
        }
        (PromptSort::Updated, Some(SearchCursor::Updated { at, id })) => {
            sql.push(" and (updated_at, prompts.id) < (")
                .push_bind(*at)
                .push(", ")
                .push_bind(*id)
                .push(")");
        }
        (PromptSort::Title, Some(SearchCursor::Title { title, id })) => {
            sql.push(" and (lower(title) collate \"C\", prompts.id) > (lower(")
                .push_bind(title.clone());
            sql.push(") collate \"C\", ").push_bind(*id).push(")");
        }
        (_, Some(SearchCursor::Rank { sort: of, bits, id }))
            if *of == sort && !f64::from_bits(*bits).is_nan() =>
        {
            sql.push(" and (")
                .push(sort.rank().unwrap_or("wilson"))
                .push(", prompt_id) < (")
                .push_bind(f64::from_bits(*bits))
                .push(", ")
                .push_bind(*id)
                .push(")");
        }
        _ => return Err(bad_cursor()),
    }
    Ok(())
}

/// Runs a statement that is planned for these values.
async fn read(conn: &mut PgConnection, mut sql: QueryBuilder<Postgres>) -> Result<Vec<Match>> {
    let mut tx = conn
        .begin_with("begin; set local plan_cache_mode = force_custom_plan")
        .await?;
    let matches = sql.build_query_as().fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(matches)
}
