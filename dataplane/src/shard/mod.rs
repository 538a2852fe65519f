//! A shard: one pinned thread with its sockets, transports and tracks. Nothing here is shared.

mod adoption;
mod berths;
mod commands;
mod control;
mod crossing;
mod data;
mod egress;
mod feedback;
pub(crate) mod host;
mod ingress;
pub mod lanes;
mod mirrors;
mod reports;
#[cfg(feature = "sim")]
mod simulation;
mod snapshot;
mod strays;
mod tick;
mod timeouts;
pub mod timers;
mod tracks;

#[cfg(test)]
mod tests;

use hashbrown::HashMap;
use millrace_netio::Datagram;
use millrace_shared::drop::DropReason;
use millrace_shared::dtls::{Identity, PollBuffer};
use millrace_shared::ids::{DownTrackId, GroupId, Pt, ShardId, TrackId, TransportId};
use millrace_shared::limits::DATAGRAM_RECEIVE_LEN_MAX;
use millrace_shared::link::{Event, EventSink, ShardMetrics};
use millrace_shared::random::Prng;
use millrace_shared::time::{Epoch, Timestamp};
use millrace_shared::wire::rtcp::ReportBlock;
use std::collections::VecDeque;
use std::time::Duration;

use crate::demux::Demux;
use crate::downtrack::DownTrack;
use crate::group::Group;
use crate::router::Router;
use crate::slots::{Slot, Slots};
use crate::speakers::SpeakerConfig;
use crate::transport::police::{DataBuffered, HalfOpen};
use crate::transport::{Signal, Transport};
use crate::uptrack::UpTrack;
use berths::Berths;
use lanes::{Lanes, ShardSet};
use strays::Strays;
use timers::{Armed, Timers};

/// Where a track's packets come from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Origin {
    /// A transport of this shard: the track is at home.
    Publisher(Slot),
    /// Its home: this is a mirror.
    Shard(ShardId),
}

impl Origin {
    fn publisher(self) -> Option<Slot> {
        match self {
            Self::Publisher(transport) => Some(transport),
            Self::Shard(_) => None,
        }
    }
}

/// A track and where it comes from.
#[derive(Debug)]
struct UpEntry {
    origin: Origin,
    track: UpTrack,
    /// Bit n: the control plane knows that spatial layer n was received.
    started_layers: u8,
    /// Payload type of the layer that started last.
    started_pt: Option<Pt>,
    armed: Armed,
}

/// A subscriber's copy and who receives it.
#[derive(Debug)]
struct DownEntry {
    transport: Slot,
    track: DownTrack,
    started: bool,
    armed: Armed,
}

/// What a shard is born with.
pub struct ShardSetup {
    pub id: ShardId,
    pub epoch: Epoch,
    pub identity: Identity,
    pub events: Box<dyn EventSink>,
    pub speakers: SpeakerConfig,
    pub seed: u64,
    /// Its ends of the lanes to the other shards.
    pub lanes: Lanes,
    /// All shards receive on one port, and the kernel chooses among them by the tuple.
    pub one_port: bool,
}

impl std::fmt::Debug for ShardSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardSetup")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a shard holds now.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub transports: usize,
    pub up_tracks: usize,
    /// Tracks of other shards.
    pub mirrors: usize,
    pub down_tracks: usize,
    pub groups: usize,
    /// Names of the link that stand for something.
    pub ids: usize,
    pub ufrags: usize,
    pub tuples: usize,
    /// Tracks that are published or subscribed to, here or by another shard.
    pub fanouts: usize,
    /// Groups with members on other shards.
    pub group_shards: usize,
    /// What is known of transports and tuples that are, or may become, another shard's.
    pub berths: usize,
    /// Transports whose DTLS handshake is under way.
    pub handshakes: usize,
    /// Bytes of data packets that peers have not acknowledged.
    pub data_buffered: usize,
}

/// What grows with use.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Entries of the timer queue, stale ones included.
    pub timers: usize,
    /// Bytes allocated for packets that may be asked for again.
    pub store_bytes: usize,
}

pub struct Shard {
    id: ShardId,
    epoch: Epoch,
    identity: Identity,
    events: Box<dyn EventSink>,
    /// Of SSRC and sequence starts; seeded by the host, so that one seed is one run.
    random: Prng,
    speakers: SpeakerConfig,
    lanes: Lanes,
    one_port: bool,
    berths: Berths,

    demux: Demux,
    transports: Slots<Box<Transport>>,
    up_tracks: Slots<UpEntry>,
    down_tracks: Slots<DownEntry>,
    groups: Slots<Group>,
    /// The other shards with members of each group.
    group_shards: HashMap<GroupId, ShardSet>,
    router: Router,
    /// Of the UpTrack entries.
    mirrors: usize,
    transport_ids: HashMap<TransportId, Slot>,
    track_ids: HashMap<TrackId, Slot>,
    down_ids: HashMap<DownTrackId, Slot>,
    group_ids: HashMap<GroupId, Slot>,
    half_open: HalfOpen,
    strays: Strays,
    data_buffered: DataBuffered,

