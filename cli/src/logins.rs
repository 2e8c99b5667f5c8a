//! The logins of this user: the API key for each bank. `opb login` writes them, every command reads them.
//!
//! They are in one file, readable by its owner only, in the user's configuration folder: never in a bank's data folder,
//! which others may share.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use opb_core::sealing::{require_private, write_private};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::files::{MAX_TEXT_BYTES, read_named};

/// A login at one bank.
#[derive(Clone)]
pub struct Login {
    /// The username there.
    pub username: String,
    /// The API key.
    pub key: SecretString,
}

/// The file of logins.
#[derive(Debug, Clone)]
pub struct Logins(PathBuf);

/// The contents of the file.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    /// The bank of the last login, which is the default of commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    /// Logins by the address of the bank.
    #[serde(default)]
    banks: BTreeMap<String, StoredLogin>,
}

#[derive(Serialize, Deserialize)]
struct StoredLogin {
    username: String,
    key: String,
}

impl Logins {
    /// The file of this user; `None` if the environment has no home folder.
    pub fn of_user() -> Option<Self> {
        let named = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some(PathBuf::from(value)).filter(|path| path.is_absolute())
        };
        let folder = named("XDG_CONFIG_HOME").or_else(|| Some(named("HOME")?.join(".config")))?;
        Some(Self(folder.join("openpromptbank").join("logins.json")))
    }

    /// The login at a bank, if there is one.
    pub fn find(&self, url: &str) -> anyhow::Result<Option<Login>> {
        let mut stored = self.read()?;
        Ok(stored.banks.remove(&canonical(url)).map(|login| Login {
            username: login.username,
            key: login.key.into(),
        }))
    }

    /// The address of the bank of the last login.
    pub fn newest(&self) -> anyhow::Result<Option<String>> {
        Ok(self.read()?.newest)
    }

    /// Stores a login; replaces an older one at the same bank.
    pub fn keep(&self, url: &str, login: &Login) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let mut stored = self.read()?;
        let url = canonical(url);
        stored.newest = Some(url.clone());
        let login = StoredLogin {
            username: login.username.clone(),
            key: login.key.expose_secret().to_owned(),
        };
        stored.banks.insert(url, login);
        self.write(&stored)
    }

    /// Removes the login at a bank.
    pub fn forget(&self, url: &str) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let mut stored = self.read()?;
        let url = canonical(url);
        stored.banks.remove(&url);
        if stored.newest.as_deref() == Some(&*url) {
            stored.newest = None;
        }
        self.write(&stored)
    }

    fn read(&self) -> anyhow::Result<Stored> {
        if matches!(self.0.try_exists(), Ok(false)) {
            return Ok(Stored::default());
        }
        if let Ok(metadata) = self.0.metadata() {
            require_private(&self.0, "logins", &metadata)?;
        }
        let text = read_named(&self.0, MAX_TEXT_BYTES)?;
        serde_json::from_str(&text).map_err(|_| {
            let path = self.0.display();
            anyhow!("{path} is not a valid file of logins; remove it and log in again")
        })
    }

    fn write(&self, stored: &Stored) -> anyhow::Result<()> {
        write_private(&self.0, &serde_json::to_string_pretty(stored)?)
    }

    /// Only one command at a time changes the file; the lock ends with the process that holds it.
    fn lock(&self) -> anyhow::Result<File> {
        let what = || format!("{} cannot be locked", self.0.display());
        if let Some(folder) = self.0.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| format!("{} cannot be created", folder.display()))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.with_extension("lock"))
            .with_context(what)?;
        file.lock().with_context(what)?;
        Ok(file)
    }
}

/// The canonical form of an address.
fn canonical(url: &str) -> String {
    let parsed = Url::parse(url).map_or_else(|_| url.to_owned(), String::from);
    parsed.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_login_is_found_by_the_address_of_its_bank_only() {
        let temp = tempfile::tempdir().unwrap();
        let logins = Logins(temp.path().join("openpromptbank/logins.json"));
        assert!(logins.find("http://a").unwrap().is_none());
        let login = |name: &str| Login {
            username: name.to_owned(),
            key: format!("opb_{name}").into(),
        };
        logins
            .keep("https://Bank.example:443/", &login("ada"))
            .unwrap();
        logins.keep("http://127.0.0.1:8000", &login("bob")).unwrap();
        let found = logins.find("https://bank.example").unwrap().unwrap();
        assert_eq!(
            (found.username.as_str(), found.key.expose_secret()),
            ("ada", "opb_ada")
        );
        for other in [
            "http://bank.example",
            "https://bank.example.org",
            "https://bank.example:8000",
        ] {
            assert!(logins.find(other).unwrap().is_none(), "{other}");
        }
        let mode = logins.0.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            logins.newest().unwrap().as_deref(),
            Some("http://127.0.0.1:8000")
        );
        logins.forget("http://127.0.0.1:8000/").unwrap();
        assert_eq!(logins.newest().unwrap(), None);
        assert!(logins.find("http://127.0.0.1:8000").unwrap().is_none());
    }
}
