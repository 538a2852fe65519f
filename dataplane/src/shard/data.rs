//! Data packets: from a member's channel to the channels of the others.

use std::collections::VecDeque;

use bytes::Bytes;
use millrace_netio::Transmit;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::{GroupId, ShardId};
use millrace_shared::limits::DATA_DESTINATIONS_MAX;
use millrace_shared::link::SendData;
use millrace_shared::payload::data_packet::{DataPacketView, DataValue, write_user_stamp};
use millrace_shared::time::Timestamp;

use super::Shard;
use super::lanes::{ControlMessage, GroupData};
use crate::group::StoredPacket;
use crate::slots::Slot;
use crate::transport::channels::ChannelKind;

impl Shard {
    /// A data packet of a member: checked, stamped with who sent it, handed to its destinations.
    pub(super) fn receive_data(
        &mut self,
        now: Timestamp,
        sender: Slot,
        kind: ChannelKind,
        payload: &[u8],
        touched: &mut VecDeque<Slot>,
    ) -> Result<(), DropReason> {
        self.metrics.data_received += 1;
        let transport = self
            .transports
            .get_mut(sender)
            .ok_or(DropReason::DataMalformed)?;
        if !transport.data_publish.allowed {
            return Err(DropReason::DataForbidden);
        }
        transport.police.data(now, payload.len())?;
        let view = DataPacketView::parse(payload).map_err(|_| DropReason::DataMalformed)?;
        let sequence = view.sequence;
        if kind == ChannelKind::Reliable && sequence > 0 {
            // A resuming client sends again what it believes lost.
            if sequence <= transport.reliable_sequence {
                return Err(DropReason::DataDuplicate);
            }
            transport.reliable_sequence = sequence;
        }
        let stamp = DataPacketView::parse(&transport.data_publish.stamp)
            .map_err(|_| DropReason::DataMalformed)?;
        let packet = stamped(payload, &view, &stamp, &transport.data_publish.stamp);
        let (group, label) = (transport.group, transport.label.clone());

        let stored = (kind == ChannelKind::Reliable).then(|| StoredPacket {
            at: now,
            sender_sid: stamp.participant_sid.to_owned(),
            sender_label: label.clone(),
            sequence,
            packet: packet.clone(),
            own: true,
        });
        self.fan_out_data(group, Some(&label), kind, &packet, touched);
        let Some(group) = self.groups.get_mut(group) else {
            return Ok(());
        };
        if let Some(stored) = &stored {
            group.replay.push(stored.clone());
        }
        let data = GroupData {
            group: group.id,
            kind,
            sender_label: Some(label),
            packet,
            stored,
        };
        self.send_to_group_shards(data);
        Ok(())
    }

    /// To the shards where the group has members, too.
    fn send_to_group_shards(&mut self, data: GroupData) {
        let shards = self.group_shards.get(&data.group).copied();
        for shard in shards.unwrap_or_default() {
            let message = ControlMessage::Data(Box::new(data.clone()));
            if !self.lanes.send_control(shard, message) {
                self.count(DropReason::DataBufferFull);
            }
        }
    }

    /// A data packet of a member that is on another shard.
    pub(super) fn receive_group_data(
        &mut self,
        now: Timestamp,
        data: GroupData,
        tx: &mut dyn Transmit,
    ) {
        let Some(slot) = self.group_ids.get(&data.group).copied() else {
            return;
        };
        let mut touched = VecDeque::new();
        let sender = data.sender_label.as_deref();
        self.fan_out_data(slot, sender, data.kind, &data.packet, &mut touched);
        if let Some(stored) = data.stored {
            self.receive_replay(data.group, stored);
        }
        self.pump_all(now, &mut touched, tx);
    }

    /// A packet of another shard, kept for those who join here or resume.
    pub(super) fn receive_replay(&mut self, group: GroupId, packet: StoredPacket) {
        let slot = self.group_ids.get(&group).copied();
        if let Some(group) = slot.and_then(|slot| self.groups.get_mut(slot)) {
            group.replay.push(StoredPacket {
                own: false,
                ..packet
            });
        }
    }

    /// Another shard has members of the group now. What it missed of ours it is told, so that who
    /// joins there misses no more than who joins here.
    pub(super) fn receive_group_joined(&mut self, now: Timestamp, from: ShardId, group: GroupId) {
        self.group_shards.entry(group).or_default().insert(from);
        let slot = self.group_ids.get(&group).copied();
        let Some(members) = slot.and_then(|slot| self.groups.get(slot)) else {
            return;
        };
        for stored in members.replay.recent(now).filter(|stored| stored.own) {
            let packet = Box::new(stored.clone());
            self.lanes
                .send_control(from, ControlMessage::Replay { group, packet });
        }
    }

    pub(super) fn receive_group_left(&mut self, from: ShardId, group: GroupId) {
        if let Some(shards) = self.group_shards.get_mut(&group) {
            shards.remove(from);
            if shards.is_empty() {
                self.group_shards.remove(&group);
            }
        }
    }

