//! One port for all shards: the kernel chooses where a peer's datagrams arrive.

use millrace_dataplane::shard::Counts;
use millrace_dataplane::shard::lanes::LaneLimits;
use millrace_shared::drop::DropReason;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, ShardId, Ssrc, TrackId};
use millrace_shared::limits::CHECKS_PASSED_PER_TICK_MAX;
use millrace_shared::link::{Command, Event};
use millrace_shared::time::Timestamp;
use millrace_shared::wire::rtcp::RtcpWriter;

use crate::data::{received, user_packet};
use crate::forwarding::{assert_gapless, assert_reached, down_ssrc, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::{Joining, World, credentials, local, remote};

const TRACK: TrackId = TrackId(1);

fn world(shards: usize) -> World {
    World::build(shards, LaneLimits::default(), true)
}

/// A peer placed on `berth` whose datagrams arrive at `shard`.
fn join_at(world: &mut World, berth: usize, shard: usize, joining: &Joining) -> usize {
    let peer = world.add_peer_on(berth, joining);
    world.peers[peer].arrives_at = shard;
    world.set_remote(peer, world.fingerprint());
    world.dial(peer);
    world.run_ms(2_000);
    assert!(world.connected(peer), "{:?}", world.events);
    peer
}

fn publish_and_subscribe(world: &mut World, publisher: usize, subscribers: &[usize]) {
    world.publish(publisher, TRACK, 1);
    for (index, peer) in subscribers.iter().enumerate() {
        let down = DownTrackId(index as u64 + 1);
        world.subscribe(*peer, down, TRACK, down_ssrc(index));
    }
    world.settle();
}

fn leave(world: &mut World, peers: impl IntoIterator<Item = usize>) {
    for peer in peers {
        let (transport, berth) = (world.peers[peer].transport, world.peers[peer].shard);
        world.command_to(berth, Command::RemoveTransport { transport });
        world.settle();
    }
}

fn moved(world: &World, peer: usize) -> Option<ShardId> {
    let ours = world.peers[peer].transport;
    world.events.iter().find_map(|event| match event {
        Event::TransportMoved { transport, shard } if *transport == ours => Some(*shard),
        _ => None,
    })
}

#[test]
fn a_transport_lives_where_its_first_check_arrives() {
    let mut world = world(3);
    let publisher = join_at(&mut world, 0, 2, &Joining::media("alice"));
    let subscribers = [
        join_at(&mut world, 0, 1, &Joining::media("bob")),
        join_at(&mut world, 0, 0, &Joining::media("carol")),
    ];
    assert_eq!(moved(&world, publisher), Some(ShardId(2)));
    assert_eq!(moved(&world, subscribers[1]), None);
    for shard in 0..3 {
        assert_eq!(world.counts_of(shard).transports, 1);
    }
    // Commands still go to the berth.
    publish_and_subscribe(&mut world, publisher, &subscribers);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..10 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    for (index, peer) in subscribers.iter().enumerate() {
        assert_eq!(assert_gapless(&world, *peer, down_ssrc(index)), 30);
    }
    assert_eq!(world.metrics_of(2).datagrams_passed, 0);
    world.assert_unbroken();
    leave(&mut world, [publisher].into_iter().chain(subscribers));
    for shard in 0..3 {
        assert_eq!(world.counts_of(shard), Counts::default(), "shard {shard}");
    }
}

#[test]
fn what_was_set_before_the_first_check_moves_with_the_transport() {
    let mut world = world(2);
    let publisher = join_at(&mut world, 0, 0, &Joining::media("alice"));
    let early = world.add_peer(&Joining::media("bob"));
    publish_and_subscribe(&mut world, publisher, &[early]);
    world.peers[early].arrives_at = 1;
    world.set_remote(early, world.fingerprint());
    world.dial(early);
    world.run_ms(2_000);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    assert_eq!(assert_gapless(&world, early, down_ssrc(0)), 15);
    assert_eq!(
        (world.counts().down_tracks, world.counts_of(1).down_tracks),
        (0, 1)
    );
}

#[test]
fn data_reaches_members_that_were_moved() {
    let mut world = world(2);
    let alice = join_at(&mut world, 0, 1, &Joining::data("alice"));
    let bob = join_at(&mut world, 1, 0, &Joining::data("bob"));
    world.send_data(alice, "_reliable", user_packet(1, &[], b"hello"));
    assert_eq!(received(&world, bob), [("_reliable".to_owned(), 1)]);
    world.assert_unbroken();
}

// RFC 8445 §7.3: nothing happens before the password was proven.
#[test]
fn a_check_with_a_wrong_password_moves_nothing() {
    let mut world = world(2);
    let peer = world.add_peer(&Joining::media("alice"));
    let before = (world.counts(), world.counts_of(1));
    let mut forged = world.peers[peer].ice.clone();
    forged.pwd = credentials("forged").pwd;
    let tuple = world.peers[peer].tuple;
    for _ in 0..10 {
        let check = world.peers[peer].check_with(&forged, true);
        world.inject_at(1, tuple, check);
        world.settle();
    }
    assert_eq!((world.counts(), world.counts_of(1)), before);
    assert_eq!(world.dropped(DropReason::StunIntegrity), 10);
    assert_eq!(moved(&world, peer), None);
    assert_eq!(world.peers[peer].checks_answered, 0);
}

#[test]
fn strangers_cannot_fill_the_lanes() {
    let mut world = world(2);
    let peer = world.add_peer(&Joining::media("alice"));
    let before = world.counts_of(1);
    for number in 0..200 {
        let check = world.peers[peer].check_with(&credentials(&format!("0xno{number}")), true);
        world.inject_at(
            1,
            Tuple {
                local: local(),
                remote: remote(500 + number),
            },
            check,
        );
    }
    world.settle();
    let metrics = world.metrics_of(1);
    let most = CHECKS_PASSED_PER_TICK_MAX as u64;
    assert_eq!(metrics.checks_passed, most);
    assert_eq!(metrics.drops.of(DropReason::StunPassLimit), 200 - most);
    assert_eq!(world.counts_of(1), before);
}

#[test]
fn a_peer_that_moves_is_heard_through_the_shard_it_reaches() {
    let mut world = world(3);
    let publisher = join_at(&mut world, 0, 1, &Joining::media("alice"));
    let subscriber = join_at(&mut world, 0, 0, &Joining::media("bob"));
    publish_and_subscribe(&mut world, publisher, &[subscriber]);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);

    let before = world.peers[publisher].tuple.remote;
    world.peers[publisher].also_at.push(before);
    world.peers[publisher].tuple.remote = remote(900);
    world.peers[publisher].arrives_at = 2;
    // Media from an address that no check has validated goes nowhere.
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.peers[subscriber].rtp.len(), 3);
    let check = world.peers[publisher].check(true);
    world.inject(publisher, check);
    world.settle();
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    assert_eq!(world.peers[subscriber].rtp.len(), 18);
    assert!(world.metrics_of(2).datagrams_passed >= 15);
    assert_eq!(world.counts_of(2).transports, 0);
    world.assert_unbroken();

    leave(&mut world, [publisher, subscriber]);
    for shard in 0..3 {
        assert_eq!(world.counts_of(shard), Counts::default(), "shard {shard}");
    }
}

