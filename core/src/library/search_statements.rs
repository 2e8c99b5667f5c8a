//! The statements behind a list of prompts. Their shape varies with the filters, so that they are built here and not
//! checked by the compiler; every value is bound.
//!
//! They are planned anew for each request, as the best way to a rare word is the worst to a common one; lists without
//! words and filters, and rare words without filters, are planned once.
//! They are statements without a name for that, and must never hold a type of our own: sqlx would ask Postgres about it
//! between preparing and running, and the statement would be gone. Enums are cast to text.

use sqlx::{Connection as _, FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    PromptKind, PromptQuery, PromptSort,
    search::{SearchCursor, bad_cursor},
    search_ways::{Expected, First, PROMPTS, RANKS, WALKED, WALKED_DOCUMENT},
};
use crate::{Result, auth::CurrentUser};

/// How many matches are ranked; further ones follow newest first.
const RANKED: i64 = 100;
/// Stands for the oldest ranked match where all are ranked: no prompt is older.
pub(super) const ALL_RANKED: Uuid = Uuid::nil();

/// What is looked for, with every name resolved.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) words: Option<String>,
    pub(super) viewer_id: Option<i64>,
    categories: Option<Vec<String>>,
    tags: Vec<String>,
    owner_id: Option<i64>,
    language: Option<String>,
    licence: Option<String>,
    kind: Option<PromptKind>,
    benchmark: Option<String>,
    model: Option<String>,
    min_score: Option<f64>,
    archived: bool,
    offered: bool,
}

/// A prompt that was found, and where.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct Match {
    /// The prompt's id.
    pub(super) id: Uuid,
    /// How well it matches, if it was ranked.
    #[sqlx(default)]
    pub(super) score: Option<f32>,
    /// The oldest prompt that was ranked, if older matches were not.
    #[sqlx(default)]
    pub(super) ranked: Option<Uuid>,
    /// The number that an order of the community goes by.
    #[sqlx(default)]
    pub(super) rank: Option<f64>,
}

impl Wanted {
    /// Looks up the names of a query. Nothing when one of them does not exist, so that nothing can be found.
    pub(super) async fn resolve(
        conn: &mut PgConnection,
        viewer: Option<&CurrentUser>,
        query: &PromptQuery,
    ) -> Result<Option<Self>> {
        let mut wanted = Self {
            words: query.words().map(str::to_owned),
            viewer_id: viewer.map(|user| user.id),
            categories: None,
            tags: query.tags()?,
            owner_id: None,
            language: query.language.clone(),
            licence: query.licence.clone(),
            kind: query.kind,
            benchmark: query.benchmark.clone(),
            model: query.model.clone(),
            min_score: query.min_score,
            archived: query.archived.unwrap_or(false),
            offered: query.offered.unwrap_or(false),
        };
        if let Some(category) = &query.category {
            let slugs = sqlx::query_scalar!(
                r#"-- search_statements::resolve (categories)
                with recursive below as (
                    select slug from categories where slug = $1
                    union
                    select categories.slug from categories join below on categories.parent = below.slug
                )
                select slug as "slug!" from below"#,
                category
            )
            .fetch_all(&mut *conn)
            .await?;
            if slugs.is_empty() {
                return Ok(None);
            }
            wanted.categories = Some(slugs);
        }
        if let Some(author) = &query.author {
            let id = sqlx::query_scalar!(
                "-- search_statements::resolve (author)
                select id from users where lower(username) = lower($1)",
                author
            )
            .fetch_optional(conn)
            .await?;
            if id.is_none() {
                return Ok(None);
            }
            wanted.owner_id = id;
        }
        Ok(Some(wanted))
    }

    /// Whether nothing is asked for but an order: one plan is the best for all of these, with the limit in it.
    fn is_plain(&self) -> bool {
        self.words.is_none() && self.has_only_words()
    }

    /// Whether there is no filter but words.
    fn has_only_words(&self) -> bool {
        let Self {
            words: _,
            viewer_id: _,
            categories: None,
            tags,
            owner_id: None,
            language: None,
            licence: None,
            kind: None,
            benchmark: None,
            model: None,
            min_score: None,
            archived: false,
            offered: false,
        } = self
        else {
            return false;
        };
        tags.is_empty()
    }

