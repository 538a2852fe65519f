use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::duration::GoDuration;

/// Section `rtc`: where media arrives and what clients are told of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RtcConfig {
    pub udp_port: Option<PortRange>,
    pub port_range_start: u16,
    pub port_range_end: u16,
    pub node_ip: NodeIp,
    pub ips: AddressFilter,
    pub enable_loopback_candidate: bool,
    pub pli_throttle: PliThrottle,
}

/// A UDP port or a range of them, `7882` or `7882-7885`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PortRange {
    pub start: u16,
    /// The last one; not below `start`.
    pub end: u16,
}

impl PortRange {
    pub const fn single(port: u16) -> Self {
        Self {
            start: port,
            end: port,
        }
    }

    pub const fn len(self) -> usize {
        (self.end - self.start) as usize + 1
    }

    /// Never: a range has at least its start.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The port of the n-th shard. A single port is every shard's.
    pub fn port_of(self, shard: usize) -> Option<u16> {
        if self.len() == 1 {
            return Some(self.start);
        }
        let port = u16::try_from(shard).ok()?.checked_add(self.start)?;
        (port <= self.end).then_some(port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(f, "{}", self.start)
        } else {
            write!(f, "{}-{}", self.start, self.end)
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
        let range = match text.split_once('-') {
            None => port(text).map(Self::single),
            Some((start, end)) => match (port(start), port(end)) {
                (Some(start), Some(end)) if start < end => Some(Self { start, end }),
                _ => None,
            },
        };
        range.ok_or_else(|| {
            format!("`{text}` is no UDP port: write one such as 7882, or a range such as 7882-7885")
        })
    }
}

/// Addresses that clients are told in place of the local ones: `203.0.113.7`,
/// `203.0.113.7,2001:db8::7`, or `{ipv4: .., ipv6: ..}`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeIp {
    pub ipv4: Option<std::net::Ipv4Addr>,
    pub ipv6: Option<std::net::Ipv6Addr>,
}

impl NodeIp {
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(IpAddr::V4);
        v4.into_iter().chain(self.ipv6.map(IpAddr::V6))
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let refused = || {
            format!(
                "`{text}` is no IP address: write one IPv4 address, one IPv6 address, or both with a comma"
            )
        };
        match text.trim().parse().map_err(|_| refused())? {
            IpAddr::V4(ip) if self.ipv4.is_none() => self.ipv4 = Some(ip),
            IpAddr::V6(ip) if self.ipv6.is_none() => self.ipv6 = Some(ip),
            _ => return Err(format!("`{text}` is a second address of its kind")),
        }
        Ok(())
    }
}

impl fmt::Display for NodeIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, ip) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{ip}")?;
        }
        Ok(())
    }
}

impl FromStr for NodeIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut node_ip = Self::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            node_ip.add(part)?;
        }
        Ok(node_ip)
    }
}

/// Address blocks to use or to skip; `includes` alone counts when both are given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressFilter {
    pub includes: Vec<String>,
    pub excludes: Vec<String>,
}

/// Least time between two key frame requests to one publisher, by quality.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PliThrottle {
    pub low_quality: GoDuration,
    pub mid_quality: GoDuration,
    pub high_quality: GoDuration,
}

impl Default for PliThrottle {
    fn default() -> Self {
        Self {
            low_quality: GoDuration::from_millis(500),
            mid_quality: GoDuration::from_millis(1_000),
            high_quality: GoDuration::from_millis(1_000),
        }
    }
}

impl<'de> Deserialize<'de> for NodeIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeIpVisitor;

        impl<'de> Visitor<'de> for NodeIpVisitor {
            type Value = NodeIp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an IP address, or {ipv4: .., ipv6: ..}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<NodeIp, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_unit<E: Error>(self) -> Result<NodeIp, E> {
                Ok(NodeIp::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeIp, A::Error> {
                let mut node_ip = NodeIp::default();
                // The address says of which kind it is; other keys were refused before.
                while let Some((_, text)) = map.next_entry::<String, String>()? {
                    node_ip.add(&text).map_err(A::Error::custom)?;
                }
                Ok(node_ip)
            }
        }

        deserializer.deserialize_any(NodeIpVisitor)
    }
}

impl Serialize for NodeIp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;

        impl Visitor<'_> for PortVisitor {
            type Value = PortRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as 7882, or a range such as 7882-7885")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PortRange, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<PortRange, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PortRange, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(PortVisitor)
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_are_read() {
        assert_eq!("7882".parse(), Ok(PortRange::single(7882)));
        let range = PortRange {
            start: 7882,
            end: 7885,
        };
        assert_eq!(" 7882 - 7885 ".parse(), Ok(range));
        assert_eq!(range.len(), 4);
        assert_eq!(range.port_of(3), Some(7885));
        assert_eq!(range.port_of(4), None);
        assert_eq!(PortRange::single(7882).port_of(1), Some(7882));
        for text in ["", "0", "7885-7882", "7882-", "1-2-3", "70000", "x"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn node_ips_are_read() {
        let both: NodeIp = "2001:db8::7, 203.0.113.7".parse().unwrap();
        assert_eq!(both.to_string(), "203.0.113.7,2001:db8::7");
        for text in ["<external-ip-of-node>", "1.2.3.4,5.6.7.8", "host.example"] {
            assert!(text.parse::<NodeIp>().is_err(), "{text}");
        }
    }
}
