//! Tuples come and go under a transport.

use std::net::SocketAddr;

use millrace_shared::drop::DropReason;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::Ssrc;
use millrace_shared::link::{CloseReason, Command, Event};
use millrace_shared::time::Timestamp;
use millrace_shared::wire::rtcp::RtcpWriter;

use crate::forwarding::{assert_gapless, assert_reached, call, down_ssrc, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::{credentials, remote};

// RFC 8445 §2.4: media goes on while ICE restarts.
#[test]
fn media_goes_on_over_an_ice_restart() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let ice = credentials("0-restarted");
    world.command(Command::RestartIce {
        transport: world.peers[peer].transport,
        ice: ice.clone(),
    });
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    assert_eq!(assert_gapless(&world, peer, down_ssrc(0)), 18);
    assert_eq!(world.counts().ufrags, 3);
    world.peers[peer].ice = ice;
    world.peers[peer].check_at = world.now;
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    assert_eq!(assert_gapless(&world, peer, down_ssrc(0)), 33);
    // The old ufrag ended with the nomination.
    assert_eq!(world.counts().ufrags, 2);
    world.assert_unbroken();
}

#[test]
fn what_leaves_follows_the_peer_to_its_new_address() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    world.peers[peer].tuple = Tuple {
        remote: remote(50),
        ..world.peers[peer].tuple
    };
    let check = world.peers[peer].check(true);
    world.inject(peer, check);
    world.settle();
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    assert_eq!(assert_gapless(&world, peer, down_ssrc(0)), 18);
    assert_eq!(world.stray, 0);
    assert_eq!(world.counts().tuples, 3);
    // The tuple it left expires; the transport stays.
    world.run_ms(40_000);
    assert_eq!(world.counts().tuples, 2);
    assert_eq!(world.closed(peer), None);
}

// A browser whose NAT chose another port: Firefox's consent checks (RFC 7675 §5.1) never nominate.
#[test]
fn what_leaves_follows_media_to_an_address_that_was_only_checked() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let before = world.peers[peer].tuple;
    world.peers[peer].check_at = Timestamp::NEVER;
    world.peers[peer].answers = false;
    world.peers[peer].tuple.remote = remote(50);
    let report = |writer: &mut RtcpWriter<'_>| writer.receiver_report(Ssrc(1), &[]).unwrap();
    // Nobody has checked the new address yet.
    world.send_rtcp(peer, report);
    world.settle();
    assert_eq!(world.dropped(DropReason::TupleUnvalidated), 1);
    let check = world.peers[peer].check(false);
    world.inject(peer, check);
    world.settle();
    // A check alone moves nothing: full agents check pairs that they do not use.
    let heard = world.peers[peer].heard;
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.peers[peer].heard, heard);
    world.send_rtcp(peer, report);
    world.settle();
    world.events.clear();
    assert_reached(&mut world, publisher, peer, &mut encoders);
    let stray = world.stray;
    // Media that comes late from the address it left does not move it back.
    let late = world.peers[peer].rtcp_of(report);
    world.inject_on(before, late);
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.stray, stray);
}

// The peer's own checks may be 6 s away: we ask.
#[test]
fn media_from_an_unchecked_address_makes_the_shard_check_it() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    world.peers[peer].check_at = Timestamp::NEVER;
    world.peers[peer].tuple.remote = remote(50);
    let report = |writer: &mut RtcpWriter<'_>| writer.receiver_report(Ssrc(1), &[]).unwrap();
    for _ in 0..3 {
        world.send_rtcp(peer, report);
    }
    world.settle();
    assert_eq!(world.peers[peer].checked, 1);
    assert_reached(&mut world, publisher, peer, &mut encoders);
    // One that lost its way altogether is asked again.
    world.peers[peer].answers = false;
    world.peers[peer].tuple.remote = remote(51);
    for _ in 0..11 {
        world.send_rtcp(peer, report);
        world.run_ms(100);
    }
    assert_eq!(world.peers[peer].checked, 4);
}

/// An address that no peer has.
fn elsewhere(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 77], port))
}

