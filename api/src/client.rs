//! The client's address, by which attempts are throttled.
//!
//! Any client can set the header `X-Forwarded-For`; only the part that a trusted proxy added is used.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header::USER_AGENT, request::Parts},
};
use ipnet::IpNet;
use opb_core::auth::Origin;

use crate::AppState;

/// Headers by which proxies identify themselves and their clients.
const PROXY_HEADERS: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// The remote address of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address of the client.
pub(crate) struct Client(pub(crate) Origin);

impl FromRequestParts<AppState> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let unknown = Peer(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let Peer(peer) = parts.extensions.get().copied().unwrap_or(unknown);
        let user_agent = parts.headers.get(USER_AGENT);
        Ok(Self(Origin {
            address: behind_proxies(peer, &parts.headers, &state.trusted_proxies),
            user_agent: user_agent.and_then(|text| text.to_str().ok().map(Into::into)),
        }))
    }
}

/// Whether the client is a program on this machine, and not a local proxy for another client.
pub(crate) struct IsLocal(pub(crate) bool);

impl FromRequestParts<AppState> for IsLocal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        let is_here = peer.is_some_and(|Peer(peer)| peer.to_canonical().is_loopback());
        let is_proxied = PROXY_HEADERS
            .iter()
            .any(|name| parts.headers.contains_key(*name));
        Ok(Self(is_here && !is_proxied && state.is_local()))
    }
}

/// Walks from the peer back through the trusted proxies to the first address that is not one of them.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut address = peer.to_canonical();
    let claims = headers.get_all("x-forwarded-for").iter();
    let claims: Vec<&str> = claims
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for claim in claims.iter().rev() {
        if !is_trusted(address) {
            return address;
        }
        let Ok(before) = claim.trim().parse::<IpAddr>() else {
            return address;
        };
        address = before.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let check = |peer: &str, forwarded: &[&str], expect: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let found = behind_proxies(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found.to_string(), expect, "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check(
            "10.0.0.1",
            &["1.1.1.1, 198.51.100.7, 10.0.0.2"],
            "198.51.100.7",
        );
        check("10.0.0.1", &["1.1.1.1", "198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7, nonsense"], "10.0.0.1");
        check("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1");
    }
}
