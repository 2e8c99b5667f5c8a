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
    /// The parts of a union of so many, below whatever gathers them. None, when nothing can meet some of them: those are
    /// no part of the plan.
    fn parts(&self, count: usize) -> &[Self] {
        match self.parts.as_slice() {
            parts if parts.len() == count => parts,
            [only] => only.parts(count),
            _ => &[],
        }
    }
}

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Plan,
}

/// How many rows Postgres expects, by its statistics.
pub(super) struct Expected {
    /// Of the table of prompts.
    all: f64,
    /// That meet each condition.
    matches: Vec<f64>,
}

impl Expected {
    /// Asks about conditions on a source, all at once.
    ///
    /// # Errors
    /// The database does not answer.
    pub(super) async fn of(
        conn: &mut PgConnection,
        source: &str,
        conditions: &[&(dyn Fn(&mut QueryBuilder<Postgres>) -> Result<()> + Sync)],
    ) -> Result<Self> {
        let mut sql = QueryBuilder::new(
            "-- search_ways::expected
            explain (format json) select 1 from prompts",
        );
        for condition in conditions {
            sql.push(" union all select 1 from ").push(source);
            condition(&mut sql)?;
        }
        let explained: Json<Vec<Explained>> = sql
            .build_query_scalar()
            .persistent(false)
            .fetch_one(conn)
            .await?;
        let plan = explained.0.first().map(|explained| &explained.plan);
        let parts = plan.map_or(&[][..], |plan| plan.parts(1 + conditions.len()));
        let mut rows = parts.iter().map(|part| part.rows);
        Ok(Self {
            all: rows.next().unwrap_or_default(),
            matches: rows.collect(),
        })
    }

    /// Whether so few rows meet a condition that reading all of them costs less than walking the table until `limit` are
    /// found, when a row that is walked costs `walked`. Postgres decides otherwise: it takes for granted that matches are
    /// spread evenly over the table, and that a long text costs what a short one does.
    pub(super) fn are_rare(&self, condition: usize, walked: f64, limit: i64) -> bool {
        // Where nothing can meet one, nothing is expected of any.
        let Some(matches) = self.matches.get(condition) else {
            return true;
        };
        #[expect(clippy::cast_precision_loss, reason = "a limit is small")]
        let walked_rows = limit as f64 * self.all / matches.max(1.0);
        *matches <= walked * walked_rows
    }
}
