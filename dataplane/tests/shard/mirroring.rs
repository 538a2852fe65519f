//! A track whose subscribers sit on other shards.

use millrace_dataplane::shard::lanes::LaneLimits;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::{DownTrackId, Ssrc, TrackId};
use millrace_shared::link::{Command, Layer};
use millrace_shared::payload::vp8::Vp8View;
use millrace_shared::time::RtpTime;
use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket, SenderInfo};

use crate::forwarding::{assert_gapless, down_ssrc, media_of, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::{Joining, World};
use crate::repairing::plis;
use crate::simulcast::{encoders, layers_got};

const TRACK: TrackId = TrackId(1);
const ENCODER: u32 = 5_000;
const NOTHING: LaneLimits = LaneLimits {
    media_packets_max: 0,
    control_messages_max: 0,
};

/// A publisher on the first shard, and a subscriber on each of `placement`.
fn call_across(shards: usize, layers: u8, placement: &[usize]) -> (World, usize, Vec<usize>) {
    let mut world = World::with_shards(shards);
    let publisher = world.join(&Joining::media("alice"));
    world.publish(publisher, TRACK, layers);
    let subscribers = placement
        .iter()
        .enumerate()
        .map(|(index, shard)| {
            let peer = world.join_on(*shard, &Joining::media("viewer"));
            subscribe(&mut world, peer, index);
            peer
        })
        .collect();
    (world, publisher, subscribers)
}

fn subscribe(world: &mut World, peer: usize, index: usize) {
    let down = DownTrackId(index as u64 + 1);
    world.subscribe(peer, down, TRACK, down_ssrc(index));
    world.settle();
}

fn one() -> [Vp8Encoder; 1] {
    [Vp8Encoder::new(ENCODER, "m1", None)]
}

fn set_muted(world: &mut World, publisher: usize, muted: bool) {
    world.command(Command::MuteUpTrack {
        transport: world.peers[publisher].transport,
        track: TRACK,
        muted,
    });
    world.settle();
}

#[test]
fn each_shard_gets_a_packet_once_and_each_subscriber_all_of_them() {
    let (mut world, publisher, subscribers) = call_across(3, 1, &[0, 1, 1, 2]);
    let mut encoders = one();
    for frame in 0..20 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    for (index, peer) in subscribers.iter().enumerate() {
        assert_eq!(assert_gapless(&world, *peer, down_ssrc(index)), 60);
    }
    assert_eq!(world.metrics().lane_packets_sent, 120);
    assert_eq!(world.metrics_of(1).lane_packets_received, 60);
    assert_eq!((world.counts().mirrors, world.counts_of(1).mirrors), (0, 1));
    assert_eq!(world.metrics_of(1).up_tracks, 0);
    world.assert_unbroken();
}

/// Of a packet: sequence number and media time relative to the first one, length of the payload,
/// and what tells it from the others of its encoding.
type Delivered = (u16, u32, usize, [u8; 2]);

/// What each of six subscribers got on as many shards, once the call had begun.
fn delivered(shards: usize) -> Vec<Vec<Delivered>> {
    let placement: Vec<usize> = (0..6).map(|index| index % shards).collect();
    let (mut world, publisher, subscribers) = call_across(shards, 2, &placement);
    let mut encoders = encoders(2);
    for frame in 0..60 {
        if frame == 2 {
            // Which layer the first frame comes of depends on which one is known first.
            world.peers.iter_mut().for_each(|peer| peer.rtp.clear());
        }
        if frame == 25 {
            set_layer(&mut world, &placement, &subscribers, 0);
        }
        send_frames(&mut world, publisher, &mut encoders, frame % 15 == 0);
    }
    world.assert_unbroken();
    let got = subscribers.iter().enumerate().map(|(index, peer)| {
        assert_gapless(&world, *peer, down_ssrc(index));
        let packets: Vec<_> = media_of(&world, *peer, down_ssrc(index)).collect();
        let (seq, time) = (packets[0].seq.0, packets[0].timestamp.0);
        let relative = packets.iter().map(|view| {
            let payload = view.payload();
            let descriptor = Vp8View::parse(payload).unwrap().descriptor_len;
            (
                view.seq.0.wrapping_sub(seq),
                view.timestamp.0.wrapping_sub(time),
                payload.len(),
                [payload[descriptor + 1], payload[descriptor + 2]],
            )
        });
        relative.collect()
    });
    got.collect()
}

fn set_layer(world: &mut World, placement: &[usize], subscribers: &[usize], spatial: u8) {
    for (index, (shard, peer)) in placement.iter().zip(subscribers).enumerate() {
        let command = Command::SetDownTrackLayer {
            transport: world.peers[*peer].transport,
            down: DownTrackId(index as u64 + 1),
            max_layer: Layer {
                spatial,
                temporal: 3,
            },
            paused: false,
        };
        world.command_to(*shard, command);
    }
    world.settle();
}

#[test]
fn one_two_and_four_shards_serve_the_same() {
    let one = delivered(1);
    assert!(one[0].len() > 150);
    for shards in [2, 4] {
        let several = delivered(shards);
        for (one, several) in one.iter().zip(&several) {
            assert_eq!(one.len(), several.len(), "{shards} shards");
            let first = one
                .iter()
                .zip(several)
                .find(|(one, several)| one != several);
            assert_eq!(first, None, "{shards} shards");
        }
    }
}

#[test]
fn a_nack_is_answered_by_the_mirror() {
    let (mut world, publisher, subscribers) = call_across(2, 1, &[0, 1]);
    let mut encoders = one();
    for frame in 0..10 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    let (peer, ssrc) = (subscribers[1], down_ssrc(1));
    let lost: Vec<_> = media_of(&world, peer, ssrc)
        .skip(20)
        .take(4)
        .map(|view| (view.seq, view.payload().to_vec()))
        .collect();
    let across = world.metrics().lane_packets_sent;
    world.send_rtcp(peer, |writer| {
        let seqs = lost.iter().map(|(seq, _)| *seq);
        writer.nack(Ssrc(1), Ssrc(ssrc), seqs).unwrap();
    });
    world.settle();
    let repaired: Vec<_> = media_of(&world, peer, ssrc + 1)
        .map(|view| view.payload()[2..].to_vec())
        .collect();
    let expected: Vec<_> = lost.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(repaired, expected);
    assert_eq!(
        (world.metrics_of(1).rtx_sent, world.metrics().rtx_sent),
        (4, 0)
    );
    assert_eq!(world.metrics().lane_packets_sent, across);
    world.assert_unbroken();
}

#[test]
fn requests_for_key_frames_reach_the_publisher_and_are_throttled() {
    let (mut world, publisher, subscribers) = call_across(2, 1, &[1, 1]);
    let mut encoders = one();
    for frame in 0..30 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    world.peers[publisher].rtcp.clear();
    let messages = world.metrics_of(1).lane_messages_sent;
    for _ in 0..30 {
        for (index, peer) in subscribers.iter().enumerate() {
            world.send_rtcp(*peer, |writer| {
                writer.pli(Ssrc(1), Ssrc(down_ssrc(index))).unwrap();
            });
        }
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    let asked = plis(&world, publisher, Ssrc(ENCODER)).len();
    assert!((2..=3).contains(&asked), "{asked}");
    assert!(world.metrics_of(1).lane_messages_sent - messages <= 3);
}

#[test]
fn layers_change_at_key_frames_across_shards() {
    let (mut world, publisher, subscribers) = call_across(2, 3, &[1]);
    let mut encoders = encoders(3);
    let mut expected = Vec::new();
    for spatial in [2, 0, 1] {
        set_layer(&mut world, &[1], &subscribers, spatial);
        for _ in 0..3 {
            send_frames(&mut world, publisher, &mut encoders, false);
        }
        assert_eq!(layers_got(&world, subscribers[0]), expected);
        send_frames(&mut world, publisher, &mut encoders, true);
        expected.push(usize::from(spatial));
        assert_eq!(layers_got(&world, subscribers[0]), expected);
    }
    assert_gapless(&world, subscribers[0], down_ssrc(0));
    world.assert_unbroken();
}

#[test]
fn a_mute_reaches_every_shard_and_ends_with_a_key_frame() {
    let (mut world, publisher, subscribers) = call_across(2, 1, &[1]);
    let mut encoders = one();
    send_frames(&mut world, publisher, &mut encoders, true);
    set_muted(&mut world, publisher, true);
    for _ in 0..30 {
        send_frames(&mut world, publisher, &mut encoders, false);
    }
    assert_eq!(world.peers[subscribers[0]].rtp.len(), 3);
    world.peers[publisher].rtcp.clear();
    // Nobody is asked for what would go nowhere.
    world.send_rtcp(subscribers[0], |writer| {
        writer.pli(Ssrc(1), Ssrc(down_ssrc(0))).unwrap();
    });
    world.settle();
    assert!(plis(&world, publisher, Ssrc(ENCODER)).is_empty());
    set_muted(&mut world, publisher, false);
    assert_eq!(plis(&world, publisher, Ssrc(ENCODER)).len(), 1);
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), 6);
}

