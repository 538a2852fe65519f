//! ICE, DTLS and the fingerprint: who gets in.

use millrace_shared::drop::DropReason;
use millrace_shared::ids::{DownTrackId, TrackId};
use millrace_shared::link::{CloseReason, Event, Fingerprint};

use crate::harness::media::Vp8Encoder;
use crate::harness::{Joining, World};

// RFC 8827 §6.5, RFC 5763 §5.
#[test]
fn a_peer_with_the_certificate_of_its_description_is_connected() {
    let mut world = World::new();
    let peer = world.join(&Joining::media("alice"));
    let transport = world.peers[peer].transport;
    let pair = world.events.iter().position(
        |event| matches!(event, Event::PairSelected { transport: it, .. } if *it == transport),
    );
    let connected = world
        .events
        .iter()
        .position(|event| *event == Event::Connected { transport });
    assert!(pair.unwrap() < connected.unwrap());
    let fingerprint = world.peers[peer].server_fingerprint;
    assert_eq!(fingerprint, Some(world.server.fingerprint()));
    assert!(world.peers[peer].srtp.is_some());
    world.assert_unbroken();
}

// RFC 5763 §5: a certificate that does not match the description ends the association.
#[test]
fn a_wrong_certificate_is_closed_and_nothing_passes() {
    let mut world = World::new();
    let publisher = world.join(&Joining::media("alice"));
    let track = TrackId(1);
    world.publish(publisher, track, 1);

    let stranger = world.add_peer(&Joining::data("mallory"));
    world.set_remote(stranger, Fingerprint([7; 32]));
    world.dial(stranger);
    world.publish(stranger, TrackId(2), 1);
    world.subscribe(stranger, DownTrackId(1), track, 1_000);
    world.run_ms(2_000);
    let reason = Some(CloseReason::FingerprintMismatch);
    assert_eq!(world.closed(stranger), reason);
    assert!(!world.connected(stranger));

    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    for index in 0..30 {
        let mut number = world.transport_cc;
        for packet in encoder.frame(index == 0, 2, &mut number) {
            world.send_rtp(publisher, &packet);
            // The stranger may have keys, for it shared the handshake.
            if world.peers[stranger].srtp.is_some() {
                world.send_rtp(stranger, &packet);
            } else {
                world.inject(stranger, packet.bytes.clone());
            }
        }
        world.transport_cc = number;
        world.run_ms(33);
    }
    assert!(world.peers[stranger].rtp.is_empty());
    assert!(world.peers[stranger].rtcp.is_empty());
    assert!(world.peers[stranger].messages.is_empty());
    assert_eq!(world.dropped(DropReason::SrtpNoKeys), 60);
    assert_eq!(world.metrics().rtp_received, 60);
    assert_eq!(world.metrics().rtp_forwarded, 0);
}

/// The peer of an answer may be faster than the answer.
#[test]
fn a_handshake_before_the_description_waits_for_it() {
    let mut world = World::new();
    let peer = world.add_peer(&Joining::media("alice"));
    world.dial(peer);
    world.run_ms(2_000);
    assert!(world.peers[peer].srtp.is_some());
    assert!(!world.connected(peer));
    world.inject(
        peer,
        vec![0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4],
    );
    world.settle();
    assert_eq!(world.dropped(DropReason::SrtpNoKeys), 1);
    world.set_remote(peer, world.fingerprint());
    world.settle();
    assert!(world.connected(peer));
    assert_eq!(world.closed(peer), None);
}

#[test]
fn a_wrong_description_after_the_handshake_closes_too() {
    let mut world = World::new();
    let peer = world.add_peer(&Joining::media("mallory"));
    world.dial(peer);
    world.run_ms(2_000);
    world.set_remote(peer, Fingerprint([7; 32]));
    world.run_ms(100);
    assert_eq!(world.closed(peer), Some(CloseReason::FingerprintMismatch));
    assert!(!world.connected(peer));
    assert!(world.peers[peer].closed);
}

/// Whoever has no verified certificate gets no data, whatever its channels are.
#[test]
fn data_waits_for_the_description_too() {
    let mut world = World::new();
    let alice = world.join(&Joining::data("alice"));
    let mallory = world.add_peer(&Joining {
        shard_opens_channels: true,
        ..Joining::data("mallory")
    });
    world.dial(mallory);
    world.run_ms(500);
    world.send_data(
        alice,
        "_reliable",
        super::data::user_packet(1, &[], b"secret"),
    );
    world.run_ms(3_000);
    assert!(world.peers[mallory].messages.is_empty());
    world.set_remote(mallory, Fingerprint([7; 32]));
    world.run_ms(3_000);
    assert!(world.peers[mallory].messages.is_empty());
    assert_eq!(
        world.closed(mallory),
        Some(CloseReason::FingerprintMismatch)
    );
}

/// An INIT that came before the description is not lost: its repetition would cost a second.
#[test]
fn data_channels_open_as_soon_as_the_description_comes() {
    let mut world = World::new();
    let peer = world.add_peer(&Joining {
        shard_opens_channels: true,
        ..Joining::data("alice")
    });
    world.dial(peer);
    world.run_ms(300);
    world.set_remote(peer, world.fingerprint());
    world.run_ms(50);
    let open = ["_reliable", "_lossy"].map(|label| world.peers[peer].stream(label).is_some());
    assert_eq!(open, [true, true]);
}

#[test]
fn a_check_with_a_wrong_password_validates_nothing() {
    let mut world = World::new();
    let peer = world.add_peer(&Joining::media("alice"));
    world.set_remote(peer, world.fingerprint());
    world.settle();
    let mut wrong = world.peers[peer].ice.clone();
    wrong.pwd.push('x');
    let check = world.peers[peer].check_with(&wrong, true);
    world.inject(peer, check);
    world.peers[peer].start_dtls(world.now);
    world.settle();
    assert_eq!(world.dropped(DropReason::StunIntegrity), 1);
    assert!(world.dropped(DropReason::TupleUnvalidated) > 0);
    assert_eq!(
        world.peers[peer].heard + world.peers[peer].checks_answered,
        0
    );
}
