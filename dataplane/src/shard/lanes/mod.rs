//! Lanes: what shards say to each other.
//!
//! Every ordered pair of shards has two. The **media lane** carries packets: bounded, and lossy
//! when full, as a network is. The **control lane** carries everything that has to arrive, in
//! order: when it is full, what repeats itself is dropped and what does not waits with its sender.
//! Values cross, never handles.
//!
//! | queue | limit | owner | when full | counter |
//! |---|---|---|---|---|
//! | media lane | [`LaneLimits::media_packets_max`] | sender | the packet is lost | `media_lost` |
//! | control lane | [`LaneLimits::control_messages_max`] | sender | into the backlog, or lost if it repeats itself | `control_delayed`, `control_lost` |
//! | backlog | [`CONTROL_BACKLOG_MAX`], for data packets [`millrace_shared::limits::DATA_BACKLOG_MAX`] | sender | data packets are lost as in a full channel; else an error in the log: the other shard hangs | `control_lost` |
//!
//! No executor and no clock is needed: [`mesh`] makes the ends of every lane, each shard takes its
//! [`Lanes`], and a host only supplies the bells that wake the others. So any number of shards run
//! in one thread as well as in threads of their own.

mod cell;
mod message;
mod set;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded};
use millrace_shared::ids::ShardId;
use millrace_shared::limits::{
    CONTROL_BACKLOG_MAX, LANE_CONTROL_MESSAGES_MAX, LANE_MEDIA_PACKETS_MAX, SHARDS_MAX,
};

pub use cell::{MediaCell, MediaItem, packet};
pub use message::{Adoption, ControlMessage, GroupData, MirrorConfig};
pub use set::ShardSet;

/// Wakes a shard that may be parked. Rung at most once a tick and destination.
pub type Bell = Box<dyn Fn() + Send>;

/// How much of each kind may be on its way from one shard to another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LaneLimits {
    pub media_packets_max: usize,
    pub control_messages_max: usize,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            media_packets_max: LANE_MEDIA_PACKETS_MAX,
            control_messages_max: LANE_CONTROL_MESSAGES_MAX,
        }
    }
}

/// Totals of all lanes of one shard.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LaneCounters {
    pub media_sent: u64,
    pub media_received: u64,
    /// The media lane was full.
    pub media_lost: u64,
    pub control_sent: u64,
    pub control_received: u64,
    /// Messages that waited with their sender, because the control lane was full.
    pub control_delayed: u64,
    /// Messages that repeat themselves and found the lane full; or any, when the backlog is full.
    pub control_lost: u64,
}

/// One shard's ends of its lanes.
#[derive(Debug)]
pub struct Lanes {
    shard: ShardId,
    /// By the number of the other shard; none for the shard itself.
    links: Vec<Option<Link>>,
    counters: LaneCounters,
}

#[derive(Debug)]
struct Link {
    out: Outbound,
    inbound: Inbound,
}

struct Outbound {
    limits: LaneLimits,
    media: Sender<Box<MediaCell>>,
    /// Cells that the other shard has emptied.
    emptied: Receiver<Box<MediaCell>>,
    #[expect(
        clippy::vec_box,
        reason = "cells cross as they are: what moves is a pointer"
    )]
    spare: Vec<Box<MediaCell>>,
    cells: usize,
    control: Sender<ControlMessage>,
    backlog: VecDeque<ControlMessage>,
    bell: Bell,
    /// Something was sent that the other shard may be asleep for.
    unrung: bool,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("limits", &self.limits)
            .field("cells", &self.cells)
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inbound {
    media: Receiver<Box<MediaCell>>,
    emptied: Sender<Box<MediaCell>>,
    control: Receiver<ControlMessage>,
}

/// The lanes between `shards` shards, in the order of their numbers. `bell` makes what wakes a
/// shard; it is asked once for each shard that may wake it.
pub fn mesh(
    shards: usize,
    limits: LaneLimits,
    mut bell: impl FnMut(ShardId) -> Bell,
) -> Vec<Lanes> {
    assert!(
        (1..=SHARDS_MAX).contains(&shards),
        "1 to {SHARDS_MAX} shards"
    );
    let mut all: Vec<Lanes> = (0..shards)
        .map(|number| Lanes {
            shard: shard_id(number),
            links: (0..shards).map(|_| None).collect(),
            counters: LaneCounters::default(),
        })
        .collect();
    for low in 0..shards {
        for high in low + 1..shards {
            let (up, from_low) = lane(limits, bell(shard_id(high)));
            let (down, from_high) = lane(limits, bell(shard_id(low)));
            all[low].links[high] = Some(Link {
                out: up,
                inbound: from_high,
            });
            all[high].links[low] = Some(Link {
                out: down,
                inbound: from_low,
            });
        }
    }
    all
}

fn shard_id(number: usize) -> ShardId {
    ShardId(u16::try_from(number).unwrap_or(u16::MAX))
}

fn lane(limits: LaneLimits, bell: Bell) -> (Outbound, Inbound) {
    // One more than may wait: the one that is being read.
    let cells_max = limits.media_packets_max + 1;
    let (media, media_end) = bounded(cells_max);
    let (emptied_end, emptied) = bounded(cells_max);
    let (control, control_end) = bounded(limits.control_messages_max.max(1));
    (
        Outbound {
            limits,
            media,
            emptied,
            spare: Vec::with_capacity(cells_max),
            cells: 0,
            control,
            backlog: VecDeque::new(),
            bell,
            unrung: false,
        },
        Inbound {
            media: media_end,
            emptied: emptied_end,
            control: control_end,
        },
    )
}

