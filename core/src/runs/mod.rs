//! Runs: from the request to the last recorded evaluation.
//!
//! In the order of their life: `submit` checks and inserts, `plan` cuts into shards, `lease` hands a shard to one
//! worker, `work` tells the worker what to do, `record` keeps results exactly once, `finish` closes the run,
//! `housekeeping` mends what crashes left behind. On the way, `control` pauses and resumes, and `cancel` ends it early.

mod cancel;
mod control;
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

pub use cancel::cancel_run;
pub use control::{pause_run, resume_run};
pub use finish::finish_run;
pub use housekeeping::{Mended, mend};
pub use lease::{HeldLease, ShardLease, claim_shard, finish_shard, release_shard, renew_lease};
pub use plan::{EvaluationKey, RunShape, ShardRange, shards};
pub use read::{Evaluation, Run, RunState, find_run, list_evaluations, list_runs};
pub use record::{NewEvaluation, Recorded, ScoredLine, add_spend, record};
pub use submit::{SubmitRun, submit_run};
pub use work::{ProviderSettings, RunModel, RunWork, load_work, recorded_keys};
