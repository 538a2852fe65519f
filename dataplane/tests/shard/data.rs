//! Data packets between members of a group.

use millrace_dataplane::shard::lanes::LaneLimits;
use millrace_shared::drop::DropReason;
use millrace_shared::link::{Command, SendData};
use millrace_shared::payload::data_packet::{
    DataKind, DataPacketView, UserPacket, write_stamp, write_user_packet,
};

use crate::harness::{GROUP, Joining, World, data_publish};

pub(crate) fn user_packet(sequence: u32, destinations: &[&str], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 1_000 + payload.len()];
    let packet = UserPacket {
        kind: DataKind::Reliable,
        destination_identities: destinations,
        sequence,
        topic: None,
        payload,
    };
    let len = write_user_packet(&mut out, &packet).unwrap();
    out.truncate(len);
    out
}

fn room(labels: [&'static str; 3]) -> World {
    let mut world = World::new();
    for label in labels {
        world.join(&Joining::data(label));
    }
    world
}

pub(crate) fn received(world: &World, peer: usize) -> Vec<(String, u32)> {
    let messages = world.peers[peer].messages.iter();
    messages
        .map(|(channel, packet)| {
            (
                channel.clone(),
                DataPacketView::parse(packet).unwrap().sequence,
            )
        })
        .collect()
}

#[test]
fn a_packet_reaches_everyone_else_on_its_channel() {
    let mut world = room(["alice", "bob", "carol"]);
    world.send_data(0, "_reliable", user_packet(1, &[], b"hello"));
    world.send_data(0, "_lossy", user_packet(0, &[], b"fast"));
    let expected = [("_reliable".to_owned(), 1), ("_lossy".to_owned(), 0)];
    for peer in [1, 2] {
        assert_eq!(received(&world, peer), expected);
    }
    assert!(received(&world, 0).is_empty());
    world.assert_unbroken();
}

#[test]
fn destinations_get_it_and_nobody_else() {
    let mut world = room(["alice", "bob", "carol"]);
    world.send_data(
        0,
        "_reliable",
        user_packet(1, &["carol", "nobody"], b"psst"),
    );
    assert!(received(&world, 1).is_empty());
    assert_eq!(received(&world, 2).len(), 1);
}

#[test]
fn a_forged_sender_is_overridden() {
    let mut world = room(["alice", "bob", "carol"]);
    let mut packet = user_packet(1, &[], b"I am bob");
    let mut stamp = [0; 64];
    let len = write_stamp(&mut stamp, "bob", "PA_bob").unwrap();
    packet.extend_from_slice(&stamp[..len]);
    world.send_data(0, "_reliable", packet);
    let (_, got) = &world.peers[1].messages[0];
    let view = DataPacketView::parse(got).unwrap();
    assert_eq!(view.participant_identity, "alice");
    assert_eq!(view.participant_sid, "PA_alice");
}

#[test]
fn a_reliable_packet_sent_twice_arrives_once() {
    let mut world = room(["alice", "bob", "carol"]);
    for sequence in [1, 2, 2, 1, 3] {
        world.send_data(0, "_reliable", user_packet(sequence, &[], b"x"));
    }
    let sequences: Vec<_> = received(&world, 1).into_iter().map(|(_, it)| it).collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(world.dropped(DropReason::DataDuplicate), 2);
}

#[test]
fn who_may_not_publish_data_is_not_heard() {
    let mut world = room(["alice", "bob", "carol"]);
    world.command(Command::SetDataPublish {
        transport: world.peers[0].transport,
        data_publish: data_publish("alice", false),
    });
    world.settle();
    world.send_data(0, "_reliable", user_packet(1, &[], b"x"));
    assert!(received(&world, 1).is_empty());
    assert_eq!(world.dropped(DropReason::DataForbidden), 1);
}

#[test]
fn a_member_whose_channel_opens_late_gets_what_was_sent_since_it_joined() {
    let mut world = World::new();
    let alice = world.join(&Joining::data("alice"));
    world.send_data(alice, "_reliable", user_packet(1, &[], b"before"));
    world.run_ms(10);
    let bob = world.add_peer(&Joining::data("bob"));
    world.set_remote(bob, world.fingerprint());
    world.run_ms(1);
    world.send_data(alice, "_reliable", user_packet(2, &[], b"meanwhile"));
    world.dial(bob);
    world.run_ms(1_000);
    assert_eq!(received(&world, bob), [("_reliable".to_owned(), 2)]);
}

#[test]
fn a_resuming_member_gets_what_it_missed() {
    let mut world = room(["alice", "bob", "carol"]);
    for sequence in 1..=4 {
        world.send_data(0, "_reliable", user_packet(sequence, &[], b"x"));
    }
    world.peers[1].messages.clear();
    world.command(Command::ReplayData {
        transport: world.peers[1].transport,
        last_sequences: vec![("PA_alice".to_owned(), 2)],
    });
    world.run_ms(50);
    let sequences: Vec<_> = received(&world, 1).into_iter().map(|(_, it)| it).collect();
    assert_eq!(sequences, [3, 4]);
}

/// Alice on the first shard, bob on the second, carol on the third.
fn room_across() -> World {
    let mut world = World::with_shards(3);
    for (shard, label) in ["alice", "bob", "carol"].into_iter().enumerate() {
        world.join_on(shard, &Joining::data(label));
    }
    world
}

#[test]
fn packets_reach_members_on_other_shards_in_order() {
    let mut world = room_across();
    for sequence in 1..=5 {
        world.send_data(0, "_reliable", user_packet(sequence, &[], b"x"));
    }
    world.send_data(0, "_lossy", user_packet(0, &[], b"fast"));
    world.send_data(1, "_reliable", user_packet(9, &["carol"], b"you"));
    let from_alice = (1..=5).map(|sequence| ("_reliable".to_owned(), sequence));
    let mut expected: Vec<_> = from_alice.collect();
    expected.push(("_lossy".to_owned(), 0));
    assert_eq!(received(&world, 1), expected);
    expected.push(("_reliable".to_owned(), 9));
    assert_eq!(received(&world, 2), expected);
    assert!(received(&world, 0).is_empty());
    let stamped = &world.peers[2].messages[0].1;
    let view = DataPacketView::parse(stamped).unwrap();
    assert_eq!(view.participant_identity, "alice");
    world.assert_unbroken();
}

#[test]
fn the_servers_own_packets_reach_every_shard_wherever_they_start() {
    let mut world = World::with_shards(3);
    let peers = [1, 2].map(|shard| world.join_on(shard, &Joining::data("member")));
    world.command(Command::SendData(Box::new(SendData {
        group: GROUP,
        reliable: true,
        packet: user_packet(0, &[], b"server").into(),
    })));
    world.run_ms(10);
    for peer in peers {
        assert_eq!(received(&world, peer).len(), 1);
    }
}

#[test]
fn a_resuming_member_gets_what_it_missed_of_other_shards() {
    let mut world = room_across();
    for sequence in 1..=4 {
        world.send_data(0, "_reliable", user_packet(sequence, &[], b"x"));
    }
    world.peers[1].messages.clear();
    world.command_to(
        1,
        Command::ReplayData {
            transport: world.peers[1].transport,
            last_sequences: vec![("PA_alice".to_owned(), 2)],
        },
    );
    world.run_ms(50);
    let sequences: Vec<_> = received(&world, 1).into_iter().map(|(_, it)| it).collect();
    assert_eq!(sequences, [3, 4]);
}

#[test]
fn a_shard_that_joins_a_group_is_told_what_it_missed() {
    let mut world = World::with_shards(2);
    let alice = world.join(&Joining::data("alice"));
    world.send_data(alice, "_reliable", user_packet(1, &[], b"before"));
    let bob = world.add_peer_on(1, &Joining::data("bob"));
    world.set_remote(bob, world.fingerprint());
    world.dial(bob);
    world.run_ms(1_000);
    world.command_to(
        1,
        Command::ReplayData {
            transport: world.peers[bob].transport,
            last_sequences: Vec::new(),
        },
    );
    world.run_ms(50);
    assert_eq!(received(&world, bob), [("_reliable".to_owned(), 1)]);
}

#[test]
fn data_that_finds_no_place_on_a_lane_is_counted() {
    let mut world = room_across();
    world.limit_lanes(
        0,
        LaneLimits {
            media_packets_max: 0,
            control_messages_max: 0,
        },
    );
    world.send_data(0, "_lossy", user_packet(0, &[], b"x"));
    assert_eq!(world.dropped(DropReason::DataBufferFull), 2);
    world.send_data(0, "_reliable", user_packet(1, &[], b"x"));
    assert!(received(&world, 1).is_empty());
    world.limit_lanes(0, LaneLimits::default());
    world.run_ms(5);
    assert_eq!(received(&world, 1), [("_reliable".to_owned(), 1)]);
}
