//! A folder of its own for each test, and the processes that work in it.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder that the user of Postgres can enter.
pub struct Site(TempDir);

impl Site {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
        Self(temp)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// `opb` with these words, in an environment that says nothing but where the data are.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opb"));
        command.args(words).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.path())
            .env("OPB_DATA_DIR", self.data());
        command
    }

    /// Runs `opb` to its end.
    pub fn opb(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs `opb`, which is to end with this code, and returns what it printed.
    #[track_caller]
    pub fn check(&self, words: &[&str], code: i32) -> Printed {
        let output = self.opb(words);
        let printed = Printed {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {} {}",
            printed.out,
            printed.err
        );
        printed
    }

    /// Starts `opb up` on a free port and waits until it serves.
    pub fn up(&self, words: &[&str]) -> Up {
        let words = [&["up", "--listen", "127.0.0.1:0"], words].concat();
        let log = fs::File::create(self.path().join("up.log")).unwrap();
        let mut child = self
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(url) = line.strip_prefix("ready ") else {
            panic!("{line:?} {}", self.up_log());
        };
        Up {
            url: url.trim().to_owned(),
            child,
            out,
        }
    }

    pub fn up_log(&self) -> String {
        fs::read_to_string(self.path().join("up.log")).unwrap_or_default()
    }

    /// Every living process that names this folder.
    pub fn processes(&self) -> Vec<u32> {
        let needle = self.path().to_str().unwrap();
        let is_ours = |pid: &u32| {
            let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command_line).contains(needle)
        };
        let entries = fs::read_dir("/proc").unwrap();
        entries
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter(is_ours)
            .collect()
    }

    /// The process id of the embedded Postgres.
    pub fn postgres(&self) -> u32 {
        let text = fs::read_to_string(self.data().join("postgres/postmaster.pid")).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }
}

/// What a command printed.
pub struct Printed {
    pub out: String,
    pub err: String,
}

impl Printed {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The error, where output is JSON.
    #[track_caller]
    pub fn problem(&self) -> Value {
        assert!(self.out.is_empty(), "{}", self.out);
        let line = self.err.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {}", self.err))
    }

    /// The one line of an error.
    #[track_caller]
    pub fn error(&self) -> &str {
        let line = self.err.trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "{line}");
        line
    }
}

/// A running `opb up`; dropping it ends it.
pub struct Up {
    pub url: String,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Up {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; returns the exit code and what else was printed on standard output.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let status = wait_for_end(&mut self.child);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            signal("TERM", self.child.id());
            wait_for_end(&mut self.child);
        }
    }
}

pub fn wait_for_end(child: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    wait_until("the end of a process", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

pub fn signal(name: &str, pid: u32) {
    let status = Command::new("sh")
        .args(["-c", "kill -s $0 $1", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
