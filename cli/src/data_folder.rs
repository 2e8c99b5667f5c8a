//! The contents of a bank's data folder, beside the database of [`crate::postgres`].
//!
//! ```text
//! bank.lock     held while a bank serves from the folder; contains its process id
//! master-key    the key for secrets at rest and for tokens
//! api-key       the key of the system user, for other commands on this machine
//! url           the bank's address; only there while it serves
//! ```

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use opb_core::sealing::read_private;
use secrecy::SecretString;

use crate::{
    files::read_named,
    folder_lock::{FolderLock, LockError},
    new_file::NewFile,
    postgres,
};

/// Maximum length of a bank's address.
const MAX_URL_BYTES: u64 = 4096;

/// A data folder, by its path.
#[derive(Debug, Clone)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// The folder at this path, or the default one.
    pub fn new(path: Option<&Path>) -> Self {
        Self(path.map_or_else(postgres::default_data_dir, Path::to_owned))
    }

    /// Creates the folder if it does not exist.
    pub fn create(self) -> anyhow::Result<Self> {
        Ok(Self(postgres::create_data_folder(&self.0)?))
    }

    /// Whether this is the default folder.
    pub fn is_default(&self) -> bool {
        self.0 == postgres::default_data_dir()
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file with the master key.
    pub fn master_key_file(&self) -> PathBuf {
        self.0.join("master-key")
    }

    /// The file with the local API key.
    pub fn api_key_file(&self) -> PathBuf {
        self.0.join("api-key")
    }

    /// The local API key, if there is one that this user may read.
    ///
    /// # Errors
    /// Other users can read it, too.
    pub fn api_key(&self) -> anyhow::Result<Option<SecretString>> {
        let file = self.api_key_file();
        // The key in another user's folder is not for us.
        if std::fs::File::open(&file).is_err() {
            return Ok(None);
        }
        let text = read_private(&file, "API key")?;
        let key = secrecy::ExposeSecret::expose_secret(&text).trim();
        Ok((!key.is_empty()).then(|| key.into()))
    }

    /// Whether the folder holds the data of an embedded server.
    pub fn has_database(&self) -> bool {
        self.0.join("postgres").join("PG_VERSION").exists()
    }

    /// The first of the lock files that this user may not open, if any.
    pub fn closed_lock(&self) -> Option<PathBuf> {
        let mut locks = ["bank.lock", "opb.lock"]
            .iter()
            .map(|name| self.0.join(name));
        locks.find(|lock| {
            let opened = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(lock);
            opened.is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        })
    }

    /// Whether a bank serves from this folder, as far as this user can tell.
    pub fn is_served(&self) -> bool {
        FolderLock::is_held(&self.lock_file())
    }

    /// The address of the bank of this folder; stale if the bank was killed.
    pub fn url(&self) -> Option<String> {
        let text = read_named(&self.url_file(), MAX_URL_BYTES).ok()?;
        let url = text.trim();
        (!url.is_empty()).then(|| url.to_owned())
    }

    /// Stores the bank's address for the other commands.
    pub fn write_url(&self, url: &str) -> anyhow::Result<()> {
        let mut file = NewFile::inside(&self.0, "url".as_ref())?;
        writeln!(file, "{url}")
            .with_context(|| format!("{} cannot be written", self.url_file().display()))?;
        file.keep()
    }

    /// Removes the stored address.
    pub fn remove_url(&self) {
        // If this fails, the commands report that nothing answers there.
        let _ = std::fs::remove_file(self.url_file());
    }

    /// Locks the folder for this process, or reports which process holds the lock.
    pub fn lock(&self) -> anyhow::Result<FolderLock> {
        let path = self.lock_file();
        let lock = FolderLock::take(&path).map_err(|refusal| match refusal {
            LockError::Held(process) => anyhow!(self.taken(&process)),
            LockError::HeldByOtherUser { process, user } => anyhow!(
                "process {process} of the user {user} holds {}, which only your own opb should hold; end that process \
                 and start again",
                path.display()
            ),
            LockError::Io(error) => {
                anyhow!(error).context(format!("{} cannot be locked", path.display()))
            }
        })?;
        // The address of a bank that was killed: another process may listen there now.
        self.remove_url();
        Ok(lock)
    }

    fn taken(&self, process: &str) -> String {
        let at = self
            .url()
            .map(|url| format!(" at {url}"))
            .unwrap_or_default();
        format!(
            "another opb (process {process}) already serves from {}{at}; stop it or choose another folder with --data",
            self.0.display()
        )
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("bank.lock")
    }

    fn url_file(&self) -> PathBuf {
        self.0.join("url")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_come_is_told_who_was_first() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(Some(temp.path())).create().unwrap();
        let first = folder.lock().unwrap();
        folder.write_url("http://127.0.0.1:1234").unwrap();
        assert!(folder.is_served());
        let refusal = folder.lock().unwrap_err().to_string();
        let process = format!("process {}", std::process::id());
        assert!(
            refusal.contains(&process) && refusal.contains("http://127.0.0.1:1234"),
            "{refusal}"
        );
        drop(first);
        folder.lock().unwrap();
        folder.remove_url();
        assert_eq!(folder.url(), None);
    }
}
