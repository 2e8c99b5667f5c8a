//! The file in which the operator configures OpenID Connect providers.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use openidconnect::IssuerUrl;
use secrecy::SecretString;
use serde::Deserialize;
use url::Host;

use crate::secret;

/// Settings of logins through OpenID Connect.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "OpenID Connect")]
pub struct OidcSettings {
    /// TOML file of OpenID Connect providers, one table each; it contains their secrets, so keep it private
    #[arg(long, env = "OPB_OIDC_PROVIDERS", value_name = "FILE")]
    pub oidc_providers: Option<PathBuf>,
}

/// One table of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderSettings {
    /// The name that users see; the table's name if absent.
    pub(super) display_name: Option<String>,
    /// The issuer URL, exactly as the provider writes it.
    pub(super) issuer: IssuerUrl,
    /// The client id of this server at the provider.
    pub(super) client_id: String,
    /// The client secret; none for a public client.
    #[serde(default, deserialize_with = "secret::optional::deserialize")]
    pub(super) client_secret: Option<SecretString>,
    /// Scopes to request besides `openid`.
    #[serde(default = "default_scopes")]
    pub(super) scopes: Vec<String>,
    /// If not empty, only users with an email address of these domains may log in.
    #[serde(default)]
    pub(super) allowed_email_domains: Vec<String>,
    /// Whether unknown users get accounts, as far as registration is open.
    #[serde(default = "yes")]
    pub(super) create_users: bool,
}

impl OidcSettings {
    /// Reads the file, if one is set.
    ///
    /// # Errors
    /// The file cannot be read, can be read by other users, or something in it is invalid.
    pub(super) fn read(&self) -> anyhow::Result<BTreeMap<String, ProviderSettings>> {
        let Some(path) = &self.oidc_providers else {
            return Ok(BTreeMap::new());
        };
        let text = opb_settings::read_secret_text(
            path,
            "OpenID Connect providers",
            opb_settings::MAX_FILE_BYTES,
        )
        .context("--oidc-providers")?;
        parse(&text).with_context(|| format!("--oidc-providers: {} is wrong", path.display()))
    }
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, ProviderSettings>> {
    // The error's own text shows the line, which may contain a secret.
    let read: BTreeMap<String, ProviderSettings> =
        toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.message()))?;
    for (name, provider) in &read {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=32).contains(&name.len()) || !name.chars().all(plain) {
            bail!("[{name}]: a provider's name has 1 to 32 lower-case letters, digits and dashes");
        }
        let url = provider.issuer.url();
        let is_here = match url.host() {
            Some(Host::Domain(host)) => host == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
            bail!("[{name}]: the issuer must be an https:// URL (http:// on this machine only)");
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            bail!("[{name}]: the issuer must have no user name, query or fragment");
        }
        if provider.client_id.is_empty() {
            bail!("[{name}]: the client_id is empty");
        }
    }
    Ok(read)
}

fn default_scopes() -> Vec<String> {
    vec!["email".into(), "profile".into()]
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documents_is_a_provider() {
        let page = include_str!("../../../docs/OPERATIONS.md");
        let (_, example) = page.split_once("```toml oidc.toml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let whole = example.replace("\n# ", "\n");
        for text in [example, &whole] {
            assert_eq!(parse(text).unwrap().len(), 1, "{text}");
        }
    }

    #[test]
    fn a_table_is_a_provider() {
        let read = parse("[a-1]\nissuer = 'https://a.example'\nclient_id = 'bank'\n").unwrap();
        let provider = &read["a-1"];
        assert_eq!(provider.scopes, ["email", "profile"]);
        assert!(provider.create_users && provider.client_secret.is_none());
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let settings = OidcSettings {
            oidc_providers: Some("/dev/zero".into()),
        };
        let error = format!("{:#}", settings.read().map(drop).unwrap_err());
        assert!(error.contains("it is larger than 1024 KiB"), "{error}");
    }

    #[test]
    fn wrong_files_are_refused_without_repeating_a_secret() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        let with = |name: &str, issuer: &str, rest: &str| {
            format!(
                "[{name}]\nissuer = '{issuer}'\nclient_id = 'bank'\nclient_secret = 'hunter2'\n{rest}"
            )
        };
        check(&with("A", "https://a.example", ""), "lower-case letters");
        check(&with("a", "http://a.example", ""), "https://");
        check(&with("a", "ftp://127.0.0.1", ""), "https://");
        check(&with("a", "https://a.example/?b", ""), "query");
        check(&with("a", "https://a.example", "colour = 1"), "colour");
        check("[a]\nissuer = 'https://a.example'", "client_id");
        check("[a]\nclient_secret = hunter2", "");
        assert!(parse(&with("a", "http://127.0.0.1:1", "")).is_ok());
    }
}
