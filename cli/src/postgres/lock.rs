//! The sole right to a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};

use super::Error;
use super::folder::Folder;

/// The sole right to a data folder; the system takes it back when this process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the folder for this process and writes the process id into the file, for who comes second.
    pub fn take(folder: &Folder) -> Result<Self, Error> {
        let path = folder.lock_file();
        let what = || format!("lock {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(what()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(&mut file, folder)),
            Err(TryLockError::Error(error)) => return Err(Error::io(what())(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::io(what()))?;
        Ok(Self(file))
    }
}

fn locked(file: &mut File, folder: &Folder) -> Error {
    let mut text = String::new();
    // The number is only a help to the reader; a lock without one is still a lock.
    file.read_to_string(&mut text).ok();
    let process = Some(text.trim())
        .filter(|text| !text.is_empty())
        .unwrap_or("unknown")
        .to_owned();
    Error::Locked {
        process,
        folder: folder.root.clone(),
    }
}
