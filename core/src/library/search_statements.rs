//! The statements behind a list of prompts. Their shape varies with the filters, so that they are built here and not
//! checked by the compiler; every value is bound.
//!
//! They are planned anew for each request, as the best way to a rare word is the worst to a common one.
//! They are statements without a name for that, and must never hold a type of our own: sqlx would ask Postgres about it
//! between preparing and running, and the statement would be gone. Enums are cast to text.

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    PromptKind, PromptQuery, PromptSort,
    search::{SearchCursor, bad_cursor},
    search_ways::{Expected, First, PROMPTS, RANKS, WALKED, WALKED_DOCUMENT},
};
use crate::{Result, auth::CurrentUser};

/// How many matches are ranked; further ones follow newest first.
const RANKED: i64 = 100;

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
    fn push_heads(&self, sql: &mut QueryBuilder<Postgres>) {
        self.push_filters(sql);
        self.push_words(sql, "head");
        // A word that must be missing must be missing from the text, too; other words are there if the head has them.
        if self.words.as_ref().is_some_and(|words| words.contains('-')) {
            self.push_words(sql, "document");
        }
    }

    /// `where` with every filter, and the words anywhere, of those that are not ranked: without the words in title, tags
    /// and description, or older than the oldest ranked prompt.
    fn push_rest(&self, sql: &mut QueryBuilder<Postgres>, oldest_ranked: Option<Uuid>) {
        self.push_filters(sql);
        self.push_words(sql, "document");
        sql.push(" and not (true");
        self.push_words(sql, "head");
        if let Some(oldest) = oldest_ranked {
            sql.push(" and prompts.id >= ").push_bind(oldest);
        }
        sql.push(")");
    }

    /// The words as a condition on `column`; nothing without words.
    fn push_words(&self, sql: &mut QueryBuilder<Postgres>, column: &'static str) {
        if let Some(words) = &self.words {
            sql.push(" and ")
                .push(column)
                .push(" @@ websearch_to_tsquery('english', ")
                .push_bind(words.clone())
                .push(")");
        }
    }
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
        wanted.push_words(sql, "document");
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
        Some(walked) => Expected::of(conn, source, &[&condition])
            .await?
            .are_rare(0, walked, limit),
    };
    let mut sql = QueryBuilder::new("-- search_statements::list_in_order\nwith ");
    let first = First {
        source,
        columns,
        order,
        gather,
    };
    first.push(&mut sql, condition)?;
    sql.push_bind(limit).push(")");
    sql.push(" select id");
    if let Some(rank) = sort.rank() {
        sql.push(", ").push(rank).push(" as rank");
    }
    sql.push(" from first order by ").push(order);
    read(conn, sql).await
}

/// The best of the newest matches in title, tags and description, each with the oldest of them all if there are more
/// than are ranked. `after` is the place where the page before ended; it names that oldest one, so that a prompt that
/// was added since pushes none out.
pub(super) async fn rank_matches(
    conn: &mut PgConnection,
    wanted: &Wanted,
    commonness: Commonness,
    after: Option<(f32, Uuid, Option<Uuid>)>,
    limit: i64,
) -> Result<Vec<Match>> {
    let words = wanted.words.clone().unwrap_or_default();
    let oldest = after.and_then(|(.., ranked)| ranked);
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        wanted.push_heads(sql);
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
        gather: commonness.few_to_rank,
    };
    let mut sql = QueryBuilder::new("-- search_statements::rank_matches\nwith ");
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
    if let Some((score, id, _)) = after {
        sql.push(" where (score, id) < (")
            .push_bind(score)
            .push("::real, ")
            .push_bind(id)
            .push(")");
    }
    sql.push(" order by score desc, id desc limit ")
        .push_bind(limit);
    read(conn, sql).await
}

/// How common the words of a search are among the prompts that meet its filters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commonness {
    /// So few prompts have them in title, tags or description that all of these can be ranked.
    pub(super) rare_in_heads: bool,
    /// Gathering all of these costs less than walking the table until enough are found to rank.
    few_to_rank: bool,
    /// The same of those that have them anywhere, for a page of them.
    rare_anywhere: bool,
}

impl Commonness {
    /// By the statistics of Postgres.
    ///
    /// # Errors
    /// The database does not answer.
    pub(super) async fn of(conn: &mut PgConnection, wanted: &Wanted, limit: i64) -> Result<Self> {
        let in_heads = |sql: &mut QueryBuilder<Postgres>| {
            wanted.push_heads(sql);
            Ok(())
        };
        let anywhere = |sql: &mut QueryBuilder<Postgres>| {
            wanted.push_filters(sql);
            wanted.push_words(sql, "document");
            Ok(())
        };
        let expected = Expected::of(conn, PROMPTS, &[&in_heads, &anywhere]).await?;
        Ok(Self {
            rare_in_heads: expected.are_rare(0, WALKED, limit),
            few_to_rank: expected.are_rare(0, WALKED, RANKED),
            rare_anywhere: expected.are_rare(1, WALKED_DOCUMENT, limit),
        })
    }
}

/// All matches: those with the words in title, tags and description, the best first, and then the others, newest first,
/// which are looked for only where the first do not fill the page. `after` is the place where the page before ended.
pub(super) async fn rank_all(
    conn: &mut PgConnection,
    wanted: &Wanted,
    commonness: Commonness,
    after: Option<(Option<f32>, Uuid)>,
    limit: i64,
) -> Result<Vec<Match>> {
    let mut sql = QueryBuilder::new(
        "-- search_statements::rank_all
        with heads as materialized (
            select id, score
            from (select prompts.id, ts_rank(head, websearch_to_tsquery('english', ",
    );
    sql.push_bind(wanted.words.clone().unwrap_or_default())
        .push("), 1) as score from prompts");
    wanted.push_heads(&mut sql);
    sql.push(") as scored");
    match after {
        None => {}
        Some((Some(score), id)) => {
            sql.push(" where (score, id) < (")
                .push_bind(score)
                .push("::real, ")
                .push_bind(id)
                .push(")");
        }
        Some((None, _)) => {
            sql.push(" where false");
        }
    }
    sql.push(" order by score desc, id desc limit ")
        .push_bind(limit)
        .push("), ");
    let first = First {
        source: PROMPTS,
        columns: "prompts.id",
        order: "id desc",
        gather: commonness.rare_anywhere,
    };
    first.push(&mut sql, |sql| {
        wanted.push_rest(sql, None);
        if let Some((None, id)) = after {
            sql.push(" and prompts.id < ").push_bind(id);
        }
        Ok(())
    })?;
    sql.push("(select ")
        .push_bind(limit)
        .push(" - count(*) from heads)) select id, score, ")
        .push_bind(Uuid::nil())
        .push(
            " as ranked from (select id, score from heads union all select id, null from first) as found
            order by score desc nulls last, id desc",
        );
    read(conn, sql).await
}

/// Matches that were not ranked, newest first.
pub(super) async fn list_matches(
    conn: &mut PgConnection,
    wanted: &Wanted,
    commonness: Commonness,
    ranked: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Match>> {
    let condition = |sql: &mut QueryBuilder<Postgres>| {
        wanted.push_rest(sql, ranked);
        if let Some(after) = after {
            sql.push(" and prompts.id < ").push_bind(after);
        }
        Ok(())
    };
    let first = First {
        source: PROMPTS,
        columns: "prompts.id",
        order: "id desc",
        gather: commonness.rare_anywhere,
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

async fn read(conn: &mut PgConnection, mut sql: QueryBuilder<Postgres>) -> Result<Vec<Match>> {
    Ok(sql
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?)
}