impl Lanes {
    /// Of a shard that has no others.
    pub fn alone() -> Self {
        Self {
            shard: ShardId(0),
            links: vec![None],
            counters: LaneCounters::default(),
        }
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub fn counters(&self) -> LaneCounters {
        self.counters
    }

    /// Every other shard.
    pub fn others(&self) -> ShardSet {
        let mut others = ShardSet::default();
        for (number, link) in self.links.iter().enumerate() {
            if link.is_some() {
                others.insert(shard_id(number));
            }
        }
        others
    }

    /// From now on no more than `limits` may be on the way to any other shard, nor more than was
    /// allowed at first. A simulation makes lanes full with it.
    pub fn limit(&mut self, limits: LaneLimits) {
        for link in self.links.iter_mut().flatten() {
            link.out.limits = limits;
        }
    }

    /// Sends what `fill` writes into a cell. False when the lane is full, or `fill` says that
    /// nothing is to be sent: then `fill` returned false.
    pub fn send_media(&mut self, to: ShardId, fill: impl FnOnce(&mut MediaCell) -> bool) -> bool {
        let Some(link) = self
            .links
            .get_mut(usize::from(to.0))
            .and_then(Option::as_mut)
        else {
            return false;
        };
        let Some(mut cell) = link.out.cell() else {
            self.counters.media_lost += 1;
            return false;
        };
        if !fill(&mut cell) {
            link.out.spare.push(cell);
            return false;
        }
        match link.out.media.try_send(cell) {
            Ok(()) => {
                link.out.unrung = true;
                self.counters.media_sent += 1;
                true
            }
            Err(refused) => {
                link.out.spare.push(refused.into_inner());
                self.counters.media_lost += 1;
                false
            }
        }
    }

    /// False when the message is lost; whoever needs it sends it again.
    pub fn send_control(&mut self, to: ShardId, message: ControlMessage) -> bool {
        let Some(link) = self
            .links
            .get_mut(usize::from(to.0))
            .and_then(Option::as_mut)
        else {
            return false;
        };
        link.out.send_control(to, message, &mut self.counters)
    }

    /// Packets that wait from `from`.
    pub fn media_waiting(&self, from: ShardId) -> usize {
        self.inbound(from).map_or(0, |inbound| inbound.media.len())
    }

    pub fn control_waiting(&self, from: ShardId) -> usize {
        self.inbound(from)
            .map_or(0, |inbound| inbound.control.len())
    }

    /// The next packet from `from`; to be handed to [`Self::give_back`].
    pub fn next_media(&mut self, from: ShardId) -> Option<Box<MediaCell>> {
        let cell = self.inbound(from)?.media.try_recv().ok()?;
        self.counters.media_received += 1;
        Some(cell)
    }

    pub fn give_back(&self, from: ShardId, cell: Box<MediaCell>) {
        if let Some(inbound) = self.inbound(from) {
            // Refused only when the other shard has ended.
            let _ = inbound.emptied.try_send(cell);
        }
    }

    pub fn next_control(&mut self, from: ShardId) -> Option<ControlMessage> {
        let message = self.inbound(from)?.control.try_recv().ok()?;
        self.counters.control_received += 1;
        Some(message)
    }

    /// Ends a tick: what had to wait goes where there is room now, and whoever was sent something
    /// is woken, once. True when something still waits.
    pub fn flush(&mut self) -> bool {
        let mut waits = false;
        for link in self.links.iter_mut().flatten() {
            let out = &mut link.out;
            out.send_backlog(&mut self.counters);
            waits |= !out.backlog.is_empty();
            if std::mem::take(&mut out.unrung) {
                (out.bell)();
            }
        }
        waits
    }

    fn inbound(&self, from: ShardId) -> Option<&Inbound> {
        let link = self.links.get(usize::from(from.0))?.as_ref()?;
        Some(&link.inbound)
    }
}

impl Outbound {
    /// An empty cell. None when as many packets are on their way as may be.
    fn cell(&mut self) -> Option<Box<MediaCell>> {
        if self.media.len() >= self.limits.media_packets_max {
            return None;
        }
        if self.spare.is_empty() {
            self.spare.extend(self.emptied.try_iter());
        }
        let cells_max = self.limits.media_packets_max + 1;
        self.spare.pop().or_else(|| {
            (self.cells < cells_max).then(|| {
                self.cells += 1;
                Box::default()
            })
        })
    }

    fn send_control(
        &mut self,
        to: ShardId,
        message: ControlMessage,
        counters: &mut LaneCounters,
    ) -> bool {
        if self.backlog.is_empty() && self.control.len() < self.limits.control_messages_max {
            // Refused only when the other shard has ended: nothing is missed then.
            let _ = self.control.try_send(message);
            self.unrung = true;
            counters.control_sent += 1;
            return true;
        }
        let backlog_max = message.backlog_max();
        if self.backlog.len() >= backlog_max {
            if backlog_max == CONTROL_BACKLOG_MAX {
                tracing::error!(
                    shard = %to,
                    limit = CONTROL_BACKLOG_MAX,
                    "a shard does not take what others tell it: a message is lost"
                );
            }
            counters.control_lost += 1;
            return false;
        }
        counters.control_delayed += 1;
        self.backlog.push_back(message);
        true
    }

    fn send_backlog(&mut self, counters: &mut LaneCounters) {
        while self.control.len() < self.limits.control_messages_max
            && let Some(message) = self.backlog.pop_front()
        {
            let _ = self.control.try_send(message);
            self.unrung = true;
            counters.control_sent += 1;
        }
    }
}
