//! What an operator can set about the HTTP door.

use std::{net::SocketAddr, str::FromStr, sync::Arc};

use axum::http::{HeaderValue, Uri};
use clap::Args;
use ipnet::IpNet;
use opb_core::{
    auth::Registration, mail::parse_public_url, outbound::OutboundPolicy, runs::RunRules,
};
use secrecy::SecretString;
use url::Url;

use crate::{MailSettings, OidcSettings, Replica, WebhookSettings};

/// How the HTTP door is opened.
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
        default_value = "127.0.0.1:8080"
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
    /// Show nothing without a login; otherwise everybody can read what is public, and nothing else
    #[arg(long, env = "OPB_READING_NEEDS_LOGIN")]
    pub reading_needs_login: bool,
    /// Address at which people reach this bank, as in `https://bank.example.org`; links in mails begin with it
    #[arg(long, env = "OPB_PUBLIC_URL", value_name = "URL", value_parser = parse_public_url)]
    pub public_url: Option<Url>,
    /// While there is no administrator, whoever registers with this secret as invitation becomes one; it works once, even where registration is closed
    #[arg(
        long,
        env = "OPB_FIRST_ADMIN_INVITATION",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub first_admin_invitation: Option<SecretString>,
    /// End the first refresh token of a session like all others 30 seconds after it was replaced; clients that keep it for ever are logged out
    #[arg(long, env = "OPB_REQUIRE_ROTATION")]
    pub require_rotation: bool,
    /// The largest request body in bytes
    #[arg(long, env = "OPB_BODY_LIMIT_BYTES", value_name = "BYTES", default_value_t = 8 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(1024..=1 << 30))]
    pub body_limit_bytes: u64,
    /// After so many seconds a request is given up, and a body that is not there after half of them; live events are not counted
    #[arg(long, env = "OPB_REQUEST_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout_seconds: u64,
    /// The most connections that are open at once; others wait until one ends
    #[arg(long, env = "OPB_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Web pages of these origins may call the API from a browser, as in `https://bank.example.org`; none without it
    #[arg(
        long,
        env = "OPB_CORS_ORIGINS",
        value_name = "ORIGIN,…",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<CorsOrigin>,
    /// Clients reach this API through TLS only (a proxy before it holds the certificate): browsers are told to keep to it
    #[arg(long, env = "OPB_BEHIND_TLS")]
    pub behind_tls: bool,
    /// Which addresses users may name; the public internet unless whoever starts the API says more.
    #[arg(skip)]
    pub outbound: Arc<OutboundPolicy>,
    /// Who answers those who bring no credential, as far as a moment does not matter; the database itself, if nobody.
    #[arg(skip)]
    pub replica: Option<Replica>,
    /// True when the metrics are served elsewhere, and not through this door.
    #[arg(skip)]
    pub hides_metrics: bool,
    /// So many logins of one account may fail before further ones must wait
    #[arg(long, env = "OPB_LOGIN_FAILURES_PER_ACCOUNT", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub login_failures_per_account: u32,
    /// So many logins from one address may fail before further ones must wait
    #[arg(long, env = "OPB_LOGIN_FAILURES_PER_ADDRESS", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub login_failures_per_address: u32,
    /// So many registrations may come from one address before further ones must wait
    #[arg(long, env = "OPB_REGISTRATIONS_PER_ADDRESS", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub registrations_per_address: u32,
    /// Networks of the proxies whose header `X-Forwarded-For` is believed, as in `10.0.0.0/8`; none by default
    #[arg(
        long,
        env = "OPB_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpNet>,
    /// Who may spend, and what is private.
    #[command(flatten)]
    pub rules: RunRules,
    /// How mail is sent.
    #[command(flatten)]
    pub mail: MailSettings,
    /// How webhooks are told.
    #[command(flatten)]
    pub webhooks: WebhookSettings,
    /// Where users may log in besides here.
    #[command(flatten)]
    pub oidc: OidcSettings,
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
