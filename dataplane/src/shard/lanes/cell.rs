//! What a media lane carries: a packet in a buffer of fixed size, which goes back to the sender.

use millrace_shared::ice::Tuple;
use millrace_shared::ids::{ShardId, TrackId};
use millrace_shared::limits::DATAGRAM_RECEIVE_LEN_MAX;
use millrace_shared::time::ExtSeq;

use crate::packet::{Packet, PacketMeta, exts_len, parse_exts, write_exts};

/// What the bytes of a cell are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MediaItem {
    /// A packet of a mirrored track, decrypted: extensions, then payload.
    Packet {
        track: TrackId,
        meta: PacketMeta,
        exts_len: u16,
    },
    /// A sequence number of the publisher that carried nothing.
    Padding {
        track: TrackId,
        spatial: u8,
        seq: ExtSeq,
    },
    /// A datagram as it arrived, of a tuple whose transport lives on the other shard.
    Datagram { tuple: Tuple },
    /// A Binding Request that reached `via`, for a transport that the other shard may know.
    Check { tuple: Tuple, via: ShardId },
    /// A packet of RTP or RTCP from a tuple that the sender knows nothing of.
    Stray { tuple: Tuple },
    /// A Binding Success Response from such a tuple.
    Answer { tuple: Tuple },
}

/// One packet on its way.
#[derive(Debug)]
pub struct MediaCell {
    item: Option<MediaItem>,
    len: u16,
    bytes: [u8; DATAGRAM_RECEIVE_LEN_MAX],
}

impl Default for MediaCell {
    fn default() -> Self {
        Self {
            item: None,
            len: 0,
            bytes: [0; DATAGRAM_RECEIVE_LEN_MAX],
        }
    }
}

impl MediaCell {
    /// Puts a datagram in. False when it is longer than a cell.
    pub fn set_bytes(&mut self, item: MediaItem, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len = bytes.len() as u16;
        self.item = Some(item);
        true
    }

    /// Puts a packet in. False when it is longer than a cell, which no packet that arrived in a
    /// datagram is: an extension takes a byte more here than there, of which the header has
    /// twelve to spare.
    pub fn set_packet(&mut self, track: TrackId, packet: &Packet<'_>) -> bool {
        let exts_len = exts_len(packet);
        let len = exts_len + packet.payload.len();
        let Some((exts, rest)) = self
            .bytes
            .get_mut(..len)
            .and_then(|room| room.split_at_mut_checked(exts_len))
        else {
            return false;
        };
        write_exts(packet, exts);
        rest.copy_from_slice(packet.payload);
        self.len = len as u16;
        self.item = Some(MediaItem::Packet {
            track,
            meta: packet.meta,
            exts_len: exts_len as u16,
        });
        true
    }

    /// What it is, and its bytes.
    pub fn open(&mut self) -> Option<(MediaItem, &mut [u8])> {
        let bytes = self.bytes.get_mut(..usize::from(self.len))?;
        Some((self.item.take()?, bytes))
    }
}

/// The packet that [`MediaCell::set_packet`] put in.
pub fn packet(meta: PacketMeta, exts_len: u16, bytes: &[u8]) -> Option<Packet<'_>> {
    let (exts, payload) = bytes.split_at_checked(usize::from(exts_len))?;
    Some(Packet {
        meta,
        exts: parse_exts(exts),
        payload,
    })
}
