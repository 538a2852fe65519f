//! Media from a tuple that nobody has checked: of a peer whose NAT chose another port or address in the
//! middle of a call, or of a stranger.
//!
//! Browsers notice at their next check, Chromium within 2.5 s, Firefox within 6 s. Nothing is sent to
//! the new tuple before, and nothing taken from it. An authentic packet makes us check the tuple
//! ourselves, again with a later packet while no answer came; only the peer can answer.
//!
//! Where all shards share one port, the new tuple may reach another shard than the one that the peer
//! is on. Then the packet goes to all others, of which one knows it, and so does the answer. What is
//! passed on has a pace of its own, which its sender keeps: a stranger who floods one shard takes
//! nothing from the looks that the others give to what arrives there.

use std::time::Duration;

use arrayvec::ArrayVec;
use millrace_netio::Transmit;
use millrace_shared::drop::DropReason;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{ShardId, Ssrc};
use millrace_shared::limits::{
    CHECKS_PENDING_MAX, STRAY_OWNERS_TRIED_MAX, STRAY_SOURCES_TRIED_MAX,
    STRAY_TRANSPORTS_ASKED_MAX, STRAYS_PER_SECOND_MAX,
};
use millrace_shared::time::Timestamp;
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::stun::{StunView, TransactionId};

use super::Shard;
use super::egress::send_datagram;
use super::lanes::MediaItem;
use crate::slots::Slot;
use crate::transport::Transport;

const STRAY_INTERVAL: Duration = Duration::from_millis(1_000 / STRAYS_PER_SECOND_MAX);
/// Each other shard looks at all that is passed on, and as many of them pass on: this times their
/// number is the pause of one of them, so that up to 10 others make none look at more in all than at
/// what arrives there ...
const PASS_INTERVAL: Duration = Duration::from_millis(1_000 / STRAYS_PER_SECOND_MAX);
/// ... and this at most: a peer that moved comes behind the strangers of the same shard. With 64
/// shards one looks at up to 630 a second, at some 35 us each (`limits.rs`): 2 % of its time.
const PASS_INTERVAL_MAX: Duration = Duration::from_millis(100);
/// A stranger's tuple is asked about this rarely. Browsers that publish nothing report once or twice
/// a second, and media comes again at once.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// RFC 8445 §14.3: the first retransmission of a check; here the next stray packet makes the next check.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Copy, Clone, Debug)]
struct PendingCheck {
    transaction_id: TransactionId,
    tuple: Tuple,
    slot: Slot,
    sent_at: Timestamp,
}

/// A tuple of which the other shards were asked.
#[derive(Copy, Clone, Debug)]
struct Question {
    tuple: Tuple,
    at: Timestamp,
    answered: bool,
}

/// Checks of ours that may still be answered.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// When the next packet is looked at.
    next_at: Option<Timestamp>,
    /// When the next one may be passed on.
    pass_at: Option<Timestamp>,
    /// Where the next search for an owner begins, so that all behind one address have their turn.
    cursor: usize,
    /// The same for a search among all transports.
    position: u32,
    pending: ArrayVec<PendingCheck, CHECKS_PENDING_MAX>,
    asked: ArrayVec<Question, CHECKS_PENDING_MAX>,
}

impl Strays {
    /// Strangers may send as much as they like: it costs us this many looks.
    fn admit(&mut self, now: Timestamp) -> bool {
        if self.next_at.is_some_and(|at| now < at) {
            return false;
        }
        self.next_at = Some(now + STRAY_INTERVAL);
        true
    }

    fn is_pending(&self, now: Timestamp, tuple: Tuple) -> bool {
        self.pending
            .iter()
            .any(|check| check.tuple == tuple && now.since(check.sent_at) < CHECK_INTERVAL)
    }

    fn note(&mut self, check: PendingCheck) {
        self.pending.retain(|other| other.tuple != check.tuple);
        if self.pending.is_full() {
            self.pending.remove(0);
        }
        self.pending.push(check);
    }

    /// Whether the other shards, so many, are asked of the tuple now.
    fn ask(&mut self, now: Timestamp, tuple: Tuple, others: usize) -> bool {
        let asked = self.asked.iter().find(|asked| asked.tuple == tuple);
        if asked.is_some_and(|asked| now.since(asked.at) < ASK_INTERVAL)
            || self.pass_at.is_some_and(|at| now < at)
        {
            return false;
        }
        self.pass_at = Some(now + (PASS_INTERVAL * others as u32).min(PASS_INTERVAL_MAX));
        self.asked.retain(|asked| asked.tuple != tuple);
        if self.asked.is_full() {
            self.asked.remove(0);
        }
        self.asked.push(Question {
            tuple,
            at: now,
            answered: false,
        });
        true
    }

