//! The addresses of this installation. No setting allows connections to them, regardless of who sets the address.
//!
//! A request from the bank to itself would be an unauthenticated request from inside.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{PoisonError, RwLock},
};

use url::{Host, Url};

use super::{address, canonical};

/// The ports and sites of this installation, registered by its servers; shared by all policies of a process.
#[derive(Debug, Default)]
pub struct OwnAddresses(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    ports: BTreeSet<u16>,
    sites: BTreeSet<(String, u16)>,
}

impl OwnAddresses {
    /// Registers that this process listens at `address`; port 0, which is assigned later, is ignored.
    pub fn listens(&self, address: SocketAddr) {
        if address.port() != 0 {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.ports.insert(address.port());
        }
    }

    /// Registers that this installation is reachable at `url`.
    pub fn serves(&self, url: &Url) {
        if let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.sites.insert((spelled(&host), port));
        }
    }

    /// True if this installation listens on the port, at any address.
    pub(super) fn has_port(&self, port: u16) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.ports.contains(&port)
    }

    /// True if a URL is known to be this installation without resolving its name.
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

/// True if an address belongs to this machine, in any form.
pub(super) fn leads_here(address: IpAddr) -> bool {
    let plain = address::unmapped(address);
    // Only an address of this machine can be bound; nothing is sent, and the port is any free one.
    let is_here = |address: IpAddr| {
        address.is_unspecified() || address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
    };
    is_here(plain) || address::carried(plain).into_iter().any(is_here)
}

/// The canonical spelling of a host.
fn spelled(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => canonical(name),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address::unmapped((*address).into()).to_string(),
    }
}
