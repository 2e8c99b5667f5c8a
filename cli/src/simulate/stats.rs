//! Counters of the simulated server: relaxed atomics, since they only grow and order nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use opb_worker::simulation::Fault;
use serde_json::{Value, json};

/// The statuses that this server sends.
const STATUSES: [u16; 11] = [200, 400, 401, 404, 405, 408, 413, 429, 500, 503, 529];

/// Counts since the server's start.
#[derive(Default)]
pub(super) struct Stats {
    /// Requests of any kind.
    requests: AtomicU64,
    /// Calls of a model; also the index of the next fault.
    model_calls: AtomicU64,
    by_status: [AtomicU64; STATUSES.len()],
    by_fault: [AtomicU64; Fault::ALL.len()],
    open_connections: AtomicU64,
}

impl Stats {
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call of a model and returns its index.
    pub(super) fn count_model_call(&self) -> u64 {
        self.model_calls.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn count_status(&self, status: StatusCode) {
        if let Some(place) = STATUSES.iter().position(|known| *known == status.as_u16()) {
            self.by_status[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_fault(&self, fault: Fault) {
        self.by_fault[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn open_connection(&self) -> OpenConnection<'_> {
        self.open_connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self)
    }

    pub(super) fn to_json(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let by_status: BTreeMap<String, u64> = STATUSES
            .iter()
            .zip(&self.by_status)
            .map(|(status, count)| (status.to_string(), read(count)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let by_fault: BTreeMap<&str, u64> = Fault::ALL
            .iter()
            .zip(&self.by_fault)
            .map(|(fault, count)| (fault.name(), read(count)))
            .filter(|(_, count)| *count > 0)
            .collect();
        json!({
            "simulated": true,
            "requests": read(&self.requests),
            "model_calls": read(&self.model_calls),
            "by_status": by_status,
            "by_fault": by_fault,
            "open_connections": read(&self.open_connections),
        })
    }
}

/// A connection that is counted as open until this is dropped.
pub(super) struct OpenConnection<'a>(&'a Stats);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}
