//! The few header fields that SRTP needs, read from hostile bytes.

use crate::ids::Ssrc;
use crate::time::SeqNo;

/// Fixed RTP header (RFC 3550 §5.1).
const RTP_FIXED_LEN: usize = 12;
/// RTCP header and sender SSRC: the part of an SRTCP packet that stays clear (RFC 3711 §3.4).
pub(super) const RTCP_CLEAR_LEN: usize = 8;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct RtpHeader {
    /// With CSRCs and header extension: everything SRTP leaves in clear (RFC 3711 §3.1).
    pub(super) len: usize,
    pub(super) seq: SeqNo,
    pub(super) ssrc: Ssrc,
}

impl RtpHeader {
    /// `None` when `packet` is no RTP version 2, or ends inside its header.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let [first, _, seq_high, seq_low, _, _, _, _, a, b, c, d] =
            *packet.first_chunk::<RTP_FIXED_LEN>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut len = RTP_FIXED_LEN + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let [_, _, words_high, words_low] = *packet.get(len..)?.first_chunk::<4>()?;
            len += 4 + 4 * usize::from(u16::from_be_bytes([words_high, words_low]));
        }
        (len <= packet.len()).then_some(Self {
            len,
            seq: SeqNo(u16::from_be_bytes([seq_high, seq_low])),
            ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
        })
    }
}

/// The sender SSRC of an RTCP packet; `None` when it is no RTCP of version 2 or shorter than that.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Option<Ssrc> {
    let [first, _, _, _, a, b, c, d] = *packet.first_chunk::<RTCP_CLEAR_LEN>()?;
    (first >> 6 == 2).then_some(Ssrc(u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_csrcs_and_extension() {
        let mut packet = vec![0x92, 96, 0x12, 0x34, 0, 0, 0, 0, 1, 2, 3, 4];
        packet.extend_from_slice(&[9; 8]); // two CSRCs
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 5, 6, 7, 8]);
        let header = RtpHeader::parse(&packet);
        assert_eq!(
            header,
            Some(RtpHeader {
                len: 28,
                seq: SeqNo(0x1234),
                ssrc: Ssrc(0x0102_0304),
            })
        );
        for cut in 0..packet.len() {
            assert_eq!(RtpHeader::parse(&packet[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn refuses_other_versions() {
        assert_eq!(RtpHeader::parse(&[0x40; 40]), None);
        assert_eq!(rtcp_ssrc(&[0xc0; 40]), None);
        assert_eq!(rtcp_ssrc(&[0x80; 7]), None);
    }
}
