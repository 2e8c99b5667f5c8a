//! Where the server is and which key opens it.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;

use super::Client;
use crate::{data_folder::DataFolder, outcome::BadUsage};

/// Where a server is sought when nothing says where.
const DEFAULT_URL: &str = "http://127.0.0.1:8000";

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
        let key = self.api_key.clone().or_else(|| local_key(&folder, &url));
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

/// The key of the local bank, if the address is that of the local bank: no other server may see it.
fn local_key(folder: &DataFolder, url: &str) -> Option<SecretString> {
    let is_own = folder
        .url()
        .is_some_and(|own| own.trim_end_matches('/') == url.trim_end_matches('/'));
    if is_own || is_local(url) {
        folder.api_key()
    } else {
        None
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
        std::fs::write(folder.api_key_file(), "opb_secret\n").unwrap();
        for (url, expect) in [
            ("http://127.0.0.1:9000", true),
            ("http://localhost:9000/", true),
            ("http://[::1]:9000", true),
            ("https://bank.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(local_key(&folder, url).is_some(), expect, "{url}");
        }
        folder.write_url("https://bank.example").unwrap();
        let key = local_key(&folder, "https://bank.example/").unwrap();
        assert_eq!(key.expose_secret(), "opb_secret");
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
