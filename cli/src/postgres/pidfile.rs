//! What a crash leaves behind: a `postmaster.pid`, and perhaps the server that wrote it.
//!
//! Only who holds the folder's lock may change anything. A process is never signalled unless it is a server of these data.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::warn;

use super::Error;
use super::folder::missing_is_fine;
use crate::child;

/// The signals that stop a server, and how long each is waited for: fast, immediate, at once.
///
/// An immediate stop loses nothing that was confirmed; the next start reads it back from the log.
pub const SIGNALS: [(&str, Duration); 3] = [
    ("INT", Duration::from_secs(30)),
    ("QUIT", Duration::from_secs(10)),
    ("KILL", Duration::from_secs(5)),
];

/// What the process in a `postmaster.pid` is.
#[derive(Debug, PartialEq)]
enum Process {
    /// There is none, or it is not a server of these data.
    Stale,
    /// A server of these data that has outlived its opb.
    Orphan,
    /// The system does not tell; Postgres itself then refuses to start twice.
    Unknown,
}

/// Removes a stale `postmaster.pid`, after stopping the server that wrote it if it still runs.
pub fn clear(cluster: &Path) -> Result<(), Error> {
    let file = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(());
    };
    // Postgres writes the number negative when it runs without a network. A crash can leave the file empty.
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<i32>().ok())
        .map_or(0, i32::unsigned_abs);
    match process(pid, cluster) {
        Process::Stale => warn!(
            pid,
            "removing the process file of a Postgres server that is gone"
        ),
        Process::Orphan => {
            warn!(pid, "stopping a Postgres server that has outlived its opb");
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

/// The port of the server that has written a `postmaster.pid` and is ready.
pub fn port(cluster: &Path) -> Option<u16> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    text.lines().nth(3)?.trim().parse().ok()
}

/// Stops the process `pid` with ever stronger signals until `has_ended`; says whether it has.
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
        warn!(pid, signal, "the Postgres server does not heed the signal");
    }
    has_ended()
}

/// Sends a signal through the shell, whose `kill` is always there; a process that is gone needs none.
fn send_signal(pid: u32, signal: &str) {
    let kill = child::command("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = kill {
        warn!(pid, signal, %error, "cannot send a signal");
    }
}

fn process(pid: u32, cluster: &Path) -> Process {
    if !Path::new("/proc/self/cmdline").exists() {
        return Process::Unknown;
    }
    let proc = Path::new("/proc").join(pid.to_string());
    // A process that has ended but was not waited for has no command line left.
    let Ok(command_line) = fs::read(proc.join("cmdline")) else {
        return Process::Stale;
    };
    let is_postgres =
        fs::read_to_string(proc.join("comm")).is_ok_and(|name| name.trim_end() == "postgres");
    if command_line.is_empty() || !is_postgres {
        return Process::Stale;
    }
    // The command line can be read by all; the working folder, where a server goes to its data, by few.
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
