use std::cell::Cell;
use std::rc::Rc;

use super::*;
use millrace_shared::ids::TrackId;
use millrace_shared::time::ExtSeq;

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(1);

fn pair(limits: LaneLimits) -> (Lanes, Lanes) {
    let mut lanes = mesh(2, limits, |_| Box::new(|| {})).into_iter();
    (lanes.next().unwrap(), lanes.next().unwrap())
}

fn limits(media_packets_max: usize, control_messages_max: usize) -> LaneLimits {
    LaneLimits {
        media_packets_max,
        control_messages_max,
    }
}

fn padding() -> MediaItem {
    MediaItem::Padding {
        track: TrackId(1),
        spatial: 0,
        seq: ExtSeq(7),
    }
}

fn send(lanes: &mut Lanes, byte: u8) -> bool {
    lanes.send_media(B, |cell| cell.set_bytes(padding(), &[byte]))
}

fn take(lanes: &mut Lanes) -> Option<u8> {
    let mut cell = lanes.next_media(A)?;
    let byte = cell.open().map(|(_, bytes)| bytes[0]);
    lanes.give_back(A, cell);
    byte
}

fn track(message: Option<ControlMessage>) -> Option<u64> {
    match message? {
        ControlMessage::Subscribe { track } | ControlMessage::Keyframes { track, .. } => {
            Some(track.0)
        }
        other => panic!("{other:?}"),
    }
}

fn subscribe(number: u64) -> ControlMessage {
    ControlMessage::Subscribe {
        track: TrackId(number),
    }
}

#[test]
fn a_full_media_lane_loses_and_counts_and_recovers() {
    let (mut a, mut b) = pair(limits(3, 1));
    let sent = (0..5).filter(|byte| send(&mut a, *byte)).count();
    assert_eq!(sent, 3);
    assert_eq!(a.counters().media_lost, 2);
    assert_eq!(b.media_waiting(A), 3);
    assert_eq!([take(&mut b), take(&mut b)], [Some(0), Some(1)]);
    assert!(send(&mut a, 9));
    assert_eq!([take(&mut b), take(&mut b)], [Some(2), Some(9)]);
    assert_eq!(take(&mut b), None);
}

#[test]
fn cells_come_back_and_are_used_again() {
    let (mut a, mut b) = pair(limits(8, 1));
    for round in 0..1_000 {
        assert!(send(&mut a, round as u8));
        assert_eq!(take(&mut b), Some(round as u8));
    }
    let link = a.links[1].as_ref().unwrap();
    assert!(link.out.cells <= 9, "{}", link.out.cells);
}

#[test]
fn what_does_not_repeat_itself_waits_for_room_in_order() {
    let (mut a, mut b) = pair(limits(1, 2));
    for number in 0..5 {
        assert!(a.send_control(B, subscribe(number)));
    }
    let keyframes = ControlMessage::Keyframes {
        track: TrackId(99),
        layers: 1,
    };
    assert!(!a.send_control(B, keyframes));
    assert_eq!(
        (a.counters().control_delayed, a.counters().control_lost),
        (3, 1)
    );
    let mut got = Vec::new();
    loop {
        let waits = a.flush();
        while let Some(number) = track(b.next_control(A)) {
            got.push(number);
        }
        if !waits {
            break;
        }
    }
    assert_eq!(got, [0, 1, 2, 3, 4]);
    assert_eq!(a.counters().control_sent, 5);
}

#[test]
fn a_bell_rings_once_a_tick_and_only_where_something_was_sent() {
    let (rung_a, rung_b) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let mut lanes = mesh(3, LaneLimits::default(), |to| {
        let bell = if to == B {
            rung_b.0.clone()
        } else {
            rung_a.0.clone()
        };
        Box::new(move || bell.send(to).unwrap())
    });
    for number in 0..4 {
        lanes[0].send_control(B, subscribe(number));
        send(&mut lanes[0], 1);
    }
    assert!(rung_b.1.try_recv().is_err());
    lanes[0].flush();
    lanes[0].flush();
    assert_eq!(rung_b.1.try_iter().count(), 1);
    assert_eq!(rung_a.1.try_iter().count(), 0);
}

#[test]
fn a_limit_can_be_lowered_and_lifted_at_run_time() {
    let (mut a, mut b) = pair(limits(4, 4));
    a.limit(limits(0, 0));
    assert!(!send(&mut a, 1));
    assert!(a.send_control(B, subscribe(1)));
    assert!(a.flush());
    assert!(b.next_control(A).is_none());
    a.limit(limits(4, 4));
    assert!(send(&mut a, 1));
    assert!(!a.flush());
    assert_eq!(track(b.next_control(A)), Some(1));
}

#[test]
fn a_shard_alone_has_nobody_to_speak_to() {
    let mut lanes = Lanes::alone();
    assert!(lanes.others().is_empty());
    assert!(!lanes.send_control(B, subscribe(1)));
    assert!(!send(&mut lanes, 1));
    assert_eq!(lanes.counters(), LaneCounters::default());
}

#[test]
fn sets_are_iterated_by_number() {
    let lanes = mesh(64, limits(1, 1), |_| Box::new(|| {}));
    let numbers: Vec<_> = lanes[63].others().map(|shard| shard.0).collect();
    assert_eq!(numbers, (0..63).collect::<Vec<_>>());
    let mut set = lanes[0].others();
    set.remove(ShardId(7));
    assert!(set.contains(ShardId(63)) && !set.contains(ShardId(7)) && !set.contains(ShardId(0)));
    assert_eq!(set.len(), 62);
    let seen = Rc::new(Cell::new(0));
    set.for_each(|_| seen.set(seen.get() + 1));
    assert_eq!(seen.get(), 62);
}