    /// Whether the other shards were asked of the tuple; an answer for each time.
    fn take_asked(&mut self, tuple: Tuple) -> bool {
        let mut asked = self.asked.iter_mut();
        let asked = asked.find(|asked| asked.tuple == tuple && !asked.answered);
        asked.is_some_and(|asked| {
            asked.answered = true;
            true
        })
    }

    fn take(&mut self, tuple: Tuple, transaction_id: TransactionId) -> Option<Slot> {
        let index = self
            .pending
            .iter()
            .position(|check| check.tuple == tuple && check.transaction_id == transaction_id)?;
        Some(self.pending.remove(index).slot)
    }
}

impl Shard {
    /// Checks the tuple if the packet proves to be of a peer that we know. The packet itself is
    /// dropped, and may come again from where it should.
    pub(super) fn check_stray(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        class: DatagramClass,
        packet: &[u8],
        tx: &mut dyn Transmit,
    ) {
        if self.strays.is_pending(now, tuple) || !self.strays.admit(now) {
            return;
        }
        let owner = self
            .owner_at_address(tuple, class, packet)
            .or_else(|| self.owner_of_source(class, packet));
        match owner {
            Some(slot) => self.check_tuple(now, tuple, slot, tx),
            None if self.shares_its_port()
                && self.strays.ask(now, tuple, self.lanes.others().len()) =>
            {
                self.metrics.strays_passed += 1;
                self.pass_to_others(&MediaItem::Stray { tuple }, packet);
            }
            None => {}
        }
    }

    /// A stray that arrived at another shard, which knows nobody who could have sent it, and which
    /// sends few of them ([`Strays::ask`]).
    pub(super) fn receive_passed_stray(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        packet: &[u8],
        tx: &mut dyn Transmit,
    ) {
        if self.strays.is_pending(now, tuple) {
            return;
        }
        let Some(class) = classify(packet) else {
            return;
        };
        if let Some(slot) = self.owner_of_source(class, packet) {
            self.check_tuple(now, tuple, slot, tx);
        }
    }

    fn pass_to_others(&mut self, item: &MediaItem, bytes: &[u8]) {
        for shard in self.lanes.others() {
            self.lanes
                .send_media(shard, |cell| cell.set_bytes(item.clone(), bytes));
        }
    }

    fn check_tuple(&mut self, now: Timestamp, tuple: Tuple, slot: Slot, tx: &mut dyn Transmit) {
        let transaction_id = self.transaction_id();
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        let written = transport
            .ice
            .write_check(transaction_id, self.scratch.as_mut_slice());
        let Some(check) = written.and_then(|len| self.scratch.get(..len)) else {
            return;
        };
        send_datagram(&mut transport.train, tuple, check, tx, &mut self.metrics);
        self.strays.note(PendingCheck {
            transaction_id,
            tuple,
            slot,
            sent_at: now,
        });
    }

    /// The transport whose keys open the packet, of those whose peer is at that IP address.
    fn owner_at_address(
        &mut self,
        tuple: Tuple,
        class: DatagramClass,
        packet: &[u8],
    ) -> Option<Slot> {
        let neighbours = self.demux.by_ip(tuple.remote.ip());
        let from = if self.strays.cursor < neighbours.len() {
            self.strays.cursor
        } else {
            0
        };
        let owners: ArrayVec<Slot, STRAY_OWNERS_TRIED_MAX> = neighbours
            .iter()
            .skip(from)
            .take(STRAY_OWNERS_TRIED_MAX)
            .copied()
            .collect();
        self.strays.cursor = from + owners.len();
        owners
            .into_iter()
            .find(|slot| self.opens(*slot, class, packet))
    }

    /// The same of all transports that have heard the packet's SSRC, which SRTP leaves readable, as far
    /// as one packet lets us look. The next one goes on where this one stopped.
    fn owner_of_source(&mut self, class: DatagramClass, packet: &[u8]) -> Option<Slot> {
        let ssrc = ssrc_of(class, packet)?;
        let positions = self.transports.positions();
        let mut tried = 0;
        for _ in 0..positions.min(STRAY_TRANSPORTS_ASKED_MAX) {
            if self.strays.position as usize >= positions {
                self.strays.position = 0;
            }
            let found = self.transports.at(self.strays.position);
            self.strays.position += 1;
            let heard = |transport: &Transport| {
                transport.security.rx_ref().is_some_and(|srtp| match class {
                    DatagramClass::Rtp => srtp.has_heard_rtp(ssrc),
                    _ => srtp.has_heard_rtcp(ssrc),
                })
            };
            let Some((slot, _)) = found.filter(|(_, transport)| heard(transport)) else {
                continue;
            };
            if self.opens(slot, class, packet) {
                return Some(slot);
            }
            tried += 1;
            if tried == STRAY_SOURCES_TRIED_MAX {
                return None;
            }
        }
        None
    }

