//! Protecting what we send.

use super::header::{RtpHeader, rtcp_ssrc};
use super::profile::{MasterKey, Profile};
use super::session_keys::SessionKeys;
use super::transform::RTCP_INDEX_MAX;
use crate::drop::DropReason;
use crate::time::ExtSeq;

/// The roll-over counter of a stream we send (RFC 3711 §3.3.1): 0 in the first cycle, which
/// [`ExtSeq`] counts as 1.
pub const fn roll_over_count(seq: ExtSeq) -> u32 {
    // Modulo 2^32 by definition.
    ((seq.0 >> 16).wrapping_sub(1) & 0xffff_ffff) as u32
}

/// Sending side of one association.
#[derive(Debug)]
pub struct SrtpTx {
    keys: SessionKeys,
    rtcp_index_next: u32,
}

impl SrtpTx {
    pub fn new(local: &MasterKey) -> Self {
        Self {
            keys: SessionKeys::new(local),
            rtcp_index_next: 0,
        }
    }

    pub fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// Protects the RTP packet in the first `plain_len` bytes of `packet`, whose header (with CSRCs
    /// and extension) has `header_len` bytes. Returns the protected length,
    /// [`Profile::rtp_overhead`] more.
    ///
    /// `roc` is [`roll_over_count`] of the packet's extended sequence number. The caller never
    /// protects two different packets with the same SSRC, `roc` and sequence number: that would
    /// reveal both (RFC 7714 §8.1).
    ///
    /// Fails with [`DropReason::SendLength`], changing nothing, when the overhead does not fit.
    pub fn protect_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        plain_len: usize,
        roc: u32,
    ) -> Result<usize, DropReason> {
        let plain = packet.get(..plain_len).ok_or(DropReason::SendLength)?;
        let header = RtpHeader::parse(plain).ok_or(DropReason::RtpMalformed)?;
        debug_assert_eq!(
            header.len, header_len,
            "the header's length is what it says"
        );
        let index = u64::from(roc) << 16 | u64::from(header.seq.0);
        self.keys
            .rtp()
            .seal_rtp(packet, header_len, plain_len, header.ssrc, index)
            .ok_or(DropReason::SendLength)
    }

    /// Protects the compound RTCP packet in the first `plain_len` bytes of `packet`. Returns the
    /// protected length, [`Profile::rtcp_overhead`] more.
    ///
    /// One index counts the packets of all our SSRCs: indices need only be unique per SSRC.
    pub fn protect_rtcp(
        &mut self,
        packet: &mut [u8],
        plain_len: usize,
    ) -> Result<usize, DropReason> {
        let plain = packet.get(..plain_len).ok_or(DropReason::SendLength)?;
        let ssrc = rtcp_ssrc(plain).ok_or(DropReason::RtcpMalformed)?;
        // RFC 3711 §9.2: an index never wraps under one key. At 100 packets a second this is
        // reached after 248 days.
        let index = self.rtcp_index_next;
        if index > RTCP_INDEX_MAX {
            return Err(DropReason::SrtpIndexExhausted);
        }
        let len = self
            .keys
            .rtcp()
            .seal_rtcp(packet, plain_len, ssrc, index)
            .ok_or(DropReason::SendLength)?;
        self.rtcp_index_next = index + 1;
        Ok(len)
    }
}
