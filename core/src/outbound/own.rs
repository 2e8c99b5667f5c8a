//! Where this installation itself listens: no setting allows a connection there, whoever names the address.
//!
//! A bank that posts to itself is a request without an account that comes from inside.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{PoisonError, RwLock},
};

use url::{Host, Url};

use super::{address, canonical};

/// The ports and sites of this installation, told by whoever listens; shared by every policy of a process.
#[derive(Debug, Default)]
pub struct OwnAddresses(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    ports: BTreeSet<u16>,
    sites: BTreeSet<(String, u16)>,
}

impl OwnAddresses {
    /// This process listens at `address`; a port that is chosen later (0) says nothing yet.
    pub fn listens(&self, address: SocketAddr) {
        if address.port() != 0 {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.ports.insert(address.port());
        }
    }

    /// People reach this installation at `url`.
    pub fn serves(&self, url: &Url) {
        if let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.sites.insert((spelled(&host), port));
        }
    }

    /// True if this installation listens on the port, at whichever address.
    pub(super) fn has_port(&self, port: u16) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.ports.contains(&port)
    }

    /// True if a URL leads here, as far as that shows without asking where a name leads.
    pub(super) fn contains(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return false;
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.sites.contains(&(spelled(&host), port)) {
            return true;
        }
        known.ports.contains(&port)
            && match host {
                Host::Ipv4(address) => leads_here(address.into()),
                Host::Ipv6(address) => leads_here(address.into()),
                Host::Domain(name) => {
                    let name = canonical(name);
                    name == "localhost" || name.ends_with(".localhost")
                }
            }
    }
}

/// True if an address belongs to this machine, in whatever form it is carried.
pub(super) fn leads_here(address: IpAddr) -> bool {
    let plain = address::unmapped(address);
    // Only an address of this machine can be bound; nothing is sent, and the port is whichever is free.
    let is_here = |address: IpAddr| {
        address.is_unspecified() || address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
    };
    is_here(plain) || address::carried(plain).into_iter().any(is_here)
}

/// One spelling for each host.
fn spelled(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => canonical(name),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address::unmapped((*address).into()).to_string(),
    }
}
