//! Where the server is and which key opens it.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;

use super::Client;
use crate::{data_folder::DataFolder, outcome::BadUsage};

/// Where a server is sought when nothing says where.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// How a command finds its server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ClientSettings {
    /// Address of the server; without it, the local one that `opb up` has written down
    #[arg(long, env = "OPB_URL", value_name = "URL")]
    pub url: Option<String>,
    /// API key; without it, the one that a local `opb up` has made
    #[arg(long, env = "OPB_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<SecretString>,
    /// Data folder of the local bank; without it, the user's own
    #[arg(long, env = "OPB_DATA_DIR", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl ClientSettings {
    /// A client of the server that is meant.
    ///
    /// # Errors
    /// [`BadUsage`] for an address that is none.
    pub fn connect(&self) -> anyhow::Result<Client> {
        let folder = DataFolder::new(self.data.as_deref());
        let url = self.address(&folder)?;
        let key = match &self.api_key {
            Some(key) => Some(key.clone()),
            None => local_key(&folder, &url)?,
        };
        Client::new(&url, key)
    }

    fn address(&self, folder: &DataFolder) -> anyhow::Result<String> {
        let url = match self.url.as_deref().filter(|url| !url.is_empty()) {
            Some(url) => url.to_owned(),
            None => folder.url().unwrap_or_else(|| DEFAULT_URL.to_owned()),
        };
        match Url::parse(&url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(url),
            _ => Err(BadUsage(format!(
                "`{url}` is no address of a server, such as {DEFAULT_URL}"
            ))
            .into()),
        }
    }
}

/// The key of the local bank, if the address is the very one that the bank has written down, and the bank lives: when it
/// has ended, any process of this machine may listen there, of whichever user.
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

/// True for an address of this machine.
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
        // The bank was killed: the file with its address stays, and anybody may listen there.
        drop(lock);
        assert!(!has_key(own));
        // The next bank forgets the old address before it has one.
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
    fn the_command_line_wins_over_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(Some(temp.path()));
        let address = |url: Option<&str>| {
            let settings = ClientSettings {
                url: url.map(str::to_owned),
                api_key: None,
                data: None,
            };
            settings.address(&folder).map_err(|error| error.to_string())
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
                address(Some(wrong)).unwrap_err().contains("no address"),
                "{wrong}"
            );
        }
    }
}
