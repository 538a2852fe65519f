//! What a datagram on a media port is, from its first two bytes.

#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum DatagramClass {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

/// Sorts a datagram by its first byte, and RTP from RTCP by its second. `None` for anything that a
/// bundled transport does not carry (ZRTP, TURN channels, noise).
pub fn classify(datagram: &[u8]) -> Option<DatagramClass> {
    // RFC 7983 §7: the ranges of the first byte.
    match datagram.first()? {
        0..=3 => Some(DatagramClass::Stun),
        20..=63 => Some(DatagramClass::Dtls),
        // RFC 5761 §4: with RTCP on the RTP port, payload types 64..=95 are not used for RTP, and
        // RTCP packet types 192..=223 appear there once the marker bit is masked out.
        128..=191 => match datagram.get(1)? & 0x7f {
            64..=95 => Some(DatagramClass::Rtcp),
            _ => Some(DatagramClass::Rtp),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_ranges_of_rfc_7983() {
        let class = |first: u8| classify(&[first, 0]);
        assert_eq!(class(0), Some(DatagramClass::Stun));
        assert_eq!(class(3), Some(DatagramClass::Stun));
        assert_eq!(class(4), None);
        assert_eq!(class(16), None);
        assert_eq!(class(19), None);
        assert_eq!(class(20), Some(DatagramClass::Dtls));
        assert_eq!(class(63), Some(DatagramClass::Dtls));
        assert_eq!(class(64), None);
        assert_eq!(class(79), None);
        assert_eq!(class(127), None);
        assert_eq!(class(128), Some(DatagramClass::Rtp));
        assert_eq!(class(191), Some(DatagramClass::Rtp));
        assert_eq!(class(192), None);
        assert_eq!(class(255), None);
    }

    #[test]
    fn rtcp_packet_types_of_rfc_5761() {
        for packet_type in 0..=255 {
            let expected = match packet_type {
                64..=95 | 192..=223 => DatagramClass::Rtcp,
                _ => DatagramClass::Rtp,
            };
            assert_eq!(
                classify(&[0x80, packet_type]),
                Some(expected),
                "{packet_type}"
            );
        }
    }

    #[test]
    fn too_short() {
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[0x80]), None);
        assert_eq!(classify(&[0]), Some(DatagramClass::Stun));
    }
}
