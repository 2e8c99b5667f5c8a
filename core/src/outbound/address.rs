//! Address ranges that are not part of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 ranges of this machine, of private networks, and of unusable addresses (IANA special-purpose registry).
const SPECIAL_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The same for IPv6, with every form that embeds an IPv4 address. Addresses outside `2000::/3` are unassigned.
const SPECIAL_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// The part of IPv6 that public addresses are assigned from.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Metadata services, where clouds give credentials to every program inside. No setting allows these.
const METADATA: &[IpNet] = &[
    // All of link-local, because the services of AWS, Azure, Google, Oracle, Scaleway, Tencent and others are there.
    IpNet::V4(v4([169, 254, 0, 0], 16)),
    // Alibaba, Oracle, and Azure's wire server.
    IpNet::V4(v4([100, 100, 100, 200], 32)),
    IpNet::V4(v4([192, 0, 0, 192], 32)),
    IpNet::V4(v4([168, 63, 129, 16], 32)),
    // AWS (instances and pods), Google, Scaleway.
    IpNet::V6(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32)),
    IpNet::V6(v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128)),
    IpNet::V6(v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128)),
];

/// Names of the same services.
const METADATA_NAMES: &[&str] = &[
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
];

/// True for an address that needs a setting to be allowed.
pub(super) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => SPECIAL_V4.iter().any(|range| range.contains(&address)),
        IpAddr::V6(address) => {
            !GLOBAL_V6.contains(&address) || SPECIAL_V6.iter().any(|range| range.contains(&address))
        }
    }
}

/// True for an address that no setting allows, in any form.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    let listed = |address: &IpAddr| METADATA.iter().any(|range| range.contains(address));
    listed(&address) || carried(address).iter().any(listed)
}

/// True for a name that no setting allows.
pub(super) fn is_metadata_name(name: &str) -> bool {
    METADATA_NAMES.contains(&name)
}

/// The IPv4 address of an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`), otherwise the unchanged address.
pub(super) fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The IPv4 addresses that an IPv6 address may embed: mapped and compatible (RFC 4291), translated (RFC 6052, RFC 8215,
/// RFC 2765), 6to4 (RFC 3056), Teredo (RFC 4380, which stores the client's address inverted).
pub(super) fn carried(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(address) = address else {
        return Vec::new();
    };
    let parts = address.segments();
    let pair = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0 | 0xffff, 0 | 0xffff, high, low] | [0x64, 0xff9b, _, _, _, _, high, low] => {
            vec![pair(high, low)]
        }
        [0x2002, high, low, ..] => vec![pair(high, low)],
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            vec![pair(server_high, server_low), pair(!high, !low)]
        }
        _ => Vec::new(),
    }
}

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(parts: [u16; 8], length: u8) -> Ipv6Net {
    let address = Ipv6Addr::new(
        parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], parts[7],
    );
    Ipv6Net::new_assert(address, length)
}