    timers: Timers,
    reports_armed: Armed,
    metrics_armed: Armed,
    metrics: ShardMetrics,
    /// Of the packets that this tick forwarded: how long they waited for it.
    forwarded_waits: Vec<Duration>,
    ticked_at: Timestamp,
    /// The last packet of video that this tick forwarded to many has more of its frame behind it.
    frame_open: bool,
    lingers_until: Option<Timestamp>,
    stopping: bool,

    /// Scratch of one datagram for STUN and RTCP.
    scratch: Box<[u8; SCRATCH_LEN]>,
    poll_buffer: PollBuffer,
    /// Signals of the transport being pumped; empty between steps.
    signals: Vec<Signal>,
    /// Transports that have something to say; empty between steps.
    pump_queue: VecDeque<Slot>,
    /// Of the receiver report being written.
    report_blocks: Vec<ReportBlock>,
}

/// A datagram with room for SRTP's overhead.
const SCRATCH_LEN: usize = DATAGRAM_RECEIVE_LEN_MAX + 64;

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id)
            .field("transports", &self.transports.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub fn new(setup: ShardSetup, now: Timestamp) -> Self {
        let mut shard = Self {
            id: setup.id,
            epoch: setup.epoch,
            identity: setup.identity,
            events: setup.events,
            random: Prng::new(setup.seed),
            speakers: setup.speakers,
            lanes: setup.lanes,
            one_port: setup.one_port,
            berths: Berths::default(),
            demux: Demux::default(),
            transports: Slots::default(),
            up_tracks: Slots::default(),
            down_tracks: Slots::default(),
            groups: Slots::default(),
            group_shards: HashMap::new(),
            router: Router::default(),
            mirrors: 0,
            transport_ids: HashMap::new(),
            track_ids: HashMap::new(),
            down_ids: HashMap::new(),
            group_ids: HashMap::new(),
            half_open: HalfOpen::default(),
            strays: Strays::default(),
            data_buffered: DataBuffered::default(),
            timers: Timers::default(),
            reports_armed: Armed::default(),
            metrics_armed: Armed::default(),
            metrics: ShardMetrics::default(),
            forwarded_waits: Vec::with_capacity(tick::DATAGRAMS_PER_TICK_MAX),
            ticked_at: now,
            frame_open: false,
            lingers_until: None,
            stopping: false,
            scratch: Box::new([0; SCRATCH_LEN]),
            poll_buffer: PollBuffer::new(),
            signals: Vec::new(),
            pump_queue: VecDeque::new(),
            report_blocks: Vec::new(),
        };
        shard.start_reports(now);
        shard
    }

    /// Whether [`millrace_shared::link::Command::Shutdown`] has come.
    pub fn stopping(&self) -> bool {
        self.stopping
    }

    /// This shard's ends of the lanes, for a host that changes their limits.
    pub fn lanes_mut(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    /// Counters since the start, and what there is now.
    pub fn metrics(&self) -> ShardMetrics {
        let lanes = self.lanes.counters();
        let events = self.events.losses();
        ShardMetrics {
            transports: self.transports.len() as u64,
            up_tracks: (self.up_tracks.len() - self.mirrors) as u64,
            down_tracks: self.down_tracks.len() as u64,
            mirrors: self.mirrors as u64,
            lane_packets_sent: lanes.media_sent,
            lane_packets_received: lanes.media_received,
            lane_packets_lost: lanes.media_lost,
            lane_messages_sent: lanes.control_sent,
            lane_messages_received: lanes.control_received,
            lane_messages_delayed: lanes.control_delayed,
            lane_messages_lost: lanes.control_lost,
            events_skipped: events.repeated,
            events_lost: events.told_once,
            ..self.metrics.clone()
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            transports: self.transports.len(),
            up_tracks: self.up_tracks.len() - self.mirrors,
            mirrors: self.mirrors,
            down_tracks: self.down_tracks.len(),
            groups: self.groups.len(),
            ids: self.transport_ids.len()
                + self.track_ids.len()
                + self.down_ids.len()
                + self.group_ids.len(),
            ufrags: self.demux.ufrags(),
            tuples: self.demux.tuples(),
            fanouts: self.router.len(),
            group_shards: self.group_shards.len(),
            berths: self.berths.len(),
            handshakes: self.half_open.len(),
            data_buffered: self.data_buffered.bytes(),
        }
    }

    pub fn sizes(&self) -> Sizes {
        let up_tracks = self.up_tracks.iter();
        Sizes {
            timers: self.timers.len(),
            store_bytes: up_tracks.map(|(_, entry)| entry.track.memory_len()).sum(),
        }
    }

    fn emit(&self, event: Event) {
        self.events.send(event);
    }

    fn count(&mut self, reason: DropReason) {
        self.metrics.drops.count(reason);
    }

    /// Counts the datagram and why it stopped, if it did.
    fn receive(
        &mut self,
        now: Timestamp,
        datagram: Datagram<'_>,
        tx: &mut dyn millrace_netio::Transmit,
    ) {
        self.metrics.datagrams_received += 1;
        self.metrics.bytes_received += datagram.payload.len() as u64;
        let (waited, forwarded) = (datagram.waited, self.metrics.rtp_forwarded);
        if let Err(reason) = self.ingress(now, datagram, tx) {
            self.count(reason);
        }
        if self.metrics.rtp_forwarded > forwarded {
            self.forwarded_waits.push(waited);
        }
    }
}