    fn opens(&mut self, slot: Slot, class: DatagramClass, packet: &[u8]) -> bool {
        let (Some(transport), Some(copy)) = (
            self.transports.get_mut(slot),
            self.scratch.get_mut(..packet.len()),
        ) else {
            return false;
        };
        if transport.closed {
            return false;
        }
        copy.copy_from_slice(packet);
        let Ok(srtp) = transport.security.rx() else {
            return false;
        };
        if class == DatagramClass::Rtp {
            srtp.open_rtp(copy).is_ok()
        } else {
            srtp.open_rtcp(copy).is_ok()
        }
    }

    /// RFC 8489 §5: 96 bits. What keeps others from answering is the peer's password.
    fn transaction_id(&mut self) -> TransactionId {
        let mut id = [0; 12];
        let (high, low) = id.split_at_mut(8);
        high.copy_from_slice(&self.random.next_u64().to_be_bytes());
        low.copy_from_slice(&self.random.next_u64().to_be_bytes()[..4]);
        TransactionId(id)
    }

    pub(super) fn receive_answer(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        answer: &StunView<'_>,
    ) -> Result<(), DropReason> {
        let slot = self
            .strays
            .take(tuple, answer.transaction_id())
            .ok_or(DropReason::StunUnexpected)?;
        let transport = self
            .transports
            .get_mut(slot)
            .filter(|transport| !transport.closed)
            .ok_or(DropReason::StunUnexpected)?;
        let outcome = transport.ice.receive_answer(now, tuple, answer)?;
        self.note_check(slot, tuple, outcome);
        Ok(())
    }

    /// An answer to no check of this shard.
    pub(super) fn pass_answer(&mut self, tuple: Tuple, answer: &[u8]) -> Result<(), DropReason> {
        if !self.strays.take_asked(tuple) {
            return Err(DropReason::StunUnexpected);
        }
        self.metrics.answers_passed += 1;
        self.pass_to_others(&MediaItem::Answer { tuple }, answer);
        Ok(())
    }

    /// An answer that arrived at `via`. Every other shard gets it, and one has asked.
    pub(super) fn receive_passed_answer(
        &mut self,
        now: Timestamp,
        via: ShardId,
        tuple: Tuple,
        answer: &[u8],
    ) -> Result<(), DropReason> {
        let answer = StunView::parse(answer).map_err(|_| DropReason::StunMalformed)?;
        match self.receive_answer(now, tuple, &answer) {
            Ok(()) => self.have_passed(tuple, via),
            Err(DropReason::StunUnexpected) => {}
            Err(reason) => return Err(reason),
        }
        Ok(())
    }
}

/// RFC 3550 §5.1 and §6.4: the source of an RTP packet, or who sends an RTCP packet.
fn ssrc_of(class: DatagramClass, packet: &[u8]) -> Option<Ssrc> {
    let at = match class {
        DatagramClass::Rtp => 8,
        DatagramClass::Rtcp => 4,
        DatagramClass::Stun | DatagramClass::Dtls => return None,
    };
    let bytes = packet.get(at..)?.first_chunk()?;
    Some(Ssrc(u32::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use millrace_shared::limits::SHARDS_MAX;

    use super::*;

    fn passed_in_a_second(shards: usize) -> usize {
        let mut strays = Strays::default();
        let asked = (0..1_000).filter(|millis| {
            let tuple = Tuple {
                local: ([192, 0, 2, 1], 7882).into(),
                remote: ([192, 0, 2, 2], 1_000 + *millis as u16).into(),
            };
            strays.ask(Timestamp::from_millis(*millis), tuple, shards - 1)
        });
        asked.count()
    }

    #[test]
    fn a_shard_passes_strays_on_as_often_as_the_others_can_look_and_ten_a_second_at_least() {
        for (shards, passed) in [(2, 100), (5, 25), (11, 10), (SHARDS_MAX, 10)] {
            assert_eq!(passed_in_a_second(shards), passed, "{shards} shards");
        }
    }
}
