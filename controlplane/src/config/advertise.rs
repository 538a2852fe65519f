//! Which addresses clients are told to send media to.

use std::net::IpAddr;
use std::str::FromStr;

use super::Config;

/// An address block as `10.0.0.0/8`, or a single address.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Cidr {
    ip: IpAddr,
    prefix_len: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no address block: write one such as 10.0.0.0/8");
        let (ip, prefix_len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len.parse::<u8>().map_err(|_| refused())?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.trim().parse().map_err(|_| refused())?;
        let len_max = if ip.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix_len.unwrap_or(len_max);
        if prefix_len > len_max {
            return Err(refused());
        }
        Ok(Self { ip, prefix_len })
    }
}

impl Cidr {
    fn contains(self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let differing = u32::from(own) ^ u32::from(ip);
                differing.leading_zeros() >= u32::from(self.prefix_len)
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let differing = u128::from(own) ^ u128::from(ip);
                differing.leading_zeros() >= u32::from(self.prefix_len)
            }
            _ => false,
        }
    }
}

impl Config {
    /// Addresses to advertise out of those the machine has, best first, loopback last.
    ///
    /// `rtc.node_ip` replaces the local ones of its kind: it is the address the outside world
    /// knows. Loopback is advertised in development, where the browser may run on the same machine
    /// without any network, where it is asked for, and where there is nothing else.
    pub fn advertised(&self, local: &[IpAddr]) -> Vec<IpAddr> {
        let node_ip = &self.rtc.node_ip;
        let replaced = |ip: &IpAddr| match ip {
            IpAddr::V4(_) => node_ip.ipv4.is_some(),
            IpAddr::V6(_) => node_ip.ipv6.is_some(),
        };
        let (loopback, outward): (Vec<_>, Vec<_>) = local
            .iter()
            .copied()
            .filter(|ip| self.is_selected(*ip))
            .partition(IpAddr::is_loopback);
        let mut advertised: Vec<_> = node_ip.iter().collect();
        advertised.extend(outward.into_iter().filter(|ip| !replaced(ip)));
        if self.development || self.rtc.enable_loopback_candidate || advertised.is_empty() {
            advertised.extend(loopback);
        }
        advertised
    }

    fn is_selected(&self, ip: IpAddr) -> bool {
        // Texts that are no block were refused when the configuration was read.
        let among = |blocks: &[String]| {
            blocks
                .iter()
                .filter_map(|text| text.parse().ok())
                .any(|block: Cidr| block.contains(ip))
        };
        let ips = &self.rtc.ips;
        if ips.includes.is_empty() {
            !among(&ips.excludes)
        } else {
            among(&ips.includes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Vec<IpAddr> {
        ["10.0.0.5", "172.17.0.1", "2001:db8::5", "127.0.0.1", "::1"]
            .map(|ip| ip.parse().unwrap())
            .to_vec()
    }

    fn advertised(config: &Config) -> Vec<String> {
        let advertised = config.advertised(&local());
        advertised.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn blocks_are_read_and_compared() {
        let contains = |block: &str, ip: &str| {
            let block: Cidr = block.parse().unwrap();
            block.contains(ip.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.1", "192.0.2.1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1"));
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "2001:db8::/129",
            "eth0",
            "/8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn local_addresses_are_advertised_without_loopback() {
        let mut config = Config::default();
        assert_eq!(
            advertised(&config),
            ["10.0.0.5", "172.17.0.1", "2001:db8::5"]
        );
        config.rtc.enable_loopback_candidate = true;
        assert_eq!(advertised(&config).len(), 5);
        config.rtc.enable_loopback_candidate = false;
        config.rtc.ips.includes = vec!["127.0.0.0/8".into()];
        assert_eq!(advertised(&config), ["127.0.0.1"]);
    }

    #[test]
    fn blocks_select_addresses() {
        let mut config = Config::default();
        config.rtc.ips.excludes = vec!["172.16.0.0/12".into(), "2001:db8::/32".into()];
        assert_eq!(advertised(&config), ["10.0.0.5"]);
        config.rtc.ips.includes = vec!["172.16.0.0/12".into()];
        assert_eq!(advertised(&config), ["172.17.0.1"]);
    }

    #[test]
    fn the_node_ip_replaces_local_addresses_of_its_kind() {
        let mut config = Config::default();
        config.rtc.node_ip = "203.0.113.7".parse().unwrap();
        assert_eq!(advertised(&config), ["203.0.113.7", "2001:db8::5"]);
        config.development = true;
        assert_eq!(advertised(&config).last().unwrap(), "::1");
    }
}
