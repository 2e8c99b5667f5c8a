//! Prepared runs: compiled templates and scorers, and configured providers, once per run and process.
//!
//! Each run is prepared under its own lock, and CPU-bound work is done outside the async threads: a run whose scorers
//! compile slowly delays no other.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use opb_core::{
    computing::{Asker, Computing},
    metrics::{METRICS, ModelLabels},
    models::Price,
    runs::{EvaluationKey, RunModel, RunWork, ShardLease, load_work},
    scorers::{Scorer, ScorerSpec},
    sealing::MasterKey,
    template::{CompiledPrompt, Message, TemplateError},
};
use serde_json::{Map, Value};
use sqlx::PgPool;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    answer_keys::AnswerKeys,
    governor::{Caller, Governor, Governors, refresh_limits},
    providers::{self, HttpClient, Provider},
    settings::WorkerSettings,
    traces::ModelNames,
};

/// Number of idle runs that are kept prepared, which bounds memory; evicted ones are prepared again if needed.
const KEPT: usize = 32;

/// Number of owners whose CPU-bound work runs concurrently, one piece of each. More than there are cores, so that small
/// pieces need not wait for slow ones.
const COMPUTING: usize = 8;

/// Work up to this size is scored inline: the length of an output in bytes, times the number of scorers.
const QUICK_BYTES: usize = 64 * 1024;

/// Tokens added for tools and schemas; more than any provider is known to add.
const INSTRUCTIONS_TOKENS: usize = 1_000;

/// A run with everything that its evaluations share.
pub(crate) struct PreparedRun {
    pub(crate) work: Arc<RunWork>,
    pub(crate) prompts: Vec<CompiledPrompt>,
    pub(crate) models: Vec<PreparedModel>,
    pub(crate) scorers: Arc<Scorers>,
    pub(crate) caller: Caller,
    computing: Computing,
    /// Maximum number of attempts per call.
    pub(crate) max_attempts: u32,
}

/// A model of a run, ready for calls.
pub(crate) struct PreparedModel {
    /// The provider, or why the model cannot be called: then each of its evaluations is an error.
    pub(crate) provider: Result<Arc<dyn Provider>, String>,
    pub(crate) governor: Arc<Governor>,
    /// What bounds the calls of the run to the provider, if the run wants that.
    pub(crate) places: Option<Arc<Semaphore>>,
    pub(crate) price: Option<Price>,
    pub(crate) labels: ModelLabels,
    pub(crate) names: ModelNames,
    /// Maximum number of output tokens, if known.
    pub(crate) output_limit: Option<i64>,
    /// Maximum number of tokens of one image in a prompt.
    pub(crate) image_tokens: usize,
    /// Size of the parameters sent along: some of them cost tokens, such as tools and schemas.
    pub(crate) parameters_bytes: usize,
    /// The generator of its cache keys; `None` if its responses are not cached.
    pub(crate) answer_keys: Option<AnswerKeys>,
}

impl PreparedRun {
    /// Returns the prompt and the model of an evaluation.
    pub(crate) fn column(&self, key: EvaluationKey) -> Option<(&CompiledPrompt, &PreparedModel)> {
        let prompt = self.prompts.get(usize::try_from(key.prompt).ok()?)?;
        let model = self.models.get(usize::try_from(key.model).ok()?)?;
        Some((prompt, model))
    }

    /// Runs CPU-bound work when it is the turn of the run's owner.
    ///
    /// # Errors
    /// The work panicked.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> opb_core::Result<T> {
        let owner = Asker::User(self.work.owner_id);
        self.computing.run(owner, work).await
    }
}

impl PreparedModel {
    /// The maximum number of input tokens of a request: one per byte that may cost tokens, plus those of its images.
    pub(crate) fn request_tokens(&self, provider: &dyn Provider, messages: &[Message]) -> usize {
        let text_bytes = || {
            messages
                .iter()
                .map(|message| message.content.text_bytes())
                .sum()
        };
        let images: usize = messages
            .iter()
            .map(|message| message.content.images())
            .sum();
        provider.paid_bytes(messages).unwrap_or_else(text_bytes)
            + self.parameters_bytes
            + images * self.image_tokens
    }
}

