//! Metrics of the connection pools to Postgres, read on each scrape.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{
    IntCounter, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use sqlx::PgPool;

/// The pools of this process, by the name that Postgres also shows.
#[derive(Clone)]
pub(super) struct Pools {
    watched: Arc<Mutex<BTreeMap<String, PgPool>>>,
    connections: IntGaugeVec,
    most: IntGaugeVec,
    pub(super) replica_fallbacks: IntCounter,
}

impl Pools {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            watched: Arc::default(),
            connections: IntGaugeVec::new(
                Opts::new(
                    "opb_database_pool_connections",
                    "Connections to Postgres that a pool holds, in use or idle",
                ),
                &["pool", "state"],
            )?,
            most: IntGaugeVec::new(
                Opts::new(
                    "opb_database_pool_connections_max",
                    "The most connections that a pool opens",
                ),
                &["pool"],
            )?,
            replica_fallbacks: IntCounter::new(
                "opb_replica_fallbacks_total",
                "Reads that went to the primary because the replica could not be used",
            )?,
        })
    }

    pub(super) fn watch(&self, name: &str, pool: &PgPool) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.insert(name.to_owned(), pool.clone());
    }
}

impl Collector for Pools {
    fn desc(&self) -> Vec<&Desc> {
        let fallbacks = self.replica_fallbacks.desc();
        [self.connections.desc(), self.most.desc(), fallbacks].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.connections.reset();
        self.most.reset();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, pool| !pool.is_closed());
        for (name, pool) in watched.iter() {
            let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
            let set = |state, count| {
                self.connections
                    .with_label_values(&[name.as_str(), state])
                    .set(count);
            };
            set("idle", idle);
            // Not negative, although the two numbers are read one after the other.
            set("used", (i64::from(pool.size()) - idle).max(0));
            self.most
                .with_label_values(&[name])
                .set(pool.options().get_max_connections().into());
        }
        drop(watched);
        let fallbacks = self.replica_fallbacks.collect();
        [self.connections.collect(), self.most.collect(), fallbacks].concat()
    }
}
