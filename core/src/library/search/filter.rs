//! The filters of a search, as parts of a statement. Every value is bound.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::PromptQuery;
use crate::{Result, auth::CurrentUser, library::PromptKind};

/// Removes repeated dashes between words, because Postgres refuses a query with many of them. Several dashes mean the
/// same as one.
pub(super) fn with_single_dashes(words: &str) -> String {
    let mut after_dash = false;
    let keep = |letter: &char| {
        let repeated = *letter == '-' && after_dash;
        after_dash = !letter.is_alphanumeric() && (after_dash || *letter == '-');
        !repeated
    };
    words.chars().filter(keep).collect()
}

/// The search with every name resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Filter {
    pub(super) words: Option<String>,
    pub(super) viewer_id: Option<i64>,
    categories: Option<Vec<String>>,
    pub(super) tags: Vec<String>,
    owner_id: Option<i64>,
    language: Option<String>,
    licence: Option<String>,
    kind: Option<PromptKind>,
    benchmark: Option<String>,
    model: Option<String>,
    /// The bits of the floating-point number.
    min_score: Option<u64>,
    archived: bool,
    offered: bool,
}

impl Filter {
    /// Looks up the names of a query. `None` if one of them does not exist, so that there are no results.
    pub(super) async fn resolve(
        conn: &mut PgConnection,
        viewer: Option<&CurrentUser>,
        query: &PromptQuery,
    ) -> Result<Option<Self>> {
        let mut filter = Self {
            words: query.words().map(with_single_dashes),
            viewer_id: viewer.map(|user| user.id),
            categories: None,
            tags: query.tags()?,
            owner_id: None,
            language: query.language.clone(),
            licence: query.licence.clone(),
            kind: query.kind,
            benchmark: query.benchmark.clone(),
            model: query.model.clone(),
            min_score: query.min_score.map(f64::to_bits),
            archived: query.archived.unwrap_or(false),
            offered: query.offered.unwrap_or(false),
        };
        if let Some(category) = &query.category {
            let slugs = sqlx::query_scalar!(
                r#"-- filter::resolve (categories)
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
            filter.categories = Some(slugs);
        }
        if let Some(author) = &query.author {
            let id = sqlx::query_scalar!(
                "-- filter::resolve (author)
                select id from users where lower(username) = lower($1)",
                author
            )
            .fetch_optional(conn)
            .await?;
            if id.is_none() {
                return Ok(None);
            }
            filter.owner_id = id;
        }
        Ok(Some(filter))
    }

    /// A search for one word without filters, for the same viewer.
    pub(super) fn only_word(&self, word: &str) -> Self {
        Self {
            words: Some(word.to_owned()),
            viewer_id: self.viewer_id,
            categories: None,
            tags: Vec::new(),
            owner_id: None,
            language: None,
            licence: None,
            kind: None,
            benchmark: None,
            model: None,
            min_score: None,
            archived: false,
            offered: false,
        }
    }

    /// Its memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let Self {
            words,
            categories,
            tags,
            language,
            licence,
            benchmark,
            model,
            ..
        } = self;
        let texts = [words, language, licence, benchmark, model];
        let lists = categories.iter().flatten().chain(tags);
        let bytes: usize = texts
            .into_iter()
            .flatten()
            .chain(lists)
            .map(|text| size_of::<String>() + text.len())
            .sum();
        size_of::<Self>() + bytes
    }

    /// Whether the search has only an order: all of these share one best plan, which includes the limit.
    pub(super) fn is_plain(&self) -> bool {
        self.words.is_none() && self.has_only_words()
    }

    /// Whether there is no filter except words.
    pub(super) fn has_only_words(&self) -> bool {
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

    /// Appends `where` with every filter except the words.
    pub(super) fn push_filters(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" where prompts.deleted_at is null");
        sql.push(if self.archived {
            " and archived_at is not null"
        } else {
            " and archived_at is null"
        });
        match self.viewer_id {
            Some(id) if self.offered => sql.push(" and offered_to = ").push_bind(id),
            Some(id) => sql
                .push(" and is_listed(visibility, owner_id, ")
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

    /// Appends the conditions on measurements with a real model on the newest version of a public benchmark.
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
                where measured.prompt_id = prompts.id and not simulated
                  and standings.audience_id is null and is_public_run(standings.run_id)
                  and not exists (select 1 from benchmark_versions newer
                      where newer.benchmark_id = benchmarks.id and newer.withdrawn_at is null and newer.number > benchmark_versions.number)",
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
            sql.push(" and standings.score >= ")
                .push_bind(f64::from_bits(score));
        }
        sql.push(")");
    }

    /// Appends `where` with every filter, and the words in title, tags or description.
    pub(super) fn push_heads(&self, sql: &mut QueryBuilder<Postgres>, query: Query) {
        self.push_filters(sql);
        self.push_words(sql, "head", query);
        // An excluded word must also be missing from the text; the other words are there if the head has them.
        if self.words.as_ref().is_some_and(|words| words.contains('-')) {
            self.push_words(sql, "document", query);
        }
    }

    /// Appends the words as a condition on `column`; nothing without words.
    pub(super) fn push_words(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        column: &'static str,
        query: Query,
    ) {
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
pub(super) enum Query {
    /// Postgres estimates the number of matches of these words by its statistics.
    Known,
    /// Postgres expects few matches for any words, so that one plan serves them all.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_do_not_pile_up() {
        let check = |words: &str, expect: &str| assert_eq!(with_single_dashes(words), expect);
        check("", "");
        check("a-b -c", "a-b -c");
        check(&"-".repeat(50), "-");
        check("a -- b - \"-c", "a - b - \"c");
        check("-(-!-😀-ü - é", "-(!😀ü - é");
    }
}
