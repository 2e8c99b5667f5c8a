//! Tests of spellings and ranges, without a network.

use super::*;

fn policy(list: &str) -> OutboundPolicy {
    OutboundSettings {
        allow_outbound: vec![list.parse().unwrap()],
    }
    .policy()
}

/// Hosts in URLs that are not public.
const FORBIDDEN: &[&str] = &[
    // This machine, in every spelling that a URL allows.
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0.0.1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "127.0.0.1.",
    "127.0x0.00.1",
    "%31%32%37.0.0.1",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "127.0.0.1",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ｌｏｃａｌｈｏｓｔ",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "api.localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::]",
    "0",
    "0.0.0.0",
    "0x0",
    "0.1.2.3",
    // Private networks.
    "10.0.0.1",
    "10.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "192.168.257",
    "0xc0a80101",
    "100.64.0.1",
    "100.127.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "4294967295",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[5f00::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[4000::1]",
    // IPv4 inside IPv6, even if the embedded address is public: the translator is not.
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001::1]",
    "[2001:0:7f00:1:0:0:80ff:fffe]",
    "[::ffff:8.8.8.8]",
    "[::ffff:0:127.0.0.1]",
];

/// Hosts that no setting allows.
const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.42.42",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "１６９.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:a9fe:a9fe::1]",
    "[2001:0:808:808:0:0:5601:5601]",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "metadata",
    "instance-data",
];

#[test]
fn no_spelling_of_a_private_address_passes() {
    assert!(FORBIDDEN.len() + METADATA.len() >= 60);
    for host in FORBIDDEN.iter().chain(METADATA) {
        for url in [
            format!("http://{host}"),
            format!("https://{host}:8443/v1"),
            format!("HTTP://{host}/v1/"),
        ] {
            assert_eq!(
                OutboundPolicy::default().check_url(&url).err(),
                Some(UrlFault::Forbidden("--allow-outbound")),
                "{url}"
            );
        }
    }
}

#[test]
fn metadata_services_stay_forbidden_whatever_is_allowed() {
    let everything = policy("0.0.0.0/0,::/0,metadata.google.internal,metadata,instance-data");
    for host in METADATA {
        let url = format!("http://{host}/latest/meta-data");
        assert_eq!(
            everything.check_url(&url).err(),
            Some(UrlFault::Forbidden("--allow-outbound")),
            "{url}"
        );
    }
    assert!(everything.check_url("http://127.0.0.1/v1").is_ok());
    // Even if an allowed name resolves to it.
    assert!(!policy("gpu.lan").allows(Some("gpu.lan"), [169, 254, 169, 254].into()));
}

#[test]
fn the_public_internet_is_allowed() {
    for url in [
        "https://api.openai.com/v1",
        "http://example.org",
        "https://8.8.8.8/v1",
        "https://172.15.0.1",
        "https://172.32.0.1",
        "https://100.63.0.1",
        "https://100.128.0.1",
        "https://198.20.0.1",
        "https://223.255.255.255",
        "https://[2606:4700:4700::1111]/v1",
        "https://[2a00:1450::1]:8443/v1",
        "https://bücher.example/v1",
        "https://localhost.example.org/v1",
    ] {
        assert!(OutboundPolicy::default().check_url(url).is_ok(), "{url}");
    }
}

#[test]
fn what_is_no_plain_web_address_is_refused() {
    let check = |text: &str, fault: UrlFault| {
        assert_eq!(
            OutboundPolicy::local().check_url(text).err(),
            Some(fault),
            "{text:?}"
        );
    };
    for text in [
        "",
        "example.org/v1",
        "//example.org",
        "ftp://example.org",
        "file:///etc/passwd",
        "gopher://127.0.0.1:25/x",
        "unix:/run/postgres",
        "data:text/plain,x",
        "http://",
        "http://[::1",
        "http://256.256.256.256",
        "http://1.2.3.4.5",
        "http://0x100000000",
        "http://exa%00mple.org",
        "https://example.org:99999",
    ] {
        check(text, UrlFault::NotHttp);
    }
    for text in [
        "http://example.org@127.0.0.1/v1",
        "http://user:secret@example.org/v1",
        "http://example.org#@127.0.0.1/",
        "http://example.org?@127.0.0.1/",
        "http://example.org/v1?key=secret",
        "http://example.org\\@127.0.0.1/",
        "http://example.org\t.evil/",
        "http://127.0.0.1\n.example.org/",
        " http://example.org",
        "http://example.org/v1#",
    ] {
        check(text, UrlFault::Parts);
    }
}

