//! Oracles of time and of memory: what stands still for too long, what grows, what does not
//! recover, what stays behind.

use std::time::Duration;

use millrace_dataplane::shard::Counts;
use millrace_shared::ids::DownTrackId;
use millrace_shared::limits::{STORE_BYTES_AUDIO, STORE_BYTES_VIDEO};
use millrace_shared::link::{Command, Event, MediaKind};
use millrace_shared::time::Timestamp;

use crate::plan::{END_AT, SETTLED_AT, START};
use crate::receiver::Decoded;
use crate::verdict::Oracle;
use crate::world::{Track, World};

const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Longest standstill of a copy while nobody's network is dark: a packet that is given up after a
/// second, a key frame asked for and lost some times, each answered half a second later.
const GAP_MAX: Duration = Duration::from_millis(4_000);
/// The end of a run is not judged: what is on its way may be late.
const TAIL: Duration = Duration::from_millis(400);
/// Sender reports of video leave once a second.
const REPORTED_WITHIN: Duration = Duration::from_millis(1_500);
/// With fewer losses chance decides. Of those on the way to the shard a part is asked for too late:
/// the last ones of a track, those of a publisher that left.
const LOSSES_JUDGED_MIN: u64 = 20;
const REQUESTS_JUDGED_MIN: u64 = 10;
const UNREPAIRED_PERCENT_MAX: u64 = 20;
/// Requests are lost too, and what is sent again is limited to half of what is sent.
const UNANSWERED_PERCENT_MAX: u64 = 50;
/// Timers of one owner that are stale or count. An owner that asks for earlier times again and
/// again leaves one stale entry each, all due within its longest interval.
const TIMERS_PER_OWNER_MAX: usize = 64;
const INDEX_LEN: usize = 64 * 1024;

impl World {
    pub(crate) fn unsettle(&mut self, peer: usize, until: Timestamp) {
        for track in self
            .tracks
            .iter_mut()
            .filter(|it| it.publishing.peer == peer)
        {
            track.steady_since = track.steady_since.max(until);
        }
        for copy in self.ledger.copies.iter_mut().filter(|it| it.peer == peer) {
            copy.steady_since = copy.steady_since.max(until);
        }
    }

    pub(crate) fn unsettle_all(&mut self, until: Timestamp) {
        for peer in 0..self.members.len() {
            self.unsettle(peer, until);
        }
    }

    /// Since when frames of a track may be expected at its subscribers; never while it is muted,
    /// gone or not sent.
    fn track_steady_since(&self, number: u16) -> Option<Timestamp> {
        let mut tracks = self.tracks.iter();
        let track = tracks.find(|it| it.publishing.track == number && !it.gone && !it.muted)?;
        let publisher = self.members[track.publishing.peer].as_ref()?;
        let mut publications = publisher.peer.publications.iter();
        let publication = publications.find(|it| it.encoders[0].config.track == number)?;
        (publisher.present && publication.sends != 0).then_some(track.steady_since)
    }

    fn decoded(&self, peer: usize, down: DownTrackId) -> &[Decoded] {
        let member = self.members[peer].as_ref();
        let receivers = member.map_or(&[][..], |it| &it.peer.receivers);
        let receiver = receivers.iter().find(|it| it.down == down);
        receiver.map_or(&[], |it| &it.decoded)
    }

    /// Now and then.
    pub(crate) fn watch(&mut self) {
        let now = self.now();
        self.watch_at = now + WATCH_INTERVAL;
        self.watch_memory();
        for index in 0..self.ledger.copies.len() {
            let copy = &self.ledger.copies[index];
            let steady = self.track_steady_since(copy.track);
            let Some(steady) = steady.filter(|_| !copy.removed && !copy.paused()) else {
                self.ledger.copies[index].steady_since = now;
                continue;
            };
            let last = self.decoded(copy.peer, copy.down).last();
            let since = last.map_or(Timestamp::ZERO, |it| it.at);
            let since = since.max(steady).max(copy.steady_since);
            let gap = now.since(since);
            self.gap_max = self.gap_max.max(gap);
            if gap > GAP_MAX {
                let down = copy.down;
                let text = format!("copy {down} stands still for {gap:?}");
                self.verdict.blame(now, Oracle::Gap, text);
                self.ledger.copies[index].steady_since = now;
            }
        }
    }

    /// Everything that the shards hold, summed.
    fn held(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.node.counts() {
            sum.transports += counts.transports;
            sum.up_tracks += counts.up_tracks;
            sum.down_tracks += counts.down_tracks;
            sum.groups += counts.groups;
            sum.ids += counts.ids;
            sum.ufrags += counts.ufrags;
            sum.tuples += counts.tuples;
            sum.fanouts += counts.fanouts;
            sum.mirrors += counts.mirrors;
            sum.group_shards += counts.group_shards;
            sum.berths += counts.berths;
            sum.handshakes += counts.handshakes;
            sum.data_buffered += counts.data_buffered;
        }
        sum
    }

