//! Runs made ready: templates and scorers compiled, providers built, once a run and process.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use opb_core::{
    metrics::{METRICS, ModelLabels},
    models::Price,
    runs::{EvaluationKey, RunModel, RunWork, ShardLease, load_work},
    scorers::{Scorer, ScorerSpec},
    template::{CompiledPrompt, TemplateError},
};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Worker,
    answers::AnswerKeys,
    governor::{Caller, Governor},
    limits,
    providers::{self, Provider},
    traces::ModelNames,
};

/// The runs that are ready, by id.
pub(crate) type PreparedRuns = Mutex<HashMap<Uuid, Arc<PreparedRun>>>;

/// So many runs are kept ready; the number bounds memory, and a run that falls out is made ready again.
const KEPT: usize = 32;

/// More than any provider is known to add for tools and schemas, in tokens.
const INSTRUCTIONS_TOKENS: usize = 1_000;

/// A run with everything that its evaluations share.
pub(crate) struct PreparedRun {
    pub(crate) work: RunWork,
    pub(crate) prompts: Vec<CompiledPrompt>,
    pub(crate) models: Vec<PreparedModel>,
    pub(crate) scorers: Arc<Scorers>,
    pub(crate) caller: Caller,
}

/// A model of a run, ready to be asked.
pub(crate) struct PreparedModel {
    /// The provider, or why the model cannot be asked: then each of its evaluations is an error.
    pub(crate) provider: Result<Arc<dyn Provider>, String>,
    pub(crate) governor: Arc<Governor>,
    pub(crate) price: Option<Price>,
    pub(crate) labels: ModelLabels,
    pub(crate) names: ModelNames,
    /// The most tokens that an answer can have, if known.
    pub(crate) output_limit: Option<i64>,
    /// The most tokens that one image of a prompt can take.
    pub(crate) image_tokens: usize,
    /// How long the parameters are that are sent along: some of them are paid for, such as tools and schemas.
    pub(crate) parameters_bytes: usize,
    /// What all keys of its answers begin with; none when its answers are not kept.
    pub(crate) answer_keys: Option<AnswerKeys>,
}

impl PreparedRun {
    /// The prompt and the model of an evaluation.
    pub(crate) fn column(&self, key: EvaluationKey) -> Option<(&CompiledPrompt, &PreparedModel)> {
        let prompt = self.prompts.get(usize::try_from(key.prompt).ok()?)?;
        let model = self.models.get(usize::try_from(key.model).ok()?)?;
        Some((prompt, model))
    }
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

/// The run of a lease, made ready now or before. A run that was extended, or had columns settled, since is made ready
/// anew.
///
/// # Errors
/// The database does not answer, or what is stored does not compile.
pub(crate) async fn prepare(
    worker: &Worker,
    lease: &ShardLease,
) -> anyhow::Result<Arc<PreparedRun>> {
    let run_id = lease.run_id;
    // The lock is held while loading, so that the shards of a new run do not all load it.
    let mut runs = worker.runs.lock().await;
    let ready_run = runs.get(&run_id);
    if let Some(run) = ready_run.filter(|run| run.work.is_ready_for(lease)) {
        return Ok(Arc::clone(run));
    }
    let work = {
        let mut conn = worker.pool.acquire().await?;
        load_work(&mut conn, run_id).await?
    };
    // A limit that was declared before the run was submitted holds for its first call.
    limits::heed(worker).await?;
    tracing::info!(
        run.id = %run_id,
        request.id = work.request_id.map(tracing::field::display),
        "a run is taken up"
    );
    let run = Arc::new(ready(worker, work)?);
    if run.models.iter().any(|model| model.provider.is_err()) {
        // What is missing may be mended at any time, so the next shard looks again.
        runs.remove(&run_id);
        return Ok(run);
    }
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
        let owner_id = (!model.provider.kind.is_remote()).then_some(work.owner_id);
        let names = (model.provider.name.as_str(), model.name.as_str());
        let governor = worker
            .governors
            .of(model.provider.id, names.0, names.1, owner_id);
        worker
            .governors
            .set_marked(model.provider.id, model.provider.has_answered);
        let is_free = model.price.is_some_and(Price::is_free);
        let bounded =
            !work.budgeted || is_free || (model.price.is_some() && model.output_limit.is_some());
        let provider = if bounded {
            provider(worker, model, &governor)
        } else {
            Err("the cost of its calls has no bound any more, and the run has a budget".to_owned())
        };
        PreparedModel {
            provider,
            governor,
            price: model.price,
            output_limit: model.output_limit,
            image_tokens: usize::try_from(model.image_tokens).unwrap_or(0),
            parameters_bytes: paid_bytes(&model.parameters),
            answer_keys: AnswerKeys::new(&work, model),
            labels: METRICS.model(&model.provider.name, &model.name),
            names: ModelNames::new(model),
        }
    });
    Ok(PreparedRun {
        caller: Caller {
            owner_id: work.owner_id,
            weight: f64::from(work.priority).exp2(),
        },
        prompts: prompts.context("a stored prompt does not compile")?,
        models: models.collect(),
        scorers: Arc::new(
            Scorers::compile(&work.scorers).context("a stored scorer does not compile")?,
        ),
        work,
    })
}

/// Bytes of the parameters that may cost tokens. For tools and schemas providers add instructions of their own.
fn paid_bytes(parameters: &Map<String, Value>) -> usize {
    let instructed = ["tools", "toolConfig", "response_format", "output_config"]
        .iter()
        .any(|name| parameters.contains_key(*name));
    let sent = serde_json::to_string(parameters).map_or(0, |text| text.len());
    sent + if instructed { INSTRUCTIONS_TOKENS } else { 0 }
}

fn provider(
    worker: &Worker,
    model: &RunModel,
    governor: &Arc<Governor>,
) -> Result<Arc<dyn Provider>, String> {
    let http = worker.http.governed(Arc::clone(governor));
    providers::provider(model, &http, &worker.master_key, &worker.settings)
        .map_err(|error| format!("{error:#}"))
}
