//! Runs: from the request to the last recorded evaluation.
//!
//! In the order of their life: `submit` checks and inserts, `plan` cuts into shards, `lease` hands a shard to one
//! worker, `work` tells the worker what to do, `record` keeps results exactly once, `finish` closes the run,
//! `housekeeping` mends what crashes left behind. `backlog` tells operators what waits.

mod backlog;
mod cancel;
mod erase;
mod finish;
mod housekeeping;
mod lease;
mod plan;
mod read;
mod record;
mod submit;
mod work;

/// The channel on which Postgres tells that a run moved; the payload is the run's id.
pub const DOORBELL: &str = "opb_runs";

pub use backlog::{Backlog, read_backlog};
pub use cancel::cancel_run;
pub(crate) use erase::erase_private_runs;
pub use finish::finish_run;
pub use housekeeping::{Mended, mend};
pub use lease::{ShardLease, claim_shard, finish_shard, release_shard, renew_lease};
pub use plan::{EvaluationKey, RunShape, ShardRange, shards};
pub use read::{Evaluation, Run, RunState, find_run, list_evaluations, list_runs};
pub use record::{NewEvaluation, Recorded, ScoredLine, add_spend, record};
pub use submit::{SubmitRun, submit_run};
pub use work::{ProviderSettings, RunModel, RunPrompt, RunWork, load_work, recorded_keys};
