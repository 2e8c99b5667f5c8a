//! `opb compare`: compares columns on their shared items.

use std::str::FromStr;

use clap::Args;
use opb_core::{
    comparisons::{ColumnChoice, CompareRequest, ComparisonTable, Flip, FlipsRequest},
    models::model_label,
    paging::Page,
    runs::RunReference,
};

use super::{print, print_json, run::RunName};
use crate::{
    client::{Client, ClientSettings},
    outcome::{BadUsage, Outcome},
    tables,
};

/// Compare columns (prompt × model) of one or several runs on the items that they share
#[derive(Debug, Args)]
pub struct CompareColumns {
    /// Columns: `RUN` for all of a run, `RUN/PROMPT`, `RUN/PROMPT/MODEL` or `RUN//MODEL` for some, where MODEL may have its parameters as in `local:small temperature=0`; the first is the baseline
    #[arg(value_name = "COLUMNS", required = true)]
    columns: Vec<Columns>,
    /// Smallest difference of scores that matters, above 0 and at most 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    smallest_difference: f64,
    /// Also list the items that flipped between exactly two columns, at most COUNT of them
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "20",
          value_parser = clap::value_parser!(i64).range(1..=100))]
    flips: Option<i64>,
    #[command(flatten)]
    client: ClientSettings,
}

impl CompareColumns {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let request = CompareRequest {
            columns: self.columns.into_iter().map(|columns| columns.0).collect(),
            smallest_difference: self.smallest_difference,
        };
        let table: ComparisonTable = client.post("/api/v1/compare", &request).await?;
        let flips = match self.flips {
            Some(limit) => Some(list_flips(&client, &table, limit).await?),
            None => None,
        };
        if json {
            match &flips {
                Some(flips) => {
                    print_json(&serde_json::json!({ "comparison": table, "flips": flips }))?;
                }
                None => print_json(&table)?,
            }
        } else {
            print(&tables::comparison(&table))?;
            if let Some(flips) = &flips {
                print(&tables::flips(flips))?;
            }
        }
        Ok(Outcome::Done)
    }
}

async fn list_flips(
    client: &Client,
    table: &ComparisonTable,
    limit: i64,
) -> anyhow::Result<Page<Flip>> {
    let [baseline, candidate] = table.columns.as_slice() else {
        let message = format!(
            "--flips needs exactly two columns, and these are {}; name them as RUN/PROMPT/MODEL",
            table.columns.len()
        );
        return Err(BadUsage(message).into());
    };
    let choice = |column: &opb_core::comparisons::ComparedColumn| ColumnChoice {
        run: column.run_id.into(),
        prompt: Some(column.prompt.clone()),
        model: Some(model_label(&column.model, &column.parameters)),
    };
    let request = FlipsRequest {
        baseline: choice(baseline),
        candidate: choice(candidate),
        cursor: None,
        limit: Some(limit),
    };
    client.post("/api/v1/compare/flips", &request).await
}

/// A selection of columns on the command line.
#[derive(Debug, Clone)]
struct Columns(ColumnChoice);

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '/');
        let run: RunName = parts.next().unwrap_or_default().parse()?;
        let Ok(run) = run.to_string().parse::<RunReference>();
        let mut name = || parts.next().filter(|name| !name.is_empty());
        let (prompt, model) = (name().map(str::to_owned), name().map(str::to_owned));
        Ok(Self(ColumnChoice { run, prompt, model }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read() {
        let id = "0190c5a4-0000-7000-8000-000000000000";
        let check = |text: &str, prompt: Option<&str>, model: Option<&str>| {
            let found = text.parse::<Columns>().unwrap().0;
            let expect = (prompt.map(str::to_owned), model.map(str::to_owned));
            assert_eq!((found.prompt, found.model), expect, "{text}");
        };
        check(id, None, None);
        check(&format!("{id}/plain"), Some("plain"), None);
        check(&format!("{id}/plain@2/"), Some("plain@2"), None);
        check(&format!("{id}//a:b"), None, Some("a:b"));
        check(
            &format!("{id}/plain/hub:org/name"),
            Some("plain"),
            Some("hub:org/name"),
        );
        check("128//a:b", None, Some("a:b"));
        check("last/plain", Some("plain"), None);
        assert!("".parse::<Columns>().is_err());
        assert!("no run".parse::<Columns>().is_err());
    }
}
