//! The address of the server, and the API key for it.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;

use super::Client;
use crate::{data_folder::DataFolder, logins::Logins, outcome::BadUsage};

/// The address of the server if nothing else is known.
const DEFAULT_URL: &str = "http://127.0.0.1:8000";

/// How a command finds its server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ClientSettings {
    /// Address of the server; without it, the local one that `opb up` has written down, or that of the last `opb login`
    #[arg(long, env = "OPB_URL", value_name = "URL")]
    pub url: Option<String>,
    /// API key; without it, that of `opb login`, or the one that a local `opb up` has made
    #[arg(long, env = "OPB_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<SecretString>,
    /// Data folder of the local bank; without it, the user's own
    #[arg(long, env = "OPB_DATA_DIR", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The source of the server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AddressSource {
    /// Named by the user.
    Option,
    /// Stored by the bank of the data folder.
    DataFolder,
    /// The server of the last login.
    Login,
    /// None: the default.
    Default,
}

impl ClientSettings {
    /// A client of the chosen server.
    ///
    /// # Errors
    /// [`BadUsage`] for an invalid address; the file of logins cannot be read.
    pub fn connect(&self) -> anyhow::Result<Client> {
        let folder = DataFolder::new(self.data.as_deref());
        let logins = Logins::of_user();
        let (url, found) = self.address(&folder, logins.as_ref())?;
        let key = match &self.api_key {
            Some(key) => Some(key.clone()),
            None => match logins.map(|logins| logins.find(&url)).transpose()? {
                // A login is the user's choice and takes precedence over the key of a local bank.
                Some(Some(login)) => Some(login.key),
                _ => local_key(&folder, &url)?,
            },
        };
        Ok(Client::new(&url, key)?.with_hint(hint(&found, &folder)))
    }

    /// Whether the server was named by the user or by a login, and is not the bank of the data folder.
    pub fn is_elsewhere(&self) -> bool {
        let folder = DataFolder::new(self.data.as_deref());
        let own = folder.url();
        let Ok((url, found)) = self.address(&folder, Logins::of_user().as_ref()) else {
            return false;
        };
        let is_own = own.is_some_and(|own| own.trim_end_matches('/') == url.trim_end_matches('/'));
        matches!(found, AddressSource::Option | AddressSource::Login) && !is_own
    }

    fn address(
        &self,
        folder: &DataFolder,
        logins: Option<&Logins>,
    ) -> anyhow::Result<(String, AddressSource)> {
        let named = self.url.clone().filter(|url| !url.is_empty());
        let (url, found) = if let Some(url) = named {
            (url, AddressSource::Option)
        } else if let Some(url) = folder.url() {
            (url, AddressSource::DataFolder)
        } else if let Some(url) = logins.map(Logins::newest).transpose()?.flatten() {
            (url, AddressSource::Login)
        } else {
            (DEFAULT_URL.to_owned(), AddressSource::Default)
        };
        match Url::parse(&url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok((url, found)),
            _ => Err(BadUsage(format!(
                "`{url}` is not a server address such as {DEFAULT_URL}"
            ))
            .into()),
        }
    }
}

/// Advice for the case that the server does not answer.
fn hint(found: &AddressSource, folder: &DataFolder) -> String {
    let shown = folder.path().display();
    let start = if folder.is_default() {
        "opb up".to_owned()
    } else {
        format!("opb up --data {}", quoted(&shown.to_string()))
    };
    match found {
        AddressSource::Option => {
            "check --url (or OPB_URL) and whether the server runs; start a bank of your own with: opb up".to_owned()
        }
        AddressSource::DataFolder => {
            format!("the bank in {shown} served there last; start it with: {start}")
        }
        AddressSource::Login => {
            "you logged in there last; check whether the server runs, or name another with --url".to_owned()
        }
        AddressSource::Default => format!(
            "no bank serves from {shown}; start it with: {start} (--data or OPB_DATA_DIR name another folder, --url another server)"
        ),
    }
}

/// Quotes a path as a single word for the shell.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// The key of the local bank, if the address is the one that the bank has stored and the bank is running: after it has
/// stopped, any process of any user may listen there.
fn local_key(folder: &DataFolder, url: &str) -> anyhow::Result<Option<SecretString>> {
    let is_own = folder
        .url()
        .is_some_and(|own| own.trim_end_matches('/') == url.trim_end_matches('/'));
    if is_own && folder.is_served() {
        folder.api_key()
    } else {
        Ok(None)
    }
}