#[test]
fn ice_restarts_where_the_transport_lives() {
    let mut world = world(2);
    let peer = join_at(&mut world, 0, 1, &Joining::media("alice"));
    let ice = credentials("0xrestarted");
    let transport = world.peers[peer].transport;
    world.command(Command::RestartIce {
        transport,
        ice: ice.clone(),
    });
    world.settle();
    world.peers[peer].ice = ice;
    let answered = world.peers[peer].checks_answered;
    // By way of the berth: the new address hashes there.
    world.peers[peer].tuple.remote = remote(900);
    world.peers[peer].arrives_at = 0;
    let check = world.peers[peer].check(true);
    world.inject(peer, check);
    world.settle();
    assert_eq!(world.peers[peer].checks_answered, answered + 1);
    leave(&mut world, [peer]);
    for shard in 0..2 {
        assert_eq!(world.counts_of(shard), Counts::default(), "shard {shard}");
    }
}

fn report(writer: &mut RtcpWriter<'_>) {
    writer.receiver_report(Ssrc(1), &[]).unwrap();
}

/// A publisher on shard 0, and a subscriber on shard 1 who has reported once.
fn reporting_subscriber(world: &mut World) -> (usize, usize) {
    let publisher = join_at(world, 0, 0, &Joining::media("alice"));
    let peer = join_at(world, 1, 1, &Joining::media("bob"));
    publish_and_subscribe(world, publisher, &[peer]);
    world.send_rtcp(peer, report);
    (publisher, peer)
}

