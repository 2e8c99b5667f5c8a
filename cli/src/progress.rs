//! The progress of a run on standard error: a bar on a terminal, a line now and then elsewhere.
//!
//! On a terminal no line is wider than the terminal, or each redraw would leave a remainder behind.

use std::{collections::VecDeque, io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use opb_core::runs::{Run, RunState};
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr as _;

use crate::{tables::layout::cut_end, text};

/// How often a line is printed without a terminal, unless the state changes.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// The time span of the displayed rate: older results say little about the remaining time.
const WINDOW: Duration = Duration::from_mins(1);
/// Time without a result after which this is reported.
const SILENCE: Duration = Duration::from_secs(10);
/// Minimum width of the bar, with the space after it.
const BAR: usize = 12;

/// Shows the progress of a run.
pub struct Progress {
    shown: Display,
    pace: Pace,
}

enum Display {
    Bar(ProgressBar),
    Lines {
        state: Option<RunState>,
        next: Instant,
    },
    Nothing,
}

/// The rate of results.
#[derive(Debug, Default)]
struct Pace {
    /// Number of results at several times, oldest first.
    seen: VecDeque<(Instant, i64)>,
    /// The time of the newest result.
    moved_at: Option<Instant>,
}

impl Progress {
    /// Progress for standard error; `quiet` shows nothing except a bar on a terminal.
    pub fn new(run: &Run, quiet: bool) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(run.planned.unsigned_abs());
            bar.enable_steady_tick(Duration::from_millis(100));
            Display::Bar(bar)
        } else if quiet {
            Display::Nothing
        } else {
            Display::Lines {
                state: None,
                next: Instant::now(),
            }
        };
        Self {
            shown,
            pace: Pace::default(),
        }
    }

    /// Shows the newest state.
    pub fn show(&mut self, run: &Run) {
        let now = Instant::now();
        self.pace.note(now, run.recorded + run.skipped);
        match &mut self.shown {
            Display::Nothing => {}
            Display::Bar(bar) => {
                // Events may arrive out of order; a bar never goes back.
                let done = (run.recorded + run.skipped).unsigned_abs();
                let width = terminal_size::terminal_size_of(std::io::stderr())
                    .map_or(80, |(width, _)| usize::from(width.0))
                    .max(20);
                let waits = waits(run, self.pace.silence(now));
                let template = if waits.is_some() {
                    "{wide_bar:.cyan} {prefix}\n{msg}"
                } else {
                    "{wide_bar:.cyan} {prefix}"
                };
                // An invalid template costs only the looks of the bar, not the run.
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("━━─"));
                }
                bar.set_prefix(numbers(run, self.pace.rate(now), width.saturating_sub(BAR)));
                // One column less: some terminals wrap after the last column.
                bar.set_message(cut_end(&waits.unwrap_or_default(), width - 1));
                bar.set_position(done.max(bar.position()));
            }
            Display::Lines { state, next } => {
                if *state == Some(run.state) && now < *next {
                    return;
                }
                *state = Some(run.state);
                *next = now + LINE_INTERVAL;
                let waits = waits(run, self.pace.silence(now));
                eprintln!(
                    "run #{} {}: {} of {} evaluations, {}, {}{}",
                    run.number,
                    state_name(run.state),
                    text::count(run.recorded),
                    text::count(run.planned),
                    text::counted(run.errors, "error"),
                    text::run_cost(run),
                    waits.map(|waits| format!(", {waits}")).unwrap_or_default()
                );
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Display::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Pace {
    fn note(&mut self, now: Instant, done: i64) {
        if self.seen.back().is_none_or(|(_, before)| *before < done) {
            self.moved_at = Some(now);
        }
        self.seen.push_back((now, done));
        while self.seen.len() > 2 && self.seen.get(1).is_some_and(|(at, _)| now - *at > WINDOW) {
            self.seen.pop_front();
        }
    }

    /// Time since the newest result.
    fn silence(&self, now: Instant) -> Duration {
        self.moved_at.map_or(Duration::ZERO, |at| now - at)
    }

    /// Number of results and the time span in seconds; `None` while there is too little data.
    fn rate(&self, now: Instant) -> Option<(i64, f64)> {
        let (at, before) = self.seen.front()?;
        let (_, done) = self.seen.back()?;
        let seconds = (now - *at).as_secs_f64();
        (done > before && seconds >= 1.0).then_some((done - before, seconds))
    }
}

/// The name of the state in the API.
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

/// The counts and what is left, most important first, as far as the width allows.
fn numbers(run: &Run, rate: Option<(i64, f64)>, width: usize) -> String {
    let done = run.recorded + run.skipped;
    let left = run.planned - done;
    let mut line = format!("{}/{}", text::count(done), text::count(run.planned));
    let mut parts = Vec::new();
    if run.errors > 0 {
        parts.push(text::counted(run.errors, "error"));
    }
    if let Some((results, seconds)) = rate
        && left > 0
    {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
        let (results, left) = (results as f64, left as f64);
        parts.push(format!("{} left", text::duration(left * seconds / results)));
        parts.push(text::rate(results, seconds));
    }
    parts.push(text::run_cost(run));
    for part in parts {
        if line.width() + 2 + part.width() <= width {
            line.push_str("  ");
            line.push_str(&part);
        }
    }
    line
}

/// The reason that the run waits, if it is known.
fn waits(run: &Run, silence: Duration) -> Option<String> {
    if let Some(reason) = &run.waiting_reason {
        return Some(format!("waiting: {}", text::plain(reason)));
    }
    if silence < SILENCE {
        return None;
    }
    let silence = text::duration(silence.as_secs_f64());
    let left = run.planned - run.recorded - run.skipped;
    match run.state {
        RunState::Queued => Some(format!(
            "no result for {silence}: no worker has started, or the first calls are still in flight"
        )),
        RunState::Running => Some(format!(
            "no result for {silence}: {} not answered yet",
            text::counted(left, "evaluation")
        )),
        RunState::Finishing => {
            Some("all evaluations are recorded; the result is being computed".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(recorded: i64, planned: i64) -> Run {
        let run = serde_json::json!({
            "id": "0190c5a4-0000-7000-8000-00000000abcd", "number": 128, "name": "", "owner": "ada",
            "benchmark": "sums@1", "prompts": [], "parts_hidden": false, "models": [], "parameters": [], "cache": true, "answers_of": null,
            "stop_early": false, "settled": 0, "simulated": false, "state": "running", "state_reason": "",
            "waiting_reason": null, "priority": 0, "visibility": "private", "repeats": 1, "seed": 0,
            "planned": planned, "recorded": recorded, "skipped": 0, "passed": 0, "errors": 3, "retries": 0,
            "cost_microusd": 1_230_000, "spend_microusd": 0, "budget_microusd": null, "reserved_microusd": 0,
            "unaccounted_microusd": 0, "input_tokens": 0, "output_tokens": 0, "created_at": "2026-11-29T00:00:00Z",
            "active_since": "2026-11-29T00:00:00Z", "started_at": null, "finished_at": null, "pruned_at": null,
        });
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn the_line_keeps_to_its_width_and_says_nothing_that_is_not_known() {
        let whole = "120/1,000  3 errors  440 s left  2.0/s  $1.23";
        let run = run(120, 1_000);
        assert_eq!(
            numbers(&run, Some((20, 10.0)), 80),
            whole.replace("440 s left", "7 min 20 s left")
        );
        // At first, and while no results arrive, there is no rate and no remaining time.
        assert_eq!(numbers(&run, None, 80), "120/1,000  3 errors  $1.23");
        for width in 0..80 {
            let line = numbers(&run, Some((20, 10.0)), width);
            assert!(
                line.width() <= width.max("120/1,000".len()),
                "{width}: {line}"
            );
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        pace.note(at(0), 5);
        assert_eq!(pace.rate(at(30)), None, "nothing has come in since");
        pace.note(at(10), 25);
        assert_eq!(pace.rate(at(10)), Some((20, 10.0)));
        assert_eq!(pace.silence(at(25)), Duration::from_secs(15));
        pace.note(at(100), 25);
        pace.note(at(200), 25);
        assert_eq!(pace.rate(at(200)), None, "nothing for a minute");
    }

    #[test]
    fn a_run_without_results_says_what_it_waits_for() {
        let mut run = run(56, 60);
        assert_eq!(waits(&run, Duration::from_secs(3)), None);
        let waits_for = waits(&run, Duration::from_secs(45)).unwrap();
        assert_eq!(
            waits_for,
            "no result for 45 s: 4 evaluations not answered yet"
        );
        run.waiting_reason = Some("local is down".into());
        assert_eq!(
            waits(&run, Duration::ZERO).unwrap(),
            "waiting: local is down"
        );
    }
}
