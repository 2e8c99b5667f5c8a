//! The user that the server runs as: the caller, or another user if the caller is root.
//!
//! Postgres refuses to run as root, so as root its programs must only be started through this module.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tracing::warn;

use super::Error;
use super::folder::Folder;
use crate::child;

/// The user that the server and `initdb` run as.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user to switch to; `None` if the caller is an ordinary user.
    user: Option<User>,
    /// Whether `setpriv` can stop the server when this process dies.
    has_setpriv: bool,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Chooses the user: the owner of existing data, else `postgres`, else `nobody`.
    pub fn for_server_of(folder: &Folder) -> Result<Self, Error> {
        let user = if is_root() {
            Some(
                owner(&folder.cluster())
                    .or_else(known_user)
                    .ok_or(Error::NoUser)?,
            )
        } else {
            None
        };
        let has_setpriv =
            succeeds(child::command("setpriv").args(["--pdeathsig", "INT", "--", "true"]));
        if !has_setpriv {
            warn!(
                "setpriv with --pdeathsig is not available: if opb is killed, Postgres keeps running until opb starts again"
            );
        }
        Ok(Self { user, has_setpriv })
    }

    /// A command that runs `program` as this user, and gets a signal to stop when the *thread* that spawned it ends.
    ///
    /// It has its own process group, so that Ctrl-C at the terminal only reaches opb, which then stops the server in
    /// order.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = if self.has_setpriv {
            // A change of user would reset the parent-death signal, but setpriv already starts as the new user.
            let mut command = child::command("setpriv");
            command.args(["--pdeathsig", "INT", "--"]).arg(program);
            command
        } else {
            child::command(program)
        };
        // The log is searched for English messages, and the user may have no access to the current folder.
        command
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null());
        self.become_user(&mut command);
        command
    }

    /// Makes this user the owner of `path`.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        // Links are not followed: in another user's folder a link could point anywhere.
        lchown(path, Some(user.uid), Some(user.gid)).map_err(Error::io(format!(
            "give {} to the user {}",
            path.display(),
            user.name
        )))
    }

    /// Checks that this user can enter the folder and all folders above it.
    pub fn require_entry(&self, folder: &Folder) -> Result<(), Error> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        let mut command = child::command("sh");
        command
            .args(["-c", "cd \"$0\""])
            .arg(&folder.root)
            .current_dir("/");
        self.become_user(&mut command);
        if succeeds(&mut command) {
            return Ok(());
        }
        Err(Error::NoEntry {
            user: user.name.clone(),
            folder: folder.root.clone(),
        })
    }

    fn become_user(&self, command: &mut Command) {
        if let Some(user) = &self.user {
            // The standard library also drops root's supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
    }
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    child::command("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The owner of data that an ordinary user has created, so that root can use them, too.
fn owner(cluster: &Path) -> Option<User> {
    let metadata = fs::metadata(cluster)
        .ok()
        .filter(|metadata| metadata.uid() != 0)?;
    Some(User {
        name: metadata.uid().to_string(),
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

fn known_user() -> Option<User> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line
            .split(':')
            .skip(2)
            .map_while(|field| field.parse().ok());
        Some(User {
            name: name.to_owned(),
            uid: ids.next()?,
            gid: ids.next()?,
        })
    })
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
