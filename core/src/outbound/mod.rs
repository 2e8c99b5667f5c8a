//! The policy for outbound connections to addresses that users set: by default only the public internet, and never this
//! installation itself.
//!
//! The policy depends on who may set the address: addresses set by administrators are checked against the operator's
//! list, addresses that every user may set against a separate list. Everything here is pure, except the check whether
//! an address belongs to this machine. A name says nothing about the address it resolves to, so the code that connects
//! resolves it, asks [`OutboundPolicy::allows`] for **every** address, and connects to exactly those. The check when an
//! address is saved ([`OutboundPolicy::check_url`]) is a courtesy to the user, not the guard.

mod address;
mod own;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, str::FromStr, sync::Arc};

use clap::Args;
use ipnet::IpNet;
use url::{Host, Url};

pub use own::OwnAddresses;

/// The addresses that are allowed by default for a bank on the user's own machine: models on it and in its networks.
const LOCAL: &str = "localhost,127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16";

/// Maximum length of a URL, in bytes.
const MAX_URL_BYTES: usize = 2_000;

/// The addresses that the operator allows besides the public internet.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Outbound connections")]
pub struct OutboundSettings {
    /// Hosts and ranges that providers may be at besides the public internet, as in `gpu.lan,10.1.0.0/16`
    #[arg(long, env = "OPB_ALLOW_OUTBOUND", value_name = "HOST|RANGE,…")]
    pub allow_outbound: Vec<AllowList>,
}

impl OutboundSettings {
    /// The operator's policy; by default only the public internet.
    #[must_use]
    pub fn policy(&self) -> OutboundPolicy {
        OutboundPolicy::default().and(&self.allow_outbound)
    }

    /// The policy of a bank that one person runs on their own machine: by default also that machine and its private
    /// networks. An empty setting allows neither.
    #[must_use]
    pub fn local_policy(&self) -> OutboundPolicy {
        if self.allow_outbound.is_empty() {
            OutboundPolicy::local()
        } else {
            self.policy()
        }
    }
}

/// True for a URL whose host is this machine or an address of a private network. Names other than `localhost` are not
/// private, because they may resolve to anything.
#[must_use]
pub fn is_private(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let address = match url.host() {
        Some(Host::Domain(name)) => {
            let name = canonical(name);
            return name == "localhost" || name.ends_with(".localhost");
        }
        Some(Host::Ipv4(address)) => IpAddr::from(address),
        Some(Host::Ipv6(address)) => address::unmapped(address.into()),
        None => return false,
    };
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

/// Hosts and ranges, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    hosts: Vec<String>,
    ranges: Vec<IpNet>,
}

impl FromStr for AllowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            if let Ok(range) = word.parse::<IpNet>() {
                list.ranges.push(range.trunc());
                continue;
            }
            if let Ok(address) = word.trim_matches(['[', ']']).parse::<IpAddr>() {
                list.ranges.push(address.into());
                continue;
            }
            match Host::parse(word) {
                Ok(Host::Domain(name)) if !word.contains('/') => {
                    list.hosts.push(name.trim_end_matches('.').to_owned());
                }
                _ => {
                    return Err(format!(
                        "`{word}` is neither a host such as gpu.lan nor a range such as 10.1.0.0/16"
                    ));
                }
            }
        }
        Ok(list)
    }
}

/// Decides which addresses may be connected to. The default only allows the public internet.
#[derive(Debug, Clone)]
pub struct OutboundPolicy {
    allowed: AllowList,
    /// The option that allows more, for error messages.
    option: &'static str,
    own: Arc<OwnAddresses>,
}

impl Default for OutboundPolicy {
    fn default() -> Self {
        Self {
            allowed: AllowList::default(),
            option: "--allow-outbound",
            own: Arc::default(),
        }
    }
}

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It is not an HTTP URL.
    #[error("must be an http:// or https:// URL, such as https://example.org/v1")]
    NotHttp,
    /// It has parts that a base URL must not have.
    #[error("must not hold a user name, a password, a query, a fragment, spaces or backslashes")]
    Parts,
    /// Connections to it are forbidden; the option that would allow them.
    #[error("is at an address that this server may not call; its operator can allow it with {0}")]
    Forbidden(&'static str),
    /// It is this installation.
    #[error("is at this server's own address, which it never calls")]
    Own,
}

impl OutboundPolicy {
    /// Allows loopback and private networks, for a bank that one person runs on their own machine.
    #[must_use]
    pub fn local() -> Self {
        let Ok(list): Result<AllowList, _> = LOCAL.parse() else {
            return Self::default();
        };
        Self {
            allowed: list,
            ..Self::default()
        }
    }

