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

/// HTTP clients that keep to a policy, with one set of options.
///
/// There are two, because a resolver is not told the port: the second one asks for the ports at which this installation
/// listens, and refuses every name that leads to this machine.
#[derive(Clone)]
pub struct Guarded {
    policy: Arc<OutboundPolicy>,
    elsewhere: reqwest::Client,
    own_port: reqwest::Client,
}

impl Guarded {
    /// Builds the clients; `options` adds what a caller needs.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be read.
    pub fn new(
        policy: Arc<OutboundPolicy>,
        lookup: &Arc<dyn Lookup>,
        options: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> reqwest::Result<Self> {
        let build = |refuses_this_machine| {
            let guard = Guard {
                policy: Arc::clone(&policy),
                lookup: Arc::clone(lookup),
                refuses_this_machine,
            };
            let builder = reqwest::Client::builder()
                .user_agent(concat!("openpromptbank/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .dns_resolver(guard)
                .connect_timeout(CONNECT_TIME);
            options(builder).build()
        };
        Ok(Self {
            elsewhere: build(false)?,
            own_port: build(true)?,
            policy,
        })
    }

    /// A POST to build on, to be executed by [`Guarded::client`] of its URL.
    pub fn post(&self, url: impl reqwest::IntoUrl) -> reqwest::RequestBuilder {
        self.elsewhere.post(url)
    }

    /// The client for a URL. An address that is written as numbers never comes to a resolver, so it is checked here.
    ///
    /// # Errors
    /// The policy forbids the address.
    pub fn client(&self, url: &reqwest::Url) -> Result<&reqwest::Client, Forbidden> {
        self.policy.check_host(url).map_err(|_| Forbidden)?;
        Ok(if self.policy.is_own_port(url) {
            &self.own_port
        } else {
            &self.elsewhere
        })
    }
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
    refuses_this_machine: bool,
}

/// The policy forbids the address.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub struct Forbidden;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let refuses_this_machine = self.refuses_this_machine;
        let name = name.as_str().to_owned();
        let looked_up = self.lookup.addresses(name.clone());
        async move {
            if !policy.allows_name(&name) {
                return Err(Forbidden.into());
            }
            let addresses = looked_up.await?;
            let all_allowed = addresses.iter().all(|address| {
                policy.allows(Some(&name), address.ip())
                    && !(refuses_this_machine && OutboundPolicy::leads_here(address.ip()))
            });
            if !all_allowed {
                return Err(Forbidden.into());
            }
            // The client connects to these and asks nobody else.
            Ok(Box::new(addresses.into_iter()) as Addrs)
        }
        .boxed()
    }
}
