//! Counts of what rooms hold and did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use livekit_protocol as proto;
use millrace_shared::ids::ShardId;
use millrace_shared::link::ShardMetrics;

/// A reading of all counters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoomMetrics {
    pub rooms: u64,
    pub participants: u64,
    pub published_audio: u64,
    pub published_video: u64,
    pub subscribed_audio: u64,
    pub subscribed_video: u64,
    pub rooms_created: u64,
    pub joins: u64,
    pub joins_refused: u64,
    pub resumes: u64,
    /// Participants that became active.
    pub connected: u64,
    /// Signal sockets given up because the client did not read.
    pub signal_overflows: u64,
    /// Reports dropped because a room was behind.
    pub reports_dropped: u64,
    /// Latest of each shard.
    pub shards: BTreeMap<ShardId, ShardMetrics>,
    /// How each shard's packets reach the kernel, a colon, and why so.
    pub backends: BTreeMap<ShardId, String>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    participants: AtomicI64,
    published: [AtomicI64; 2],
    subscribed: [AtomicI64; 2],
    rooms_created: AtomicU64,
    joins: AtomicU64,
    joins_refused: AtomicU64,
    resumes: AtomicU64,
    connected: AtomicU64,
    signal_overflows: AtomicU64,
    reports_dropped: AtomicU64,
}

const fn kind_index(kind: proto::TrackType) -> usize {
    match kind {
        proto::TrackType::Video => 1,
        proto::TrackType::Audio | proto::TrackType::Data => 0,
    }
}

impl Counters {
    pub(crate) fn participants(&self, change: i64) {
        self.participants.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn published(&self, kind: proto::TrackType, change: i64) {
        self.published[kind_index(kind)].fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn subscribed(&self, kind: proto::TrackType, change: i64) {
        self.subscribed[kind_index(kind)].fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn room_created(&self) {
        self.rooms_created.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn joined(&self) {
        self.joins.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn join_refused(&self) {
        self.joins_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn resumed(&self) {
        self.resumes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn signal_overflowed(&self) {
        self.signal_overflows.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn report_dropped(&self) {
        self.reports_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(
        &self,
        rooms: usize,
        shards: BTreeMap<ShardId, ShardMetrics>,
    ) -> RoomMetrics {
        let level = |value: &AtomicI64| u64::try_from(value.load(Ordering::Relaxed)).unwrap_or(0);
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        RoomMetrics {
            rooms: rooms as u64,
            participants: level(&self.participants),
            published_audio: level(&self.published[0]),
            published_video: level(&self.published[1]),
            subscribed_audio: level(&self.subscribed[0]),
            subscribed_video: level(&self.subscribed[1]),
            rooms_created: count(&self.rooms_created),
            joins: count(&self.joins),
            joins_refused: count(&self.joins_refused),
            resumes: count(&self.resumes),
            connected: count(&self.connected),
            signal_overflows: count(&self.signal_overflows),
            reports_dropped: count(&self.reports_dropped),
            shards,
            backends: BTreeMap::new(),
        }
    }
}
