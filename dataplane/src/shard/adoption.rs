//! One port for all shards: the kernel delivers a tuple's datagrams to one of them by its hash.
//!
//! A transport is *unplaced* until its first authentic check. The ufrag names the shard it waits
//! on, its *berth*; whichever shard the check reaches asks there. If the check is authentic, the
//! berth hands the transport over, as the commands that made it, and from then on its datagrams
//! arrive where it lives. Later checks that reach a third shard (the peer moved) go the same way;
//! once one is authentic, the third shard passes the datagrams of that tuple on.
//!
//! Nothing that is not authentic makes state anywhere. Commands go on to the berth, which passes
//! them on: so their order is kept without a handshake.

use std::collections::VecDeque;

use millrace_netio::{Datagram, Transmit};
use millrace_shared::drop::DropReason;
use millrace_shared::ice::{Tuple, local_part};
use millrace_shared::ids::{ShardId, TransportId};
use millrace_shared::limits::{
    CHECKS_PASSED_PER_TICK_MAX, FOREIGN_TUPLES_MAX, TRANSPORTS_PER_SHARD_MAX, UNPLACED_COMMANDS_MAX,
};
use millrace_shared::link::{Command, Event, Progress, TransportState};
use millrace_shared::time::Timestamp;
use millrace_shared::wire::stun::StunView;

use super::Shard;
use super::berths::Moved;
use super::lanes::{Adoption, ControlMessage, MediaItem};
use crate::slots::Slot;

/// The shard that a ufrag begins with.
fn berth_of(ufrag: &str) -> Option<ShardId> {
    let digits = ufrag.find(|c: char| !c.is_ascii_digit())?;
    ufrag.get(..digits)?.parse().ok().map(ShardId)
}

impl Shard {
    pub(super) fn shares_its_port(&self) -> bool {
        self.one_port && !self.lanes.others().is_empty()
    }

    /// A command for a transport that was handed over goes after it; one for a transport that may
    /// be is kept in mind. Returns what is to be done here.
    pub(super) fn divert(&mut self, command: Command) -> Option<Command> {
        let Some(id) = command.transport().filter(|_| self.shares_its_port()) else {
            return Some(command);
        };
        if let Some(to) = self.berths.moved.get(&id).map(|moved| moved.to) {
            match &command {
                Command::RestartIce { ice, .. } => self.berths.add_moved_ufrag(id, &ice.ufrag),
                Command::RemoveTransport { .. } => self.berths.remove_moved(id),
                _ => {}
            }
            let command = Box::new(command);
            self.lanes
                .send_control(to, ControlMessage::Forwarded(command));
            return None;
        }
        if matches!(command, Command::AddTransport(_)) && !self.transport_ids.contains_key(&id) {
            self.berths.unplaced.insert(id, vec![command.clone()]);
        } else if let Some(commands) = self.berths.unplaced.get_mut(&id) {
            if commands.len() < UNPLACED_COMMANDS_MAX {
                commands.push(command.clone());
            } else {
                self.place_here(id);
            }
        }
        Some(command)
    }

    /// The transport stays.
    pub(super) fn place_here(&mut self, transport: TransportId) {
        self.berths.unplaced.remove(&transport);
    }

    /// A check for a ufrag that is not of this shard.
    pub(super) fn pass_check(
        &mut self,
        tuple: Tuple,
        via: ShardId,
        ufrag: &str,
        check: &[u8],
    ) -> Result<(), DropReason> {
        let moved = self.berths.moved_ufrags.get(ufrag).copied();
        let to = moved
            .or_else(|| berth_of(ufrag))
            .filter(|to| self.one_port && self.lanes.others().contains(*to))
            .ok_or(DropReason::StunUfragUnknown)?;
        if self.berths.checks_passed >= CHECKS_PASSED_PER_TICK_MAX {
            return Err(DropReason::StunPassLimit);
        }
        self.berths.checks_passed += 1;
        let item = MediaItem::Check { tuple, via };
        if self
            .lanes
            .send_media(to, |cell| cell.set_bytes(item, check))
        {
            self.metrics.checks_passed += 1;
        }
        Ok(())
    }

