//! Runs: from the request to the last recorded evaluation.
//!
//! In the order of their life: `check` knows what a request may ask for, `submit` inserts it, `plan` cuts into shards, `owed` chooses whose shard is next,
//! `lease` keeps it with one worker, `work` tells the worker what to do, `record` keeps results exactly once, `finish` closes the run,
//! `housekeeping` mends what crashes left behind, and `backlog` tells operators what waits, `waiting` a run's owner why. On the way, `control` pauses
//! and resumes, `budget` and `quota` keep it from spending too much, `early` from asking what changes nothing, and `cancel` ends it;
//! afterwards, `retry` makes its failed evaluations anew, `extend` lets it grow, and
//! `rescore` scores its answers by other scorers. `answers` finds what need not be asked again;
//! at last, `prune` forgets the texts.
//! Before all of it, `estimate` says what it will need.

mod answers;
mod backlog;
mod budget;
mod cancel;
mod check;
mod control;
mod early;
mod erase;
mod estimate;
mod extend;
mod finish;
mod housekeeping;
mod insert;
mod lease;
mod logprobs;
mod owed;
mod plan;
mod prune;
mod quota;
mod read;
mod record;
mod rescore;
mod retry;
mod rules;
mod submit;
mod waiting;
mod work;

/// The channel on which Postgres tells that a run moved; the payload is the run's id.
pub const DOORBELL: &str = "opb_runs";

pub use answers::{Answer, AnswerKey, answers_of, kept_answers};
pub use backlog::{Backlog, read_backlog};
pub use budget::{
    ANTHROPIC_MAX_TOKENS, Reserved, Settlement, UpdateRun, cost_bound_microusd, image_limit,
    output_limit, reserve, update_run,
};
pub use cancel::cancel_run;
pub use control::{pause_run, resume_run};
pub(crate) use erase::erase_private_runs;
pub use estimate::{Basis, Estimate, EstimatedColumn, Interval, Prospect, find_prospect};
pub use extend::{ExtendRun, extend_run};
pub use finish::finish_run;
pub use housekeeping::{Mended, mend};
pub use lease::{HeldLease, ShardLease, claim_shard, finish_shard, release_shard, renew_lease};
pub use logprobs::{Alternative, Logprobs, TokenLogprob};
pub use owed::{claim_owed_shard, run_to_give_way};
pub use plan::{EvaluationKey, RunShape, ShardRange, shards};
pub use prune::{Prunable, prunable, prune_run};
pub use quota::{check_quota, set_quota};
pub use read::{Evaluation, Run, RunState, find_run, list_evaluations, list_runs};
pub use record::{NewEvaluation, Recorded, ScoredLine, add_spend, record, record_last};
pub use rescore::{RescoreRun, rescore_run};
pub use retry::retry_run;
pub use rules::{RunRules, check_request, submit_under_rules};
pub use submit::{SubmitRun, note_request, submit_run};
pub use waiting::report_waiting;
pub use work::{ProviderSettings, RunModel, RunPrompt, RunWork, load_work, recorded_keys};