// A NAT that chose another IP address, or a browser that moved to another network.
#[test]
fn media_from_another_address_is_known_by_its_source() {
    let (mut world, publisher, subscribers) = call(1, 40);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let report = |writer: &mut RtcpWriter<'_>| writer.receiver_report(Ssrc(1), &[]).unwrap();
    // They all report under one SSRC, as browsers that publish nothing do.
    for peer in &subscribers {
        world.send_rtcp(*peer, report);
    }
    world.settle();
    let peer = *subscribers.last().unwrap();
    world.peers[peer].check_at = Timestamp::NEVER;
    world.peers[peer].tuple.remote = elsewhere(50);
    for _ in 0..2 {
        world.send_rtcp(peer, report);
        world.run_ms(20);
    }
    assert_eq!(world.peers[peer].checked, 1);
    assert_reached(&mut world, publisher, peer, &mut encoders);

    // The publisher as well, whose media names it. Nothing of it is taken before the answer came.
    world.peers[publisher].check_at = Timestamp::NEVER;
    world.peers[publisher].tuple.remote = elsewhere(51);
    let heard = world.peers[peer].rtp.len();
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.peers[publisher].checked, 1);
    assert_eq!(world.peers[peer].rtp.len(), heard);
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.peers[peer].rtp.len(), heard + 3);
}

#[test]
fn nobody_is_checked_for_packets_that_are_not_authentic_or_not_new() {
    let (mut world, _, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let report = |writer: &mut RtcpWriter<'_>| writer.receiver_report(Ssrc(1), &[]).unwrap();
    let captured = world.peers[peer].rtcp_of(report);
    world.inject(peer, captured.clone());
    world.settle();
    let mut forged = world.peers[peer].rtcp_of(report);
    *forged.last_mut().unwrap() ^= 1;
    let near = Tuple {
        remote: remote(50),
        ..world.peers[peer].tuple
    };
    let far = Tuple {
        remote: elsewhere(50),
        ..near
    };
    let stray = world.stray;
    for packet in [captured, forged] {
        for tuple in [near, far] {
            world.inject_on(tuple, packet.clone());
            world.run_ms(20);
        }
    }
    assert_eq!(world.dropped(DropReason::TupleUnvalidated), 4);
    assert_eq!((world.peers[peer].checked, world.stray), (0, stray));
}

// A peer that sends data alone has no media that shows its way.
#[test]
fn what_leaves_follows_checks_when_the_address_before_has_none() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let transport = world.peers[peer].transport;
    world.peers[peer].check_at = Timestamp::NEVER;
    world.peers[peer].tuple.remote = remote(50);
    for _ in 0..2 {
        world.run_ms(4_900);
        let check = world.peers[peer].check(false);
        world.inject(peer, check);
    }
    world.events.clear();
    world.run_ms(4_900);
    let check = world.peers[peer].check(false);
    world.inject(peer, check);
    world.settle();
    assert!(world.events.iter().any(
        |event| matches!(event, Event::PairSelected { transport: it, .. } if *it == transport),
    ));
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    let stray = world.stray;
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.stray, stray);
}

// RFC 7675 §5.1.
#[test]
fn a_silent_peer_is_disconnected_after_10_s_and_closed_after_30() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let transport = world.peers[peer].transport;
    let check = world.peers[peer].check(true);
    world.inject(peer, check);
    world.peers[peer].check_at = Timestamp::NEVER;
    world.settle();
    let disconnected = Event::Disconnected { transport };
    world.run_ms(9_990);
    assert!(!world.events.contains(&disconnected));
    world.run_ms(20);
    assert!(world.events.contains(&disconnected));
    world.run_ms(19_970);
    assert_eq!(world.closed(peer), None);
    world.run_ms(40);
    assert_eq!(world.closed(peer), Some(CloseReason::ConsentExpired));
    // Consent is needed to send.
    let before = world.peers[peer].heard;
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.peers[peer].heard, before);
}

#[test]
fn a_peer_that_is_heard_again_is_announced() {
    let (mut world, _, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let transport = world.peers[peer].transport;
    world.peers[peer].check_at = Timestamp::NEVER;
    world.run_ms(15_000);
    world.events.clear();
    world.peers[peer].check_at = world.now;
    world.run_ms(100);
    let selected = world.events.iter().any(
        |event| matches!(event, Event::PairSelected { transport: it, .. } if *it == transport),
    );
    assert!(selected);
    world.run_ms(60_000);
    assert_eq!(world.closed(peer), None);
}
