//! `opb run show`: a run's own table, or its evaluations with question, answer and reasons.

use clap::Args;
use opb_core::{
    paging::Page,
    run_columns::RunGroups,
    runs::{Evaluation, EvaluationState, Run},
};

use super::{RunName, end::show_end, print, print_json};
use crate::{
    client::{Client, ClientSettings},
    outcome::Outcome,
    tables,
};

/// How many evaluations are shown, unless --limit says otherwise.
const SHOWN: usize = 10;

/// Show a run: its own table, or with a filter its evaluations: question, answer, expected answer and reasons
#[derive(Debug, Args)]
pub struct ShowRun {
    /// The run: its number, its id or the end of its id, or `last`
    #[arg(value_name = "RUN")]
    run: RunName,
    #[command(flatten)]
    filter: FilterOptions,
    /// Maximum number of evaluations to show; 10 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Split the run by a key of its items' metadata, such as `category`
    #[arg(long, value_name = "KEY", conflicts_with_all = ["ended", "item", "prompt", "model", "error_kind", "limit"])]
    by: Option<String>,
    #[command(flatten)]
    client: ClientSettings,
}

/// Which evaluations of a run.
#[derive(Debug, Args)]
pub struct FilterOptions {
    /// Evaluations with an answer that did not pass
    #[arg(long, group = "ended")]
    failed: bool,
    /// Evaluations that ended in an error
    #[arg(long, group = "ended")]
    errors: bool,
    /// Evaluations that passed
    #[arg(long, group = "ended")]
    passed: bool,
    /// Evaluations of the item with this id
    #[arg(long, value_name = "ID")]
    item: Option<String>,
    /// Evaluations of this prompt: `slug` or `slug@2`
    #[arg(long, short, value_name = "SLUG")]
    prompt: Option<String>,
    /// Evaluations of this model: `provider:name`, or with its parameters as in `local:small temperature=0`
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// Evaluations that failed in this way, such as `timeout`
    #[arg(long, value_name = "KIND")]
    error_kind: Option<String>,
}

impl ShowRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let run: Run = client.get(&self.run.path()).await?;
        if let Some(by) = self.by {
            let path = with_query(&format!("/api/v1/runs/{}/groups", run.id), &[("by", by)]);
            let groups: RunGroups = client.get(&path).await?;
            if json {
                print_json(&groups)?;
            } else {
                print(&tables::run_groups(&run, &groups))?;
            }
            return Ok(Outcome::Done);
        }
        let query = self.filter.query();
        if query.is_empty() && self.limit.is_none() {
            show_end(&client, &run, json).await?;
            return Ok(Outcome::Done);
        }
        let limit = self.limit.map_or(Ok(SHOWN), usize::try_from)?;
        let page = evaluations(&client, &run, &query, limit).await?;
        if json {
            print_json(&page)?;
            return Ok(Outcome::Done);
        }
        if page.items.is_empty() {
            print(&format!("run #{}: no such evaluations", run.number))?;
            return Ok(Outcome::Done);
        }
        for evaluation in &page.items {
            print(&tables::evaluation(evaluation))?;
        }
        if page.next_cursor.is_some() {
            print(&format!(
                "There are more: --limit N, or all in a file: opb run export {} -o FILE",
                run.number
            ))?;
        }
        Ok(Outcome::Done)
    }
}

impl FilterOptions {
    /// The filter as parameters of an address, which can be empty.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let word = |state| {
            let word = match state {
                EvaluationState::Failed => "failed",
                EvaluationState::Error => "error",
                _ => "passed",
            };
            word.to_owned()
        };
        let states = [
            (self.failed, EvaluationState::Failed),
            (self.errors, EvaluationState::Error),
            (self.passed, EvaluationState::Passed),
        ];
        let state = states.into_iter().find(|(is_wanted, _)| *is_wanted);
        [
            ("state", state.map(|(_, state)| word(state))),
            ("item", self.item.clone()),
            ("prompt", self.prompt.clone()),
            ("model", self.model.clone()),
            ("error_kind", self.error_kind.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// An address with parameters.
pub fn with_query(path: &str, parameters: &[(&str, String)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    match query.finish().as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// The first so many evaluations, over as many pages as it takes.
async fn evaluations(
    client: &Client,
    run: &Run,
    filter: &[(&'static str, String)],
    limit: usize,
) -> anyhow::Result<Page<Evaluation>> {
    let mut all = Page {
        items: Vec::new(),
        next_cursor: None,
    };
    loop {
        let mut parameters = filter.to_vec();
        let missing = (limit - all.items.len()).min(100);
        parameters.push(("limit", missing.to_string()));
        if let Some(cursor) = all.next_cursor.take() {
            parameters.push(("cursor", cursor));
        }
        let path = format!("/api/v1/runs/{}/evaluations", run.id);
        let page: Page<Evaluation> = client.get(&with_query(&path, &parameters)).await?;
        all.items.extend(page.items);
        all.next_cursor = page.next_cursor;
        if all.next_cursor.is_none() || all.items.len() >= limit {
            return Ok(all);
        }
    }
}
