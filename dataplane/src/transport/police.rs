//! What one transport may ask of its shard. Everything counted here is authentic: the flood of a
//! stranger is refused before, and a forged packet of a transport's own tuple must not use up what
//! the real ones need (OWASP ASVS 5.0 17.2.5).

use hashbrown::HashSet;
use millrace_shared::bucket::{Bucket, Rate};
use millrace_shared::drop::DropReason;
use millrace_shared::limits::{
    DATA_BUFFERED_PER_SHARD_MAX, DATA_BUFFERED_RESERVED, DATA_BYTES, DATA_PACKETS,
    DTLS_HANDSHAKES_PER_SHARD_MAX, DTLS_RECORDS, KEYFRAME_REQUESTS, NACKED_PACKETS, RTCP_PACKETS,
    RTP_BYTES, RTP_PACKETS, TRANSPORT_CC_FEEDBACKS,
};
use millrace_shared::time::Timestamp;

use super::Transport;
use super::channels::ChannelKind;
use crate::slots::Slot;

/// What a transport has used of each rate. An error is the reason to drop.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Police {
    rtp_packets: Bucket,
    rtp_bytes: Bucket,
    rtcp_packets: Bucket,
    keyframe_requests: Bucket,
    nacked_packets: Bucket,
    transport_cc: Bucket,
    dtls_records: Bucket,
    data_packets: Bucket,
    data_bytes: Bucket,
}

impl Police {
    pub fn rtp(&mut self, now: Timestamp, len: usize) -> Result<(), DropReason> {
        let (packets, bytes) = (&mut self.rtp_packets, &mut self.rtp_bytes);
        both(now, (packets, RTP_PACKETS), (bytes, RTP_BYTES), len).ok_or(DropReason::RtpRate)
    }

    pub fn rtcp(&mut self, now: Timestamp) -> Result<(), DropReason> {
        one(now, &mut self.rtcp_packets, RTCP_PACKETS).ok_or(DropReason::RtcpRate)
    }

    /// A PLI, or an entry of a FIR.
    pub fn keyframe_request(&mut self, now: Timestamp) -> Result<(), DropReason> {
        one(now, &mut self.keyframe_requests, KEYFRAME_REQUESTS)
            .ok_or(DropReason::KeyframeRequestRate)
    }

    /// One sequence number of a NACK.
    pub fn nacked_packet(&mut self, now: Timestamp) -> Result<(), DropReason> {
        one(now, &mut self.nacked_packets, NACKED_PACKETS).ok_or(DropReason::NackRate)
    }

    pub fn transport_cc(&mut self, now: Timestamp) -> Result<(), DropReason> {
        one(now, &mut self.transport_cc, TRANSPORT_CC_FEEDBACKS).ok_or(DropReason::TransportCcRate)
    }

    /// Records, authentic or not: DTLS tells us only afterwards. SCTP repeats what stops here.
    pub fn dtls(&mut self, now: Timestamp) -> Result<(), DropReason> {
        one(now, &mut self.dtls_records, DTLS_RECORDS).ok_or(DropReason::DtlsRate)
    }

    /// A data packet, reliable or not: whoever exceeds these rates by a reliable channel overruns
    /// every receiver.
    pub fn data(&mut self, now: Timestamp, len: usize) -> Result<(), DropReason> {
        let (packets, bytes) = (&mut self.data_packets, &mut self.data_bytes);
        both(now, (packets, DATA_PACKETS), (bytes, DATA_BYTES), len).ok_or(DropReason::DataRate)
    }
}

fn one(now: Timestamp, bucket: &mut Bucket, rate: Rate) -> Option<()> {
    bucket.take(now, rate, 1).then_some(())
}

/// Takes one packet and its bytes, or neither.
fn both(
    now: Timestamp,
    (packets, packet_rate): (&mut Bucket, Rate),
    (bytes, byte_rate): (&mut Bucket, Rate),
    len: usize,
) -> Option<()> {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if packets.ready_at(packet_rate, 1) > now || !bytes.take(now, byte_rate, len) {
        return None;
    }
    packets.force(now, packet_rate, 1);
    Some(())
}

/// Transports whose handshake has begun and is not done. None needs more than a validated tuple, but
/// each holds the largest flight that DTLS may have to put together.
#[derive(Debug, Default)]
pub struct HalfOpen(HashSet<Slot>);