    /// A check that reached `via`.
    pub(super) fn receive_passed_check(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        via: ShardId,
        check: &[u8],
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let request = StunView::parse(check).map_err(|_| DropReason::StunMalformed)?;
        let ufrag = request.username().and_then(local_part);
        let ufrag = ufrag.ok_or(DropReason::StunUsername)?;
        let Some(slot) = self.demux.by_ufrag(ufrag) else {
            // Only a transport that was handed over is looked for further, and not where the check
            // came from: its end is on its way.
            if via == self.id || !self.berths.moved_ufrags.contains_key(ufrag) {
                return Err(DropReason::StunUfragUnknown);
            }
            return self.pass_check(tuple, via, ufrag, check);
        };
        if via == self.id {
            // It was taken over meanwhile.
            return self.receive_stun(now, tuple, check, tx);
        }
        let transport = self.transports.get(slot);
        let transport = transport.ok_or(DropReason::StunUfragUnknown)?;
        transport.ice.authentic(&request)?;
        let id = transport.id;
        if self.berths.unplaced.contains_key(&id)
            && self.berths.moved.len() < TRANSPORTS_PER_SHARD_MAX
        {
            self.hand_over(now, slot, via, tuple, check, tx);
            return Ok(());
        }
        self.answer_check(now, slot, tuple, &request, tx)?;
        self.have_passed(tuple, via);
        Ok(())
    }

    /// A tuple of ours was validated whose datagrams arrive at `via`.
    pub(super) fn have_passed(&mut self, tuple: Tuple, via: ShardId) {
        self.berths.foreign.remove(&tuple);
        if self.berths.arrive_at.get(&tuple) != Some(&via) {
            self.end_arrival(&tuple);
            self.berths.arrive_at.insert(tuple, via);
        }
        let tuple = Box::new(tuple);
        self.lanes
            .send_control(via, ControlMessage::PassTuple { tuple });
    }

    /// Gives a transport that nobody has reached before to the shard that its peer reaches.
    fn hand_over(
        &mut self,
        now: Timestamp,
        slot: Slot,
        to: ShardId,
        tuple: Tuple,
        check: &[u8],
        tx: &mut dyn Transmit,
    ) {
        let Some(transport) = self.transports.get(slot) else {
            return;
        };
        let (id, added_at) = (transport.id, transport.added_at);
        let state = TransportState {
            progress: Progress::Moving,
            ..self.state_of(transport)
        };
        self.berths.note_leaving(now, state);
        let ufrags: Vec<String> = transport.ice.ufrags().map(str::to_owned).collect();
        let commands = self.berths.unplaced.remove(&id).unwrap_or_default();
        self.remove_transport(now, id, tx);
        let moved = Moved {
            to,
            ufrags: VecDeque::new(),
        };
        self.berths.moved.insert(id, moved);
        // The current one first.
        for ufrag in ufrags.iter().rev() {
            self.berths.add_moved_ufrag(id, ufrag);
        }
        let adoption = Adoption {
            transport: id,
            commands,
            added_at,
            tuple,
            check: check.to_vec(),
        };
        self.lanes
            .send_control(to, ControlMessage::Adopt(Box::new(adoption)));
    }

    /// A transport whose peer reaches this shard.
    pub(super) fn adopt(&mut self, now: Timestamp, adoption: Adoption, tx: &mut dyn Transmit) {
        for command in adoption.commands {
            self.execute(now, command, tx);
        }
        let slot = self.transport_ids.get(&adoption.transport).copied();
        let Some(transport) = slot.and_then(|slot| self.transports.get_mut(slot)) else {
            return;
        };
        transport.added_at = adoption.added_at;
        self.metrics.transports_adopted += 1;
        self.emit(Event::TransportMoved {
            transport: adoption.transport,
            shard: self.id,
        });
        if let Err(reason) = self.receive_stun(now, adoption.tuple, &adoption.check, tx) {
            self.count(reason);
        }
    }

