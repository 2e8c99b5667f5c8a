//! HTTP connections to addresses that somebody has set: guarded on the connection itself, no redirects, no repeats, no
//! proxies of the environment.
//!
//! Names are resolved here and nowhere else, and only checked addresses are passed on. A name that leads to one forbidden
//! address is refused whole, however many good ones come with it. Which addresses are forbidden is decided in `opb-core`.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use opb_core::outbound::OutboundPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A client to build on. An address that is written as numbers never comes to the guard: before each request, ask
/// [`OutboundPolicy::allows_host`] for its URL.
pub fn guarded(policy: Arc<OutboundPolicy>, lookup: Arc<dyn Lookup>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("openpromptbank/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .dns_resolver(Guard { policy, lookup })
        .connect_timeout(CONNECT_TIME)
}

/// Asks which addresses a name has.
pub trait Lookup: Send + Sync {
    /// All addresses; their ports mean nothing.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed()
    }
}

/// Resolves names for the HTTP client.
struct Guard {
    policy: Arc<OutboundPolicy>,
    lookup: Arc<dyn Lookup>,
}

/// The policy forbids the address.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub struct Forbidden;

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
