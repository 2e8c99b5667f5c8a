//! The governors, one for each model of each provider, and the declared limits for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opb_core::{
    metrics::METRICS,
    models::{LearnedModel, LimitKey, LoadedLimits},
};
use sqlx::PgPool;
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use super::{Bound, Breaker, FIRST_OUTPUT_TOKENS, FairQueue, Governor, State};
use crate::{limits::Limit, providers::CallErrorKind};

/// The settings shared by all governors of a process.
pub(crate) struct GovernorSettings {
    /// Maximum number of concurrent calls to one provider.
    pub(crate) max: u32,
    /// How long a run waits for a model that does not respond.
    pub(crate) patience: Duration,
    /// The same for a provider that has never responded; not longer.
    pub(crate) first_patience: Duration,
    /// This process, for its shares of concurrent calls.
    pub(crate) worker_id: Uuid,
    /// The database, for slices of declared limits.
    pub(crate) pool: PgPool,
}

/// The governors by provider and model.
pub(crate) struct Governors {
    settings: GovernorSettings,
    known: Mutex<Known>,
}

/// Identifies a governor: by a provider's model; for models that are not really called, also by owner, so that no owner
/// waits for the simulated responses of others.
#[derive(PartialEq, Eq, Hash)]
struct GovernorKey {
    provider_id: Uuid,
    model: String,
    owner_id: Option<i64>,
}

#[derive(Default)]
struct Known {
    governors: HashMap<GovernorKey, Arc<Governor>>,
    providers: HashMap<Uuid, Arc<Shared>>,
    limits: HashMap<LimitKey, Arc<Limit>>,
    call_timeouts: HashMap<LimitKey, Duration>,
}

/// State shared by the models of one provider.
pub(super) struct Shared {
    /// Bounds the calls to all of them.
    pub(super) whole: Arc<Semaphore>,
    /// Whether any process has received an HTTP response from its current address.
    pub(super) has_answered: AtomicBool,
    /// Whether that is stored in the database.
    is_marked: AtomicBool,
}

impl Shared {
    fn new(max: u32) -> Self {
        Self {
            whole: Arc::new(Semaphore::new(usize::try_from(max).unwrap_or(usize::MAX))),
            has_answered: AtomicBool::new(false),
            is_marked: AtomicBool::new(false),
        }
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Sets the value from the database.
    fn set_marked(&self, has_answered: bool) {
        self.has_answered.store(has_answered, Ordering::Relaxed);
        self.is_marked.store(has_answered, Ordering::Relaxed);
    }
}

impl Governors {
    pub(crate) fn new(settings: GovernorSettings) -> Self {
        Self {
            settings,
            known: Mutex::default(),
        }
    }

    /// Returns the governor of a model, or of a model for one owner.
    pub(crate) fn of(
        &self,
        provider_id: Uuid,
        provider: &str,
        model: &str,
        owner_id: Option<i64>,
    ) -> Arc<Governor> {
        let mut known = self.lock();
        let key = GovernorKey {
            provider_id,
            model: model.to_owned(),
            owner_id,
        };
        if let Some(governor) = known.governors.get(&key) {
            return Arc::clone(governor);
        }
        let shared = || Arc::new(Shared::new(self.settings.max));
        let shared = match owner_id {
            Some(_) => shared(),
            None => Arc::clone(known.providers.entry(provider_id).or_insert_with(shared)),
        };
        let governor = Arc::new(Governor::new(provider, model, &self.settings, shared));
        known.declare_to(&governor, provider_id, model);
        known.governors.insert(key, Arc::clone(&governor));
        governor
    }

    /// Returns the learned numbers of concurrent calls that changed since the last time, without those of simulated models.
    pub(crate) fn take_learned(&self) -> Vec<LearnedModel> {
        let known = self.lock();
        let called = known
            .governors
            .iter()
            .filter(|(key, _)| key.owner_id.is_none());
        called
            .filter_map(|(key, governor)| {
                Some(LearnedModel {
                    provider_id: key.provider_id,
                    model: key.model.clone(),
                    learned: governor.take_learned()?,
                })
            })
            .collect()
    }

