//! Runs made ready: templates and scorers compiled, providers built, once a run and process.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use opb_core::{
    metrics::{METRICS, ModelLabels},
    models::Price,
    runs::{RunWork, load_work},
    scorers::{Scorer, ScorerSpec},
    template::{CompiledPrompt, TemplateError},
};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Worker,
    governor::Governor,
    providers::{self, Provider},
};

/// The runs that are ready, by id.
pub(crate) type PreparedRuns = Mutex<HashMap<Uuid, Arc<PreparedRun>>>;

/// So many runs are kept ready; the number bounds memory, and a run that falls out is made ready again.
const KEPT: usize = 32;

/// A run with everything that its evaluations share.
pub(crate) struct PreparedRun {
    pub(crate) work: RunWork,
    pub(crate) prompts: Vec<CompiledPrompt>,
    pub(crate) models: Vec<PreparedModel>,
    pub(crate) scorers: Arc<Scorers>,
}

/// A model of a run, ready to be asked.
pub(crate) struct PreparedModel {
    /// The provider, or why the model cannot be asked: then each of its evaluations is an error.
    pub(crate) provider: Result<Arc<dyn Provider>, String>,
    pub(crate) governor: Arc<Governor>,
    pub(crate) price: Option<Price>,
    pub(crate) labels: ModelLabels,
}

/// Compiled scorers, each with the name it is reported under.
pub(crate) struct Scorers(pub(crate) Vec<(String, Scorer)>);

impl Scorers {
    /// Compiles the scorers of a benchmark or an item.
    ///
    /// # Errors
    /// One of them is wrong, which publishing should have refused.
    pub(crate) fn compile(specs: &[ScorerSpec]) -> anyhow::Result<Self> {
        let scorers = specs.iter().map(|spec| {
            let name = serde_json::to_value(spec.kind)?
                .as_str()
                .unwrap_or("scorer")
                .to_owned();
            Ok((name, Scorer::compile(spec)?))
        });
        Ok(Self(scorers.collect::<anyhow::Result<_>>()?))
    }
}

/// The run, made ready now or before.
///
/// # Errors
/// The database does not answer, or what is stored does not compile.
pub(crate) async fn prepare(worker: &Worker, run_id: Uuid) -> anyhow::Result<Arc<PreparedRun>> {
    // The lock is held while loading, so that the shards of a new run do not all load it.
    let mut runs = worker.runs.lock().await;
    if let Some(run) = runs.get(&run_id) {
        return Ok(Arc::clone(run));
    }
    let work = {
        let mut conn = worker.pool.acquire().await?;
        load_work(&mut conn, run_id).await?
    };
    let run = Arc::new(ready(worker, work)?);
    if runs.len() >= KEPT {
        runs.clear();
    }
    runs.insert(run_id, Arc::clone(&run));
    Ok(run)
}

fn ready(worker: &Worker, work: RunWork) -> anyhow::Result<PreparedRun> {
    let prompts = work
        .prompts
        .iter()
        .map(|prompt| {
            let compiled = CompiledPrompt::compile(&prompt.body)?;
            Ok(compiled.with_defaults(prompt.defaults.clone()))
        })
        .collect::<Result<_, TemplateError>>();
    let models = work.models.iter().map(|model| {
        let provider =
            providers::provider(model, &worker.http, &worker.master_key, &worker.settings);
        PreparedModel {
            provider: provider.map_err(|error| format!("{error:#}")),
            governor: worker.governors.of(&model.provider.name),
            price: model.price,
            labels: METRICS.model(&model.provider.name, &model.name),
        }
    });
    Ok(PreparedRun {
        prompts: prompts.context("a stored prompt does not compile")?,
        models: models.collect(),
        scorers: Arc::new(
            Scorers::compile(&work.scorers).context("a stored scorer does not compile")?,
        ),
        work,
    })
}
