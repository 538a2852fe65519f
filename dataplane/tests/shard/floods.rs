//! Valid participants that send or ask far too much, and peers that take nothing.

use millrace_shared::drop::DropReason;
use millrace_shared::ids::{DownTrackId, Ssrc};
use millrace_shared::limits::{
    DATA_BUFFERED_PER_TRANSPORT_MAX, DATA_PACKETS, DTLS_HANDSHAKES_PER_SHARD_MAX,
    KEYFRAME_REQUESTS, NACKED_PACKETS, RTP_PACKETS, TRANSPORT_CC_FEEDBACKS,
};
use millrace_shared::link::Command;
use millrace_shared::time::SeqNo;
use millrace_shared::wire::rtcp::TransportCcHead;

use crate::data::user_packet;
use crate::forwarding::{TRACK, assert_gapless, call, down_ssrc, media_of, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::{Joining, World};

#[test]
fn media_beyond_the_rate_is_dropped_and_the_call_goes_on() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoder = Vp8Encoder::new(5_000, "m1", None);
    let excess = 500;
    let mut number = world.transport_cc;
    for packet in encoder.frame(true, RTP_PACKETS.burst as usize + excess, &mut number) {
        world.send_rtp(publisher, &packet);
    }
    world.transport_cc = number;
    world.settle();
    assert_eq!(world.dropped(DropReason::RtpRate), excess as u64);
    let got = media_of(&world, subscribers[0], down_ssrc(0)).count();
    assert_eq!(got, RTP_PACKETS.burst as usize);

    world.run_ms(1_000);
    let before = world.peers[subscribers[0]].rtp.len();
    send_frames(&mut world, publisher, &mut [encoder], true);
    assert_eq!(world.dropped(DropReason::RtpRate), excess as u64);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), before + 3);
    assert_eq!(world.closed(publisher), None);
}

#[test]
fn forged_packets_use_up_nothing() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    for n in 0..2 * RTP_PACKETS.burst {
        let mut forged = vec![
            0x80,
            96,
            (n >> 8) as u8,
            n as u8,
            0,
            0,
            0,
            0,
            0,
            0,
            0x13,
            0x88,
        ];
        forged.resize(60, 7);
        world.inject(publisher, forged);
    }
    world.settle();
    let before = world.peers[subscribers[0]].rtp.len();
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(world.dropped(DropReason::RtpRate), 0);
    assert_eq!(world.peers[subscribers[0]].rtp.len(), before + 3);
}

#[test]
fn a_thousand_requests_make_one_key_frame_request() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    world.run_ms(2_000);
    let before = world.metrics().plis_sent;
    let excess = 200;
    for _ in 0..KEYFRAME_REQUESTS.burst + excess {
        world.send_rtcp(subscribers[0], |writer| {
            writer.pli(Ssrc(1), Ssrc(down_ssrc(0))).unwrap();
        });
    }
    world.settle();
    assert_eq!(world.metrics().plis_sent, before + 1);
    let dropped = world.dropped(DropReason::KeyframeRequestRate);
    assert_eq!(dropped, u64::from(excess));
}

#[test]
fn rtcp_beyond_the_rate_is_not_looked_at() {
    use millrace_shared::limits::RTCP_PACKETS;
    let (mut world, _, subscribers) = call(1, 1);
    for _ in 0..RTCP_PACKETS.burst + 10 {
        world.send_rtcp(subscribers[0], |writer| writer.bye(&[Ssrc(1)]).unwrap());
    }
    world.settle();
    assert_eq!(world.dropped(DropReason::RtcpRate), 10);
}

#[test]
fn sixty_five_thousand_lost_packets_are_not_all_sent_again() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..100 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    let before = world.metrics().rtx_sent;
    for first in (0..=u16::MAX).step_by(256) {
        world.send_rtcp(subscribers[0], |writer| {
            let seqs = (0..256).map(|n| SeqNo(first).wrapping_add(n));
            writer.nack(Ssrc(1), Ssrc(down_ssrc(0)), seqs).unwrap();
        });
    }
    world.settle();
    let messages = u64::from(u16::MAX) / 256 + 1;
    let answered = u64::from(NACKED_PACKETS.burst).div_ceil(256);
    let dropped = world.dropped(DropReason::NackRate);
    assert_eq!(
        dropped,
        messages - answered + 1,
        "the last answered one is cut short"
    );
    let sent = world.metrics().rtx_sent - before;
    assert!(sent <= u64::from(NACKED_PACKETS.burst), "{sent}");
    send_frames(&mut world, publisher, &mut encoders, false);
    assert_eq!(assert_gapless(&world, subscribers[0], down_ssrc(0)), 303);
}