    fn watch_memory(&mut self) {
        let now = self.now();
        let held = self.held();
        let sizes = self.tamper.grow(self.node.sizes());
        let max = &mut self.sizes_max;
        max.timers = max.timers.max(sizes.timers);
        max.store_bytes = max.store_bytes.max(sizes.store_bytes);
        let owners = held.transports + held.up_tracks + held.down_tracks + held.groups;
        let timers_max = (owners + 2 * self.node.shards()) * TIMERS_PER_OWNER_MAX;
        let shards = self.node.shards();
        let stores = self
            .tracks
            .iter()
            .map(|it| match it.publishing.codec.kind() {
                MediaKind::Audio => STORE_BYTES_AUDIO + INDEX_LEN,
                MediaKind::Video => {
                    usize::from(it.publishing.layers) * (STORE_BYTES_VIDEO + INDEX_LEN)
                }
            });
        let store_bytes_max = stores.sum::<usize>() * shards;
        let transports_max = self.members.iter().flatten().count();
        let bounds = [
            ("timers", sizes.timers, timers_max),
            ("bytes of stores", sizes.store_bytes, store_bytes_max),
            ("transports", held.transports, transports_max),
            ("tracks", held.up_tracks, self.tracks.len()),
            ("copies", held.down_tracks, self.ledger.copies.len()),
        ];
        for (what, is, most) in bounds {
            if is > most {
                let text = format!("{is} {what}, at most {most}");
                self.verdict.blame(now, Oracle::Memory, text);
            }
        }
    }

    /// In the calm at the end a copy has every frame of the best layer it may have.
    pub(crate) fn judge_recovery(&mut self) {
        let (from, to) = (START + SETTLED_AT, START + (END_AT - TAIL));
        for index in 0..self.ledger.copies.len() {
            let copy = &self.ledger.copies[index];
            let expected = self.track_steady_since(copy.track).is_some();
            if !expected || copy.removed || copy.paused() {
                continue;
            }
            if copy.codec.kind() == MediaKind::Video && to.since(copy.reported_at) > REPORTED_WITHIN
            {
                let text = format!("copy {} has no sender report any more", copy.down);
                self.verdict.blame(to, Oracle::Report, text);
            }
            let max = copy.wish().max_layer;
            let mut tracks = self.tracks.iter();
            let track = tracks.find(|it| it.publishing.track == copy.track && !it.gone);
            let Some(spatial) = track.map(|it: &Track| (it.publishing.layers - 1).min(max.spatial))
            else {
                continue;
            };
            let Some(arrivals) = self.ledger.arrivals.get(&(copy.track, spatial)) else {
                continue;
            };
            let temporal_max = match copy.codec.kind() {
                MediaKind::Audio => 3,
                MediaKind::Video => max.temporal,
            };
            let frames = arrivals.packets.values().filter(|it| {
                it.content.index == 0
                    && !arrivals.silent.contains(&it.content.seq)
                    && it.content.temporal <= temporal_max
                    && (from..to).contains(&it.at)
            });
            let decoded: std::collections::BTreeSet<(u8, u32)> = self
                .decoded(copy.peer, copy.down)
                .iter()
                .map(|it| (it.spatial, it.frame))
                .collect();
            let frames: Vec<u32> = frames.map(|it| it.content.frame).collect();
            let missing = frames
                .iter()
                .filter(|it| !decoded.contains(&(spatial, **it)));
            let missing = missing.count();
            if missing > 0 {
                let down = copy.down;
                let text = format!(
                    "copy {down} misses {missing} of {} frames of layer {spatial} in the calm",
                    frames.len()
                );
                self.verdict.blame(to, Oracle::Recovery, text);
            }
        }
    }

    /// In the calm at the end a copy has nothing of a higher layer than its subscriber wants. Before,
    /// a wish waits for a key frame, and what is wanted may be late.
    pub(crate) fn judge_layers(&mut self) {
        let (from, to) = (START + SETTLED_AT, START + (END_AT - TAIL));
        for copy in &self.ledger.copies {
            let expected = self.track_steady_since(copy.track).is_some();
            let video = copy.codec.kind() == MediaKind::Video;
            if !video || !expected || copy.removed || copy.paused() {
                continue;
            }
            let max = copy.wish().max_layer;
            let above = copy.sent.values().find(|it| {
                let content = &it.content;
                (from..to).contains(&it.at)
                    && (content.spatial > max.spatial || content.temporal > max.temporal)
            });
            if let Some(above) = above {
                let (down, content) = (copy.down, above.content);
                let text = format!("copy {down} wants {max:?} and gets {content:?}");
                self.verdict.blame(above.at, Oracle::Layer, text);
            }
        }
    }

