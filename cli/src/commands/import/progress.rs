//! How far the import of a large benchmark is, on standard error: a bar on a terminal, now and then a line elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use opb_core::benchmarks::Import;
use tokio::time::Instant;

use crate::text;

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows how much of a benchmark the server has.
pub struct SentBytes {
    total: u64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { next: Instant },
    Nothing,
}

impl SentBytes {
    /// Progress as it fits standard error; `quiet` shows nothing but a bar on a terminal.
    pub fn new(total: u64, quiet: bool) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            // A template that does not parse would cost the look, not the import.
            if let Ok(style) = ProgressStyle::with_template("{wide_bar:.cyan} {msg}") {
                bar.set_style(style.progress_chars("━━─"));
            }
            Shown::Bar(bar)
        } else if quiet {
            Shown::Nothing
        } else {
            Shown::Lines {
                next: Instant::now() + LINE_INTERVAL,
            }
        };
        Self { total, shown }
    }

    /// Shows what the server has now.
    pub fn show(&mut self, import: &Import) {
        let come = import.size_bytes.unsigned_abs();
        let message = format!(
            "{} of {} MB, {}",
            megabytes(come),
            megabytes(self.total),
            text::counted(import.item_count, "item")
        );
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_message(message);
                bar.set_position(come);
            }
            Shown::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + LINE_INTERVAL;
                    eprintln!("sent {message}");
                }
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
