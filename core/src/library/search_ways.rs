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
    pub(super) limit: i64,
    /// Whether all matches are gathered through the indexes and then sorted, instead of walking the table in its order
    /// until there are enough.
    pub(super) gather: bool,
}

impl First {
    pub(super) fn push(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        condition: impl Fn(&mut QueryBuilder<Postgres>) -> Result<()>,
    ) -> Result<()> {
        let Self {
            source,
            columns,
            order,
            limit,
            gather,
        } = self;
        if *gather {
            sql.push(format_args!(
                "with gathered as materialized (select {columns} from {source}"
            ));
            condition(sql)?;
            sql.push("), first as materialized (select * from gathered");
        } else {
            sql.push(format_args!(
                "with first as materialized (select {columns} from {source}"
            ));
            condition(sql)?;
        }
        sql.push(format_args!(" order by {order} limit "))
            .push_bind(*limit)
            .push(")");
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

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Plan,
}

/// Whether so few prompts meet a condition, by the statistics of Postgres, that reading all of them costs less than
/// walking the table until `limit` are found, when a row that is walked costs `walked`. Postgres decides otherwise: it
/// takes for granted that matches are spread evenly over the table, and that a long text costs what a short one does.
pub(super) async fn is_rare(
    conn: &mut PgConnection,
    source: &str,
    walked: f64,
    limit: i64,
    condition: impl Fn(&mut QueryBuilder<Postgres>) -> Result<()>,
) -> Result<bool> {
    let mut sql = QueryBuilder::new(
        "-- search_statements::is_rare
        explain (format json) select 1 from prompts union all select 1 from ",
    );
    sql.push(source);
    condition(&mut sql)?;
    let explained: Json<Vec<Explained>> = sql
        .build_query_scalar()
        .persistent(false)
        .fetch_one(conn)
        .await?;
    let parts = explained
        .0
        .first()
        .map(|explained| explained.plan.parts.as_slice());
    // A condition that nothing can meet is no part of the plan.
    let Some([all, matches]) = parts else {
        return Ok(true);
    };
    #[expect(clippy::cast_precision_loss, reason = "a limit is small")]
    let walked_rows = limit as f64 * all.rows / matches.rows.max(1.0);
    Ok(matches.rows <= walked * walked_rows)
}
