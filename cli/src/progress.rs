//! The progress of a run on standard error: a bar on a terminal, now and then a line elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use opb_core::runs::{Run, RunState};
use tokio::time::Instant;

use crate::text;

/// How often a line is printed where there is no terminal, unless the state changes.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows how far a run is.
pub struct Progress(Shown);

enum Shown {
    Bar(ProgressBar),
    Lines {
        state: Option<RunState>,
        next: Instant,
    },
    Nothing,
}

impl Progress {
    /// Progress as it fits standard error; `quiet` shows nothing but a bar on a terminal.
    pub fn new(run: &Run, quiet: bool) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(run.planned.unsigned_abs());
            let template = "{bar:32.cyan} {percent:>3} %  {human_pos}/{human_len}  {per_sec:.0}  {msg}  {eta} left";
            // A template that does not parse would cost the look, not the run.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━━─"));
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            return Self(Shown::Bar(bar));
        }
        Self(if quiet {
            Shown::Nothing
        } else {
            Shown::Lines {
                state: None,
                next: Instant::now(),
            }
        })
    }

    /// Shows the newest state.
    pub fn show(&mut self, run: &Run) {
        match &mut self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                // Events may overtake one another; a bar never goes back.
                let done = (run.recorded + run.skipped).unsigned_abs();
                let done = done.max(bar.position());
                bar.set_position(done);
                bar.set_message(remarks(run));
            }
            Shown::Lines { state, next } => {
                if *state == Some(run.state) && Instant::now() < *next {
                    return;
                }
                *state = Some(run.state);
                *next = Instant::now() + LINE_INTERVAL;
                eprintln!(
                    "{}: {} of {} evaluations, {}",
                    state_name(run.state),
                    text::count(run.recorded),
                    text::count(run.planned),
                    remarks(run)
                );
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The state in the words of the API.
pub fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Queued => "queued",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Finishing => "finishing",
        RunState::Completed => "completed",
        RunState::Cancelled => "cancelled",
        RunState::Failed => "failed",
    }
}

fn remarks(run: &Run) -> String {
    let errors = text::counted(run.errors, "error");
    let cost = text::run_cost(run);
    match &run.waiting_reason {
        Some(reason) => format!("{errors}, {cost}, waiting: {}", text::plain(reason)),
        None => format!("{errors}, {cost}"),
    }
}