    /// Queues `packet` on the channel of every destination, but not the sender's own.
    fn fan_out_data(
        &mut self,
        group: Slot,
        sender_label: Option<&str>,
        kind: ChannelKind,
        packet: &Bytes,
        touched: &mut VecDeque<Slot>,
    ) {
        let Ok(view) = DataPacketView::parse(packet) else {
            return;
        };
        let Some(group) = self.groups.get(group) else {
            return;
        };
        for slot in &group.members {
            let Some(member) = self.transports.get_mut(*slot) else {
                continue;
            };
            if !member.data_receive
                || Some(&*member.label) == sender_label
                || !is_destination(&view, &member.label)
            {
                continue;
            }
            let admitted = self.data_buffered.admit(kind, packet.len());
            match admitted.and_then(|()| member.send_data(kind, packet)) {
                Ok(()) => {
                    self.metrics.data_sent += 1;
                    self.data_buffered.recount(member);
                    touched.push_back(*slot);
                }
                Err(reason) => self.metrics.drops.count(reason),
            }
        }
    }

    /// A data packet of the server itself.
    pub(super) fn send_server_data(
        &mut self,
        now: Timestamp,
        send: &SendData,
        tx: &mut dyn Transmit,
    ) {
        let kind = if send.reliable {
            ChannelKind::Reliable
        } else {
            ChannelKind::Lossy
        };
        self.send_to_group_shards(GroupData {
            group: send.group,
            kind,
            sender_label: None,
            packet: send.packet.clone(),
            stored: None,
        });
        let Some(group) = self.group_ids.get(&send.group).copied() else {
            return;
        };
        let mut touched = VecDeque::new();
        self.fan_out_data(group, None, kind, &send.packet, &mut touched);
        self.pump_all(now, &mut touched, tx);
    }

    /// What was sent to the group since `receiver` was added, now that its channel is open.
    pub(super) fn replay_since_joined(&mut self, now: Timestamp, receiver: Slot) {
        let Some(transport) = self.transports.get(receiver) else {
            return;
        };
        let joined = transport.added_at;
        self.replay(now, receiver, |stored| stored.at >= joined);
    }

    /// What a resuming receiver missed: of each sender it names, the packets after that sequence;
    /// of the others, everything that is kept.
    pub(super) fn replay_missed(
        &mut self,
        now: Timestamp,
        receiver: Slot,
        last_sequences: &[(String, u32)],
    ) {
        self.replay(now, receiver, |stored| {
            last_sequences
                .iter()
                .find(|(sid, _)| *sid == stored.sender_sid)
                .is_none_or(|(_, sequence)| stored.sequence > *sequence)
        });
    }

    fn replay(&mut self, now: Timestamp, receiver: Slot, wanted: impl Fn(&StoredPacket) -> bool) {
        let Some(transport) = self.transports.get_mut(receiver) else {
            return;
        };
        if !transport.data_receive {
            return;
        }
        let Some(group) = self.groups.get(transport.group) else {
            return;
        };
        for stored in group.replay.recent(now) {
            let ours = stored.sender_label == transport.label;
            let addressed = DataPacketView::parse(&stored.packet)
                .is_ok_and(|view| is_destination(&view, &transport.label));
            if ours || !addressed || !wanted(stored) {
                continue;
            }
            match transport.send_data(ChannelKind::Reliable, &stored.packet) {
                Ok(()) => self.metrics.data_sent += 1,
                Err(reason) => self.metrics.drops.count(reason),
            }
        }
    }
}

/// The packet with who sent it appended. Protobuf: the last value of a field wins, so the stamp
/// overrides a forged sender; a user packet names its sender a second time inside.
fn stamped(
    payload: &[u8],
    view: &DataPacketView<'_>,
    stamp: &DataPacketView<'_>,
    stamp_bytes: &[u8],
) -> Bytes {
    let (identity, sid) = (stamp.participant_identity, stamp.participant_sid);
    // Tags and lengths of a user packet's two fields take at most 16 bytes.
    let mut packet = vec![0; payload.len() + stamp_bytes.len() + identity.len() + sid.len() + 16];
    let (head, tail) = packet.split_at_mut(payload.len());
    head.copy_from_slice(payload);
    let user_len = match view.value {
        Some(DataValue::User) => write_user_stamp(tail, identity, sid).unwrap_or(0),
        _ => 0,
    };
    let end = user_len + stamp_bytes.len();
    tail[user_len..end].copy_from_slice(stamp_bytes);
    packet.truncate(payload.len() + end);
    packet.into()
}

/// Without destinations a packet is for everyone. One that names sids alone, which clients stopped
/// doing, is for nobody: the data plane knows labels only.
fn is_destination(view: &DataPacketView<'_>, label: &str) -> bool {
    let mut destinations = view
        .destination_identities()
        .take(DATA_DESTINATIONS_MAX)
        .peekable();
    match destinations.peek() {
        None => view.destination_sids().next().is_none(),
        Some(_) => destinations.any(|destination| destination == label),
    }
}
