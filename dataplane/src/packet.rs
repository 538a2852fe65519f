//! What one stage hands the next: an authenticated, parsed packet of a published track.

use arrayvec::ArrayVec;
use millrace_shared::ids::Pt;
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::ExtKind;
use millrace_shared::time::{ExtSeq, NtpTime, RtpTime, Timestamp};

/// Header extensions that pass from publisher to subscriber with their id remapped. The others end
/// here (rid), or are written anew by each transport (mid, transport-cc, abs-send-time).
pub const CARRIED_EXTS: [ExtKind; 5] = [
    ExtKind::AudioLevel,
    ExtKind::AbsCaptureTime,
    ExtKind::DependencyDescriptor,
    ExtKind::VideoOrientation,
    ExtKind::PlayoutDelay,
];

/// VP8 payload descriptor fields that a layer switch makes discontinuous (RFC 7741 §4.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Vp8Fields {
    /// With its length: 7 or 15 bits.
    pub picture_id: Option<Vp8PictureId>,
    pub tl0_pic_idx: Option<u8>,
    pub key_idx: Option<u8>,
    /// Layer sync bit: may be switched up to at this temporal layer.
    pub layer_sync: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Vp8PictureId {
    pub value: u16,
    pub long: bool,
}

/// Descriptor of a packet; small enough to be copied per subscriber.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PacketMeta {
    pub arrival: Timestamp,
    /// Extended sequence number within its encoding.
    pub seq: ExtSeq,
    pub rtp_time: RtpTime,
    pub spatial: u8,
    pub temporal: u8,
    pub pt: Pt,
    pub marker: bool,
    /// A packet of a key frame from which decoding can start: its first packet.
    pub keyframe_start: bool,
    /// Arrived over RTX or behind a newer packet: it fills a gap.
    pub late: bool,
    /// Present for VP8 only.
    pub vp8: Option<Vp8Fields>,
}

const _: () = assert!(size_of::<PacketMeta>() <= 64);

/// A packet on its way from an UpTrack to its DownTracks; borrows the receive buffer or the
/// packet store.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    pub meta: PacketMeta,
    pub exts: ArrayVec<(ExtKind, &'a [u8]), { CARRIED_EXTS.len() }>,
    /// Without padding.
    pub payload: &'a [u8],
}

/// The publisher's wallclock for a media time, from its last sender report.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SenderClock {
    pub ntp: NtpTime,
    pub rtp_time: RtpTime,
    /// When the report arrived.
    pub arrival: Timestamp,
}

/// Sender clocks of a track's encodings, to align their media times at a layer switch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LayerClocks {
    pub clock_rate_hz: u32,
    pub layers: [Option<SenderClock>; SPATIAL_LAYERS_MAX],
}

/// Bytes that [`write_exts`] takes.
pub(crate) fn exts_len(packet: &Packet<'_>) -> usize {
    let lens = packet.exts.iter().map(|(_, bytes)| bytes.len());
    lens.filter(|len| u8::try_from(*len).is_ok())
        .map(|len| len + 2)
        .sum()
}

/// Writes kind, length and bytes of each extension. `out` is [`exts_len`] long, which skips what
/// does not fit its length byte, and so does this.
pub(crate) fn write_exts(packet: &Packet<'_>, mut out: &mut [u8]) {
    for (kind, bytes) in &packet.exts {
        let Ok(len) = u8::try_from(bytes.len()) else {
            continue;
        };
        let (head, rest) = out.split_at_mut(2);
        head.copy_from_slice(&[*kind as u8, len]);
        let (room, rest) = rest.split_at_mut(bytes.len());
        room.copy_from_slice(bytes);
        out = rest;
    }
}

/// What [`write_exts`] wrote.
pub(crate) fn parse_exts(mut stored: &[u8]) -> ArrayVec<(ExtKind, &[u8]), { CARRIED_EXTS.len() }> {
    let mut exts = ArrayVec::new();
    while let Some((&[kind, len], rest)) = stored.split_first_chunk()
        && let Some(kind) = ExtKind::ALL.get(usize::from(kind))
        && let Some((bytes, rest)) = rest.split_at_checked(usize::from(len))
        && exts.try_push((*kind, bytes)).is_ok()
    {
        stored = rest;
    }
    exts
}