    /// `where` with every filter but the words.
    fn push_filters(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" where prompts.deleted_at is null");
        sql.push(if self.archived {
            " and archived_at is not null"
        } else {
            " and archived_at is null"
        });
        match self.viewer_id {
            Some(id) if self.offered => sql.push(" and offered_to = ").push_bind(id),
            Some(id) => sql
                .push(" and (visibility = 'public' or owner_id = ")
                .push_bind(id)
                .push(")"),
            None if self.offered => sql.push(" and false"),
            None => sql.push(" and visibility = 'public'"),
        };
        if let Some(categories) = &self.categories {
            sql.push(" and category = any(")
                .push_bind(categories.clone())
                .push(")");
        }
        if !self.tags.is_empty() {
            sql.push(" and tags @> ").push_bind(self.tags.clone());
        }
        if let Some(id) = self.owner_id {
            sql.push(" and owner_id = ").push_bind(id);
        }
        if let Some(language) = &self.language {
            sql.push(" and language = ").push_bind(language.clone());
        }
        if let Some(licence) = &self.licence {
            sql.push(" and licence = ").push_bind(licence.clone());
        }
        if let Some(kind) = self.kind {
            sql.push(" and kind::text = ").push_bind(kind.as_str());
        }
        self.push_measured(sql);
    }

    /// What was measured with a real model on the newest version of a public benchmark.
    fn push_measured(&self, sql: &mut QueryBuilder<Postgres>) {
        if self.benchmark.is_none() && self.model.is_none() && self.min_score.is_none() {
            return;
        }
        sql.push(
            " and exists (select 1 from prompt_versions measured
                join standings on standings.prompt_version_id = measured.id
                join benchmark_versions on benchmark_versions.id = standings.benchmark_version_id
                join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
                join models on models.id = standings.model_id
                join providers on providers.id = models.provider_id
                where measured.prompt_id = prompts.id and not simulated and benchmarks.visibility = 'public'
                  and not exists (select 1 from benchmark_versions newer
                      where newer.benchmark_id = benchmarks.id and newer.number > benchmark_versions.number)",
        );
        if let Some(benchmark) = &self.benchmark {
            sql.push(" and benchmarks.slug = ")
                .push_bind(benchmark.clone());
        }
        if let Some(model) = &self.model {
            sql.push(" and providers.name || ':' || models.name = ")
                .push_bind(model.clone());
        }
        if let Some(score) = self.min_score {
            sql.push(" and standings.score >= ").push_bind(score);
        }
        sql.push(")");
    }

    /// `where` with every filter, and the words in title, tags or description.
    fn push_heads(&self, sql: &mut QueryBuilder<Postgres>, query: Query) {
        self.push_filters(sql);
        self.push_words(sql, "head", query);
        // A word that must be missing must be missing from the text, too; other words are there if the head has them.
        if self.words.as_ref().is_some_and(|words| words.contains('-')) {
            self.push_words(sql, "document", query);
        }
    }

    /// The words as a condition on `column`; nothing without words.
    fn push_words(&self, sql: &mut QueryBuilder<Postgres>, column: &'static str, query: Query) {
        let Some(words) = &self.words else {
            return;
        };
        let (before, after) = match query {
            Query::Known => ("websearch_to_tsquery('english', ", ")"),
            Query::Unknown => ("(select websearch_to_tsquery('english', ", "))"),
        };
        sql.push(format_args!(" and {column} @@ {before}"))
            .push_bind(words.clone())
            .push(after);
    }
}

/// Whether the words are known when a statement is planned.
#[derive(Debug, Clone, Copy)]
enum Query {
    /// Postgres expects as many matches as they have by its statistics.
    Known,
    /// It expects few of any words, so that one plan serves them all.
    Unknown,
}

/// Prompts in an order that every prompt has.
pub(super) async fn list_in_order(
    conn: &mut PgConnection,
    wanted: &Wanted,
    sort: PromptSort,
    after: Option<&SearchCursor>,
    limit: i64,
) -> Result<Vec<Match>> {
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        wanted.push_filters(sql);
        wanted.push_words(sql, "document", Query::Known);
        push_after(sql, sort, after)
    };
    let (source, columns, order) = match sort {
        PromptSort::Updated => (
            PROMPTS,
            "prompts.id, updated_at",
            "updated_at desc, id desc",
        ),
        PromptSort::Title => (
            PROMPTS,
            "prompts.id, title",
            "lower(title) collate \"C\", id",
        ),
        PromptSort::Newest | PromptSort::Relevance => (PROMPTS, "prompts.id", "id desc"),
        PromptSort::Top => (
            RANKS,
            "prompts.id, prompt_id, wilson",
            "wilson desc, prompt_id desc",
        ),
        PromptSort::Trending => (
            RANKS,
            "prompts.id, prompt_id, trend",
            "trend desc, prompt_id desc",
        ),
        PromptSort::Quality => (
            RANKS,
            "prompts.id, prompt_id, quality",
            "quality desc, prompt_id desc",
        ),
        PromptSort::Combined => (
            RANKS,
            "prompts.id, prompt_id, combined",
            "combined desc, prompt_id desc",
        ),
    };
    let walked = match (&wanted.words, wanted.tags.as_slice()) {
        (Some(_), _) => Some(WALKED_DOCUMENT),
        (None, [_, ..]) => Some(WALKED),
        (None, []) => None,
    };
    let gather = match walked {
        None => false,
        Some(walked) => Expected::of(conn, source, condition)
            .await?
            .are_rare(walked, limit),
    };
    let mut sql = QueryBuilder::new("-- search_statements::list_in_order\nwith ");
    let first = First {
        source,
        columns,
        order,
        gather,
    };
    first.push(&mut sql, condition)?;
    let plain = wanted.is_plain();
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

