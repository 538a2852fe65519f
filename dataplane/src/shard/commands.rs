//! Step 3 of the tick: what the control plane wants. A command about something that is gone is
//! ignored; one that repeats what holds changes nothing.

use millrace_netio::Transmit;
use millrace_shared::ids::{GroupId, TransportId};
use millrace_shared::limits::TRANSPORTS_PER_SHARD_MAX;
use millrace_shared::link::{AddTransport, CloseReason, Command, IceCredentials, SetRemote};
use millrace_shared::time::Timestamp;

use super::Shard;
use super::lanes::ControlMessage;
use crate::group::Group;
use crate::slots::Slot;
use crate::transport::Transport;

impl Shard {
    pub(super) fn apply(&mut self, now: Timestamp, command: Command, tx: &mut dyn Transmit) {
        if let Some(command) = self.divert(command) {
            self.execute(now, command, tx);
        }
    }

    pub(super) fn execute(&mut self, now: Timestamp, command: Command, tx: &mut dyn Transmit) {
        match command {
            Command::AddTransport(add) => self.add_transport(now, &add),
            Command::SetRemote(remote) => self.set_remote(now, &remote, tx),
            Command::RestartIce { transport, ice } => self.restart_ice(transport, &ice),
            Command::RemoveTransport { transport } => self.remove_transport(now, transport, tx),
            Command::SetDataPublish {
                transport,
                data_publish,
            } => {
                if let Some(transport) = self.transport_mut(transport) {
                    transport.data_publish = data_publish;
                }
            }
            Command::SetUpTrack { transport, config } => self.set_up_track(now, transport, *config),
            Command::RemoveUpTrack { track, .. } => self.remove_up_track(track),
            Command::MuteUpTrack { track, muted, .. } => self.mute_up_track(now, track, muted, tx),
            Command::SetDownTrack { transport, config } => {
                self.set_down_track(now, transport, *config);
            }
            Command::RemoveDownTrack { down, .. } => self.remove_down_track(down),
            Command::SetDownTrackLayer {
                down,
                max_layer,
                paused,
                ..
            } => {
                self.set_down_track_layer(now, down, max_layer, paused);
            }
            Command::SendData(send) => self.send_server_data(now, &send, tx),
            Command::ReplayData {
                transport,
                last_sequences,
            } => {
                if let Some(slot) = self.transport_ids.get(&transport).copied() {
                    self.replay_missed(now, slot, &last_sequences);
                    self.pump(now, slot, tx);
                }
            }
            Command::Snapshot { token } => self.send_snapshot(token),
            Command::Shutdown => self.shut_down(now, tx),
        }
    }

    fn transport_mut(&mut self, id: TransportId) -> Option<&mut Transport> {
        let slot = self.transport_ids.get(&id)?;
        self.transports.get_mut(*slot).map(Box::as_mut)
    }

    fn add_transport(&mut self, now: Timestamp, add: &AddTransport) {
        if self.transport_ids.contains_key(&add.transport) {
            return;
        }
        if self.transports.len() >= TRANSPORTS_PER_SHARD_MAX {
            tracing::warn!(
                limit = TRANSPORTS_PER_SHARD_MAX,
                "shard is full: the transport is refused; add a shard or a node"
            );
            let reason = CloseReason::ShardFull;
            self.emit(millrace_shared::link::Event::Closed {
                transport: add.transport,
                reason,
            });
            return;
        }
        let group = self.group_or_new(add.group);
        let transport = Box::new(Transport::new(add, group, now));
        let slot = self.transports.insert(transport);
        self.transport_ids.insert(add.transport, slot);
        self.demux.add_ufrag(&add.ice.ufrag, slot);
        if let Some(group) = self.groups.get_mut(group) {
            group.members.push(slot);
        }
        self.arm_transport(slot);
    }

    fn group_or_new(&mut self, id: GroupId) -> Slot {
        if let Some(slot) = self.group_ids.get(&id) {
            return *slot;
        }
        let slot = self.groups.insert(Group::new(id, self.speakers));
        self.group_ids.insert(id, slot);
        self.tell_others(&ControlMessage::GroupJoined { group: id });
        slot
    }

    fn set_remote(&mut self, now: Timestamp, remote: &SetRemote, tx: &mut dyn Transmit) {
        let Some(slot) = self.transport_ids.get(&remote.transport).copied() else {
            return;
        };
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        transport.security.expect(remote.fingerprint);
        transport.receive_ext_ids = remote.receive_ext_ids;
        transport.ice.set_remote(&remote.ice);
        self.pump(now, slot, tx);
    }

    fn restart_ice(&mut self, id: TransportId, ice: &IceCredentials) {
        let Some(slot) = self.transport_ids.get(&id).copied() else {
            return;
        };
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        if let Some(ended) = transport.ice.restart(ice) {
            self.demux.remove_ufrag(&ended);
        }
        self.demux.add_ufrag(&ice.ufrag, slot);
    }

    /// Says goodbye and forgets the transport with all its tracks.
    pub(super) fn remove_transport(
        &mut self,
        now: Timestamp,
        id: TransportId,
        tx: &mut dyn Transmit,
    ) {
        let Some(slot) = self.transport_ids.remove(&id) else {
            return;
        };
        if let Some(transport) = self.transports.get_mut(slot) {
            transport.say_goodbye(now);
            // The end of DTLS that follows is no news.
            transport.closed = true;
        }
        self.pump(now, slot, tx);
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        for up_track in std::mem::take(&mut transport.up_tracks) {
            self.forget_up_track(up_track);
        }
        let Some(transport) = self.transports.remove(slot) else {
            return;
        };
        self.data_buffered.forget(&transport);
        self.half_open.settled(slot);
        for ufrag in transport.ice.ufrags() {
            self.demux.remove_ufrag(ufrag);
        }
        self.leave_berth(id, transport.ice.local_ufrag());
        for tuple in transport.ice.tuples() {
            self.forget_tuple(&tuple, slot);
        }
        for down_track in transport.down_tracks {
            self.forget_down_track(down_track);
        }
        let Some(group) = self.groups.get_mut(transport.group) else {
            return;
        };
        group.members.retain(|member| *member != slot);
        if group.members.is_empty() {
            let id = group.id;
            self.group_ids.remove(&id);
            self.groups.remove(transport.group);
            self.tell_others(&ControlMessage::GroupLeft { group: id });
        }
    }

    fn shut_down(&mut self, now: Timestamp, tx: &mut dyn Transmit) {
        let ids: Vec<TransportId> = self.transports.iter().map(|(_, t)| t.id).collect();
        for id in ids {
            self.remove_transport(now, id, tx);
        }
        self.stopping = true;
    }
}
