//! Settings of the HTTP server.

use std::{net::SocketAddr, str::FromStr, sync::Arc};

use axum::http::{HeaderValue, Uri};
use clap::Args;
use ipnet::IpNet;
use opb_core::{
    auth::Registration, mail::parse_public_url, models::OperatorKeys, outbound::OutboundPolicy,
    runs::RunRules,
};
use opb_monitor::Hosts;
use secrecy::SecretString;
use url::{Host, Url};

use crate::{MailSettings, OidcSettings, Replica, WebhookSettings};

/// Settings of the HTTP server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "API")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct ApiSettings {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "OPB_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,
    /// Who may register
    #[arg(
        long,
        env = "OPB_REGISTRATION",
        value_name = "WHO",
        value_enum,
        default_value = "open"
    )]
    pub registration: Registration,
    /// Require a login for reading; without this, everybody can read what is public
    #[arg(long, env = "OPB_READING_NEEDS_LOGIN")]
    pub reading_needs_login: bool,
    /// Public URL of this bank, as in `https://bank.example.org`; links in mails begin with it
    #[arg(long, env = "OPB_PUBLIC_URL", value_name = "URL", value_parser = parse_public_url)]
    pub public_url: Option<Url>,
    /// Further host names that this server accepts, as in `bank.lan`. At a loopback address it accepts its own names
    /// (localhost, 127.0.0.1, `[::1]`), these and that of the public URL; at other addresses any name, unless this is
    /// set
    #[arg(
        long,
        env = "OPB_ALLOW_HOSTS",
        value_name = "NAME,…",
        value_delimiter = ',',
        value_parser = parse_host
    )]
    pub allow_hosts: Vec<String>,
    /// Bearer token for /metrics; without it, only clients on this machine can read them
    #[arg(
        long,
        env = "OPB_METRICS_TOKEN",
        value_name = "SECRET",
        hide_env_values = true,
        value_parser = parse_metrics_token
    )]
    pub metrics_token: Option<SecretString>,
    /// Invitation with which the first administrator registers; works once, while there is no administrator, even
    /// where registration is closed
    #[arg(
        long,
        env = "OPB_FIRST_ADMIN_INVITATION",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub first_admin_invitation: Option<SecretString>,
    /// Expire the first refresh token of a session 30 seconds after it was replaced, like all others; clients that
    /// keep using it are logged out
    #[arg(long, env = "OPB_REQUIRE_ROTATION")]
    pub require_rotation: bool,
    /// Maximum size of a request body in bytes
    #[arg(long, env = "OPB_BODY_LIMIT_BYTES", value_name = "BYTES", default_value_t = 8 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(1024..=1 << 30))]
    pub body_limit_bytes: u64,
    /// Time limit of a request in seconds; its body must arrive in half of it, and live events have no limit
    #[arg(long, env = "OPB_REQUEST_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout_seconds: u64,
    /// Maximum number of open connections; others wait until one ends
    #[arg(long, env = "OPB_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Origins whose web pages may call the API from a browser, as in `https://bank.example.org`; none by default
    #[arg(
        long,
        env = "OPB_CORS_ORIGINS",
        value_name = "ORIGIN,…",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<CorsOrigin>,
    /// Clients reach this API through TLS only (a proxy in front of it holds the certificate), and browsers must use
    /// HTTPS
    #[arg(long, env = "OPB_BEHIND_TLS")]
    pub behind_tls: bool,
    /// The outbound policy for addresses that users set; the public internet, unless the operator allows more.
    #[arg(skip)]
    pub outbound: Arc<OutboundPolicy>,
    /// The read replica that serves requests without a credential, where slightly old data is acceptable; `None` uses
    /// the database itself.
    #[arg(skip)]
    pub replica: Option<Replica>,
    /// The operator's own credentials, if the API runs beside a worker that has them; used to check providers.
    #[arg(skip)]
    pub operator_keys: OperatorKeys,
    /// True when metrics are served by the monitoring server instead of this one.
    #[arg(skip)]
    pub hides_metrics: bool,
    /// Failed logins per account before further attempts are delayed
    #[arg(long, env = "OPB_LOGIN_FAILURES_PER_ACCOUNT", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub login_failures_per_account: u32,
    /// Failed logins per address before further attempts are delayed
    #[arg(long, env = "OPB_LOGIN_FAILURES_PER_ADDRESS", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub login_failures_per_address: u32,
    /// Registrations per address before further ones are delayed
    #[arg(long, env = "OPB_REGISTRATIONS_PER_ADDRESS", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub registrations_per_address: u32,
    /// Networks of trusted proxies, whose header `X-Forwarded-For` is used, as in `10.0.0.0/8`; none by default
    #[arg(
        long,
        env = "OPB_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpNet>,
    /// Rules for spending and visibility.
    #[command(flatten)]
    pub rules: RunRules,
    /// Settings of mail.
    #[command(flatten)]
    pub mail: MailSettings,
    /// Settings of webhooks.
    #[command(flatten)]
    pub webhooks: WebhookSettings,
    /// Settings of OpenID Connect.
    #[command(flatten)]
    pub oidc: OidcSettings,
}

impl ApiSettings {
    /// The host names that this server accepts when it listens at `address`.
    pub(crate) fn hosts(&self, address: SocketAddr) -> Hosts {
        let public = self.public_url.as_ref().and_then(Url::host_str);
        let listed = self.allow_hosts.iter().map(String::as_str);
        let listed: Vec<&str> = listed.filter(|name| !name.is_empty()).collect();
        let names = listed.iter().copied().chain(public);
        let names: Vec<String> = names.map(str::to_owned).collect();
        Hosts::of(address, &names, !listed.is_empty())
    }
}

/// Parses a host name without a port; an empty setting is none.
fn parse_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let host = Host::parse(text);
    host.map(|host| host.to_string())
        .map_err(|_| format!("`{text}` is not a host name such as bank.lan"))
}

/// Parses a token that is too long to be guessed.
fn parse_metrics_token(text: &str) -> Result<SecretString, String> {
    if text.len() < 16 {
        return Err(
            "must have at least 16 characters, such as those of `openssl rand -hex 16`".into(),
        );
    }
    Ok(text.into())
}

/// The origin of a web page: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsOrigin(pub(crate) HeaderValue);

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an origin such as https://bank.example.org");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        // Browsers send an origin in exactly one spelling.
        let origin = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        if origin != text || origin != text.to_lowercase() || origin.contains('@') {
            return Err(wrong());
        }
        HeaderValue::try_from(origin).map(Self).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_is_an_origin() {
        for good in ["https://bank.example.org", "http://127.0.0.1:5173"] {
            assert!(good.parse::<CorsOrigin>().is_ok(), "{good}");
        }
        for wrong in [
            "",
            "*",
            "null",
            "bank.example.org",
            "https://bank.example.org/",
            "https://Bank.example.org",
            "https://a@b",
            "ftp://a",
        ] {
            assert!(wrong.parse::<CorsOrigin>().is_err(), "{wrong}");
        }
    }
}
