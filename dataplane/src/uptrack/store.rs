//! Packets of one published encoding that its subscribers may still ask for again.
//!
//! One store serves all subscribers of the encoding: each keeps only how it rewrote the sequence
//! numbers. Memory comes in chunks that packets are written into one after the other; a chunk is
//! written anew when nobody can want its packets any more, and another one is added only when the
//! next chunk is still wanted. So an encoding takes what about [`AGE_MAX`] of its bitrate needs,
//! between one chunk and the limit of its kind:
//!
//! | encoding | index | chunks for 2 s | limit |
//! |---|---|---|---|
//! | video 150 kbit/s | 28 KiB | 64 KiB | 768 KiB |
//! | video 2.5 Mbit/s | 28 KiB | 656 KiB | 768 KiB |
//! | Opus 32 kbit/s | 11 KiB | 12 KiB | 160 KiB |
//!
//! Nothing is allocated before the first packet, and nothing any more once the chunks suffice.

use std::time::Duration;

use millrace_shared::limits::{
    DATAGRAM_RECEIVE_LEN_MAX, STORE_BYTES_AUDIO, STORE_BYTES_VIDEO, STORE_PACKETS_AUDIO,
    STORE_PACKETS_VIDEO,
};
use millrace_shared::link::MediaKind;
use millrace_shared::time::{ExtSeq, Timestamp};

use crate::packet::{Packet, PacketMeta, exts_len, parse_exts, write_exts};

/// Nobody is answered with older packets for want of memory: a browser gives up on a frame that is
/// incomplete for longer, and libwebrtc itself keeps what it sent for 1 s or three RTTs.
pub const AGE_MAX: Duration = Duration::from_secs(2);

const CHUNK_LEN_VIDEO: usize = 16 * 1024;
const CHUNK_LEN_AUDIO: usize = 4 * 1024;

const _: () = assert!(CHUNK_LEN_AUDIO >= 2 * DATAGRAM_RECEIVE_LEN_MAX);
const _: () = assert!(CHUNK_LEN_VIDEO <= 1 << 16);

/// Bounded history of one encoding, found by extended sequence number.
#[derive(Debug)]
pub struct PacketStore {
    packets_max: usize,
    chunk_len: usize,
    chunks_max: usize,
    /// Sequence number modulo `packets_max` -> packet. Empty until the first packet.
    slots: Vec<Option<Slot>>,
    chunks: Vec<Chunk>,
    /// The chunk being written.
    current: usize,
    newest: Option<ExtSeq>,
}

#[derive(Copy, Clone, Debug)]
struct Slot {
    meta: PacketMeta,
    chunk: u16,
    /// Which filling of the chunk the packet belongs to.
    epoch: u32,
    offset: u32,
    exts_len: u16,
    payload_len: u16,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    epoch: u32,
    /// The chunk that is written after this one.
    next: usize,
    /// Highest sequence number and last arrival among its packets.
    newest: ExtSeq,
    last_arrival: Timestamp,
}

impl PacketStore {
    pub fn new(kind: MediaKind) -> Self {
        let (packets_max, chunk_len, bytes_max) = match kind {
            MediaKind::Video => (STORE_PACKETS_VIDEO, CHUNK_LEN_VIDEO, STORE_BYTES_VIDEO),
            MediaKind::Audio => (STORE_PACKETS_AUDIO, CHUNK_LEN_AUDIO, STORE_BYTES_AUDIO),
        };
        Self::with_limits(packets_max, chunk_len, bytes_max / chunk_len)
    }

    fn with_limits(packets_max: usize, chunk_len: usize, chunks_max: usize) -> Self {
        Self {
            packets_max,
            chunk_len,
            chunks_max,
            slots: Vec::new(),
            chunks: Vec::new(),
            current: 0,
            newest: None,
        }
    }

