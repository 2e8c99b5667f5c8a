//! Chooses between two plans for the first matches of a list: gather all matches through the indexes and sort them, or
//! walk the table in the order of the list until there are enough. Postgres's row estimates decide which is cheaper.

use std::time::Duration;

use moka::sync::Cache;
use serde::Deserialize;
use sqlx::{PgConnection, Postgres, QueryBuilder, types::Json};

use super::filter::{Filter, Query};
use crate::Result;

/// The cost of a row that is read while walking the table in order, in units of a row that is read through an index.
pub(super) const WALKED: f64 = 0.5;
/// The cost if the `document` is read too: it is often stored elsewhere and compressed, which Postgres ignores.
pub(super) const WALKED_DOCUMENT: f64 = 2.0;
/// How long an estimate is cached: the library changes less in that time than the statistics of Postgres are off.
const KEPT: Duration = Duration::from_mins(1);
/// Maximum memory of the cached estimates, in bytes, since clients decide how long queries are.
const KEPT_BYTES: u64 = 8 * 1024 * 1024;

/// The tables that prompts are listed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Prompts,
    /// Prompts with the numbers of the community orders.
    Ranks,
}

impl Source {
    fn sql(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::Ranks => "prompts join prompt_ranks on prompt_id = prompts.id",
        }
    }
}

/// The first matches in an order, as the common table expression `first`.
pub(super) struct First {
    pub(super) of: Source,
    /// The columns, including those of the order.
    pub(super) columns: &'static str,
    pub(super) order: &'static str,
    /// Whether all matches are gathered through the indexes and then sorted, instead of walking the table in its order
    /// until there are enough.
    pub(super) gather: bool,
}

impl First {
    /// Appends everything after `with` up to the limit; the caller adds the limit and a closing parenthesis.
    pub(super) fn push(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        condition: impl Fn(&mut QueryBuilder<Postgres>) -> Result<()>,
    ) -> Result<()> {
        let Self {
            of,
            columns,
            order,
            gather,
        } = self;
        let source = of.sql();
        let name = if *gather { "gathered" } else { "first" };
        sql.push(format_args!(
            "{name} as materialized (select {columns} from {source}"
        ));
        condition(sql)?;
        if *gather {
            sql.push("), first as materialized (select * from gathered");
        }
        sql.push(format_args!(" order by {order} limit "));
        Ok(())
    }
}

/// The fields of a Postgres plan that are read here.
#[derive(Deserialize)]
struct Plan {
    #[serde(rename = "Plan Rows")]
    rows: f64,
    #[serde(rename = "Plans", default)]
    parts: Vec<Plan>,
}

impl Plan {
    /// The two parts of a union, below the node that gathers them. `None` if one of them is missing because its
    /// condition is never true.
    fn two(&self) -> Option<[&Self; 2]> {
        match self.parts.as_slice() {
            [one, other] => Some([one, other]),
            [only] => only.two(),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Plan,
}

/// The row counts that Postgres estimates from its statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Rows of the table of prompts.
    all: f64,
    /// Rows that meet a condition.
    matches: f64,
}

impl Expected {
    /// Whether there are so few matches that reading all of them is cheaper than walking the table until `limit` are
    /// found, if a walked row costs `walked`. Postgres would decide differently: it assumes that matches are spread
    /// evenly over the table, and that a long text costs the same as a short one.
    pub(super) fn are_rare(self, walked: f64, limit: i64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a limit is small")]
        let walked_rows = limit as f64 * self.all / self.matches.max(1.0);
        self.matches <= walked * walked_rows
    }
}

/// The prompts whose number is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Prompts that meet the filters and have the words anywhere.
    List { of: Source },
    /// Prompts with the words in title, tags or description.
    Heads,
    /// Prompts with the words only in the text.
    Rest,
}

/// A cache of estimates by search, each kept for a minute. Estimates only choose between plans for the same results.
#[derive(Debug, Clone)]
pub struct Estimates(Cache<(Part, Filter), Expected>);

impl Default for Estimates {
    fn default() -> Self {
        Self(
            Cache::builder()
                .weigher(|(_, filter): &(Part, Filter), _| {
                    u32::try_from(filter.bytes()).unwrap_or(u32::MAX)
                })
                .max_capacity(KEPT_BYTES)
                .time_to_live(KEPT)
                .build(),
        )
    }
}

impl Estimates {
    /// The estimate for a part of a search.
    ///
    /// # Errors
    /// The database does not respond.
    pub(super) async fn of(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
        part: Part,
    ) -> Result<Expected> {
        let key = (part, filter.clone());
        if let Some(expected) = self.0.get(&key) {
            return Ok(expected);
        }
        let mut sql = QueryBuilder::new(
            "-- search::expected
            explain (format json) select 1 from prompts union all select 1 from ",
        );
        match part {
            Part::List { of } => {
                sql.push(of.sql());
                filter.push_filters(&mut sql);
                filter.push_words(&mut sql, "document", Query::Known);
            }
            Part::Heads => {
                sql.push(Source::Prompts.sql());
                filter.push_heads(&mut sql, Query::Known);
            }
            Part::Rest => {
                sql.push(Source::Prompts.sql());
                filter.push_filters(&mut sql);
                filter.push_words(&mut sql, "document", Query::Known);
                sql.push(" and not (true");
                filter.push_words(&mut sql, "head", Query::Known);
                sql.push(")");
            }
        }
        // `explain` is planned each time, even for a named statement.
        let explained: Json<Vec<Explained>> = sql.build_query_scalar().fetch_one(conn).await?;
        let parts = explained
            .0
            .first()
            .and_then(|explained| explained.plan.two());
        let [all, matches] = parts.map_or([0.0; 2], |parts| parts.map(|part| part.rows));
        let expected = Expected { all, matches };
        self.0.insert(key, expected);
        Ok(expected)
    }
}