    /// Returns the providers that have responded, if that is not stored in the database yet.
    pub(crate) fn unmarked(&self) -> Vec<Uuid> {
        self.providers_where(|shared| {
            shared.has_answered() && !shared.is_marked.load(Ordering::Relaxed)
        })
    }

    /// Returns the providers that have never responded, as far as this process knows.
    pub(crate) fn unanswered(&self) -> Vec<Uuid> {
        self.providers_where(|shared| !shared.has_answered())
    }

    /// Sets a provider's value from the database: a change of its address resets it.
    pub(crate) fn set_marked(&self, provider_id: Uuid, has_answered: bool) {
        if let Some(shared) = self.lock().providers.get(&provider_id) {
            shared.set_marked(has_answered);
        }
    }

    fn providers_where(&self, holds: impl Fn(&Shared) -> bool) -> Vec<Uuid> {
        let known = self.lock();
        let found = known.providers.iter().filter(|(_, shared)| holds(shared));
        found.map(|(id, _)| *id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the declared limits.
    pub(crate) fn declare(&self, declared: Vec<LoadedLimits>) {
        let mut known = self.lock();
        if declared.is_empty() && known.limits.is_empty() && known.call_timeouts.is_empty() {
            return;
        }
        known.call_timeouts.clear();
        let mut earlier = std::mem::take(&mut known.limits);
        for mut loaded in declared {
            let key = loaded.key.clone();
            if let Some(seconds) = loaded.limits.call_timeout_seconds.take() {
                let timeout = Duration::from_secs(u64::from(seconds.unsigned_abs()));
                known.call_timeouts.insert(key.clone(), timeout);
            }
            // The rest is what calls have to pass.
            if loaded.limits.is_none() {
                continue;
            }
            let limit = match earlier.remove(&key) {
                Some(limit) => {
                    limit.declare(loaded.limits);
                    limit
                }
                None => Arc::new(Limit::new(
                    loaded,
                    self.settings.worker_id,
                    self.settings.pool.clone(),
                )),
            };
            known.limits.insert(key, limit);
        }
        for (key, governor) in &known.governors {
            known.declare_to(governor, key.provider_id, &key.model);
        }
    }

    /// Returns all declared limits.
    pub(crate) fn limits(&self) -> Vec<Arc<Limit>> {
        let known = self.lock();
        known.limits.values().map(Arc::clone).collect()
    }
}

impl Known {
    /// Declares to a governor the limits of its model and of its provider. The model's come first: a call that waits there
    /// does not consume the provider's.
    fn declare_to(&self, governor: &Arc<Governor>, provider_id: Uuid, model: &str) {
        let keys = [Some(model.to_owned()), None].map(|model| LimitKey { provider_id, model });
        let limits = keys.iter().filter_map(|key| self.limits.get(key));
        let call_timeout = keys.iter().find_map(|key| self.call_timeouts.get(key));
        governor.declare(limits.map(Arc::clone).collect(), call_timeout.copied());
    }
}

impl Governor {
    pub(super) fn new(
        provider: &str,
        model: &str,
        settings: &GovernorSettings,
        shared: Arc<Shared>,
    ) -> Self {
        let governor = Self {
            subject: format!("{provider}:{model}"),
            labels: METRICS.model(provider, model),
            started: Instant::now(),
            patience: settings.patience,
            first_patience: settings.first_patience,
            state: Mutex::new(State {
                bound: Bound::new(f64::from(settings.max)),
                published: 0,
                held: 0,
                entering: 0,
                paused_until: None,
                breaker: Breaker::new(),
                last_failure: CallErrorKind::Connect,
                pace: None,
                learned: None,
                limits: Vec::new(),
                call_timeout: None,
                queue: FairQueue::new(),
                alarm: None,
                output_tokens: FIRST_OUTPUT_TOKENS,
            }),
            provider: shared,
        };
        governor.publish_number(&mut governor.lock());
        governor.publish_breaker(false);
        governor
    }
}
