//! Addresses of the host, for candidates.
#![expect(unsafe_code, reason = "getifaddrs returns a linked list")]

use std::net::IpAddr;
use std::ptr;

use crate::address::decode_name;

/// Unicast addresses of interfaces that are up, without IPv6 link-local ones, loopback last.
/// Empty if the host does not tell.
pub fn local_addresses() -> Vec<IpAddr> {
    let mut list = ptr::null_mut();
    // SAFETY: on success it stores a list that we free below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    let mut at = list;
    // SAFETY: `at` is null or an element of the list, which lives until freeifaddrs.
    while let Some(interface) = unsafe { at.as_ref() } {
        at = interface.ifa_next;
        let up = interface.ifa_flags & libc::IFF_UP as u32 != 0;
        if !up || interface.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: every socket address begins with its family, and those of the internet families
        // are as long as their structure.
        let name = unsafe {
            let len = match i32::from((*interface.ifa_addr).sa_family) {
                libc::AF_INET => size_of::<libc::sockaddr_in>(),
                libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
                _ => continue,
            };
            std::slice::from_raw_parts(interface.ifa_addr.cast::<u8>(), len)
        };
        if let Some(ip) = decode_name(name).map(|addr| addr.ip())
            && is_usable(&ip)
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    // SAFETY: the list of getifaddrs, freed once; no reference to it is left.
    unsafe { libc::freeifaddrs(list) };
    addresses.sort_by_key(IpAddr::is_loopback);
    addresses
}

fn is_usable(ip: &IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !link_local && !ip.is_multicast() && !ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed_last() {
        let addresses = local_addresses();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
        assert!(addresses.iter().all(is_usable));
    }
}
