//! What a shard tells a control plane that starts anew.

use millrace_dataplane::shard::lanes::LaneLimits;
use millrace_shared::ids::{DownTrackId, ShardId, TrackId};
use millrace_shared::link::{Command, Event, Progress, Snapshot};
use millrace_shared::time::Timestamp;

use crate::forwarding::{call, send_frames};
use crate::harness::media::Vp8Encoder;
use crate::harness::{Joining, World};

fn snapshot(world: &mut World) -> Snapshot {
    world.events.clear();
    world.command(Command::Snapshot { token: 9 });
    world.settle();
    let parts: Vec<Snapshot> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Snapshot(part) => Some((**part).clone()),
            _ => None,
        })
        .collect();
    let [part] = parts.as_slice() else {
        panic!("{parts:?}");
    };
    part.clone()
}

#[test]
fn a_snapshot_names_what_is_there_and_how_far_it_got() {
    let mut world = World::new();
    let empty = snapshot(&mut world);
    assert!(empty.last && empty.transports.is_empty());

    let (mut world, publisher, subscribers) = call(1, 2);
    let state = |part: &Snapshot, world: &World, peer: usize| {
        let id = world.peers[peer].transport;
        let found = part.transports.iter().find(|it| it.transport == id);
        found.unwrap().clone()
    };
    let part = snapshot(&mut world);
    assert_eq!((part.token, part.last, part.transports.len()), (9, true, 3));
    let up = state(&part, &world, publisher);
    assert_eq!(up.progress, Progress::Connected);
    assert!(up.pair.is_some());
    assert_eq!(up.up.len(), 1);
    assert_eq!((up.up[0].track, up.up[0].started), (TrackId(1), None));
    let down = state(&part, &world, subscribers[1]);
    assert_eq!(down.down, [DownTrackId(2)]);

    let mut encoders = [Vp8Encoder::new(5_000, "m1", None)];
    send_frames(&mut world, publisher, &mut encoders, true);
    let up = state(&snapshot(&mut world), &world, publisher);
    assert!(up.up[0].started.is_some());

    // She is heard no more.
    world.peers[publisher].check_at = Timestamp::NEVER;
    world.run_ms(12_000);
    let up = state(&snapshot(&mut world), &world, publisher);
    assert_eq!(up.progress, Progress::Silent);
    world.run_ms(20_000);
    let up = state(&snapshot(&mut world), &world, publisher);
    assert_eq!(up.progress, Progress::Closed);
}

// One port: whoever tells first may get it afterwards.
#[test]
fn a_transport_that_changes_its_shard_is_in_a_snapshot() {
    let mut world = World::build(2, LaneLimits::default(), true);
    let peer = world.add_peer_on(0, &Joining::media("alice"));
    world.settle();
    world.events.clear();
    let tuple = world.peers[peer].tuple;
    let check = world.peers[peer].check(true);
    world.inject_at(1, tuple, check);
    for shard in [1, 0] {
        world.command_to(shard, Command::Snapshot { token: 9 });
        world.tick_shard(shard);
    }
    let told = |world: &World| -> Vec<(ShardId, Progress)> {
        let parts = world.events.iter().filter_map(|event| match event {
            Event::Snapshot(part) => Some(part),
            _ => None,
        });
        let states = parts.flat_map(|part| part.transports.iter().map(|it| (part.shard, it)));
        states.map(|(shard, it)| (shard, it.progress)).collect()
    };
    assert_eq!(told(&world), [(ShardId(0), Progress::Moving)]);
    world.run_ms(2_000);
    world.events.clear();
    for shard in [0, 1] {
        world.command_to(shard, Command::Snapshot { token: 10 });
    }
    world.settle();
    assert_eq!(told(&world), [(ShardId(1), Progress::New)]);
}