// The kernel delivers a tuple by its hash: a new one as likely to another shard as to the same.
#[test]
fn media_from_an_unchecked_address_is_known_where_its_peer_lives() {
    let mut world = world(3);
    let (publisher, peer) = reporting_subscriber(&mut world);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);

    world.peers[peer].check_at = Timestamp::NEVER;
    world.peers[peer].tuple.remote = remote(50);
    world.peers[peer].arrives_at = 2;
    // A stranger's: nobody knows it.
    let mut forged = world.peers[peer].rtcp_of(report);
    *forged.last_mut().unwrap() ^= 1;
    world.inject(peer, forged);
    world.run_ms(100);
    assert_eq!(world.peers[peer].checked, 0);

    world.send_rtcp(peer, report);
    world.run_ms(20);
    assert_eq!(world.peers[peer].checked, 1);
    assert_eq!(world.metrics_of(2).strays_passed, 2);
    assert_eq!(world.metrics_of(2).answers_passed, 1);
    assert_reached(&mut world, publisher, peer, &mut encoders);
    // What it sends arrives as well.
    let before = world.metrics_of(1).plis_received;
    world.send_rtcp(peer, |writer| {
        writer.pli(Ssrc(1), Ssrc(down_ssrc(0))).unwrap();
    });
    world.settle();
    assert_eq!(world.metrics_of(1).plis_received, before + 1);
    assert_eq!(world.metrics_of(2).datagrams_passed, 1);
    leave(&mut world, [publisher, peer]);
    for shard in 0..3 {
        assert_eq!(world.counts_of(shard), Counts::default(), "shard {shard}");
    }
}

// A stranger on one shard does not take what the others have for their own peers.
#[test]
fn strays_that_are_passed_on_have_a_pace_of_their_own() {
    let mut world = world(3);
    let (_, peer) = reporting_subscriber(&mut world);
    let mut forged = world.peers[peer].rtcp_of(report);
    *forged.last_mut().unwrap() ^= 1;

    world.peers[peer].check_at = Timestamp::NEVER;
    world.peers[peer].tuple.remote = remote(50);
    let strangers = 100;
    for number in 0..strangers {
        let tuple = Tuple {
            local: local(),
            remote: remote(500 + number),
        };
        world.inject_at(2, tuple, forged.clone());
        world.run_ms(5);
        if number == 50 {
            world.send_rtcp(peer, report);
        }
        world.run_ms(5);
    }
    assert_eq!(world.peers[peer].checked, 1);
    // Two shards look at what a third passes on: each looks at a hundred a second from both.
    assert_eq!(world.metrics_of(2).strays_passed, strangers as u64 / 2);
}

#[test]
fn the_other_shards_are_asked_about_a_tuple_now_and_then() {
    let mut world = world(2);
    let peer = join_at(&mut world, 0, 0, &Joining::media("alice"));
    let mut forged = world.peers[peer].rtcp_of(report);
    *forged.last_mut().unwrap() ^= 1;
    let stranger = Tuple {
        local: local(),
        remote: remote(500),
    };
    for _ in 0..100 {
        world.inject_at(1, stranger, forged.clone());
        world.run_ms(10);
    }
    assert_eq!(world.metrics_of(1).strays_passed, 10);
}
