//! By which names a process may be called.
//!
//! A web page can let a name of its own lead to 127.0.0.1 ("DNS rebinding"): the browser then takes whatever listens there
//! for the page's own server. Its requests carry the page's name in `Host`, and that is what gives them away.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, Uri, header::HOST, http::uri::Authority};

/// The names by which a process may be called.
#[derive(Debug, Clone)]
pub struct Hosts(Option<Vec<String>>);

impl Hosts {
    /// The names for a process that listens at `address`. At a loopback address these are the names of this machine for
    /// itself, and `others`. Elsewhere nobody can know under which names a process is reached: any, unless `others` are
    /// `listed`.
    #[must_use]
    pub fn of(address: SocketAddr, others: &[String], listed: bool) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        let others = others.iter().map(|name| canonical(name)).collect();
        Self((is_loopback || listed).then_some(others))
    }

    /// True if a request calls this process by one of its names, at whatever port: tunnels and containers change it.
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
        // Browsers always send it; what does not is no browser.
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

/// A host in lower case, without brackets and without the dot of the root.
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
