//! What goes leaves nothing behind.

use millrace_dataplane::shard::Counts;
use millrace_shared::ids::{DownTrackId, TrackId};
use millrace_shared::link::{CloseReason, Command};

use crate::forwarding::{call, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::{Joining, World};

#[test]
fn transports_that_leave_take_everything_with_them() {
    let (mut world, publisher, subscribers) = call(1, 2);
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    for frame in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, frame == 0);
    }
    for peer in subscribers.into_iter().chain([publisher]) {
        let transport = world.peers[peer].transport;
        world.command(Command::RemoveTransport { transport });
        world.run_ms(100);
        assert!(world.peers[peer].closed, "no close_notify");
        assert_eq!(world.closed(peer), None, "it was removed, not closed");
    }
    assert_eq!(world.counts(), Counts::default());
    world.run_ms(60_000);
    assert_eq!(world.counts(), Counts::default());
}

#[test]
fn tracks_and_copies_that_are_removed_are_gone() {
    let (mut world, publisher, subscribers) = call(1, 2);
    let before = world.counts();
    assert_eq!(
        (before.up_tracks, before.down_tracks, before.fanouts),
        (1, 2, 1)
    );
    for (index, peer) in subscribers.iter().enumerate() {
        world.command(Command::RemoveDownTrack {
            transport: world.peers[*peer].transport,
            down: DownTrackId(index as u64 + 1),
        });
    }
    world.command(Command::RemoveUpTrack {
        transport: world.peers[publisher].transport,
        track: TrackId(1),
    });
    world.settle();
    let after = world.counts();
    assert_eq!(
        (after.up_tracks, after.down_tracks, after.fanouts),
        (0, 0, 0)
    );
    assert_eq!((after.transports, after.groups), (3, 1));
    // Packets that still arrive belong to nobody.
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    assert_eq!(world.metrics().rtp_forwarded, 0);
}

#[test]
fn shutdown_says_goodbye_to_every_peer() {
    let mut world = World::new();
    for label in ["alice", "bob", "carol"] {
        world.join(&Joining::data(label));
    }
    world.command(Command::Shutdown);
    world.tick();
    assert!(world.stopping());
    for peer in 0..3 {
        world.peers[peer].poll(world.now, &mut Vec::new());
        assert!(world.peers[peer].closed);
    }
    assert_eq!(world.counts(), Counts::default());
}

// RFC 5246 §7.2.1: after a close_notify nothing is sent.
#[test]
fn a_peer_that_said_goodbye_is_sent_nothing_more() {
    let (mut world, publisher, subscribers) = call(1, 1);
    let peer = subscribers[0];
    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let now = world.now;
    world.peers[peer].dtls.as_mut().unwrap().close(now);
    world.run_ms(10);
    assert_eq!(world.closed(peer), Some(CloseReason::PeerClosed));
    let before = world.peers[peer].rtp.len();
    for _ in 0..5 {
        send_frames(&mut world, publisher, &mut encoders, true);
    }
    assert_eq!(world.peers[peer].rtp.len(), before);
}