    /// A transport ends that was placed elsewhere: its berth forgets it too.
    pub(super) fn leave_berth(&mut self, transport: TransportId, ufrag: &str) {
        self.berths.unplaced.remove(&transport);
        if let Some(berth) = berth_of(ufrag).filter(|berth| *berth != self.id)
            && self.shares_its_port()
        {
            self.lanes
                .send_control(berth, ControlMessage::AdoptionEnd { transport });
        }
    }

    pub(super) fn receive_adoption_end(&mut self, from: ShardId, transport: TransportId) {
        let moved = self.berths.moved.get(&transport);
        if moved.is_some_and(|moved| moved.to == from) {
            self.berths.remove_moved(transport);
        }
    }

    /// A check of `tuple` was authentic here: whatever was known of it is over.
    pub(super) fn claim_tuple(&mut self, tuple: &Tuple) {
        if self.shares_its_port() {
            self.berths.foreign.remove(tuple);
            self.end_arrival(tuple);
        }
    }

    /// A tuple of ours is over.
    pub(super) fn forget_tuple(&mut self, tuple: &Tuple, slot: Slot) {
        if self.demux.by_tuple(tuple) == Some(slot) {
            self.demux.remove_tuple(tuple, slot);
            self.end_arrival(tuple);
        }
    }

    fn end_arrival(&mut self, tuple: &Tuple) {
        if let Some(via) = self.berths.arrive_at.remove(tuple) {
            let tuple = Box::new(*tuple);
            self.lanes
                .send_control(via, ControlMessage::EndTuple { tuple });
        }
    }

    /// `from` has validated a tuple whose datagrams arrive here.
    pub(super) fn receive_pass_tuple(&mut self, from: ShardId, tuple: Tuple) {
        let foreign = &mut self.berths.foreign;
        if foreign.len() >= FOREIGN_TUPLES_MAX && !foreign.contains_key(&tuple) {
            return;
        }
        foreign.insert(tuple, from);
        // The latest authentic check decides whose it is.
        if let Some(slot) = self.demux.by_tuple(&tuple) {
            self.forget_tuple(&tuple, slot);
        }
    }

    pub(super) fn receive_end_tuple(&mut self, from: ShardId, tuple: &Tuple) {
        if self.berths.foreign.get(tuple) == Some(&from) {
            self.berths.foreign.remove(tuple);
        }
    }

    /// A datagram of a tuple that is not of this shard.
    pub(super) fn pass_datagram(&mut self, tuple: Tuple, bytes: &[u8]) -> Result<(), DropReason> {
        let to = self.berths.foreign.get(&tuple).copied();
        let to = to.ok_or(DropReason::TupleUnvalidated)?;
        let item = MediaItem::Datagram { tuple };
        if self
            .lanes
            .send_media(to, |cell| cell.set_bytes(item, bytes))
        {
            self.metrics.datagrams_passed += 1;
        }
        Ok(())
    }

    /// A datagram that arrived at `from`.
    pub(super) fn receive_passed(
        &mut self,
        now: Timestamp,
        from: ShardId,
        tuple: Tuple,
        payload: &mut [u8],
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        if self.demux.by_tuple(&tuple).is_none() {
            let tuple = Box::new(tuple);
            self.lanes
                .send_control(from, ControlMessage::EndTuple { tuple });
            return Err(DropReason::TupleUnvalidated);
        }
        let datagram = Datagram {
            remote: tuple.remote,
            local: tuple.local,
            payload,
            truncated: false,
            waited: std::time::Duration::ZERO,
        };
        self.ingress(now, datagram, tx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ufrag_names_its_berth() {
        assert_eq!(berth_of("12xabc"), Some(ShardId(12)));
        assert_eq!(berth_of("0xabc"), Some(ShardId(0)));
        for stranger in ["", "xabc", "12", "99999xabc"] {
            assert_eq!(berth_of(stranger), None, "{stranger}");
        }
    }
}
