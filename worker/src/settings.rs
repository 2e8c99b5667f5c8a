//! The settings of a worker.

use std::{sync::Arc, time::Duration};

use clap::Args;
use opb_core::{models::OperatorKeys, outbound::OutboundPolicy};

/// Settings of a worker.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerSettings {
    /// Maximum number of concurrent calls of this process to a provider
    #[arg(long, env = "OPB_CONCURRENCY", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,
    /// Maximum number of shards that this process works on
    #[arg(long, env = "OPB_SHARDS", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub shards: u32,
    /// Maximum number of attempts at one model call; waiting for a rate limit is not an attempt
    #[arg(long, env = "OPB_MAX_ATTEMPTS", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_attempts: u32,
    /// Time limit of a model call in seconds; providers and models may have another (opb provider limits --call-timeout)
    #[arg(long, env = "OPB_CALL_TIMEOUT", value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub call_timeout: u64,
    /// Minutes that runs wait for a model that does not answer, before its evaluations are recorded as errors
    #[arg(long, env = "OPB_PATIENCE", value_name = "MINUTES", default_value_t = 240, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub patience: u64,
    /// The same for a provider that has never answered at its address, which may be mistyped; at most `OPB_PATIENCE`
    #[arg(long, env = "OPB_FIRST_PATIENCE", value_name = "MINUTES", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub first_patience: u64,
    /// Seconds after which the work of a worker that does not report is given to another
    #[arg(long, env = "OPB_LEASE", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub lease: u64,
    /// Seconds that calls in flight get to finish after SIGTERM
    #[arg(long, env = "OPB_GRACE", value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub grace: u64,
    /// The operator's own credentials.
    #[command(flatten)]
    pub operator_keys: OperatorKeys,
    /// The policy for outbound connections; only the public internet unless the operator allows more.
    #[arg(skip)]
    pub outbound: Arc<OutboundPolicy>,
}

impl WorkerSettings {
    pub(crate) fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease)
    }
}
