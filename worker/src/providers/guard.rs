//! The guard on the connection itself: names are resolved here and nowhere else, and only checked addresses are passed on.
//!
//! A name that leads to one forbidden address is refused whole, however many good ones come with it.

use std::{io, net::SocketAddr, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use opb_core::outbound::OutboundPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Asks which addresses a name has.
pub(super) trait Lookup: Send + Sync {
    /// All addresses; their ports mean nothing.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed()
    }
}

/// Resolves names for the HTTP client.
pub(super) struct Guard {
    pub(super) policy: Arc<OutboundPolicy>,
    pub(super) lookup: Arc<dyn Lookup>,
}

/// The policy forbids the address.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub(super) struct Forbidden;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let name = name.as_str().to_owned();
        let looked_up = self.lookup.addresses(name.clone());
        async move {
            if !policy.allows_name(&name) {
                return Err(Forbidden.into());
            }
            let addresses = looked_up.await?;
            let all_allowed = addresses
                .iter()
                .all(|address| policy.allows(Some(&name), address.ip()));
            if !all_allowed {
                return Err(Forbidden.into());
            }
            // The client connects to these and asks nobody else.
            Ok(Box::new(addresses.into_iter()) as Addrs)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