/// Compiled scorers, each with the name in its results.
pub(crate) struct Scorers(pub(crate) Vec<(String, Scorer)>);

impl Scorers {
    /// Compiles the scorers of a benchmark or an item.
    ///
    /// # Errors
    /// One of them is invalid, which should have been refused at publication.
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

    /// Returns false if scoring an output of this length takes only microseconds.
    pub(crate) fn may_take_long(&self, output_bytes: usize) -> bool {
        output_bytes * self.0.len() > QUICK_BYTES
            || self.0.iter().any(|(_, scorer)| scorer.is_rendered())
    }
}

/// The runs that this worker has prepared.
pub(crate) struct PreparedRuns {
    pub(crate) pool: PgPool,
    pub(crate) governors: Arc<Governors>,
    pub(crate) http: HttpClient,
    pub(crate) master_key: Arc<MasterKey>,
    pub(crate) settings: WorkerSettings,
    computing: Computing,
    known: Mutex<HashMap<Uuid, KnownRun>>,
}

/// The state of a run in this worker.
struct KnownRun {
    /// The latest prepared version.
    ready: Option<Arc<PreparedRun>>,
    /// The cell in which it is prepared, for leases like `lease`.
    making: Arc<OnceCell<Arc<PreparedRun>>>,
    lease: ShardLease,
    used_at: Instant,
    places: Places,
}

/// The places of a run at each provider. They outlive each preparation, since shards in flight hold some.
type Places = Arc<Mutex<HashMap<Uuid, Arc<Semaphore>>>>;

impl KnownRun {
    fn new(lease: ShardLease) -> Self {
        Self {
            ready: None,
            making: Arc::default(),
            lease,
            used_at: Instant::now(),
            places: Places::default(),
        }
    }

    /// Returns false if the run was extended or had columns settled since, or if a model cannot be called: the cause
    /// may be corrected at any time, so the next shard tries again.
    fn serves(&self, lease: &ShardLease) -> bool {
        match self.making.get() {
            Some(run) => {
                run.work.is_ready_for(lease)
                    && run.models.iter().all(|model| model.provider.is_ok())
            }
            None => self.lease.planned == lease.planned && self.lease.settled >= lease.settled,
        }
    }
}

impl PreparedRuns {
    pub(crate) fn new(
        pool: PgPool,
        governors: Arc<Governors>,
        http: HttpClient,
        master_key: Arc<MasterKey>,
        settings: WorkerSettings,
    ) -> Self {
        Self {
            pool,
            governors,
            http,
            master_key,
            settings,
            computing: Computing::patient(COMPUTING),
            known: Mutex::default(),
        }
    }

    /// Returns the prepared run of a lease, and prepares it if necessary.
    ///
    /// # Errors
    /// The database does not respond, or stored data does not compile.
    pub(crate) async fn prepare(&self, lease: &ShardLease) -> anyhow::Result<Arc<PreparedRun>> {
        let (making, places) = self.known_run(lease);
        // The shards of a new run wait here for the first of them.
        let ready = making
            .get_or_try_init(|| self.take_up(lease.run_id, &places))
            .await?;
        if let Some(run) = self.lock().get_mut(&lease.run_id) {
            run.ready = Some(Arc::clone(ready));
        }
        Ok(Arc::clone(ready))
    }

    /// Describes what keeps the calls of a run waiting, if anything.
    pub(crate) fn obstacle(&self, run_id: Uuid) -> Option<String> {
        let run = self.lock().get(&run_id)?.ready.clone()?;
        run.models
            .iter()
            .find_map(|model| model.governor.obstacle())
    }

    /// Evicts the least recently used runs that are idle.
    pub(crate) fn forget_idle(&self, at_work: &HashSet<Uuid>) {
        let mut known = self.lock();
        let idle = |id: &Uuid| !at_work.contains(id);
        let mut used: Vec<Instant> = known
            .iter()
            .filter(|(id, _)| idle(id))
            .map(|(_, run)| run.used_at)
            .collect();
        if used.len() <= KEPT {
            return;
        }
        used.sort_unstable_by(|one, other| other.cmp(one));
        let oldest = used[KEPT - 1];
        known.retain(|id, run| !idle(id) || run.used_at >= oldest);
    }

