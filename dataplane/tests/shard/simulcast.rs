//! Several encodings of one track, and a subscriber that changes between them.

use millrace_shared::ids::DownTrackId;
use millrace_shared::link::{Command, Layer};
use millrace_shared::payload::vp8::Vp8View;

use crate::forwarding::{assert_gapless, call, down_ssrc, media_of, send_frames};
use crate::harness::World;
use crate::harness::media::{RIDS, Vp8Encoder};

/// Each encoding has payloads of another length, which tells the subscriber's packets apart.
const LENS: [usize; 3] = [100, 200, 300];

pub(crate) fn encoders(layers: usize) -> Vec<Vp8Encoder> {
    (0..layers)
        .map(|spatial| {
            let ssrc = 5_000 + 1_000 * u32::try_from(spatial).unwrap();
            let mut encoder = Vp8Encoder::new(ssrc, "m1", Some(RIDS[spatial]));
            encoder.payload_len = LENS[spatial];
            encoder
        })
        .collect()
}

/// The encoding of every packet that a peer got, without repetitions.
pub(crate) fn layers_got(world: &World, peer: usize) -> Vec<usize> {
    let mut layers: Vec<_> = media_of(world, peer, down_ssrc(0))
        .map(|view| {
            let len = view.payload().len();
            LENS.iter().position(|it| *it == len).unwrap()
        })
        .collect();
    layers.dedup();
    layers
}

fn set_layer(world: &mut World, spatial: u8, paused: bool) {
    world.command(Command::SetDownTrackLayer {
        transport: world.peers[1].transport,
        down: DownTrackId(1),
        max_layer: Layer {
            spatial,
            temporal: 3,
        },
        paused,
    });
    world.tick();
}

#[test]
fn layers_change_at_key_frames_and_the_sequence_has_no_gap() {
    let (mut world, publisher, subscribers) = call(3, 1);
    let mut encoders = encoders(3);
    set_layer(&mut world, 0, false);
    let mut expected = Vec::new();
    for spatial in [0, 2, 1, 0, 2] {
        set_layer(&mut world, spatial, false);
        let before = world.peers[subscribers[0]].rtp.len();
        for _ in 0..3 {
            send_frames(&mut world, publisher, &mut encoders, false);
        }
        // Without a key frame nothing changes.
        assert_eq!(layers_got(&world, subscribers[0]), expected);
        if before > 0 {
            assert_eq!(world.peers[subscribers[0]].rtp.len(), before + 9);
        }
        send_frames(&mut world, publisher, &mut encoders, true);
        send_frames(&mut world, publisher, &mut encoders, false);
        expected.push(usize::from(spatial));
        assert_eq!(layers_got(&world, subscribers[0]), expected);
    }
    assert_gapless(&world, subscribers[0], down_ssrc(0));
    let mut pictures = Vec::new();
    let mut times = Vec::new();
    for view in media_of(&world, subscribers[0], down_ssrc(0)) {
        let vp8 = Vp8View::parse(view.payload()).unwrap();
        pictures.push(vp8.descriptor.picture_id.unwrap().value);
        times.push(view.timestamp);
    }
    pictures.dedup();
    for pair in pictures.windows(2) {
        assert_eq!(pair[1], (pair[0] + 1) & 0x7fff, "{pictures:?}");
    }
    assert!(times.windows(2).all(|pair| pair[1].distance(pair[0]) >= 0));
    world.assert_unbroken();
}

#[test]
fn a_switch_asks_the_wanted_encoding_for_a_key_frame() {
    let (mut world, publisher, _) = call(2, 1);
    let mut encoders = encoders(2);
    set_layer(&mut world, 0, false);
    send_frames(&mut world, publisher, &mut encoders, true);
    for _ in 0..20 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    let before = world.metrics().plis_sent;
    set_layer(&mut world, 1, false);
    world.settle();
    assert_eq!(world.metrics().plis_sent, before + 1);
}

#[test]
fn a_pause_ends_at_a_key_frame_and_leaves_no_gap() {
    let (mut world, publisher, subscribers) = call(2, 1);
    let mut encoders = encoders(2);
    send_frames(&mut world, publisher, &mut encoders, true);
    set_layer(&mut world, 1, true);
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, true);
    }
    let before = world.peers[subscribers[0]].rtp.len();
    set_layer(&mut world, 1, false);
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), before);
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), before + 3);
    assert_gapless(&world, subscribers[0], down_ssrc(0));
}
