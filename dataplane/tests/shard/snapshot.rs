//! What a shard tells a control plane that starts anew.

use millrace_shared::ids::{DownTrackId, TrackId};
use millrace_shared::link::{Command, Event, Progress, Snapshot};
use millrace_shared::time::Timestamp;

use crate::forwarding::{call, send_frames};
use crate::harness::World;
use crate::harness::media::Vp8Encoder;

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
