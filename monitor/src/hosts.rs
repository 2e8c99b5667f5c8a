//! The host names that a server accepts.
//!
//! A web page can point a name of its own at 127.0.0.1 ("DNS rebinding"): the browser then treats a local server as
//! the page's own. Such requests carry the page's name in `Host`, so they can be refused.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, Uri, header::HOST, http::uri::Authority};

/// The host names that a server accepts; `None` accepts any.
#[derive(Debug, Clone)]
pub struct Hosts(Option<Vec<String>>);

impl Hosts {
    /// The host names for a server that listens at `address`. At a loopback address these are the loopback names and
    /// `others`. At any other address a server cannot know its own names, so any name is accepted, unless `listed`
    /// says that `others` is the complete list.
    #[must_use]
    pub fn of(address: SocketAddr, others: &[String], listed: bool) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        let others = others.iter().map(|name| canonical(name)).collect();
        Self((is_loopback || listed).then_some(others))
    }

    /// True if the request uses an accepted host name. The port is ignored: tunnels and containers change it.
    #[must_use]
    pub fn accept(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(names) = &self.0 else {
            return true;
        };
        if uri
            .authority()
            .is_some_and(|authority| !is_one(names, authority.as_str()))
        {
            return false;
        }
        let mut hosts = headers.get_all(HOST).iter();
        // Browsers always send it, so a request without it is not from a browser.
        let Some(host) = hosts.next() else {
            return true;
        };
        hosts.next().is_none() && host.to_str().is_ok_and(|host| is_one(names, host))
    }
}

fn is_one(names: &[String], authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = canonical(authority.host());
    let is_loopback = host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_loopback());
    is_loopback || host == "localhost" || host.ends_with(".localhost") || names.contains(&host)
}

/// A host in lower case, without brackets and without the trailing dot.
fn canonical(host: &str) -> String {
    host.trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(listen: &str, names: &[&str], called: &str) -> bool {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let rule = Hosts::of(listen.parse().unwrap(), &names, !names.is_empty());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, called.parse().unwrap());
        rule.accept(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn a_loopback_listener_answers_to_its_own_names() {
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST.:1",
            "bank.localhost:8080",
            "127.0.0.1",
            "127.0.0.1:9999",
            "127.1.2.3",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
            "bank.example:443",
            "Bank.Example",
        ] {
            assert!(accepts("127.0.0.1:8080", &["bank.example"], host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example@localhost",
            "localhost@evil.example",
            "10.0.0.1:8080",
            "0.0.0.0:8080",
            "[::2]",
            "",
            "a b",
        ] {
            assert!(
                !accepts("127.0.0.1:8080", &["bank.example"], host),
                "{host}"
            );
            assert!(!accepts("[::1]:8080", &[], host), "{host}");
        }
    }

    #[test]
    fn elsewhere_any_name_does_unless_they_are_listed() {
        assert!(accepts("0.0.0.0:8080", &[], "api.bank.svc:8080"));
        assert!(!accepts("0.0.0.0:8080", &["bank.example"], "evil.example"));
        assert!(accepts("0.0.0.0:8080", &["10.0.0.7"], "10.0.0.7:8080"));
    }

    #[test]
    fn the_name_in_the_request_line_counts_too_and_none_is_no_browser() {
        let hosts = Hosts::of(([127, 0, 0, 1], 80).into(), &[], false);
        let evil = Uri::from_static("http://evil.example/");
        assert!(!hosts.accept(&evil, &HeaderMap::new()));
        assert!(hosts.accept(&Uri::from_static("/"), &HeaderMap::new()));
        let mut two = HeaderMap::new();
        two.append(HOST, "localhost".parse().unwrap());
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(!hosts.accept(&Uri::from_static("/"), &two));
    }
}
