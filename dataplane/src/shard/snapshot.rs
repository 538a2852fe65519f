//! What the shard holds, told to a control plane that starts anew.

use millrace_shared::limits::SNAPSHOT_TRANSPORTS_MAX;
use millrace_shared::link::{
    CandidatePair, Event, Progress, Snapshot, TransportState, UpTrackState,
};

use super::Shard;
use crate::transport::Transport;

impl Shard {
    /// In one tick, so that all parts are of one moment. A full shard has 256 parts, and up to as many
    /// again if all it had before was handed over within the last second.
    ///
    /// Two shards' moments differ: one may have told everything before it gets what the other hands
    /// over before it tells. So what is on its way is told where it came from as well.
    pub(super) fn send_snapshot(&self, token: u64) {
        let mut parts: Vec<Vec<TransportState>> = Vec::new();
        let present = self.transports.iter();
        let present = present.map(|(_, transport)| self.state_of(transport));
        for state in present.chain(self.berths.leaving().cloned()) {
            match parts.last_mut() {
                Some(part) if part.len() < SNAPSHOT_TRANSPORTS_MAX => part.push(state),
                _ => parts.push(vec![state]),
            }
        }
        let last = parts.pop().unwrap_or_default();
        for transports in parts {
            self.emit_part(token, transports, false);
        }
        self.emit_part(token, last, true);
    }

    fn emit_part(&self, token: u64, transports: Vec<TransportState>, last: bool) {
        self.emit(Event::Snapshot(Box::new(Snapshot {
            token,
            shard: self.id,
            transports,
            last,
        })));
    }

    pub(super) fn state_of(&self, transport: &Transport) -> TransportState {
        let up = transport
            .up_tracks
            .iter()
            .filter_map(|slot| self.up_tracks.get(*slot))
            .map(|entry| UpTrackState {
                track: entry.track.track(),
                started: entry.started_pt,
            })
            .collect();
        let down = transport
            .down_tracks
            .iter()
            .filter_map(|slot| self.down_tracks.get(*slot))
            .map(|entry| entry.track.id())
            .collect();
        TransportState {
            transport: transport.id,
            group: self
                .groups
                .get(transport.group)
                .map(|group| group.id)
                .unwrap_or_default(),
            progress: progress(transport),
            pair: transport.ice.selected().map(|tuple| CandidatePair {
                local: tuple.local,
                remote: tuple.remote,
            }),
            reliable_sequence: transport.reliable_sequence,
            up,
            down,
        }
    }
}

fn progress(transport: &Transport) -> Progress {
    if transport.closed {
        Progress::Closed
    } else if !transport.security.established() {
        Progress::New
    } else if transport.disconnected {
        Progress::Silent
    } else {
        Progress::Connected
    }
}