#[test]
fn feedback_beyond_the_rate_is_dropped() {
    let (mut world, _, subscribers) = call(1, 1);
    for n in 0..TRANSPORT_CC_FEEDBACKS.burst + 50 {
        world.send_rtcp(subscribers[0], |writer| {
            let head = TransportCcHead {
                sender_ssrc: Ssrc(1),
                media_ssrc: Ssrc(2),
                base_seq: SeqNo(n as u16),
                reference_time: 0,
                feedback_count: n as u8,
            };
            writer.transport_cc(&head, [Some(1)].into_iter()).unwrap();
        });
    }
    world.settle();
    assert_eq!(world.dropped(DropReason::TransportCcRate), 50);
}

#[test]
fn data_beyond_the_rate_is_dropped() {
    let mut world = World::new();
    let alice = world.join(&Joining::data("alice"));
    let bob = world.join(&Joining::data("bob"));
    let begin = world.now;
    let mut sent = 0;
    while sent < 2 * DATA_PACKETS.burst {
        for _ in 0..500 {
            sent += 1;
            let packet = user_packet(sent, &[], b"x").into();
            world.peers[alice].send_message("_reliable", packet);
        }
        world.run_ms(10);
    }
    world.run_ms(1_000);
    let dropped = world.dropped(DropReason::DataRate);
    let received = world.peers[bob].messages.len() as u64;
    assert_eq!(received + dropped, u64::from(sent));
    let seconds = world.now.since(begin).as_secs_f64();
    let allowed = f64::from(DATA_PACKETS.burst) + f64::from(DATA_PACKETS.per_second) * seconds;
    assert!(dropped > 0 && received as f64 <= allowed, "{received}");
    assert_eq!(world.closed(alice), None);
}

#[test]
fn a_subscriber_that_acknowledges_nothing_holds_one_buffer() {
    let mut world = World::new();
    let alice = world.join(&Joining::data("alice"));
    let bob = world.join(&Joining::data("bob"));
    let carol = world.join(&Joining::data("carol"));
    // Bob's checks go on, so that it counts as there.
    world.peers[bob].dtls = None;
    world.peers[bob].sctp = None;
    let sent = 60;
    for sequence in 1..=sent {
        let packet = user_packet(sequence, &[], &vec![7; 60_000]).into();
        world.peers[alice].send_message("_reliable", packet);
        let lossy = user_packet(0, &[], &vec![7; 30_000]).into();
        world.peers[alice].send_message("_lossy", lossy);
        // However long the sender's own congestion control takes.
        for _ in 0..50 {
            world.run_ms(100);
            let sctp = world.peers[alice].sctp.as_mut().unwrap();
            if sctp.buffered_total() == 0 {
                break;
            }
        }
    }
    let held = world.counts().data_buffered;
    assert!(held <= DATA_BUFFERED_PER_TRANSPORT_MAX, "{held}");
    assert!(held > DATA_BUFFERED_PER_TRANSPORT_MAX / 2, "{held}");
    assert!(world.dropped(DropReason::DataBufferFull) > 50);
    assert_eq!(world.peers[carol].messages.len(), 2 * sent as usize);

    world.command(Command::RemoveTransport {
        transport: world.peers[bob].transport,
    });
    world.run_ms(100);
    assert_eq!(world.counts().data_buffered, 0);
}

#[test]
fn half_open_handshakes_are_bounded_and_end() {
    let mut world = World::new();
    let excess = 3;
    let mut peers = Vec::new();
    for _ in 0..DTLS_HANDSHAKES_PER_SHARD_MAX + excess {
        let peer = world.add_peer(&Joining::media("half"));
        let check = world.peers[peer].check(true);
        world.inject(peer, check);
        // The head of a ClientHello that never comes.
        world.inject(peer, vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        peers.push(peer);
    }
    world.settle();
    assert_eq!(world.counts().handshakes, DTLS_HANDSHAKES_PER_SHARD_MAX);
    let dropped = world.dropped(DropReason::DtlsHandshakesFull);
    assert_eq!(dropped, excess as u64);
    for peer in peers {
        world.command(Command::RemoveTransport {
            transport: world.peers[peer].transport,
        });
    }
    world.settle();
    assert_eq!(world.counts().handshakes, 0);
    // And one that completes holds no place.
    let (mut world, publisher, _) = call(1, 1);
    assert_eq!(world.counts().handshakes, 0);
    world.subscribe(publisher, DownTrackId(77), TRACK, 77);
}