    /// Of the packets of video that networks lost before the shard, the publisher was asked for
    /// most.
    pub(crate) fn judge_repair(&mut self) {
        let at = START + END_AT;
        for (index, member) in self.members.iter().enumerate() {
            let Some(member) = member.as_ref().filter(|it| it.present && !it.was_dark) else {
                continue;
            };
            let (mut sent, mut missing) = (0, 0);
            let encoders = member.peer.publications.iter().flat_map(|it| &it.encoders);
            for config in encoders.map(|it| it.config) {
                let encoding = (config.track, config.spatial);
                let arrivals = self.ledger.arrivals.get(&encoding);
                let Some(arrivals) = arrivals.filter(|_| config.codec.kind() == MediaKind::Video)
                else {
                    continue;
                };
                let numbers = arrivals.packets.keys();
                let (first, last) = (numbers.clone().min(), numbers.clone().max());
                let span = first.zip(last).map_or(0, |(first, last)| last - first + 1);
                sent += span;
                missing += span - numbers.count() as u64;
            }
            let path = member.up.counts();
            let lost = path.lost * sent / path.sent.max(1);
            if lost >= LOSSES_JUDGED_MIN && missing * 100 > lost * UNREPAIRED_PERCENT_MAX {
                let text = format!("peer {index}: {missing} packets of about {lost} lost ones");
                self.verdict.blame(at, Oracle::Repair, text);
            }
        }
    }

    /// Of what subscribers asked for again, most was sent again, where it had been sent at all.
    pub(crate) fn judge_retransmission(&mut self) {
        let at = START + END_AT;
        for copy in &self.ledger.copies {
            let Some(member) = self.members[copy.peer].as_ref().filter(|it| !it.was_dark) else {
                continue;
            };
            let mut receivers = member.peer.receivers.iter();
            let Some(receiver) = receivers.find(|it| it.down == copy.down) else {
                continue;
            };
            // What came to the shard later filled its hole by itself.
            let asked = receiver.asked.iter().filter(|(seq, at)| {
                let sent = copy.sent.get(seq);
                sent.is_some_and(|sent| sent.at < **at)
            });
            let (asked, unanswered) = asked.fold((0, 0), |(asked, unanswered), (seq, _)| {
                (asked + 1, unanswered + u64::from(!copy.again.contains(seq)))
            });
            if asked >= REQUESTS_JUDGED_MIN && unanswered * 100 > asked * UNANSWERED_PERCENT_MAX {
                let down = copy.down;
                let text = format!("copy {down}: {unanswered} of {asked} packets not sent again");
                self.verdict.blame(at, Oracle::Repair, text);
            }
        }
    }

    pub(crate) fn judge_placement(&mut self) {
        let at = self.now();
        for peer in 0..self.members.len() {
            let transport = self.transport(peer);
            let told: Vec<usize> = self
                .events
                .iter()
                .filter_map(|event| match event {
                    Event::TransportMoved {
                        transport: moved,
                        shard,
                    } if *moved == transport => Some(usize::from(shard.0)),
                    _ => None,
                })
                .collect();
            let Some(member) = self.members[peer].as_ref().filter(|it| it.keys.is_none()) else {
                continue;
            };
            let landing = member.landed;
            let moved = (landing != member.shard).then_some(landing);
            if member.home != landing || told != Vec::from_iter(moved) {
                let home = member.home;
                let text = format!("peer {peer} reaches {landing}, lives on {home}, told {told:?}");
                self.verdict.blame(at, Oracle::Placement, text);
            }
        }
        let metrics = self.node.metrics();
        let passed: u64 = metrics.iter().map(|it| it.datagrams_passed).sum();
        let passed = self.tamper.pass(passed);
        if passed > 0 && !self.roamed {
            let text = format!("{passed} datagrams passed on though nobody moved");
            self.verdict.blame(at, Oracle::Placement, text);
        }
    }

    /// Everybody leaves: nothing may stay.
    pub(crate) fn take_down(&mut self) {
        let now = self.now();
        for peer in 0..self.members.len() {
            let Some(member) = &self.members[peer] else {
                continue;
            };
            let transport = self.transport(peer);
            self.node
                .command(member.shard, Command::RemoveTransport { transport });
        }
        while self.node.due(now) <= now {
            for shard in 0..self.node.shards() {
                let _ = self.node.tick(shard, now);
            }
        }
        let left = self.held();
        if left != Counts::default() {
            let text = format!("left behind: {left:?}");
            self.verdict.blame(now, Oracle::Memory, text);
        }
    }
}
