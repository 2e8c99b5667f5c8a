//! One governor for each model of each provider, and the limits that are declared for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opb_core::{
    metrics::METRICS,
    models::{LimitKey, LoadedLimits},
};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Breaker, FIRST_BOUND, FIRST_OUTPUT_TOKENS, FairQueue, Governor, State};
use crate::{limits::Limit, providers::CallErrorKind};

/// What all governors of a process share.
pub(crate) struct GovernorSettings {
    /// The most calls to one provider at once.
    pub(crate) max: u32,
    /// How long a run is made to wait for a model that does not answer.
    pub(crate) patience: Duration,
    /// This process, for shares of concurrent calls.
    pub(crate) worker_id: Uuid,
    /// Where slices of declared limits are taken.
    pub(crate) pool: PgPool,
}

/// One governor for each model, by its provider and name.
pub(crate) struct Governors {
    settings: GovernorSettings,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    governors: HashMap<(Uuid, String), Arc<Governor>>,
    providers: HashMap<Uuid, Arc<Semaphore>>,
    limits: HashMap<LimitKey, Arc<Limit>>,
}

impl Governors {
    pub(crate) fn new(settings: GovernorSettings) -> Self {
        Self {
            settings,
            known: Mutex::default(),
        }
    }

    /// The governor of a model.
    pub(crate) fn of(&self, provider_id: Uuid, provider: &str, model: &str) -> Arc<Governor> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (provider_id, model.to_owned());
        if let Some(governor) = known.governors.get(&key) {
            return Arc::clone(governor);
        }
        let max = usize::try_from(self.settings.max).unwrap_or(usize::MAX);
        let whole = known
            .providers
            .entry(provider_id)
            .or_insert_with(|| Arc::new(Semaphore::new(max)));
        let governor = Arc::new(Governor::new(
            provider,
            model,
            &self.settings,
            Arc::clone(whole),
        ));
        governor.declare(known.limits_of(provider_id, model));
        known.governors.insert(key, Arc::clone(&governor));
        governor
    }

    /// Heeds the limits that are declared now.
    pub(crate) fn declare(&self, declared: Vec<LoadedLimits>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if declared.is_empty() && known.limits.is_empty() {
            return;
        }
        let mut earlier = std::mem::take(&mut known.limits);
        for loaded in declared {
            let key = loaded.key.clone();
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
        for ((provider_id, model), governor) in &known.governors {
            governor.declare(known.limits_of(*provider_id, model));
        }
    }

    /// Every limit that is heeded.
    pub(crate) fn limits(&self) -> Vec<Arc<Limit>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.limits.values().map(Arc::clone).collect()
    }
}

impl Known {
    /// The limits of a model and of its provider. The narrower one comes first: what waits there does not take of the
    /// other.
    fn limits_of(&self, provider_id: Uuid, model: &str) -> Vec<Arc<Limit>> {
        let keys = [Some(model.to_owned()), None].map(|model| LimitKey { provider_id, model });
        keys.iter()
            .filter_map(|key| self.limits.get(key).map(Arc::clone))
            .collect()
    }
}

impl Governor {
    pub(super) fn new(
        provider: &str,
        model: &str,
        settings: &GovernorSettings,
        whole: Arc<Semaphore>,
    ) -> Self {
        let max = f64::from(settings.max);
        let governor = Self {
            subject: format!("{provider}:{model}"),
            labels: METRICS.model(provider, model),
            max,
            patience: settings.patience,
            state: Mutex::new(State {
                bound: 0.0,
                held: 0,
                entering: 0,
                doubling: true,
                round: 0,
                paused_until: None,
                breaker: Breaker::new(),
                last_failure: CallErrorKind::Connect,
                pace: None,
                limits: Vec::new(),
                queue: FairQueue::new(),
                alarm: None,
                output_tokens: FIRST_OUTPUT_TOKENS,
            }),
            whole,
        };
        governor.set_bound(&mut governor.lock(), FIRST_BOUND.min(max));
        governor.publish_breaker(false);
        governor
    }
}