    /// Keeps a copy. A packet older than the history, or longer than a datagram, is not kept.
    pub fn insert(&mut self, packet: &Packet<'_>) {
        let seq = packet.meta.seq;
        let exts_len = exts_len(packet);
        let len = exts_len + packet.payload.len();
        let newest = self.newest.map_or(seq, |newest| newest.max(seq));
        let too_old = seq.0 + self.packets_max as u64 <= newest.0;
        if too_old || len > DATAGRAM_RECEIVE_LEN_MAX {
            return;
        }
        self.newest = Some(newest);
        if self.slots.is_empty() {
            self.slots.resize(self.packets_max, None);
        }

        let chunk_index = self.chunk_for(len, packet.meta.arrival);
        let slot_index = self.slot_index(seq);
        let chunk = &mut self.chunks[chunk_index];
        let offset = chunk.bytes.len();
        chunk.bytes.resize(offset + exts_len, 0);
        write_exts(packet, &mut chunk.bytes[offset..]);
        chunk.bytes.extend_from_slice(packet.payload);
        chunk.newest = chunk.newest.max(seq);
        chunk.last_arrival = chunk.last_arrival.max(packet.meta.arrival);
        self.slots[slot_index] = Some(Slot {
            meta: packet.meta,
            chunk: chunk_index as u16,
            epoch: chunk.epoch,
            offset: offset as u32,
            exts_len: exts_len as u16,
            payload_len: packet.payload.len() as u16,
        });
    }

    pub fn packet(&self, seq: ExtSeq) -> Option<Packet<'_>> {
        let slot = self.slots.get(self.slot_index(seq))?.as_ref()?;
        let chunk = self.chunks.get(usize::from(slot.chunk))?;
        if slot.meta.seq != seq || slot.epoch != chunk.epoch {
            return None;
        }
        let stored = chunk.bytes.get(slot.offset as usize..)?;
        let (exts, rest) = stored.split_at_checked(usize::from(slot.exts_len))?;
        Some(Packet {
            meta: slot.meta,
            exts: parse_exts(exts),
            payload: rest.get(..usize::from(slot.payload_len))?,
        })
    }

    /// Bytes allocated now.
    pub fn memory_len(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Slot>>() + self.chunks.len() * self.chunk_len
    }

    fn slot_index(&self, seq: ExtSeq) -> usize {
        (seq.0 % self.packets_max as u64) as usize
    }

    /// The chunk to write `len` bytes to.
    fn chunk_for(&mut self, len: usize, now: Timestamp) -> usize {
        let Some(current) = self.chunks.get(self.current) else {
            self.chunks.push(Chunk::new(self.chunk_len, 0));
            return self.current;
        };
        if current.bytes.len() + len <= self.chunk_len {
            return self.current;
        }
        let next = current.next;
        if self.is_wanted(&self.chunks[next], now) && self.chunks.len() < self.chunks_max {
            self.chunks.push(Chunk::new(self.chunk_len, next));
            let added = self.chunks.len() - 1;
            self.chunks[self.current].next = added;
            self.current = added;
        } else {
            self.chunks[next].clear();
            self.current = next;
        }
        self.current
    }

    fn is_wanted(&self, chunk: &Chunk, now: Timestamp) -> bool {
        let in_history = self
            .newest
            .is_some_and(|newest| chunk.newest.0 + self.packets_max as u64 > newest.0);
        in_history && now.since(chunk.last_arrival) < AGE_MAX
    }
}

impl Chunk {
    fn new(len: usize, next: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(len),
            epoch: 0,
            next,
            newest: ExtSeq::default(),
            last_arrival: Timestamp::ZERO,
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.epoch = self.epoch.wrapping_add(1);
        self.newest = ExtSeq::default();
        self.last_arrival = Timestamp::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrayvec::ArrayVec;
    use millrace_shared::ids::Pt;
    use millrace_shared::link::ExtKind;
    use millrace_shared::time::RtpTime;
    use proptest::prelude::*;

    use super::*;

    fn packet(seq: u64, at: Timestamp, payload: &[u8]) -> Packet<'_> {
        Packet {
            meta: PacketMeta {
                arrival: at,
                seq: ExtSeq(seq),
                rtp_time: RtpTime(seq as u32),
                spatial: 0,
                temporal: 0,
                pt: Pt(96),
                marker: false,
                keyframe_start: false,
                late: false,
                vp8: None,
            },
            exts: ArrayVec::new(),
            payload,
        }
    }

    fn payload(seq: u64, len: usize) -> Vec<u8> {
        vec![(seq % 251) as u8; len]
    }