#[test]
fn the_operator_allows_hosts_and_ranges() {
    let check = |list: &str, url: &str, allowed: bool| {
        assert_eq!(
            policy(list).check_url(url).is_ok(),
            allowed,
            "{list}: {url}"
        );
    };
    check("127.0.0.0/8", "http://127.1:8080/v1", true);
    check("127.0.0.0/8", "http://[::ffff:127.0.0.1]/v1", true);
    check("127.0.0.0/8", "http://localhost/v1", true);
    check("127.0.0.0/8", "http://[::1]/v1", false);
    check("127.0.0.0/8", "http://10.0.0.1/v1", false);
    check("10.1.0.7", "http://10.1.0.7/v1", true);
    check("10.1.0.7", "http://10.1.0.8/v1", false);
    check(" ::1 , 10.1.2.3/16 ", "http://[::1]/v1", true);
    check("::1,10.1.2.3/16", "http://10.1.9.9/v1", true);
    check("localhost", "http://localhost./v1", true);
    check("localhost", "http://127.0.0.1/v1", false);
    check("", "http://127.0.0.1/v1", false);
    check("::/0", "http://127.0.0.1/v1", false);
    let gpu = policy("GPU.lan.");
    assert!(gpu.allows(Some("gpu.lan"), [10, 0, 0, 1].into()));
    assert!(gpu.allows(Some("gpu.LAN."), [10, 0, 0, 1].into()));
    assert!(!gpu.allows(Some("gpu.lan.evil"), [10, 0, 0, 1].into()));
    assert!(!gpu.allows(Some("cpu.lan"), [10, 0, 0, 1].into()));
    assert!(gpu.allows(Some("cpu.lan"), [8, 8, 8, 8].into()));
    for wrong in [
        "10.0.0.0/33",
        "http://gpu.lan",
        "a b",
        "10.0.0.0/8/8",
        "gpu/8",
    ] {
        assert!(wrong.parse::<AllowList>().is_err(), "{wrong}");
    }
}

#[test]
fn a_bank_of_ones_own_reaches_its_neighbours_unless_it_is_told_not_to() {
    let unset = OutboundSettings::default();
    for url in [
        "http://127.0.0.1:11434/v1",
        "http://localhost:8080/v1",
        "http://[::1]/v1",
        "http://192.168.1.20/v1",
        "http://10.0.0.2/v1",
        "http://172.20.0.2/v1",
    ] {
        assert!(unset.local_policy().check_url(url).is_ok(), "{url}");
        assert!(unset.policy().check_url(url).is_err(), "{url}");
        let nothing = OutboundSettings {
            allow_outbound: vec![AllowList::default()],
        };
        assert!(nothing.local_policy().check_url(url).is_err(), "{url}");
    }
    assert!(
        unset
            .local_policy()
            .check_url("http://169.254.169.254/")
            .is_err()
    );
    assert!(
        unset
            .local_policy()
            .check_url("http://100.64.0.1/")
            .is_err()
    );
}

#[test]
fn one_address_is_stored_in_one_spelling() {
    let check = |text: &str, expect: &str| {
        let url = OutboundPolicy::local().check_url(text).unwrap();
        assert_eq!(url.as_str(), expect);
    };
    check("HTTP://0x7f.1:80/v1", "http://127.0.0.1/v1");
    check("http://LocalHost:8080/v1", "http://localhost:8080/v1");
    check("http://[::FFFF:127.0.0.1]/v1", "http://[::ffff:7f00:1]/v1");
}

/// A bank on port 9 of this machine, with the public URL `https://bank.example`.
fn bank() -> OutboundPolicy {
    let policy = policy("localhost,bank.example,127.0.0.0/8,::1,10.0.0.0/8");
    policy.own().listens(([0, 0, 0, 0], 9).into());
    policy
        .own()
        .serves(&Url::parse("https://bank.example/").unwrap());
    policy
}

#[test]
fn nobody_sends_the_bank_to_itself() {
    let own = |url: &str| bank().check_address(url).err() == Some(UrlFault::Own);
    for url in [
        "http://127.0.0.1:9/",
        "http://127.1:9",
        "http://0x7f000001:9",
        "http://127.8.9.1:9",
        "http://localhost:9",
        "http://LOCALHOST.:9",
        "http://x.localhost:9",
        "http://[::1]:9",
        "http://[::ffff:127.0.0.1]:9",
        "https://bank.example/any/path",
        "https://BANK.example.:443/",
    ] {
        assert!(own(url), "{url}");
    }
    for url in [
        "http://127.0.0.1:10",
        "http://localhost",
        "http://bank.example",
        "https://other.example",
        // Not an address of this machine, unless the tests run in a very unusual network.
        "http://10.255.254.253:9",
    ] {
        assert!(bank().check_address(url).is_ok(), "{url}");
    }
}

#[test]
fn what_everybody_may_name_has_a_list_of_its_own() {
    let lists = ["10.0.0.7".parse().unwrap()];
    let everybody = bank().for_everybody(&lists, "--allow-webhooks");
    let refused = |url: &str| everybody.check_address(url).err();
    let forbidden = Some(UrlFault::Forbidden("--allow-webhooks"));
    assert_eq!(refused("http://127.0.0.1:10"), forbidden);
    assert_eq!(refused("http://10.0.0.8"), forbidden);
    assert_eq!(refused("http://10.0.0.7"), None);
    assert_eq!(refused("https://bank.example"), Some(UrlFault::Own));
    // Regardless of the lists.
    let all = ["0.0.0.0/0,::/0,localhost".parse().unwrap()];
    let all = bank().for_everybody(&all, "--allow-webhooks");
    assert_eq!(
        all.check_address("http://127.0.0.1:9").err(),
        Some(UrlFault::Own)
    );
}
