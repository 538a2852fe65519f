//! A published track and its copies.

use std::time::Duration;

use millrace_shared::drop::DropReason;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, Ssrc, TrackId};
use millrace_shared::link::{Event, ExtKind};
use millrace_shared::payload::vp8::Vp8View;

use crate::harness::media::{DOWN_PT, Vp8Encoder, down_ext_ids};
use crate::harness::{Joining, World, remote};

pub(crate) const TRACK: TrackId = TrackId(1);

/// A publisher of `layers` encodings and `subscribers` with a copy each.
pub(crate) fn call(layers: u8, subscribers: usize) -> (World, usize, Vec<usize>) {
    let mut world = World::new();
    let publisher = world.join(&Joining::media("alice"));
    world.publish(publisher, TRACK, layers);
    let subscribers = (0..subscribers)
        .map(|index| {
            let peer = world.join(&Joining::media("viewer"));
            let down = DownTrackId(index as u64 + 1);
            world.subscribe(peer, down, TRACK, down_ssrc(index));
            peer
        })
        .collect();
    (world, publisher, subscribers)
}

pub(crate) fn down_ssrc(index: usize) -> u32 {
    10_000 + 10 * u32::try_from(index).unwrap()
}

/// Sends a frame of each encoding and lets the time of a frame pass.
pub(crate) fn send_frames(
    world: &mut World,
    publisher: usize,
    encoders: &mut [Vp8Encoder],
    key: bool,
) {
    let mut number = world.transport_cc;
    for encoder in encoders {
        for packet in encoder.frame(key, 3, &mut number) {
            world.send_rtp(publisher, &packet);
        }
    }
    world.transport_cc = number;
    world.run_ms(33);
}

/// What the publisher sends reaches the peer where it is now, and goes nowhere else.
pub(crate) fn assert_reached(
    world: &mut World,
    publisher: usize,
    peer: usize,
    encoders: &mut [Vp8Encoder],
) {
    let (heard, stray) = (world.peers[peer].heard, world.stray);
    for _ in 0..5 {
        send_frames(world, publisher, encoders, false);
    }
    assert!(world.peers[peer].heard >= heard + 15);
    assert_eq!(world.stray, stray);
}

/// Every packet of `ssrc` that a peer got: sequence numbers without a gap, in order.
pub(crate) fn assert_gapless(world: &World, peer: usize, ssrc: u32) -> usize {
    let seqs: Vec<u16> = media_of(world, peer, ssrc).map(|view| view.seq.0).collect();
    for pair in seqs.windows(2) {
        assert_eq!(pair[1], pair[0].wrapping_add(1), "{seqs:?}");
    }
    seqs.len()
}

pub(crate) fn media_of(
    world: &World,
    peer: usize,
    ssrc: u32,
) -> impl Iterator<Item = millrace_shared::wire::rtp::RtpView<'_>> {
    let got = world.peers[peer].rtp.iter().map(|got| got.view());
    got.filter(move |view| view.ssrc == Ssrc(ssrc))
}

#[test]
fn each_subscriber_gets_its_own_ssrc_payload_type_and_extensions() {
    let (mut world, publisher, subscribers) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..20 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    for (index, peer) in subscribers.iter().enumerate() {
        assert_eq!(assert_gapless(&world, *peer, down_ssrc(index)), 60);
        assert_eq!(world.peers[*peer].rtp.len(), 60);
        let mut transport_cc = Vec::new();
        for view in media_of(&world, *peer, down_ssrc(index)) {
            assert_eq!(view.pt, DOWN_PT);
            let ids = down_ext_ids();
            let ext = |kind| view.ext(ids.id(kind).unwrap());
            assert_eq!(ext(ExtKind::Mid), Some(b"s1".as_slice()));
            assert_eq!(ext(ExtKind::VideoOrientation), Some([1].as_slice()));
            assert_eq!(ext(ExtKind::AbsSendTime).unwrap().len(), 3);
            transport_cc.push(u16::from_be_bytes(
                ext(ExtKind::TransportCc).unwrap().try_into().unwrap(),
            ));
            // Nothing of the publisher's own ids is left.
            assert_eq!(view.exts().filter(|(id, _)| *id < 9).count(), 0);
            assert!(view.payload().len() == 200);
        }
        assert!(transport_cc.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    world.assert_unbroken();
    let transport = world.peers[publisher].transport;
    let started = |event: &&Event| matches!(event, Event::UpTrackStarted { transport: it, spatial: 0, ssrc: Ssrc(5_000), .. } if *it == transport);
    assert_eq!(world.events.iter().filter(started).count(), 1);
    let down_started = |event: &&Event| matches!(event, Event::DownTrackStarted { .. });
    assert_eq!(world.events.iter().filter(down_started).count(), 2);
}

#[test]
fn what_netio_sent_is_in_the_metrics() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let before = world.metrics();
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    world.tick();
    let after = world.metrics();
    assert_eq!(world.peers[subscribers[0]].rtp.len(), 3);
    assert!(after.datagrams_sent >= before.datagrams_sent + 3);
    assert!(after.bytes_sent >= before.bytes_sent + 3 * 200);
}

#[test]
fn the_forwarding_latency_counts_each_packet_that_was_forwarded() {
    let (mut world, publisher, _) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let latencies = world.metrics().forwarding;
    // One for a packet, however many copies; the network here keeps nothing waiting.
    assert_eq!(latencies.count(), 3);
    assert_eq!(latencies.sum(), 3 * Duration::from_micros(100));
}

#[test]
fn the_picture_passes_unchanged() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    let mut sent = Vec::new();
    for frame in 0..5 {
        let mut number = world.transport_cc;
        for packet in encoders[0].frame(frame == 0, 2, &mut number) {
            let view = millrace_shared::wire::rtp::RtpView::parse(&packet.bytes).unwrap();
            sent.push(Vp8View::parse(view.payload()).unwrap().frame.to_vec());
            world.send_rtp(publisher, &packet);
        }
        world.transport_cc = number;
        world.run_ms(33);
    }
    let got: Vec<_> = media_of(&world, subscribers[0], down_ssrc(0))
        .map(|view| Vp8View::parse(view.payload()).unwrap().frame.to_vec())
        .collect();
    assert_eq!(got, sent);
}

