//! Payload descriptors of the codecs, and data packets.

use millrace_shared::payload::av1::Av1AggregationHeader;
use millrace_shared::payload::data_packet::{
    DataKind, DataPacketView, DataValue, kind_field, write_stamp, write_user_stamp,
};
use millrace_shared::payload::dependency_descriptor::DependencyDescriptor;
use millrace_shared::payload::red::RedView;
use millrace_shared::payload::vp8::{Vp8View, rewrite, write_descriptor};
use millrace_shared::payload::vp9::Vp9Descriptor;
use millrace_shared::payload::{h264, h265, opus};

pub(crate) fn vp8(payload: &[u8]) {
    let Ok(view) = Vp8View::parse(payload) else {
        return;
    };
    assert_eq!(view.descriptor_len + view.frame.len(), payload.len());
    assert!(!view.keyframe_start() || view.frame_start());
    assert!(view.size().is_none() || view.keyframe_start());
    let mut out = [0; 8];
    let len = write_descriptor(&mut out, &view.descriptor).expect("a descriptor has six bytes");
    let again = Vp8View::parse(&out[..len]).expect("what we write is well-formed");
    assert_eq!(again.descriptor, view.descriptor);

    let mut copy = payload.to_vec();
    rewrite(&mut copy, 0x1234, 0x56, 0x17).expect("it is VP8");
    let again = Vp8View::parse(&copy).expect("it still is");
    let (before, after) = (view.descriptor, again.descriptor);
    assert_eq!(again.frame, view.frame);
    let picture_id = before
        .picture_id
        .map(|id| if id.long { 0x1234 } else { 0x34 });
    assert_eq!(after.picture_id.map(|id| id.value), picture_id);
    assert_eq!(after.tl0_pic_idx, before.tl0_pic_idx.map(|_| 0x56));
    assert_eq!(after.key_idx, before.key_idx.map(|_| 0x17));
    assert_eq!(after.temporal, before.temporal);
}

pub(crate) fn vp9(payload: &[u8]) {
    let Ok(descriptor) = Vp9Descriptor::parse(payload) else {
        return;
    };
    assert!((1..=payload.len()).contains(&descriptor.len));
    assert!(descriptor.spatial() < 8 && descriptor.temporal() < 8);
    assert!(!(descriptor.keyframe_start() && descriptor.inter_picture));
    // What lies behind the descriptor is not read.
    let alone = Vp9Descriptor::parse(&payload[..descriptor.len]);
    assert_eq!(alone, Ok(descriptor));
}

/// H.264 and H.265.
pub(crate) fn h26x(payload: &[u8]) {
    let _ = h264::keyframe_start(payload);
    let _ = h265::keyframe_start(payload);
}

/// The aggregation header of a payload, and the dependency descriptor of an extension.
pub(crate) fn av1(bytes: &[u8]) {
    if let Ok(header) = Av1AggregationHeader::parse(bytes) {
        assert!(!header.keyframe_start() || header.new_sequence);
        assert!(header.elements < 4);
    }
    if let Ok(descriptor) = DependencyDescriptor::parse(bytes) {
        assert!(bytes.len() >= 3);
        assert!(descriptor.template_id < 64);
        assert!(!descriptor.keyframe_start() || bytes.len() > 3);
    }
}

/// Opus, and redundancy over it.
pub(crate) fn audio(payload: &[u8]) {
    let ticks = opus::duration_ticks(payload);
    assert!(ticks.is_none_or(|ticks| (120..=5_760).contains(&ticks)));
    let _ = opus::is_silence(payload);
    let Ok(red) = RedView::parse(payload) else {
        return;
    };
    assert_eq!(&payload[red.primary_offset..], red.primary);
    let redundant_len: usize = red.redundant().map(|block| block.data.len()).sum();
    let headers_len = 4 * red.redundant().count() + 1;
    assert_eq!(
        headers_len + redundant_len + red.primary.len(),
        payload.len()
    );
}

pub(crate) fn data_packet(message: &[u8]) {
    let Ok(view) = DataPacketView::parse(message) else {
        return;
    };
    let destinations = view.destination_identities().chain(view.destination_sids());
    assert!(destinations.map(str::len).sum::<usize>() <= message.len());
    // What the server appends wins over whatever the sender wrote.
    let mut stamped = message.to_vec();
    let mut stamp = [0; 64];
    let len = write_stamp(&mut stamp, "alice", "PA_alice").expect("a stamp fits");
    stamped.extend_from_slice(&stamp[..len]);
    stamped.extend_from_slice(&kind_field(DataKind::Lossy));
    if view.value == Some(DataValue::User) {
        let len = write_user_stamp(&mut stamp, "alice", "PA_alice").expect("a stamp fits");
        stamped.extend_from_slice(&stamp[..len]);
    }
    let again = DataPacketView::parse(&stamped).expect("it still is well-formed");
    assert_eq!(again.participant_identity, "alice");
    assert_eq!(again.participant_sid, "PA_alice");
    assert_eq!(again.kind, Some(DataKind::Lossy));
    assert_eq!((again.value, again.sequence), (view.value, view.sequence));
    assert!(
        again
            .destination_identities()
            .eq(view.destination_identities())
    );
    assert!(again.destination_sids().eq(view.destination_sids()));
}
