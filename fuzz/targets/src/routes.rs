//! Slots and the router as sequences of operations, each against a map.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use millrace_dataplane::router::Router;
use millrace_dataplane::slots::{Slot, Slots};
use millrace_shared::ids::TrackId;

const STEPS_MAX: usize = 1_000;
const TRACKS: u8 = 8;

#[derive(Arbitrary, Debug)]
enum Change {
    Insert(u8),
    Remove(u8),
    /// A handle that was removed before.
    Stale(u8),
}

pub(crate) fn slots(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut slots = Slots::default();
    let mut model: BTreeMap<Slot, u8> = BTreeMap::new();
    let mut removed: Vec<Slot> = Vec::new();
    for _ in 0..STEPS_MAX {
        let Ok(change) = Change::arbitrary(&mut input) else {
            return;
        };
        match change {
            Change::Insert(value) => {
                let slot = slots.insert(value);
                assert!(!removed.contains(&slot), "{slot:?} came back");
                assert_eq!(model.insert(slot, value), None);
            }
            Change::Remove(index) if !model.is_empty() => {
                let at = usize::from(index) % model.len();
                if let Some(slot) = model.keys().nth(at).copied() {
                    assert_eq!(slots.remove(slot), model.remove(&slot));
                    removed.push(slot);
                }
            }
            Change::Remove(_) => {}
            Change::Stale(index) => {
                if let Some(slot) = removed.get(usize::from(index)) {
                    assert_eq!(slots.get(*slot), None);
                    assert_eq!(slots.remove(*slot), None);
                }
            }
        }
        assert_eq!(slots.len(), model.len());
        let found: BTreeMap<Slot, u8> = slots.iter().map(|(slot, value)| (slot, *value)).collect();
        assert_eq!(found, model);
        if input.is_empty() {
            return;
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Subscription {
    Publish(u8),
    Unpublish(u8),
    Route { track: u8, copy: u8 },
    Unroute { track: u8, copy: u8 },
}

/// What should be routed: the UpTrack of each track, and its copies.
#[derive(Default)]
struct Model {
    sources: BTreeMap<TrackId, Slot>,
    copies: BTreeMap<TrackId, BTreeSet<Slot>>,
}

pub(crate) fn router(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut router = Router::default();
    let mut model = Model::default();
    let mut ups = Slots::default();
    let mut downs = Slots::default();
    let copies: Vec<Slot> = (0..=u8::MAX).map(|n| downs.insert(n)).collect();
    for _ in 0..STEPS_MAX {
        let Ok(step) = Subscription::arbitrary(&mut input) else {
            return;
        };
        match step {
            Subscription::Publish(track) => {
                let track = TrackId(u64::from(track % TRACKS));
                if let Some(old) = model.sources.remove(&track) {
                    router.remove_track(track);
                    ups.remove(old);
                }
                let source = ups.insert(());
                router.add_track(track, source);
                model.sources.insert(track, source);
            }
            Subscription::Unpublish(track) => {
                let track = TrackId(u64::from(track % TRACKS));
                router.remove_track(track);
                if let Some(old) = model.sources.remove(&track) {
                    ups.remove(old);
                    assert!(router.fanout(old).is_empty());
                }
            }
            Subscription::Route { track, copy } => {
                let track = TrackId(u64::from(track % TRACKS));
                router.route(track, copies[usize::from(copy)]);
                let routed = model.copies.entry(track).or_default();
                routed.insert(copies[usize::from(copy)]);
            }
            Subscription::Unroute { track, copy } => {
                let track = TrackId(u64::from(track % TRACKS));
                router.unroute(track, copies[usize::from(copy)]);
                if let Some(routed) = model.copies.get_mut(&track) {
                    routed.remove(&copies[usize::from(copy)]);
                }
            }
        }
        compare(&router, &model);
        if input.is_empty() {
            return;
        }
    }
}

fn compare(router: &Router, model: &Model) {
    let none = BTreeSet::new();
    let mut known = 0;
    for track in (0..u64::from(TRACKS)).map(TrackId) {
        let source = model.sources.get(&track).copied();
        let copies = model.copies.get(&track).unwrap_or(&none);
        assert_eq!(router.source(track), source);
        if let Some(source) = source {
            let routed = router.fanout(source).iter().map(|route| route.down_track);
            assert!(routed.eq(copies.iter().copied()), "copies of {track}");
        }
        known += usize::from(source.is_some() || !copies.is_empty());
    }
    assert_eq!(router.len(), known, "tracks without anybody are kept");
}