/// The address of the server behind a redirect to `target`: without the path that was requested from the server `url`.
pub(super) fn base_of(target: &Url, asked: &Url, url: &str) -> Option<String> {
    if !matches!(target.scheme(), "http" | "https") || target.host().is_none() {
        return None;
    }
    let prefix = Url::parse(url).ok()?;
    let path = asked
        .path()
        .strip_prefix(prefix.path().trim_end_matches('/'))?;
    let kept = target.path().strip_suffix(path).unwrap_or_default();
    Some(format!("{}{kept}", target.origin().ascii_serialization()))
}

/// Whether this is an address of this machine.
pub(super) fn is_local(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_local_key_goes_to_no_other_server() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(Some(temp.path()));
        opb_core::sealing::write_private(&folder.api_key_file(), "opb_secret\n").unwrap();
        let own = "http://127.0.0.1:9000";
        let has_key = |url: &str| local_key(&folder, url).unwrap().is_some();
        assert!(!has_key(own));
        let lock = folder.lock().unwrap();
        folder.write_url(own).unwrap();
        for (url, expect) in [
            (own, true),
            ("http://127.0.0.1:9000/", true),
            ("http://127.0.0.1:9001", false),
            ("http://127.0.0.2:9000", false),
            ("http://localhost:9000/", false),
            ("http://[::1]:9000", false),
            ("https://127.0.0.1:9000", false),
            ("https://bank.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(has_key(url), expect, "{url}");
        }
        let key = local_key(&folder, own).unwrap().unwrap();
        assert_eq!(key.expose_secret(), "opb_secret");
        // The bank was killed: its address file remains, and any process may listen there.
        drop(lock);
        assert!(!has_key(own));
        // The next bank removes the old address before it has its own.
        let lock = folder.lock().unwrap();
        assert!(!has_key(own));
        folder.write_url(own).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(folder.api_key_file(), open).unwrap();
        let error = local_key(&folder, own).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        drop(lock);
    }

    #[test]
    fn who_seeks_in_vain_is_told_how_to_start_the_right_bank() {
        let folder = DataFolder::new(Some(std::path::Path::new("/srv/my bank")));
        for (found, expect) in [
            (AddressSource::Option, "check --url"),
            (AddressSource::DataFolder, "opb up --data '/srv/my bank'"),
            (AddressSource::Login, "logged in"),
            (AddressSource::Default, "opb up --data '/srv/my bank'"),
        ] {
            let hint = hint(&found, &folder);
            assert!(hint.contains(expect), "{found:?}: {hint}");
        }
        let default = DataFolder::new(None);
        assert!(hint(&AddressSource::Default, &default).contains("start it with: opb up (--data"));
    }

    #[test]
    fn a_redirect_names_the_address_of_the_server() {
        for (url, target, expect) in [
            (
                "http://a",
                "https://a/api/v1/runs?limit=3",
                Some("https://a"),
            ),
            (
                "http://a:80/",
                "https://a:8443/api/v1/runs",
                Some("https://a:8443"),
            ),
            (
                "http://a",
                "https://b/bank/api/v1/runs",
                Some("https://b/bank"),
            ),
            (
                "http://a/old",
                "http://a/new/api/v1/runs",
                Some("http://a/new"),
            ),
            ("http://a", "https://b/login", Some("https://b")),
            ("http://a", "ftp://a/api/v1/runs", None),
            ("http://a", "data:text", None),
        ] {
            let asked = format!("{}/api/v1/runs?limit=3", url.trim_end_matches('/'));
            let [target, asked] = [target, &asked].map(|text| Url::parse(text).unwrap());
            let base = base_of(&target, &asked, url);
            assert_eq!(base.as_deref(), expect, "{target}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(Some(temp.path()));
        let address = |url: Option<&str>| {
            let settings = ClientSettings {
                url: url.map(str::to_owned),
                api_key: None,
                data: None,
            };
            let address = settings.address(&folder, None);
            address
                .map(|(url, _)| url)
                .map_err(|error| error.to_string())
        };
        assert_eq!(address(None).unwrap(), DEFAULT_URL);
        folder.write_url("http://127.0.0.1:1234").unwrap();
        assert_eq!(address(None).unwrap(), "http://127.0.0.1:1234");
        assert_eq!(
            address(Some("https://bank.example")).unwrap(),
            "https://bank.example"
        );
        for wrong in ["bank.example", "ftp://bank.example", "http://"] {
            assert!(
                address(Some(wrong))
                    .unwrap_err()
                    .contains("not a server address"),
                "{wrong}"
            );
        }
    }
}
