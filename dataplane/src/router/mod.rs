//! Which copies a packet of a published track goes to, and which other shards.
//!
//! The packet path asks by the slot of the UpTrack and reads a slice; names are looked up when
//! tracks and subscriptions come and go.

use hashbrown::HashMap;
use millrace_shared::ids::{ShardId, TrackId};

use crate::shard::lanes::ShardSet;
use crate::slots::Slot;

/// One subscriber's copy.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    pub down_track: Slot,
}

/// The copies of one track. It lives while there is the track or a subscription to it.
#[derive(Clone, Debug, Default)]
struct Fanout {
    source: Option<Slot>,
    /// Sorted, so that the order does not depend on who came first.
    routes: Vec<Route>,
    /// Other shards with copies of the track.
    remotes: ShardSet,
    /// The other shards were told that there are copies here.
    announced: bool,
    epoch: u64,
}

#[derive(Debug, Default)]
pub struct Router {
    fanouts: Vec<Fanout>,
    free: Vec<u32>,
    by_track: HashMap<TrackId, u32>,
    /// Index of the fanout by position of the UpTrack.
    by_source: Vec<Option<u32>>,
    changes: u64,
}

impl Router {
    /// The track is there; subscriptions that waited for it are served from now on.
    pub fn add_track(&mut self, track: TrackId, source: Slot) {
        self.detach(track);
        let index = self.fanout_of(track);
        let position = source.index() as usize;
        if self.by_source.len() <= position {
            self.by_source.resize(position + 1, None);
        }
        self.by_source[position] = Some(index);
        self.fanouts[index as usize].source = Some(source);
        self.touch(index);
    }

    /// The track is gone; subscriptions wait for it to come back.
    pub fn remove_track(&mut self, track: TrackId) {
        self.detach(track);
        self.forget_if_unused(track);
    }

    /// Subscribes a copy. The track may be yet to come.
    pub fn route(&mut self, track: TrackId, down_track: Slot) {
        let index = self.fanout_of(track);
        let route = Route { down_track };
        let routes = &mut self.fanouts[index as usize].routes;
        if let Err(position) = routes.binary_search(&route) {
            routes.insert(position, route);
            self.touch(index);
        }
    }

    pub fn unroute(&mut self, track: TrackId, down_track: Slot) {
        let Some(index) = self.by_track.get(&track).copied() else {
            return;
        };
        let routes = &mut self.fanouts[index as usize].routes;
        if let Ok(position) = routes.binary_search(&Route { down_track }) {
            routes.remove(position);
            self.touch(index);
        }
        self.forget_if_unused(track);
    }

    /// Another shard has copies of the track, which may be yet to come.
    pub fn add_remote(&mut self, track: TrackId, shard: ShardId) {
        let index = self.fanout_of(track);
        self.fanouts[index as usize].remotes.insert(shard);
    }

    pub fn remove_remote(&mut self, track: TrackId, shard: ShardId) {
        if let Some(index) = self.by_track.get(&track) {
            self.fanouts[*index as usize].remotes.remove(shard);
            self.forget_if_unused(track);
        }
    }

    /// The other shards that packets of an UpTrack go to.
    pub fn remotes(&self, source: Slot) -> ShardSet {
        self.by_slot(source)
            .map_or(ShardSet::default(), |fanout| fanout.remotes)
    }

    pub fn remotes_of(&self, track: TrackId) -> ShardSet {
        self.by_track
            .get(&track)
            .map_or(ShardSet::default(), |index| {
                self.fanouts[*index as usize].remotes
            })
    }

    /// Whether copies wait here for a track that is not, and the other shards are yet to be told.
    /// They count as told then.
    pub fn take_announcement(&mut self, track: TrackId) -> bool {
        let Some(fanout) = self.fanout_mut(track) else {
            return false;
        };
        let due = fanout.source.is_none() && !fanout.routes.is_empty() && !fanout.announced;
        fanout.announced |= due;
        due
    }

    /// Whether the other shards believe that there are copies here, and there are none. They count
    /// as told otherwise then.
    pub fn take_withdrawal(&mut self, track: TrackId) -> bool {
        let Some(fanout) = self.fanout_mut(track) else {
            return false;
        };
        let due = fanout.announced && fanout.routes.is_empty();
        fanout.announced &= !due;
        if due {
            self.forget_if_unused(track);
        }
        due
    }

    /// The UpTrack of a track, once it is there.
    pub fn source(&self, track: TrackId) -> Option<Slot> {
        let index = self.by_track.get(&track)?;
        self.fanouts.get(*index as usize)?.source
    }

    /// Where packets of an UpTrack go.
    pub fn fanout(&self, source: Slot) -> &[Route] {
        self.by_slot(source).map_or(&[], |fanout| &fanout.routes)
    }

    /// Whether anybody here subscribes to the track.
    pub fn has_copies(&self, track: TrackId) -> bool {
        self.by_track
            .get(&track)
            .is_some_and(|index| !self.fanouts[*index as usize].routes.is_empty())
    }