    #[test]
    fn returns_what_was_stored_with_its_extensions() {
        let mut store = PacketStore::new(MediaKind::Audio);
        let mut stored = packet(65_536, Timestamp::from_millis(5), b"opus");
        stored.meta.marker = true;
        stored.exts.push((ExtKind::AudioLevel, &[0x90]));
        stored.exts.push((ExtKind::AbsCaptureTime, &[7; 16]));
        store.insert(&stored);

        let found = store.packet(ExtSeq(65_536)).unwrap();

        assert_eq!(found.meta, stored.meta);
        assert_eq!(found.exts, stored.exts);
        assert_eq!(found.payload, b"opus");
        assert!(store.packet(ExtSeq(65_536 + 200)).is_none());
        assert!(store.packet(ExtSeq(65_535)).is_none());
    }

    #[test]
    fn takes_memory_as_the_bitrate_asks() {
        // 10 s of 150 kbit/s: 20 packets of 940 bytes a second.
        let mut slow = PacketStore::new(MediaKind::Video);
        for i in 0..200_u64 {
            slow.insert(&packet(i, Timestamp::from_millis(i * 50), &payload(i, 940)));
        }
        // 10 s of 32 kbit/s Opus.
        let mut audio = PacketStore::new(MediaKind::Audio);
        for i in 0..500_u64 {
            audio.insert(&packet(i, Timestamp::from_millis(i * 20), &payload(i, 80)));
        }
        // 10 s of 10 Mbit/s: more than the history holds.
        let mut fast = PacketStore::new(MediaKind::Video);
        for i in 0..10_000_u64 {
            fast.insert(&packet(i, Timestamp::from_millis(i), &payload(i, 1250)));
        }

        let index = STORE_PACKETS_VIDEO * size_of::<Option<Slot>>();
        assert!(slow.memory_len() - index <= 64 * 1024);
        assert!(audio.memory_len() <= 32 * 1024);
        // What is out of the history goes before it is old.
        assert!(fast.memory_len() - index <= 704 * 1024);
        assert!((9_488..10_000).all(|seq| fast.packet(ExtSeq(seq)).is_some()));
    }

    #[test]
    fn a_late_packet_does_not_displace_a_newer_one() {
        let mut store = PacketStore::with_limits(4, 4096, 4);
        store.insert(&packet(104, Timestamp::ZERO, b"new"));
        store.insert(&packet(100, Timestamp::ZERO, b"old"));

        assert_eq!(store.packet(ExtSeq(104)).unwrap().payload, b"new");
        assert!(store.packet(ExtSeq(100)).is_none());
    }

    proptest! {
        /// Against a map that keeps everything: under any order, repetition and pace the store
        /// returns the packet or nothing, and never nothing while there is room for it.
        #[test]
        fn agrees_with_a_naive_model(
            steps in prop::collection::vec((0_i64..40, 0_usize..1400, 0_u64..60), 1..400)
        ) {
            const PACKETS_MAX: u64 = 32;
            let mut store = PacketStore::with_limits(PACKETS_MAX as usize, 4096, 64);
            let mut model = BTreeMap::new();
            let (mut now_ms, mut newest) = (0, 70_000_u64);
            store.insert(&packet(newest, Timestamp::ZERO, &[]));
            model.insert(newest, (Timestamp::ZERO, Vec::new()));
            for (step, len, pause_ms) in steps {
                now_ms += pause_ms;
                let seq = newest.saturating_add_signed(step - 36);
                let at = Timestamp::from_millis(now_ms);
                let bytes = payload(seq ^ now_ms, len);
                store.insert(&packet(seq, at, &bytes));
                newest = newest.max(seq);
                if seq + PACKETS_MAX > newest {
                    model.insert(seq, (at, bytes));
                }
                for seq in newest - 80..=newest {
                    let stored = store.packet(ExtSeq(seq));
                    match model.get(&seq) {
                        Some((at, bytes)) if seq + PACKETS_MAX > newest => {
                            if let Some(stored) = stored {
                                prop_assert_eq!(stored.payload, bytes.as_slice());
                                prop_assert_eq!(stored.meta.arrival, *at);
                            } else {
                                prop_assert!(Timestamp::from_millis(now_ms).since(*at) >= AGE_MAX);
                            }
                        }
                        Some((_, bytes)) => {
                            if let Some(stored) = stored {
                                prop_assert_eq!(stored.payload, bytes.as_slice());
                            }
                        }
                        None => prop_assert!(stored.is_none()),
                    }
                }
            }
            prop_assert!(store.chunks.len() <= 64);
        }
    }
}
