//! HTTP clients for addresses that users and operators configure: each connection is checked against the outbound
//! policy, and redirects, retries and the proxy settings of the environment are off.
//!
//! This is the only place that resolves such names, and only checked addresses reach the client. A name is refused if
//! any of its addresses is forbidden. `opb-core` decides which addresses are forbidden.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use opb_core::outbound::OutboundPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Timeout for connecting.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// HTTP clients that enforce one outbound policy, with one set of options.
///
/// There are two clients because a resolver does not know the port: the second one serves the ports on which this
/// installation listens, and refuses every name that resolves to this machine.
#[derive(Clone)]
pub struct Guarded {
    policy: Arc<OutboundPolicy>,
    elsewhere: reqwest::Client,
    own_port: reqwest::Client,
}

impl Guarded {
    /// Builds the clients; `options` adds the caller's own options.
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

    /// A GET request to build on; execute it with the [`Guarded::client`] of its URL.
    pub fn get(&self, url: impl reqwest::IntoUrl) -> reqwest::RequestBuilder {
        self.elsewhere.get(url)
    }

    /// A POST request to build on; execute it with the [`Guarded::client`] of its URL.
    pub fn post(&self, url: impl reqwest::IntoUrl) -> reqwest::RequestBuilder {
        self.elsewhere.post(url)
    }

    /// The client for a URL. An IP address in a URL never reaches the resolver, so it is checked here.
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

/// Resolves names to addresses.
pub trait Lookup: Send + Sync {
    /// All addresses of the name; their ports have no meaning.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed()
    }
}

/// The resolver of the HTTP client: it checks every address against the policy.
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
            // The client connects to these addresses and resolves nothing else.
            Ok(Box::new(addresses.into_iter()) as Addrs)
        }
        .boxed()
    }
}