/// Whether so few prompts have the words in title, tags or description, by the statistics of Postgres, that all of them
/// can be ranked for a page.
pub(super) async fn are_rare(conn: &mut PgConnection, wanted: &Wanted, limit: i64) -> Result<bool> {
    let heads = |sql: &mut QueryBuilder<Postgres>| {
        wanted.push_heads(sql, Query::Known);
        Ok(())
    };
    let expected = Expected::of(conn, PROMPTS, heads).await?;
    Ok(expected.are_rare(WALKED, limit))
}

/// The best matches in title, tags and description. `after` is the place where the page before ended.
pub(super) async fn rank_all(
    conn: &mut PgConnection,
    wanted: &Wanted,
    after: Option<(f32, Uuid)>,
    limit: i64,
) -> Result<Vec<Match>> {
    // All rare words are found in the same way: through the index of words.
    let once = wanted.has_only_words();
    let mut sql = QueryBuilder::new(
        "-- search_statements::rank_all
        select id, score, ",
    );
    sql.push_bind(ALL_RANKED)
        .push(" as ranked from (select prompts.id, ts_rank(head, (select websearch_to_tsquery('english', ")
        .push_bind(wanted.words.clone().unwrap_or_default())
        .push(")), 1) as score from prompts");
    wanted.push_heads(&mut sql, if once { Query::Unknown } else { Query::Known });
    sql.push(") as matches");
    push_page(&mut sql, after, limit);
    if once {
        return Ok(sql.build_query_as().fetch_all(conn).await?);
    }
    read(conn, sql).await
}

/// The best of the newest matches in title, tags and description, each with the oldest of them all if there are more
/// than are ranked. `after` is the place where the page before ended; it names that oldest one, so that a prompt that
/// was added since pushes none out.
pub(super) async fn rank_newest(
    conn: &mut PgConnection,
    wanted: &Wanted,
    after: Option<(f32, Uuid, Option<Uuid>)>,
    limit: i64,
) -> Result<Vec<Match>> {
    let words = wanted.words.clone().unwrap_or_default();
    let oldest = after.and_then(|(.., ranked)| ranked);
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        wanted.push_heads(sql, Query::Known);
        if let Some(oldest) = oldest {
            sql.push(" and prompts.id >= ").push_bind(oldest);
        }
        Ok(())
    };
    let most = if oldest.is_some() { 2 * RANKED } else { RANKED };
    let first = First {
        source: PROMPTS,
        columns: "prompts.id, head",
        order: "id desc",
        gather: Expected::of(conn, PROMPTS, condition)
            .await?
            .are_rare(WALKED, most),
    };
    let mut sql = QueryBuilder::new("-- search_statements::rank_newest\nwith ");
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

/// The best matches first, from the place where the page before ended.
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

/// Matches that were not ranked, newest first, when the oldest ranked one is `ranked`.
pub(super) async fn list_matches(
    conn: &mut PgConnection,
    wanted: &Wanted,
    ranked: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Match>> {
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        wanted.push_filters(sql);
        wanted.push_words(sql, "document", Query::Known);
        sql.push(" and not (true");
        wanted.push_words(sql, "head", Query::Known);
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
        source: PROMPTS,
        columns: "prompts.id",
        order: "id desc",
        gather: Expected::of(conn, PROMPTS, condition)
            .await?
            .are_rare(WALKED_DOCUMENT, limit),
    };
    let mut sql = QueryBuilder::new("-- search_statements::list_matches\nwith ");
    first.push(&mut sql, condition)?;
    sql.push_bind(limit)
        .push(") select id from first order by id desc");
    let mut matches = read(conn, sql).await?;
    for found in &mut matches {
        found.ranked = ranked;
    }
    Ok(matches)
}

/// What follows the page before, in an order that every prompt has.
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

/// Runs a statement that is planned for these very values. A transaction keeps its two steps together where a pooler of
/// transactions lies between.
async fn read(conn: &mut PgConnection, mut sql: QueryBuilder<Postgres>) -> Result<Vec<Match>> {
    let mut tx = conn.begin().await?;
    let matches = sql
        .build_query_as()
        .persistent(false)
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(matches)
}