impl HalfOpen {
    /// A record of `transport` arrived: it begins a handshake, unless it has one.
    pub fn admit(&mut self, slot: Slot, transport: &Transport) -> Result<(), DropReason> {
        if transport.security.dtls.is_some() {
            return Ok(());
        }
        if self.0.len() >= DTLS_HANDSHAKES_PER_SHARD_MAX {
            return Err(DropReason::DtlsHandshakesFull);
        }
        self.0.insert(slot);
        Ok(())
    }

    /// Its handshake came to an end, or it did.
    pub fn settled(&mut self, slot: Slot) {
        self.0.remove(&slot);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bytes of data packets that the peers of this shard have not acknowledged. Peers that do not read
/// hold a buffer each; together they may not hold the machine's memory.
#[derive(Debug)]
pub struct DataBuffered {
    bytes: usize,
    bytes_max: usize,
    bytes_reserved: usize,
}

impl Default for DataBuffered {
    fn default() -> Self {
        Self::new(DATA_BUFFERED_PER_SHARD_MAX, DATA_BUFFERED_RESERVED)
    }
}

impl DataBuffered {
    fn new(bytes_max: usize, bytes_reserved: usize) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            bytes_reserved,
        }
    }

    /// Whether `len` more bytes may wait. What may be lost gives way first.
    pub fn admit(&self, kind: ChannelKind, len: usize) -> Result<(), DropReason> {
        let bytes_max = match kind {
            ChannelKind::Reliable => self.bytes_max,
            ChannelKind::Lossy => self.bytes_max - self.bytes_reserved,
        };
        if self.bytes.saturating_add(len) > bytes_max {
            return Err(DropReason::DataShardFull);
        }
        Ok(())
    }

    /// Counts what `transport` holds now.
    pub fn recount(&mut self, transport: &mut Transport) {
        let held = match &mut transport.sctp {
            Some(sctp) => sctp.buffered_total(),
            None => 0,
        };
        let before = std::mem::replace(&mut transport.data_buffered, held);
        self.bytes = (self.bytes + held).saturating_sub(before);
    }

    /// The transport ends, and what it holds with it.
    pub fn forget(&mut self, transport: &Transport) {
        self.bytes = self.bytes.saturating_sub(transport.data_buffered);
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// How many of 100,000 a second pass in a second.
    fn passed(mut admit: impl FnMut(Timestamp) -> Result<(), DropReason>) -> u32 {
        let passed = (0..100_000).filter(|n| {
            let at = ms(60_000) + std::time::Duration::from_micros(n * 10);
            admit(at).is_ok()
        });
        u32::try_from(passed.count()).unwrap()
    }

    #[test]
    fn a_flood_of_small_packets_is_held_to_its_rate() {
        let mut police = Police::default();
        let in_a_second =
            |rate: Rate| rate.burst + rate.per_second - 1..=rate.burst + rate.per_second;
        let rtp = passed(|now| police.rtp(now, 40));
        assert!(in_a_second(RTP_PACKETS).contains(&rtp), "{rtp}");
        let nacks = passed(|now| police.nacked_packet(now));
        assert!(in_a_second(NACKED_PACKETS).contains(&nacks), "{nacks}");
        let plis = passed(|now| police.keyframe_request(now));
        assert!(in_a_second(KEYFRAME_REQUESTS).contains(&plis), "{plis}");
    }

    #[test]
    fn large_packets_are_held_by_their_bytes_and_a_refusal_costs_nothing() {
        let mut police = Police::default();
        let len = 60_000;
        let packets = passed(|now| police.data(now, len));
        let bytes = u64::from(packets) * len as u64;
        let allowed = u64::from(DATA_BYTES.burst) + u64::from(DATA_BYTES.per_second);
        assert!(bytes <= allowed && bytes > allowed - 100_000, "{bytes}");
        // The packet bucket was not charged for what the byte bucket refused.
        assert!(police.data(ms(61_000), 10).is_ok());
    }

    #[test]
    fn what_may_be_lost_gives_way_to_what_may_not() {
        let mut buffered = DataBuffered::new(100, 40);
        buffered.bytes = 55;
        assert_eq!(buffered.admit(ChannelKind::Lossy, 5), Ok(()));
        let full = Err(DropReason::DataShardFull);
        assert_eq!(buffered.admit(ChannelKind::Lossy, 6), full);
        assert_eq!(buffered.admit(ChannelKind::Reliable, 45), Ok(()));
        assert_eq!(buffered.admit(ChannelKind::Reliable, 46), full);
    }
}
