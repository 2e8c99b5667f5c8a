//! The server's log file: rotated at each start, and quoted in errors.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::Error;

/// Size from which the log is rotated at the next start; only one older log is kept.
const KEEP_BYTES: u64 = 10 * 1024 * 1024;

/// Number of lines that an error quotes.
const QUOTED_LINES: usize = 12;

/// How far from the end of the log these lines are searched.
const QUOTED_BYTES: u64 = 8 * 1024;

/// The server's log file.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its path.
    pub path: PathBuf,
}

impl Log {
    /// Rotates the log if it is too large.
    pub fn rotate(&self) -> Result<(), Error> {
        if self.size() <= KEEP_BYTES {
            return Ok(());
        }
        fs::rename(&self.path, self.path.with_extension("log.1"))
            .map_err(Error::io(format!("rotate {}", self.path.display())))
    }

    /// Opens the log for appending; only its owner can read it.
    pub fn open(&self) -> Result<File, Error> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(Error::io(format!("open {}", self.path.display())))
    }

    /// The size in bytes, 0 if there is no log.
    pub fn size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// The last lines after the first `start` bytes; empty if the log cannot be read.
    pub fn tail(&self, start: u64) -> String {
        let start = start.max(self.size().saturating_sub(QUOTED_BYTES));
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.take(QUOTED_BYTES).read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            return format!("(cannot read {}: {error})", self.path.display());
        }
        last_lines(&bytes)
    }
}

/// The last lines of an output.
pub fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}
