//! The last reliable data packets of a group, for members that join or resume in their midst.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use millrace_shared::limits::REPLAY_BYTES_PER_GROUP_MAX;
use millrace_shared::time::Timestamp;

/// As long as LiveKit's server keeps them (`dataMessageCacheTTL`).
pub const REPLAY_AGE_MAX: Duration = Duration::from_secs(2);

/// A reliable data packet as it was sent to the members, stamped.
#[derive(Clone, Debug)]
pub struct StoredPacket {
    pub at: Timestamp,
    /// Sid and label of the sender, as its stamp says.
    pub sender_sid: String,
    pub sender_label: Box<str>,
    pub sequence: u32,
    pub packet: Bytes,
    /// Its sender's transport is on this shard.
    pub own: bool,
}

#[derive(Debug, Default)]
pub struct ReplayWindow {
    packets: VecDeque<StoredPacket>,
    bytes: usize,
}

impl ReplayWindow {
    /// Keeps `stored`; the oldest make room, by age and by
    /// [`REPLAY_BYTES_PER_GROUP_MAX`].
    pub fn push(&mut self, stored: StoredPacket) {
        let now = stored.at;
        self.bytes += stored.packet.len();
        self.packets.push_back(stored);
        while let Some(oldest) = self.packets.front() {
            let expired = now.since(oldest.at) > REPLAY_AGE_MAX;
            if !expired && self.bytes <= REPLAY_BYTES_PER_GROUP_MAX {
                break;
            }
            self.bytes -= oldest.packet.len();
            self.packets.pop_front();
        }
    }

    /// Those not older than [`REPLAY_AGE_MAX`], oldest first.
    pub fn recent(&self, now: Timestamp) -> impl Iterator<Item = &StoredPacket> {
        self.packets
            .iter()
            .filter(move |stored| now.since(stored.at) <= REPLAY_AGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(at_ms: u64, len: usize) -> StoredPacket {
        StoredPacket {
            at: Timestamp::from_millis(at_ms),
            sender_sid: "PA_a".into(),
            sender_label: "a".into(),
            sequence: 1,
            own: true,
            packet: Bytes::from(vec![0; len]),
        }
    }

    #[test]
    fn old_and_surplus_packets_make_room() {
        let mut window = ReplayWindow::default();
        window.push(stored(0, 10));
        window.push(stored(2_500, 10));
        assert_eq!(window.packets.len(), 1);
        for _ in 0..20 {
            window.push(stored(2_600, 10_000));
        }
        assert!(window.bytes <= REPLAY_BYTES_PER_GROUP_MAX);
        assert_eq!(window.recent(Timestamp::from_millis(2_600)).count(), 10);
        assert_eq!(window.recent(Timestamp::from_millis(5_000)).count(), 0);
    }
}
