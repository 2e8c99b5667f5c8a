//! Two ways to the first matches of a list: to gather all matches through the indexes and sort them, or to walk the table
//! in the order of the list until there are enough. Which of them costs less is told by what Postgres expects.

use serde::Deserialize;
use sqlx::{PgConnection, Postgres, QueryBuilder, types::Json};

use crate::Result;

/// What a row costs that is looked at while the table is walked in order, in rows that an index names.
pub(super) const WALKED: f64 = 0.5;
/// The same when the `document` is looked into: it is often kept elsewhere and compressed, which Postgres does not count.
pub(super) const WALKED_DOCUMENT: f64 = 2.0;
/// Tables that prompts are listed from.
pub(super) const PROMPTS: &str = "prompts";
pub(super) const RANKS: &str = "prompts join prompt_ranks on prompt_id = prompts.id";

/// The first matches in an order, as the common table expression `first`.
pub(super) struct First {
    pub(super) source: &'static str,
    /// With those of the order.
    pub(super) columns: &'static str,
    pub(super) order: &'static str,
    /// Whether all matches are gathered through the indexes and then sorted, instead of walking the table in its order
    /// until there are enough.
    pub(super) gather: bool,
}

impl First {
    /// What comes after `with`, up to the limit, which whoever calls this adds with a closing parenthesis.
    pub(super) fn push(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        condition: impl Fn(&mut QueryBuilder<Postgres>) -> Result<()>,
    ) -> Result<()> {
        let Self {
            source,
            columns,
            order,
            gather,
        } = self;
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

/// A plan of Postgres, as far as it is read here.
#[derive(Deserialize)]
struct Plan {
    #[serde(rename = "Plan Rows")]
    rows: f64,
    #[serde(rename = "Plans", default)]
    parts: Vec<Plan>,
}

impl Plan {
    /// The two parts of a union, below whatever gathers them. Nothing, when one of them is no part of the plan, since
    /// nothing can meet its condition.
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

/// How many rows Postgres expects, by its statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Of the table of prompts.
    all: f64,
    /// That meet a condition.
    matches: f64,
}

impl Expected {
    /// # Errors
    /// The database does not answer.
    pub(super) async fn of(
        conn: &mut PgConnection,
        source: &str,
        condition: impl Fn(&mut QueryBuilder<Postgres>) -> Result<()>,
    ) -> Result<Self> {
        let mut sql = QueryBuilder::new(
            "-- search_ways::expected
            explain (format json) select 1 from prompts union all select 1 from ",
        );
        sql.push(source);
        condition(&mut sql)?;
        // Explained anew each time, whether it has a name or not.
        let explained: Json<Vec<Explained>> = sql.build_query_scalar().fetch_one(conn).await?;
        let parts = explained
            .0
            .first()
            .and_then(|explained| explained.plan.two());
        let [all, matches] = parts.map_or([0.0; 2], |parts| parts.map(|part| part.rows));
        Ok(Self { all, matches })
    }

    /// Whether matches are so few that reading all of them costs less than walking the table until `limit` are found, when
    /// a row that is walked costs `walked`. Postgres decides otherwise: it takes for granted that matches are spread evenly
    /// over the table, and that a long text costs what a short one does.
    pub(super) fn are_rare(self, walked: f64, limit: i64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a limit is small")]
        let walked_rows = limit as f64 * self.all / self.matches.max(1.0);
        self.matches <= walked * walked_rows
    }
}