#[test]
fn a_subscriber_may_come_before_the_track_and_stay_when_it_goes() {
    let mut world = World::with_shards(3);
    let publisher = world.join_on(2, &Joining::media("alice"));
    let early = world.join_on(1, &Joining::media("viewer"));
    subscribe(&mut world, early, 0);
    let mut encoders = one();
    let mut expected = 0;
    for round in 0..2 {
        world.publish(publisher, TRACK, 1);
        world.settle();
        assert_eq!(world.counts_of(1).mirrors, 1);
        // A stream that the copy does not know begins with a key frame.
        send_frames(&mut world, publisher, &mut encoders, false);
        expected += 3 * round;
        assert_eq!(world.peers[early].rtp.len(), expected);
        if round == 0 {
            assert!(!plis(&world, publisher, Ssrc(ENCODER)).is_empty());
        }
        send_frames(&mut world, publisher, &mut encoders, true);
        send_frames(&mut world, publisher, &mut encoders, false);
        expected += 6;
        assert_eq!(world.peers[early].rtp.len(), expected);
        let transport = world.peers[publisher].transport;
        let track = TRACK;
        world.command_to(2, Command::RemoveUpTrack { transport, track });
        world.settle();
        assert_eq!(world.counts_of(1).mirrors, 0);
        world.run_ms(1_000);
    }
    assert_gapless(&world, early, down_ssrc(0));
    world.assert_unbroken();
}

