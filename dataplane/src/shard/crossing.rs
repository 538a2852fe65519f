//! Step 2 of the tick: what other shards sent.

use millrace_netio::Transmit;
use millrace_shared::drop::DropReason;
use millrace_shared::ids::ShardId;
use millrace_shared::time::Timestamp;

use super::Shard;
use super::lanes::{self, ControlMessage, MediaCell, MediaItem};

/// Packets of one tick from one other shard, as many as from the network.
const PACKETS_PER_LANE_MAX: usize = 256;
/// Messages of one tick from one other shard.
const MESSAGES_PER_LANE_MAX: usize = 128;

impl Shard {
    /// Takes a bounded part of what waits in the lanes. True when more may wait.
    pub(super) fn receive_lanes(&mut self, now: Timestamp, tx: &mut dyn Transmit) -> bool {
        let mut more = false;
        for from in self.lanes.others() {
            // Counted first: what is on the media lane now was sent after the messages that are on
            // the control lane now, such as the one that makes its mirror.
            let packets = self.lanes.media_waiting(from);
            let messages = self.lanes.control_waiting(from).min(MESSAGES_PER_LANE_MAX);
            for _ in 0..messages {
                let Some(message) = self.lanes.next_control(from) else {
                    break;
                };
                self.receive_control(now, from, message, tx);
            }
            for _ in 0..packets.min(PACKETS_PER_LANE_MAX) {
                let Some(mut cell) = self.lanes.next_media(from) else {
                    break;
                };
                if let Err(reason) = self.receive_cell(now, from, &mut cell, tx) {
                    self.count(reason);
                }
                self.lanes.give_back(from, cell);
            }
            more |= messages == MESSAGES_PER_LANE_MAX || packets > PACKETS_PER_LANE_MAX;
        }
        more
    }

    fn receive_cell(
        &mut self,
        now: Timestamp,
        from: ShardId,
        cell: &mut MediaCell,
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let Some((item, bytes)) = cell.open() else {
            return Ok(());
        };
        match item {
            MediaItem::Packet {
                track,
                meta,
                exts_len,
            } => match lanes::packet(meta, exts_len, bytes) {
                Some(packet) => self.receive_mirrored(now, from, track, &packet, tx),
                None => Ok(()),
            },
            MediaItem::Padding {
                track,
                spatial,
                seq,
            } => self.receive_padding(now, from, track, spatial, seq),
            MediaItem::Datagram { tuple } => self.receive_passed(now, from, tuple, bytes, tx),
            MediaItem::Check { tuple, via } => {
                self.receive_passed_check(now, tuple, via, bytes, tx)
            }
            MediaItem::Stray { tuple } => {
                self.receive_passed_stray(now, tuple, bytes, tx);
                Ok(())
            }
            MediaItem::Answer { tuple } => self.receive_passed_answer(now, from, tuple, bytes),
        }
    }

    fn receive_control(
        &mut self,
        now: Timestamp,
        from: ShardId,
        message: ControlMessage,
        tx: &mut dyn Transmit,
    ) {
        match message {
            ControlMessage::Subscribe { track } => self.receive_subscribe(now, from, track),
            ControlMessage::Unsubscribe { track } => self.router.remove_remote(track, from),
            ControlMessage::Mirror(mirror) => self.receive_mirror(now, from, &mirror),
            ControlMessage::MirrorEnd { track } => self.receive_mirror_end(from, track),
            ControlMessage::SenderClock {
                track,
                spatial,
                clock,
            } => self.receive_clock(from, track, spatial, clock),
            ControlMessage::Keyframes { track, layers } => {
                if let Some(slot) = self.router.source(track) {
                    self.request_keyframes(now, slot, layers, tx);
                }
            }
            ControlMessage::Resend {
                track,
                spatial,
                seq,
            } => self.receive_resend(from, track, spatial, seq),
            ControlMessage::GroupJoined { group } => self.receive_group_joined(now, from, group),
            ControlMessage::GroupLeft { group } => self.receive_group_left(from, group),
            ControlMessage::Data(data) => self.receive_group_data(now, *data, tx),
            ControlMessage::Replay { group, packet } => self.receive_replay(group, *packet),
            ControlMessage::Adopt(adoption) => self.adopt(now, *adoption, tx),
            ControlMessage::AdoptionEnd { transport } => self.receive_adoption_end(from, transport),
            ControlMessage::Forwarded(command) => self.execute(now, *command, tx),
            ControlMessage::PassTuple { tuple } => self.receive_pass_tuple(from, *tuple),
            ControlMessage::EndTuple { tuple } => self.receive_end_tuple(from, &tuple),
        }
    }
}
