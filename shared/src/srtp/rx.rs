//! Checking and decrypting what a peer sends.

use super::header::{RtpHeader, rtcp_ssrc};
use super::profile::{MasterKey, Profile};
use super::replay::ReplayWindows;
use super::session_keys::SessionKeys;
use super::transform::RTP_INDEX_MAX;
use crate::drop::DropReason;
use crate::ids::Ssrc;
use crate::limits::DATAGRAM_RECEIVE_LEN_MAX;
use crate::time::{ExtSeq, SeqNo};

/// An authentic RTP packet, plain in the first `len` bytes of the buffer it came in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Unprotected {
    pub len: usize,
    /// With CSRCs and header extension.
    pub header_len: usize,
    pub ssrc: Ssrc,
    pub seq: SeqNo,
    /// Roll-over counter under which the packet proved authentic.
    pub roc: u32,
}

impl Unprotected {
    /// The sequence number with its roll-overs; like every [`ExtSeq`] in cycle 1 at first.
    pub fn ext_seq(&self) -> ExtSeq {
        ExtSeq((u64::from(self.roc) + 1) << 16 | u64::from(self.seq.0))
    }
}

/// Receiving side of one association.
///
/// Nothing changes before a packet proved authentic: no roll-over counter, no window, no memory of
/// an SSRC (RFC 3711 §3.3, steps 6 and 7).
#[derive(Debug)]
pub struct SrtpRx {
    keys: SessionKeys,
    rtp_windows: ReplayWindows,
    rtcp_windows: ReplayWindows,
}

impl SrtpRx {
    pub fn new(remote: &MasterKey) -> Self {
        Self {
            keys: SessionKeys::new(remote),
            rtp_windows: ReplayWindows::default(),
            rtcp_windows: ReplayWindows::default(),
        }
    }

    pub fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// SSRCs with a replay window, of RTP and of RTCP.
    pub fn ssrcs(&self) -> (usize, usize) {
        (self.rtp_windows.len(), self.rtcp_windows.len())
    }

    /// Whether an RTP packet of the source has proved authentic, and is remembered.
    pub fn has_heard_rtp(&self, ssrc: Ssrc) -> bool {
        self.rtp_windows.window(ssrc).is_some()
    }

    /// The same of RTCP.
    pub fn has_heard_rtcp(&self, ssrc: Ssrc) -> bool {
        self.rtcp_windows.window(ssrc).is_some()
    }