#[test]
fn the_publishers_clock_reaches_subscribers_of_other_shards() {
    let (mut world, publisher, subscribers) = call_across(2, 1, &[0, 1]);
    let mut encoders = one();
    for frame in 0..90 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
        if frame == 1 {
            let info = SenderInfo {
                ntp: world.epoch.ntp(world.now),
                rtp_time: RtpTime(3_000),
                packets: 3,
                bytes: 600,
            };
            world.send_rtcp(publisher, |writer| {
                writer.sender_report(Ssrc(ENCODER), &info, &[]).unwrap();
            });
        }
    }
    // Both map the same wallclock to the same moment of the media.
    let skews: Vec<_> = subscribers
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let first = media_of(&world, *peer, down_ssrc(index)).next().unwrap();
            let first = first.timestamp;
            let reports = world.peers[*peer].rtcp.iter();
            let reports = reports.flat_map(|got| RtcpCompound::parse(&got.bytes));
            let last = reports
                .filter(|rtcp| matches!(rtcp, Ok(RtcpPacket::SenderReport(_))))
                .last();
            let Some(Ok(RtcpPacket::SenderReport(report))) = last else {
                panic!("no sender report");
            };
            let since_start = u64::from(report.info.rtp_time.0.wrapping_sub(first.0));
            let ntp_ticks = (u128::from(report.info.ntp.0) * 90_000) >> 32;
            ntp_ticks as i64 - since_start as i64
        })
        .collect();
    assert!((skews[0] - skews[1]).abs() <= 1, "{skews:?}");
}

#[test]
fn what_a_full_lane_loses_is_counted_and_asked_for_again() {
    let (mut world, publisher, subscribers) = call_across(2, 1, &[0, 1, 1]);
    let mut encoders = one();
    send_frames(&mut world, publisher, &mut encoders, true);
    world.limit_lanes(
        0,
        LaneLimits {
            media_packets_max: 1,
            ..LaneLimits::default()
        },
    );
    send_frames(&mut world, publisher, &mut encoders, false);
    world.limit_lanes(0, LaneLimits::default());
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.metrics().lane_packets_lost, 2);
    assert_eq!(assert_gapless(&world, subscribers[0], down_ssrc(0)), 9);
    world.run_ms(50);
    for index in [1, 2] {
        let (peer, ssrc) = (subscribers[index], down_ssrc(index));
        let mut seqs: Vec<_> = media_of(&world, peer, ssrc)
            .map(|view| view.seq.0)
            .collect();
        seqs.sort_unstable();
        assert_eq!(seqs.len(), 9);
        assert!(
            seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{seqs:?}"
        );
    }
    assert_eq!(world.metrics_of(1).drops.of(DropReason::RtpDuplicate), 0);
    world.assert_unbroken();
}

#[test]
fn a_full_control_lane_delays_what_must_arrive() {
    let (mut world, publisher, subscribers) = call_across(2, 1, &[0]);
    let late = world.join_on(1, &Joining::media("viewer"));
    world.limit_lanes(1, NOTHING);
    subscribe(&mut world, late, 1);
    let mut encoders = one();
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.counts_of(1).mirrors, 0);
    assert_eq!(world.metrics_of(1).lane_messages_delayed, 1);
    world.limit_lanes(1, LaneLimits::default());
    world.run_ms(2);
    assert_eq!(world.counts_of(1).mirrors, 1);
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.peers[late].rtp.len(), 3);
    // A request that repeats itself is not kept.
    world.limit_lanes(1, NOTHING);
    world.run_ms(600);
    world.send_rtcp(late, |writer| {
        writer.pli(Ssrc(1), Ssrc(down_ssrc(1))).unwrap();
    });
    world.run_ms(5);
    assert_eq!(world.metrics_of(1).lane_messages_lost, 1);
    assert_eq!(world.metrics_of(1).lane_messages_delayed, 1);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), 6);
}

#[test]
fn nothing_is_left_of_a_call_across_shards() {
    let (mut world, publisher, subscribers) = call_across(3, 1, &[1, 1, 2]);
    let mut encoders = one();
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.counts_of(1).group_shards, 1);
    for peer in subscribers {
        let (transport, shard) = (world.peers[peer].transport, world.peers[peer].shard);
        world.command_to(shard, Command::RemoveTransport { transport });
        world.settle();
    }
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.metrics().lane_packets_sent, 6);
    let transport = world.peers[publisher].transport;
    world.command(Command::RemoveTransport { transport });
    world.settle();
    for shard in 0..3 {
        assert_eq!(world.counts_of(shard), Default::default(), "shard {shard}");
    }
}