    /// This policy, extended by these lists.
    #[must_use]
    pub fn and(&self, lists: &[AllowList]) -> Self {
        let mut policy = self.clone();
        for list in lists {
            policy.allowed.hosts.extend(list.hosts.iter().cloned());
            policy.allowed.ranges.extend(&list.ranges);
        }
        policy
    }

    /// The policy for addresses that every user may set: the public internet and these lists, regardless of this
    /// policy's own lists. The installation's own addresses are shared.
    #[must_use]
    pub fn for_everybody(&self, lists: &[AllowList], option: &'static str) -> Self {
        let nothing = Self {
            allowed: AllowList::default(),
            option,
            own: Arc::clone(&self.own),
        };
        nothing.and(lists)
    }

    /// This policy for addresses that only the operator of the machine sets: they may be at this installation's own
    /// site, where one proxy serves several programs.
    #[must_use]
    pub fn for_operator(&self) -> Self {
        Self {
            own: Arc::default(),
            ..self.clone()
        }
    }

    /// The installation's own addresses; servers register theirs here.
    #[must_use]
    pub fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// True if this installation listens on the URL's port: then the addresses that its name resolves to have to be
    /// checked, too.
    #[must_use]
    pub fn is_own_port(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        port.is_some_and(|port| self.own.has_port(port))
    }

    /// True if an address belongs to this machine, in any form.
    #[must_use]
    pub fn leads_here(address: IpAddr) -> bool {
        own::leads_here(address)
    }

    /// True for an address of the public internet, which is allowed by default.
    #[must_use]
    pub fn is_public(address: IpAddr) -> bool {
        !address::is_special(address) && !address::is_metadata(address)
    }

    /// True if more than the public internet is allowed.
    #[must_use]
    pub fn allows_more(&self) -> bool {
        !self.allowed.hosts.is_empty() || !self.allowed.ranges.is_empty()
    }

    /// True if a connection to `address`, which `name` resolved to, is allowed.
    #[must_use]
    pub fn allows(&self, name: Option<&str>, address: IpAddr) -> bool {
        if address::is_metadata(address) {
            return false;
        }
        if !address::is_special(address) {
            return true;
        }
        let plain = address::unmapped(address);
        self.allowed
            .ranges
            .iter()
            .any(|range| range.contains(&plain))
            || name.is_some_and(|name| self.names(name))
    }

    /// True unless the name itself is forbidden. The addresses it resolves to are checked separately.
    #[must_use]
    pub fn allows_name(&self, name: &str) -> bool {
        let name = canonical(name);
        let is_loopback = name == "localhost" || name.ends_with(".localhost");
        !address::is_metadata_name(&name)
            && (!is_loopback || self.names(&name) || self.allows(None, [127, 0, 0, 1].into()))
    }

    /// Checks the host of a URL; the addresses of a name are checked after resolving it.
    ///
    /// # Errors
    /// Connections to the host are forbidden.
    pub fn check_host(&self, url: &Url) -> Result<(), UrlFault> {
        let allowed = match url.host() {
            Some(Host::Ipv4(address)) => self.allows(None, address.into()),
            Some(Host::Ipv6(address)) => self.allows(None, address.into()),
            Some(Host::Domain(name)) => self.allows_name(name),
            None => false,
        };
        if !allowed {
            return Err(UrlFault::Forbidden(self.option));
        }
        if self.own.contains(url) {
            return Err(UrlFault::Own);
        }
        Ok(())
    }

    /// Parses a base URL from a user. Every spelling of an address gives the same result.
    ///
    /// # Errors
    /// It is not a base URL, or its address is forbidden.
    pub fn check_url(&self, text: &str) -> Result<Url, UrlFault> {
        let url = self.check_address(text)?;
        if url.query().is_some() {
            return Err(UrlFault::Parts);
        }
        Ok(url)
    }

    /// Parses the URL of a single page from a user; unlike a base URL, it may have a query.
    ///
    /// # Errors
    /// It is not a URL, or its address is forbidden.
    pub fn check_address(&self, text: &str) -> Result<Url, UrlFault> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
        if text.contains(odd) {
            return Err(UrlFault::Parts);
        }
        let (Some(url), true) = (Url::parse(text).ok(), text.len() <= MAX_URL_BYTES) else {
            return Err(UrlFault::NotHttp);
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(UrlFault::NotHttp);
        }
        let is_plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !is_plain || text.contains('@') {
            return Err(UrlFault::Parts);
        }
        self.check_host(&url)?;
        Ok(url)
    }

    fn names(&self, name: &str) -> bool {
        let name = canonical(name);
        self.allowed.hosts.contains(&name)
    }
}

/// A name in lower case, without the trailing dot.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