#[test]
fn a_subscriber_that_is_not_authenticated_gets_nothing() {
    let (mut world, publisher, _) = call(1, 1);
    let waiting = world.add_peer(&Joining::media("late"));
    world.subscribe(waiting, DownTrackId(9), TRACK, 900);
    // ICE is done, DTLS is not.
    world.peers[waiting].check_at = world.now;
    world.run_ms(100);
    assert!(world.peers[waiting].checks_answered > 0);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..10 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    assert_eq!(world.peers[waiting].heard, 0);

    // It starts with a key frame once it is connected.
    world.set_remote(waiting, world.fingerprint());
    world.dial(waiting);
    world.run_ms(200);
    assert!(world.connected(waiting));
    let before = world.metrics().plis_sent;
    send_frames(&mut world, publisher, &mut encoders, false);
    assert!(world.peers[waiting].rtp.is_empty());
    assert!(before > 0);
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(assert_gapless(&world, waiting, 900), 3);
}

#[test]
fn media_from_an_address_without_a_check_is_dropped() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let mut number = 0;
    let packet = encoder.frame(true, 1, &mut number).remove(0);
    let protected = world.peers[publisher].protect(&packet);
    let tuple = Tuple {
        remote: remote(77),
        ..world.peers[publisher].tuple
    };
    world.inject_on(tuple, protected.clone());
    world.settle();
    assert_eq!(world.dropped(DropReason::TupleUnvalidated), 1);
    assert_eq!(world.metrics().rtp_received, 0);
    // The same bytes from the right address are good.
    world.inject(publisher, protected);
    world.settle();
    assert_eq!(world.peers[subscribers[0]].rtp.len(), 1);
}

// RFC 3711 §3.3.2.
#[test]
fn a_replayed_packet_is_dropped() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let mut number = 0;
    for packet in encoder.frame(true, 3, &mut number) {
        let protected = world.peers[publisher].protect(&packet);
        for _ in 0..3 {
            world.inject(publisher, protected.clone());
        }
    }
    world.settle();
    assert_eq!(world.dropped(DropReason::SrtpReplay), 6);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), 3);
}

#[test]
fn forged_packets_are_counted_and_change_nothing() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    for _ in 0..50 {
        let mut number = world.transport_cc;
        let packet = encoders[0].clone().frame(false, 1, &mut number).remove(0);
        let mut forged = world.peers[publisher].protect(&packet);
        *forged.last_mut().unwrap() ^= 1;
        world.inject(publisher, forged);
        let mut rtcp = world.peers[publisher].rtcp_of(|writer| {
            writer.bye(&[Ssrc(5_000)]).unwrap();
        });
        rtcp[9] ^= 0x40;
        world.inject(publisher, rtcp);
    }
    // A record that looks like an alert and is none.
    world.inject(
        publisher,
        vec![21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
    );
    world.settle();
    assert_eq!(world.dropped(DropReason::SrtpAuthentication), 100);
    assert_eq!(world.closed(publisher), None);
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    assert_eq!(assert_gapless(&world, subscribers[0], down_ssrc(0)), 18);
}

#[test]
fn a_muted_track_is_silent_and_comes_back_without_a_gap() {
    use millrace_shared::link::Command;
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for (muted, frames) in [(false, 5), (true, 5), (false, 5)] {
        world.command(Command::MuteUpTrack {
            transport: world.peers[publisher].transport,
            track: TRACK,
            muted,
        });
        for frame in 0..frames {
            send_frames(&mut world, publisher, &mut encoders, frame == 0);
        }
    }
    assert_eq!(world.dropped(DropReason::TrackMuted), 15);
    assert_eq!(assert_gapless(&world, subscribers[0], down_ssrc(0)), 30);
}
