//! Packets that the benches work on: a VP8 packet of a camera and an Opus packet of a voice.

use arrayvec::ArrayVec;
use millrace_dataplane::packet::{LayerClocks, Packet, PacketMeta, Vp8Fields, Vp8PictureId};
use millrace_shared::ids::{DownTrackId, Mid, Pt, Ssrc, TrackId};
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::{DownTrackConfig, ExtIds, ExtKind, Layer, MediaKind, PtMapping};
use millrace_shared::payload::PictureId;
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8Temporal, write_descriptor};
use millrace_shared::srtp::{MasterKey, Profile};
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtp::{RtpHeader, header_len, write_header};

/// Payload bytes of a full video packet and of 20 ms of voice at 32 kbit/s.
pub const VIDEO_LEN: usize = 1_130;
pub const AUDIO_LEN: usize = 80;
pub const PT: Pt = Pt(96);

/// An RTP packet with the extensions a browser sends, before protection, and its header's length.
///
/// # Panics
/// When `payload_len` is beyond what a datagram holds.
pub fn rtp_packet(seq: u16, payload_len: usize) -> (Vec<u8>, usize) {
    let number = seq.to_be_bytes();
    let exts: [(u8, &[u8]); 3] = [(1, b"m1"), (4, &number), (6, &[1])];
    let header = RtpHeader {
        marker: false,
        pt: PT,
        seq: SeqNo(seq),
        timestamp: RtpTime(u32::from(seq) * 3_000),
        ssrc: Ssrc(0x1234_5678),
    };
    let mut bytes = vec![0x5a; header_len(&exts) + payload_len];
    let header_len = write_header(&mut bytes, &header, &exts).expect("the buffer has its length");
    (bytes, header_len)
}

/// A VP8 payload with a long picture id.
///
/// # Panics
/// When `len` is less than a descriptor.
pub fn vp8_payload(len: usize) -> Vec<u8> {
    let descriptor = Vp8Descriptor {
        partition_start: true,
        picture_id: Some(PictureId {
            value: 100,
            long: true,
        }),
        tl0_pic_idx: Some(5),
        temporal: Some(Vp8Temporal::default()),
        ..Vp8Descriptor::default()
    };
    let mut payload = vec![0x5a; len];
    let written = write_descriptor(&mut payload, &descriptor).expect("a payload of some length");
    payload[written] = 0;
    payload
}

/// Packet `n` of the encoding, each the only packet of a key frame.
pub fn packet(n: u64, payload: &[u8]) -> Packet<'_> {
    Packet {
        meta: PacketMeta {
            arrival: Timestamp::from_millis(1_000 + n),
            seq: ExtSeq(65_536 + n),
            rtp_time: RtpTime((n as u32).wrapping_mul(3_000)),
            spatial: 0,
            temporal: 0,
            pt: PT,
            marker: true,
            keyframe_start: n == 0,
            late: false,
            vp8: Some(Vp8Fields {
                picture_id: Some(Vp8PictureId {
                    value: (n & 0x7fff) as u16,
                    long: true,
                }),
                tl0_pic_idx: Some((n & 0xff) as u8),
                key_idx: None,
                layer_sync: false,
            }),
        },
        exts: ArrayVec::new(),
        payload,
    }
}

pub fn clocks() -> LayerClocks {
    LayerClocks {
        clock_rate_hz: 90_000,
        layers: [None; SPATIAL_LAYERS_MAX],
    }
}

/// A subscriber's copy of one video track.
///
/// # Panics
/// Never: the mid is a valid one.
pub fn down_config(down: u64) -> DownTrackConfig {
    let mut ext_ids = ExtIds::default();
    ext_ids.set(ExtKind::Mid, 9);
    ext_ids.set(ExtKind::TransportCc, 10);
    ext_ids.set(ExtKind::AbsSendTime, 11);
    let ssrc = 10_000 + 2 * down as u32;
    DownTrackConfig {
        down: DownTrackId(down),
        track: TrackId(1),
        kind: MediaKind::Video,
        mid: Mid::from("s1").expect("a short mid"),
        cname: "publisher".to_owned(),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Some(Ssrc(ssrc + 1)),
        pts: vec![PtMapping {
            up: PT,
            down: Pt(110),
            down_rtx: Some(Pt(111)),
            red: None,
        }],
        ext_ids,
        nack: true,
        max_layer: Layer::BEST,
        paused: false,
    }
}

/// Any key of a profile.
///
/// # Panics
/// Never: key and salt have the profile's lengths.
pub fn master_key(profile: Profile) -> MasterKey {
    let bytes = [7; 64];
    MasterKey::new(
        profile,
        &bytes[..profile.key_len()],
        &bytes[..profile.salt_len()],
    )
    .expect("lengths of the profile")
}
