//! What an operator can set about the HTTP door.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

/// How the HTTP door is opened.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "API")]
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
    /// The largest request body in bytes
    #[arg(long, env = "OPB_BODY_LIMIT", value_name = "BYTES", default_value_t = 8 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(1024..=1 << 30))]
    pub body_limit_bytes: u64,
    /// After so many seconds a request is given up; live events are not counted
    #[arg(long, env = "OPB_REQUEST_TIMEOUT", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout_seconds: u64,
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
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Nobody: accounts are made by the administrator.
    Closed,
}