    /// Returns the cell in which the run of a lease is prepared.
    fn known_run(&self, lease: &ShardLease) -> (Arc<OnceCell<Arc<PreparedRun>>>, Places) {
        let mut known = self.lock();
        let run = known
            .entry(lease.run_id)
            .or_insert_with(|| KnownRun::new(*lease));
        if !run.serves(lease) {
            run.making = Arc::default();
            run.lease = *lease;
        }
        run.used_at = Instant::now();
        (Arc::clone(&run.making), Arc::clone(&run.places))
    }

    async fn take_up(&self, run_id: Uuid, places: &Places) -> anyhow::Result<Arc<PreparedRun>> {
        let work = {
            let mut conn = self.pool.acquire().await?;
            Arc::new(load_work(&mut conn, run_id).await?)
        };
        // Limits that were declared before the run was submitted must apply to its first call.
        refresh_limits(&self.pool, &self.governors).await?;
        tracing::info!(
            run.id = %run_id,
            request.id = work.request_id.map(tracing::field::display),
            "loaded run {run_id}"
        );
        let compiled = {
            let work = Arc::clone(&work);
            let owner = Asker::User(work.owner_id);
            let compile = move || Compiled::of(&work);
            self.computing.run(owner, compile).await??
        };
        Ok(Arc::new(self.assemble(work, compiled, places)))
    }

    fn assemble(&self, work: Arc<RunWork>, compiled: Compiled, places: &Places) -> PreparedRun {
        let places_at = |provider_id: Uuid| -> Option<Arc<Semaphore>> {
            let calls = usize::try_from(work.concurrency?).ok()?;
            let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
            let places = places.entry(provider_id);
            Some(Arc::clone(
                places.or_insert_with(|| Arc::new(Semaphore::new(calls))),
            ))
        };
        let models = work.models.iter().map(|model| {
            let places = places_at(model.provider.id);
            self.model(&work, model, places)
        });
        let models = models.collect();
        PreparedRun {
            computing: self.computing.clone(),
            caller: Caller {
                owner_id: work.owner_id,
                weight: f64::from(work.priority).exp2(),
            },
            prompts: compiled.prompts,
            models,
            scorers: Arc::new(compiled.scorers),
            max_attempts: self.settings.max_attempts,
            work,
        }
    }

    fn model(
        &self,
        work: &RunWork,
        model: &RunModel,
        places: Option<Arc<Semaphore>>,
    ) -> PreparedModel {
        let owner_id = (!model.provider.kind.is_remote()).then_some(work.owner_id);
        let (provider_name, name) = (model.provider.name.as_str(), model.name.as_str());
        let governor = self
            .governors
            .of(model.provider.id, provider_name, name, owner_id);
        governor.begin_with(work.concurrency, model.learned);
        self.governors
            .set_marked(model.provider.id, model.provider.has_answered);
        let is_free = model.price.is_some_and(Price::is_free);
        let bounded =
            !work.budgeted || is_free || (model.price.is_some() && model.output_limit.is_some());
        let provider = if bounded {
            self.provider(model, &governor)
        } else {
            Err(
                "the cost of its calls can no longer be bounded, and the run has a budget"
                    .to_owned(),
            )
        };
        PreparedModel {
            provider,
            governor,
            places,
            price: model.price,
            output_limit: model.output_limit,
            image_tokens: usize::try_from(model.image_tokens).unwrap_or(0),
            parameters_bytes: paid_bytes(&model.parameters),
            answer_keys: AnswerKeys::new(work, model),
            labels: METRICS.model(provider_name, name),
            names: ModelNames::new(model),
        }
    }

