//! Runs: from the request to the last recorded evaluation.
//!
//! In the order of their life: `check` validates a request, `rules` decides who may spend, and `submit` inserts the
//! run; `plan` and `cut` divide it into shards, `fair_share` chooses the next shard, `lease` assigns it to one worker,
//! `work` loads the worker's data, `record` stores results exactly once, and `counts` adds them up. `finishing`, a
//! module of its own, ends the run. `rescue` makes the shards of crashed workers available again, and `lost_jobs`
//! enqueues lost jobs again.
//!
//! Meanwhile, `control` pauses and resumes, `budget` and `quota` limit the spend, `early` skips what cannot change the
//! order, and `cancel` ends the run. `backlog` reports waiting work to operators, `waiting` the reasons to the run's
//! owner, `announce` notifies the owner's webhooks, and `bells` the clients that follow the run.
//!
//! Afterwards, `retry` repeats its failed evaluations, `extend` adds to it, and `rescore` rescores its responses with
//! other scorers; `answers` looks up cached responses. `reference` finds a run by its number or id, and `evaluations`
//! reads its results. Finally, `prune` deletes the texts, and `delete` the whole run.
//!
//! `visibility` keeps a run as narrow as its parts, `hidden` pauses a run whose owner may no longer see a part, and
//! `change` lets its owner change visibility and budget. Before all of it, `estimate` predicts calls, cost and time.

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
