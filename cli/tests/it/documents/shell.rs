//! A shell that keeps its variables, functions and folder from block to block, as a reader's terminal does.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::blocks::Block;
use crate::site::Site;

/// What every block begins with. An HTTP error is one of the block, which `curl` alone does not say.
const PRELUDE: &str = r#"
set -aeEuo pipefail
[ ! -e "$SHELL_STATE" ] || . "$SHELL_STATE"
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'code=$?; { export -p; declare -f; printf "cd %q\n" "$PWD"; } >"$SHELL_STATE"; exit $code' EXIT
curl() { command curl --silent --show-error --fail "$@"; }
"#;

/// Instead of running, `opb` says whether it understands; nothing else is there.
const CHECK_PRELUDE: &str = r#"
set -eE
PATH=/nowhere
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
opb() { "$OPB" "$@" --help >/dev/null; }
"#;

/// The terminal of one document.
pub struct Shell<'a> {
    site: &'a Site,
    folder: PathBuf,
    state: PathBuf,
}

impl<'a> Shell<'a> {
    /// A new terminal in the document's folder, which keeps the files of the one before.
    pub fn new(site: &'a Site, name: &str) -> Self {
        let folder = site.path().join("readers").join(name);
        fs::create_dir_all(&folder).unwrap();
        let programs = site.path().join("programs");
        if !programs.exists() {
            fs::create_dir(&programs).unwrap();
            symlink(env!("CARGO_BIN_EXE_opb"), programs.join("opb")).unwrap();
        }
        let state = site.path().join(format!("state-{name}"));
        let _ = fs::remove_file(&state);
        Self {
            site,
            folder,
            state,
        }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a block.
    pub fn run(&self, block: &Block) -> Result<(), String> {
        self.bash(&format!("{PRELUDE}{}", block.text))
    }

    /// Checks the syntax of a block that does not run here, and what it asks of `opb`.
    pub fn check(&self, block: &Block) -> Result<(), String> {
        let script = self.state.with_extension("sh");
        fs::write(&script, &block.text).unwrap();
        let parsed = Command::new("bash").arg("-n").arg(&script).output();
        let parsed = parsed.unwrap();
        if !parsed.status.success() {
            return Err(String::from_utf8_lossy(&parsed.stderr).into_owned());
        }
        let whole = block.text.replace("\\\n", " ");
        let commands: Vec<&str> = whole.lines().filter(|line| calls_opb(line)).collect();
        self.bash(&format!("{CHECK_PRELUDE}{}", commands.join("\n")))
    }

    fn bash(&self, script: &str) -> Result<(), String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = self.site.path().join("programs");
        let path = format!("{}:{path}", programs.display());
        let output = Command::new("timeout")
            .args(["--kill-after=5", "60", "bash", "-c", script])
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.site.path())
            .env("OPB", env!("CARGO_BIN_EXE_opb"))
            .env("OPB_DATA_DIR", self.site.data())
            .env("SHELL_STATE", &self.state)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Err(format!("{}\n{}", output.status, said.trim_end()))
    }
}

/// Whether a line is a call of `opb`, perhaps with variables before it. What it substitutes would run: such a line is
/// left to the reader.
fn calls_opb(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let first = words.find(|word| {
        let name = word.split('=').next().unwrap_or_default();
        !(word.contains('=') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    });
    first == Some("opb") && !line.contains("$(") && !line.contains(" -- ")
}