    /// Checks and decrypts an RTP packet in place. After an error its payload may be destroyed.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<Unprotected, DropReason> {
        let opened = self.open_rtp(packet)?;
        let index = u64::from(opened.roc) << 16 | u64::from(opened.seq.0);
        self.rtp_windows.accept(opened.ssrc, index);
        Ok(opened)
    }

    /// As [`Self::unprotect_rtp`], without remembering the packet: it may come again.
    pub fn open_rtp(&self, packet: &mut [u8]) -> Result<Unprotected, DropReason> {
        if packet.len() > DATAGRAM_RECEIVE_LEN_MAX {
            return Err(DropReason::SrtpMalformed);
        }
        let header = RtpHeader::parse(packet).ok_or(DropReason::SrtpMalformed)?;
        if packet.len() < header.len + self.keys.profile().rtp_overhead() {
            return Err(DropReason::SrtpMalformed);
        }

        let (len, index) = match self.rtp_windows.window(header.ssrc) {
            Some(window) => {
                let index = estimate_index(window.highest(), header.seq)
                    .ok_or(DropReason::SrtpIndexExhausted)?;
                if window.is_replay(index) {
                    return Err(DropReason::SrtpReplay);
                }
                let len = self
                    .keys
                    .rtp()
                    .open_rtp(packet, header.len, header.ssrc, index);
                (len.ok_or(DropReason::SrtpAuthentication)?, index)
            }
            None => self.open_first(packet, &header)?,
        };

        Ok(Unprotected {
            len,
            header_len: header.len,
            ssrc: header.ssrc,
            seq: header.seq,
            roc: u32::try_from(index >> 16).map_err(|_| DropReason::SrtpIndexExhausted)?,
        })
    }

    /// Opens a packet of an SSRC we have not heard: its plain length and index.
    ///
    /// A stream starts with roll-over counter 0. One that starts near 65535 and loses its first
    /// packets shows itself with a small sequence number of cycle 1 (libsrtp#567), so that is tried
    /// next. GCM destroys what it fails to open: a copy is kept on the stack for the second trial.
    fn open_first(
        &self,
        packet: &mut [u8],
        header: &RtpHeader,
    ) -> Result<(usize, u64), DropReason> {
        let seq = u64::from(header.seq.0);
        if seq >= 1 << 15 {
            return match self
                .keys
                .rtp()
                .open_rtp(packet, header.len, header.ssrc, seq)
            {
                Some(len) => Ok((len, seq)),
                None => Err(DropReason::SrtpAuthentication),
            };
        }

        let mut copy = [0; DATAGRAM_RECEIVE_LEN_MAX];
        let copy = copy
            .get_mut(..packet.len())
            .ok_or(DropReason::SrtpMalformed)?;
        copy.copy_from_slice(packet);
        if let Some(len) = self
            .keys
            .rtp()
            .open_rtp(packet, header.len, header.ssrc, seq)
        {
            return Ok((len, seq));
        }
        packet.copy_from_slice(copy);
        let index = 1 << 16 | seq;
        match self
            .keys
            .rtp()
            .open_rtp(packet, header.len, header.ssrc, index)
        {
            Some(len) => Ok((len, index)),
            None => Err(DropReason::SrtpAuthentication),
        }
    }

    /// Checks and decrypts a compound RTCP packet in place and returns its plain length. After an
    /// error its content may be destroyed.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let (len, ssrc, index) = self.open_rtcp_packet(packet)?;
        self.rtcp_windows.accept(ssrc, u64::from(index));
        Ok(len)
    }

    /// As [`Self::unprotect_rtcp`], without remembering the packet.
    pub fn open_rtcp(&self, packet: &mut [u8]) -> Result<usize, DropReason> {
        self.open_rtcp_packet(packet).map(|(len, ..)| len)
    }

    /// Plain length, SSRC and index.
    fn open_rtcp_packet(&self, packet: &mut [u8]) -> Result<(usize, Ssrc, u32), DropReason> {
        let ssrc = rtcp_ssrc(packet).ok_or(DropReason::SrtpMalformed)?;
        // RFC 3711 §3.4: a clear E flag means an unencrypted packet, which WebRTC never agrees on.
        let index = self
            .keys
            .rtcp()
            .rtcp_index(packet)
            .ok_or(DropReason::SrtpMalformed)?;
        let replay = self
            .rtcp_windows
            .window(ssrc)
            .is_some_and(|window| window.is_replay(u64::from(index)));
        if replay {
            return Err(DropReason::SrtpReplay);
        }
        let len = self
            .keys
            .rtcp()
            .open_rtcp(packet, ssrc, index)
            .ok_or(DropReason::SrtpAuthentication)?;
        Ok((len, ssrc, index))
    }
}

/// RFC 3711 §3.3.1: of the indices with this sequence number, the one nearest to the highest
/// authentic one. Where that would lie before the stream's first cycle, only its first cycle is
/// possible. `None` past the last index of a key.
fn estimate_index(highest: u64, seq: SeqNo) -> Option<u64> {
    let [.., high, low] = highest.to_be_bytes();
    let distance = seq.distance(SeqNo(u16::from_be_bytes([high, low])));
    match highest.checked_add_signed(i64::from(distance)) {
        None => Some(u64::from(seq.0)),
        Some(index) => (index <= RTP_INDEX_MAX).then_some(index),
    }
}

#[cfg(test)]
mod estimate_tests {
    use super::*;

    #[test]
    fn nearest_cycle_wins() {
        for (highest, seq, index) in [
            (0x1_0005, 0x0006, 0x1_0006),
            (0x1_0005, 0xfffe, 0x0_fffe),
            (0x1_fffe, 0x0003, 0x2_0003),
            (0x0_0005, 0xfffe, 0x0_fffe),
            (0x0_9000, 0x0100, 0x1_0100),
        ] {
            assert_eq!(estimate_index(highest, SeqNo(seq)), Some(index));
        }
        assert_eq!(estimate_index(RTP_INDEX_MAX, SeqNo(0)), None);
    }
}
