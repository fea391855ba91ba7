//! The check of the address that a request connects to: it must be public, or named by the grant.
//!
//! A name can resolve to any address, and to another one a moment later, so the connected address is
//! checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::http::HttpGrant;

/// The IPv4 networks that are not public (IANA's registry of special purposes), and multicast.
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // behind a carrier's translation
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, and the metadata of clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays to version 6
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
];

/// The part of IPv6 that has public addresses.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The networks within it that are not public.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: another of version 4 inside
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// The IPv6 networks with embedded IPv4 addresses: mapped, and translated (RFC 6052).
const V4_INSIDE: [(Ipv6Addr, u8); 2] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
];

/// Whether `address` is public. An IPv6 address with an embedded IPv4 address (mapped or
/// translated) is public if the IPv4 address is.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    let within_v4 =
        |ip: Ipv4Addr, (net, bits)| Ipv4Net::new(net, bits).is_ok_and(|net| net.contains(&ip));
    match plain(address) {
        IpAddr::V4(ip) => !SPECIAL_V4.into_iter().any(|net| within_v4(ip, net)),
        IpAddr::V6(ip) => {
            within([GLOBAL_V6], |net| net.contains(&ip))
                && !within(SPECIAL_V6, |net| net.contains(&ip))
        }
    }
}

/// Whether one of `networks` fulfils the condition.
fn within<const N: usize>(networks: [(Ipv6Addr, u8); N], such: impl Fn(&Ipv6Net) -> bool) -> bool {
    networks.into_iter().any(|(net, bits)| Ipv6Net::new(net, bits).is_ok_and(|net| such(&net)))
}

/// The IPv4 address that is [embedded](V4_INSIDE) in `address`, otherwise `address` itself.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if within(V4_INSIDE, |inside| inside.contains(&v6)) {
        let [.., high, low] = v6.segments();
        return Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into();
    }
    address
}

/// Whether `network` covers `address`. An IPv4 address that is embedded in an IPv6 address is covered by IPv4
/// networks, and by IPv6 networks that consist of embedded addresses only.
fn means(network: &IpNet, address: IpAddr) -> bool {
    let plain = plain(address);
    let of_such = |network: &Ipv6Net| within(V4_INSIDE, |inside| inside.contains(network));
    network.contains(&plain)
        || matches!(network, IpNet::V6(net) if network.contains(&address) && of_such(net))
}

impl HttpGrant {
    /// Whether a request that this grant allows by name may connect to `address`.
    #[must_use]
    pub fn reaches(&self, address: IpAddr) -> bool {
        is_public(address)
            || self.origin.address() == Some(address)
            || self.networks.iter().any(|network| means(network, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().expect(text))
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.1.1.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn no_other_ipv4_address_is_public() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn no_other_ipv6_address_is_public_and_none_that_maps_a_private_ipv4_address() {
        for address in [
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    fn reaches(grant: &str, address: &str) -> bool {
        let grant: HttpGrant = serde_json::from_str(grant).expect(grant);
        grant.reaches(address.parse().expect(address))
    }

    #[test]
    fn a_grant_names_the_addresses_that_are_not_public() {
        let own =
            r#"{ "origin": "http://billing.internal", "networks": ["10.1.0.0/16", "fd12::/64"] }"#;
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::7", "1.1.1.1"] {
            assert!(reaches(own, address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "fd13::7"] {
            assert!(!reaches(own, address), "{address}");
        }
        let v6 = r#"{ "origin": "http://*:*", "networks": ["::/0"] }"#;
        assert!(reaches(v6, "::1") && reaches(v6, "fd13::7"));
        for address in ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "127.0.0.1"] {
            assert!(!reaches(v6, address), "{address}");
        }
        let inside = r#"{ "origin": "http://*:*", "networks": ["::ffff:127.0.0.0/104"] }"#;
        assert!(reaches(inside, "::ffff:127.0.0.1") && !reaches(inside, "127.0.0.1"));
        assert!(!reaches(inside, "::ffff:10.0.0.1"));
        let here = r#"{ "origin": "http://127.0.0.1:8080" }"#;
        assert!(reaches(here, "127.0.0.1"));
        assert!(!reaches(here, "127.0.0.2"));
        assert!(!reaches(r#"{ "origin": "http://*" }"#, "127.0.0.1"));
    }
}
