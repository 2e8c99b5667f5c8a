//! Leaderboards: standings are computed when a run completes, and only read when a page shows them.
//!
//! A standing is one prompt version on one model. Its score is the mean of the scored evaluations; evaluations that
//! ended in an error are counted separately, because a provider's failure says nothing about the quality of a prompt.
//!
//! `figures` lists the numbers of a column, `summary` summarises columns, `blocks` does so while a run goes on,
//! `refresh` decides when, and `write` stores the results.
//! `audience` selects the board, `renew` builds a board from the results, `size` limits it, `ranking` compares its
//! lines, and `hidden` excludes columns. `board` reads one benchmark's
//! standings and `placing` ranks them, `effects` splits them into effects of prompts and of models, `overall` reads
//! across benchmarks, and `history` reads the courses over time.
//! Real and simulated standings must never mix in any of them.

mod audience;
mod blocks;
mod board;
mod effects;
mod figures;
mod hidden;
mod history;
mod overall;
mod placing;
mod ranking;
mod refresh;
mod renew;
mod size;
mod standing;
mod summary;
mod write;

#[cfg(test)]
mod tests;

pub use self::audience::BoardKind;
pub(crate) use self::blocks::{ColumnKey, summarise_run};
pub(crate) use self::board::only_simulated_in_public;
pub use self::board::{BoardFilter, Leaderboard, load_leaderboard};
pub use self::effects::{Effect, LeaderboardEffects, load_effects};
pub use self::figures::Figures;
pub use self::hidden::{BoardColumn, HideStandings, hide_standings};
pub use self::history::{
    Course, CoursePoint, DriftPoint, HistoryFilter, LeaderboardHistory, ModelDrift, load_history,
};
pub use self::overall::{
    OverallBy, OverallEntry, OverallFilter, OverallLeaderboard, OverallMethod, load_overall,
};
pub use self::refresh::{Shown, refresh_open_runs};
pub(crate) use self::refresh::{forget_progress, lock_progress, update_standings};
pub use self::renew::{renew_small_boards, renew_stale_boards};
pub use self::standing::Standing;
pub(crate) use self::summary::Summary;

/// The confidence level of all intervals and comparisons.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// The Postgres channel for changes of boards; the payload is the benchmark version's id.
pub const DOORBELL: &str = "opb_leaderboards";
