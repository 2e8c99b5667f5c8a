//! The progress of a large import on standard error: a bar on a terminal, a line now and then elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use opb_core::benchmarks::Import;
use tokio::time::Instant;

use crate::text;

/// How often a line is printed without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows how much of a benchmark the server has received.
pub struct SentBytes {
    total: u64,
    shown: DemoResult,
}

enum DemoResult {
    Bar(ProgressBar),
    Lines { next: Instant },
    Nothing,
}

impl SentBytes {
    /// Progress for standard error; `quiet` shows nothing except a bar on a terminal.
    pub fn new(total: u64, quiet: bool) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            // An invalid template costs only the looks of the bar, not the import.
            if let Ok(style) = ProgressStyle::with_template("{wide_bar:.cyan} {msg}") {
                bar.set_style(style.progress_chars("━━─"));
            }
            DemoResult::Bar(bar)
        } else if quiet {
            DemoResult::Nothing
        } else {
            DemoResult::Lines {
                next: Instant::now() + LINE_INTERVAL,
            }
        };
        Self { total, shown }
    }

    /// Shows what the server has received so far.
    pub fn show(&mut self, import: &Import) {
        let come = import.size_bytes.unsigned_abs();
        let message = format!(
            "{} of {} MB, {}",
            megabytes(come),
            megabytes(self.total),
            text::counted(import.item_count, "item")
        );
        match &mut self.shown {
            DemoResult::Nothing => {}
            DemoResult::Bar(bar) => {
                bar.set_message(message);
                bar.set_position(come);
            }
            DemoResult::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + LINE_INTERVAL;
                    eprintln!("sent {message}");
                }
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let DemoResult::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