    /// Changes whenever [`Router::fanout`] does, and never comes back.
    pub fn epoch(&self, source: Slot) -> u64 {
        self.by_slot(source).map_or(0, |fanout| fanout.epoch)
    }

    /// Tracks that are published or subscribed to.
    pub fn len(&self) -> usize {
        self.by_track.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_track.is_empty()
    }

    fn fanout_mut(&mut self, track: TrackId) -> Option<&mut Fanout> {
        let index = self.by_track.get(&track)?;
        self.fanouts.get_mut(*index as usize)
    }

    fn by_slot(&self, source: Slot) -> Option<&Fanout> {
        let index = (*self.by_source.get(source.index() as usize)?)?;
        self.fanouts
            .get(index as usize)
            .filter(|fanout| fanout.source == Some(source))
    }

    fn fanout_of(&mut self, track: TrackId) -> u32 {
        if let Some(index) = self.by_track.get(&track) {
            return *index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.fanouts.push(Fanout::default());
            (self.fanouts.len() - 1) as u32
        });
        self.by_track.insert(track, index);
        index
    }

    fn detach(&mut self, track: TrackId) {
        let Some(index) = self.by_track.get(&track).copied() else {
            return;
        };
        if let Some(source) = self.fanouts[index as usize].source.take() {
            self.by_source[source.index() as usize] = None;
            self.touch(index);
        }
    }

    fn forget_if_unused(&mut self, track: TrackId) {
        let Some(index) = self.by_track.get(&track).copied() else {
            return;
        };
        let fanout = &mut self.fanouts[index as usize];
        let unused = fanout.source.is_none() && fanout.routes.is_empty();
        if unused && fanout.remotes.is_empty() && !fanout.announced {
            *fanout = Fanout::default();
            self.by_track.remove(&track);
            self.free.push(index);
        }
    }

    fn touch(&mut self, index: u32) {
        self.changes += 1;
        self.fanouts[index as usize].epoch = self.changes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    fn slots(count: usize) -> Vec<Slot> {
        let mut slots = Slots::default();
        (0..count).map(|_| slots.insert(())).collect()
    }

    fn copies(router: &Router, source: Slot) -> Vec<Slot> {
        let routes = router.fanout(source).iter();
        routes.map(|route| route.down_track).collect()
    }

    #[test]
    fn a_subscription_waits_for_its_track_and_outlives_it() {
        let (mut router, slots) = (Router::default(), slots(3));
        let (track, up, down) = (TrackId(7), slots[1], slots[2]);
        router.route(track, down);
        assert_eq!(router.source(track), None);
        assert!(router.fanout(up).is_empty());
        router.add_track(track, up);
        assert_eq!(router.source(track), Some(up));
        assert_eq!(copies(&router, up), [down]);
        router.remove_track(track);
        assert!(router.fanout(up).is_empty());
        router.add_track(track, slots[0]);
        assert_eq!(copies(&router, slots[0]), [down]);
        assert!(router.fanout(up).is_empty());
    }

    #[test]
    fn order_does_not_depend_on_who_came_first_and_repetition_changes_nothing() {
        let (mut router, slots) = (Router::default(), slots(5));
        let track = TrackId(7);
        router.add_track(track, slots[0]);
        for index in [3, 1, 4, 2, 1] {
            router.route(track, slots[index]);
        }
        assert_eq!(copies(&router, slots[0]), slots[1..]);
        let epoch = router.epoch(slots[0]);
        router.route(track, slots[2]);
        assert_eq!(router.epoch(slots[0]), epoch);
        router.unroute(track, slots[2]);
        router.unroute(track, slots[2]);
        router.unroute(TrackId(8), slots[2]);
        assert_eq!(copies(&router, slots[0]), [slots[1], slots[3], slots[4]]);
        assert_ne!(router.epoch(slots[0]), epoch);
    }

    #[test]
    fn a_stale_handle_of_the_up_track_finds_nothing() {
        let mut ups = Slots::default();
        let (mut router, downs) = (Router::default(), slots(1));
        let first = ups.insert(());
        router.add_track(TrackId(1), first);
        router.route(TrackId(1), downs[0]);
        router.remove_track(TrackId(1));
        ups.remove(first);
        let second = ups.insert(());
        assert_eq!(second.index(), first.index());
        router.add_track(TrackId(2), second);
        router.route(TrackId(2), downs[0]);
        assert!(router.fanout(first).is_empty());
        assert_eq!(copies(&router, second), downs);
    }

    #[test]
    fn nothing_is_kept_of_tracks_without_anybody() {
        let (mut router, slots) = (Router::default(), slots(2));
        for n in 0..100 {
            router.add_track(TrackId(n), slots[0]);
            router.route(TrackId(n), slots[1]);
            router.remove_track(TrackId(n));
            router.unroute(TrackId(n), slots[1]);
        }
        assert!(router.by_track.is_empty());
        assert_eq!(router.fanouts.len(), 1);
    }
}
