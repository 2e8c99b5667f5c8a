//! Cleans up after a crash: a stale `postmaster.pid`, and perhaps the orphaned server that wrote it.
//!
//! Callers must hold the folder's lock. A process is only signalled if it is a server of these data.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::warn;

use super::Error;
use super::folder::missing_is_fine;
use crate::child;

/// The signals that stop a server, and how long to wait after each: fast, immediate, kill.
///
/// Even an immediate stop loses nothing that was confirmed: the next start recovers it from the write-ahead log.
pub const SIGNALS: [(&str, Duration); 3] = [
    ("INT", Duration::from_secs(30)),
    ("QUIT", Duration::from_secs(10)),
    ("KILL", Duration::from_secs(5)),
];

/// The status of the process in a `postmaster.pid`.
#[derive(Debug, PartialEq)]
enum Process {
    /// It does not exist, or is not a server of these data.
    Stale,
    /// A server of these data whose opb has ended.
    Orphan,
    /// The system does not tell; Postgres itself refuses to start twice.
    Unknown,
}

/// Removes a stale `postmaster.pid`, after stopping the server that wrote it if it still runs.
pub fn clear(cluster: &Path) -> Result<(), Error> {
    let file = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(());
    };
    // Postgres negates the process id when it runs without a network. A crash can leave the file empty.
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<i32>().ok())
        .map_or(0, i32::unsigned_abs);
    match process(pid, cluster) {
        Process::Stale => warn!(pid, "removing the stale PID file of Postgres process {pid}"),
        Process::Orphan => {
            warn!(pid, "stopping the orphaned Postgres server (process {pid})");
            if !halt(pid, || process(pid, cluster) != Process::Orphan) {
                return Err(Error::StillRunning { pid });
            }
        }
        Process::Unknown => return Ok(()),
    }
    fs::remove_file(&file)
        .or_else(missing_is_fine)
        .map_err(Error::io(format!("remove {}", file.display())))
}

/// The port in the `postmaster.pid` of a server that is ready.
pub fn port(cluster: &Path) -> Option<u16> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    text.lines().nth(3)?.trim().parse().ok()
}

/// Stops the process `pid` with increasingly strong signals until `has_ended`; returns whether it has.
pub fn halt(pid: u32, has_ended: impl Fn() -> bool) -> bool {
    for (signal, patience) in SIGNALS {
        if has_ended() {
            return true;
        }
        send_signal(pid, signal);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if has_ended() {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        warn!(
            pid,
            signal, "the Postgres server (process {pid}) did not stop after {signal}"
        );
    }
    has_ended()
}

/// Sends a signal with the shell's built-in `kill`; a process that has ended needs none.
fn send_signal(pid: u32, signal: &str) {
    let kill = child::command("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = kill {
        warn!(pid, signal, %error, "could not send {signal} to Postgres process {pid}");
    }
}

fn process(pid: u32, cluster: &Path) -> Process {
    if !Path::new("/proc/self/cmdline").exists() {
        return Process::Unknown;
    }
    let proc = Path::new("/proc").join(pid.to_string());
    // A zombie has no command line.
    let Ok(command_line) = fs::read(proc.join("cmdline")) else {
        return Process::Stale;
    };
    let is_postgres =
        fs::read_to_string(proc.join("comm")).is_ok_and(|name| name.trim_end() == "postgres");
    if command_line.is_empty() || !is_postgres {
        return Process::Stale;
    }
    // Every user can read the command line; only some can read the working folder, which a server sets to its data.
    if command_line
        .split(|byte| *byte == 0)
        .any(|argument| argument == cluster.as_os_str().as_encoded_bytes())
    {
        return Process::Orphan;
    }
    match fs::read_link(proc.join("cwd")) {
        Ok(folder) if folder == cluster => Process::Orphan,
        Ok(_) => Process::Stale,
        Err(_) => Process::Unknown,
    }
}