    fn provider(
        &self,
        model: &RunModel,
        governor: &Arc<Governor>,
    ) -> Result<Arc<dyn Provider>, String> {
        let http = self.http.observed(Arc::<Governor>::clone(governor));
        providers::provider(model, &http, &self.master_key, &self.settings)
            .map_err(|error| format!("{error:#}"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, KnownRun>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts that take time to compile.
struct Compiled {
    prompts: Vec<CompiledPrompt>,
    scorers: Scorers,
}

impl Compiled {
    fn of(work: &RunWork) -> anyhow::Result<Self> {
        let prompts = work
            .prompts
            .iter()
            .map(|prompt| {
                let compiled = CompiledPrompt::compile(&prompt.body)?;
                Ok(compiled.with_defaults(prompt.defaults.clone()))
            })
            .collect::<Result<_, TemplateError>>();
        Ok(Self {
            prompts: prompts.context("a stored prompt does not compile")?,
            scorers: Scorers::compile(&work.scorers).context("a stored scorer does not compile")?,
        })
    }
}

/// The bytes of the parameters that may cost tokens. For tools and schemas, providers add instructions of their own.
fn paid_bytes(parameters: &Map<String, Value>) -> usize {
    let instructed = ["tools", "toolConfig", "response_format", "output_config"]
        .iter()
        .any(|name| parameters.contains_key(*name));
    let sent = serde_json::to_string(parameters).map_or(0, |text| text.len());
    sent + if instructed { INSTRUCTIONS_TOKENS } else { 0 }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use opb_testing::{TestDatabase, fixtures};
    use serde_json::json;

    use super::*;
    use crate::governor::GovernorSettings;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        worker: WorkerSettings,
    }

    fn prepared_runs(db: &TestDatabase) -> PreparedRuns {
        let settings = Program::parse_from(["worker"]).worker;
        let governors = Governors::new(GovernorSettings {
            max: 1,
            patience: std::time::Duration::ZERO,
            first_patience: std::time::Duration::ZERO,
            worker_id: Uuid::nil(),
            pool: db.pool.clone(),
        });
        let key = MasterKey::parse(&"5HI046TDhlz9GPdphmEzct2oXt2uPVenx8i3oJ0AJD8=".into());
        let http = HttpClient::new(&settings).unwrap();
        PreparedRuns::new(
            db.pool.clone(),
            Arc::new(governors),
            http,
            Arc::new(key.unwrap()),
            settings,
        )
    }

    async fn lease(db: &TestDatabase, run: Uuid) -> ShardLease {
        let conn = &mut db.pool.acquire().await.unwrap();
        let shard = sqlx::query_scalar("select id from shards where run_id = $1 limit 1")
            .bind(run)
            .fetch_one(&mut **conn)
            .await
            .unwrap();
        fixtures::claim(conn, shard).await.unwrap()
    }

    /// The first run is being prepared forever, as if its scorers never finished compiling.
    #[tokio::test]
    async fn a_run_that_is_slow_to_be_made_ready_delays_no_other() {
        let db = TestDatabase::new().await;
        let conn = &mut db.pool.acquire().await.unwrap();
        let owner = fixtures::library(conn, 2).await;
        let mut leases = Vec::new();
        for _ in 0..2 {
            let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
            leases.push(lease(&db, run.id).await);
        }
        let runs = prepared_runs(&db);
        let slow = runs.known_run(&leases[0]).0;
        let mut making = Box::pin(slow.get_or_try_init(std::future::pending::<anyhow::Result<_>>));
        assert!(futures::poll!(&mut making).is_pending());
        let quick = runs.prepare(&leases[1]).await.unwrap();
        assert_eq!(quick.work.run_id, leases[1].run_id);
        let again = runs.prepare(&leases[1]).await.unwrap();
        assert!(Arc::ptr_eq(&quick, &again), "it is made ready once");
        assert_eq!(runs.obstacle(leases[0].run_id), None);

        // The shards of the slow run wait for it, and take over when the first of them gives up.
        let mut waiting = Box::pin(runs.prepare(&leases[0]));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(making);
        assert_eq!(waiting.await.unwrap().work.run_id, leases[0].run_id);
    }

    #[tokio::test]
    async fn runs_at_work_stay_known_however_many_others_there_are() {
        let db = TestDatabase::new().await;
        let conn = &mut db.pool.acquire().await.unwrap();
        let owner = fixtures::library(conn, 1).await;
        let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
        let runs = prepared_runs(&db);
        let lease = lease(&db, run.id).await;
        runs.prepare(&lease).await.unwrap();
        for number in 0..100 {
            let other = ShardLease {
                run_id: Uuid::from_u128(number),
                ..lease
            };
            runs.known_run(&other);
        }
        runs.forget_idle(&HashSet::from([lease.run_id]));
        let known = runs.lock();
        assert_eq!(known.len(), KEPT + 1);
        assert!(known[&lease.run_id].ready.is_some());
    }
}
