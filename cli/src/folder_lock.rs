//! Lock files: exclusive use of a folder, released by the system when the process ends, however it ends.
//!
//! Only its owner can open a lock file: every user who can open it could hold the lock, and keep the bank from
//! starting.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::Path,
    time::Duration,
};

/// Number of attempts to take a lock: a command that checks whether a bank serves holds it for a moment.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A lock that this process holds.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another opb has it: its process id, as far as it is known.
    Held(String),
    /// Another user's process has it.
    HeldByOtherUser {
        /// The process id.
        process: u32,
        /// The name or the number of the user that it runs as.
        user: String,
    },
    /// The file cannot be opened or locked.
    Io(io::Error),
}

impl FolderLock {
    /// Takes the lock and writes the process id into the file, for the error message of the next process.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = open(path).map_err(LockError::Io)?;
        let mut attempt = 1;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => {
                    attempt += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(holder(&mut file)),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(LockError::Io)?;
        Ok(Self(file))
    }

    /// Whether a process holds the lock of this file; false if this user cannot tell.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let metadata = file.metadata()?;
    // Created by an older opb.
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    // Root may serve from another user's folder, who needs the file afterwards.
    if let Some(folder) = path.parent().and_then(|folder| folder.metadata().ok())
        && folder.uid() != metadata.uid()
    {
        // Only root can change the owner, and only root needs to.
        let _ = fchown(&file, Some(folder.uid()), Some(folder.gid()));
    }
    Ok(file)
}

/// The holder of the lock.
fn holder(file: &mut File) -> LockError {
    let mut written = String::new();
    // The process id is only informative; without one the lock is still valid.
    let _ = file.read_to_string(&mut written);
    let written = written.trim();
    let own = std::fs::metadata("/proc/self").map(|own| own.uid()).ok();
    if let Ok(metadata) = file.metadata()
        && let Some(process) = locking_process(metadata.ino())
        && written != process.to_string()
        && let Ok(other) = std::fs::metadata(format!("/proc/{process}"))
        && Some(other.uid()) != own
    {
        return LockError::HeldByOtherUser {
            process,
            user: user_name(other.uid()),
        };
    }
    LockError::Held(match written {
        "" => "unknown".to_owned(),
        number => number.to_owned(),
    })
}

/// The process that holds a lock on the file with this inode number, according to the system.
fn locking_process(inode: u64) -> Option<u32> {
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:01:131 0 EOF`
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let process = words.nth(2)?.parse().ok()?;
        let number = words.next()?.rsplit(':').next()?;
        (kind == "FLOCK" && number.parse() == Ok(inode)).then_some(process)
    })
}

fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_private_and_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(!FolderLock::is_held(&path));
        let first = FolderLock::take(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(FolderLock::is_held(&path));
        let LockError::Held(process) = FolderLock::take(&path).unwrap_err() else {
            panic!("the lock is our own");
        };
        assert_eq!(process, std::process::id().to_string());
        drop(first);
        assert!(!FolderLock::is_held(&path));
        FolderLock::take(&path).unwrap();
    }

    #[test]
    fn the_system_knows_who_holds_a_lock() {
        let file = tempfile::tempfile().unwrap();
        let inode = file.metadata().unwrap().ino();
        assert_eq!(locking_process(inode), None);
        file.lock().unwrap();
        // Some sandboxes do not report locks.
        let found = locking_process(inode);
        assert!(found.is_none() || found == Some(std::process::id()));
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_000), "4000000000");
    }
}
