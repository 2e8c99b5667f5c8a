//! Runs: from the request to the last recorded evaluation.
//!
//! In the order of their life: `check` knows what a request may ask for, `rules` who may spend, and `submit` inserts it;
//! `plan` and `cut` make shards of it, `fair_share` chooses whose shard is next, `lease` keeps it with one worker, `work`
//! tells the worker what to do, `record` keeps results exactly once and `counts` adds them up. How a run ends is a room of
//! its own (`finishing`). `rescue` takes back what a crashed worker held, and `lost_jobs` enqueues again what the queue has
//! lost.
//!
//! On the way, `control` pauses and resumes, `budget` and `quota` keep it from spending too much, `early` from asking what
//! changes nothing, and `cancel` ends it. `backlog` tells operators what waits, `waiting` a run's owner why, `announce` the
//! owner's webhooks what happened, and `bells` whoever follows.
//!
//! Afterwards, `retry` makes its failed evaluations anew, `extend` lets it grow, and `rescore` scores its answers by other
//! scorers; `answers` finds what need not be asked again. `reference` finds a run by the names that people use for it, and
//! `evaluations` reads its results one by one. At last, `prune` forgets the texts, and `delete` the whole run.
//!
//! `visibility` keeps a run as narrow as its parts, `hidden` stops one whose owner lost sight of a part, and `change` lets
//! its owner change that, or its budget. Before all of it, `estimate` says what it will need.

mod announce;
mod answers;
mod backlog;
mod bells;
mod budget;
mod cancel;
mod change;
mod check;
mod control;
mod counts;
mod cut;
mod delete;
mod early;
mod erase;
mod estimate;
mod evaluations;
mod extend;
mod fair_share;
mod hidden;
mod insert;
mod lease;
mod logprobs;
mod lost_jobs;
mod overfull;
mod plan;
mod prune;
mod quota;
mod read;
mod record;
mod reference;
mod rescore;
mod rescue;
mod retry;
mod rules;
mod submit;
mod visibility;
mod waiting;
mod work;

pub(crate) use announce::announce_run;
pub use answers::{Answer, AnswerKey, answers_of, kept_answers};
pub use backlog::{Backlog, read_backlog};
pub(crate) use bells::tell;
pub use bells::{DOORBELL, RECALL_DOORBELL, WORKERS_DOORBELL};
pub use budget::{
    ANTHROPIC_MAX_TOKENS, Reserved, Settlement, cost_bound_microusd, image_limit, output_limit,
    reserve,
};
pub use cancel::cancel_run;
pub use change::{UpdateRun, update_run};
pub(crate) use control::PauseReason;
pub use control::{pause_run, resume_run};
pub use counts::note_skipped;
pub use cut::plan_run;
pub use delete::delete_run;
pub(crate) use delete::erase_deleted_runs;
pub(crate) use early::early_remark;
pub(crate) use erase::erase_private_runs;
pub use estimate::{Basis, Estimate, EstimatedColumn, Interval, Prospect, find_prospect};
pub use evaluations::{
    Evaluation, EvaluationFilter, EvaluationPage, EvaluationState, list_evaluations,
};
pub(crate) use extend::load_shape;
pub use extend::{ExtendRun, extend_run};
pub use fair_share::{claim_shard, run_to_give_way};
pub(crate) use hidden::pause_hidden;
pub use insert::find_refused;
pub use lease::{HeldLease, ShardLease, finish_shard, release_shard, renew_lease};
pub use logprobs::{Alternative, Logprobs, TokenLogprob};
pub(crate) use lost_jobs::enqueue_lost_jobs;
pub(crate) use overfull::pause_overfull;
pub use plan::{EvaluationKey, RunShape, ShardRange};
pub use prune::{Prunable, enqueue_pruning, next_prunable, prunable, prune_run};
pub use quota::set_quota;
pub use read::{Run, RunState, find_readable_run, find_run, list_runs};
pub use record::{
    EvaluationError, EvaluationOutcome, NewEvaluation, Recorded, ScoredLine, add_spend, record,
    record_last,
};
pub use reference::{RunReference, resolve_readable_run, resolve_run};
pub use rescore::{RescoreRun, rescore_run};
pub(crate) use rescue::rescue_expired_leases;
pub use retry::retry_run;
pub(crate) use rules::check_spender;
pub use rules::{RunRules, check_request};
pub use submit::{SubmitRun, note_request, submit_run};
pub use waiting::report_waiting;
pub use work::{ProviderSettings, RunModel, RunPrompt, RunWork, load_work, recorded_keys};
