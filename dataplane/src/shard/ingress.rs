//! Step 1 of the tick: a datagram's way in.

use millrace_netio::{Datagram, Transmit};
use millrace_shared::drop::DropReason;
use millrace_shared::ice::{CheckOutcome, Tuple, local_part};
use millrace_shared::link::{CandidatePair, Event, ExtKind, MediaKind};
use millrace_shared::time::Timestamp;
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::rtp::RtpView;
use millrace_shared::wire::rtp_ext;
use millrace_shared::wire::stun::{METHOD_BINDING, StunClass, StunView};

use super::egress::{Fan, forward, send_datagram, skip};
use super::tick::LINGER_COPIES_MIN;
use super::timers::Reason;
use super::{Origin, Shard, UpEntry};
use crate::packet::Packet;
use crate::slots::Slot;
use crate::transport::streams::StreamRef;
use crate::uptrack::{Received, StreamClaim};

impl Shard {
    /// RFC 7983 §7: the first byte tells the protocol.
    pub(super) fn ingress(
        &mut self,
        now: Timestamp,
        datagram: Datagram<'_>,
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        if datagram.truncated || datagram.payload.is_empty() {
            return Err(DropReason::DatagramLength);
        }
        let tuple = Tuple {
            local: datagram.local,
            remote: datagram.remote,
        };
        let class = classify(datagram.payload).ok_or(DropReason::DatagramClass)?;
        if class == DatagramClass::Stun {
            return self.receive_stun(now, tuple, datagram.payload, tx);
        }
        let Some(transport) = self.demux.by_tuple(&tuple) else {
            let passed = self.pass_datagram(tuple, datagram.payload);
            if passed.is_err() && class != DatagramClass::Dtls {
                self.check_stray(now, tuple, class, datagram.payload, tx);
            }
            return passed;
        };
        match class {
            DatagramClass::Dtls => self.receive_dtls(now, transport, datagram.payload, tx)?,
            DatagramClass::Rtp => self.receive_rtp(now, transport, datagram.payload, tx)?,
            DatagramClass::Rtcp => self.receive_rtcp(now, transport, datagram.payload, tx)?,
            DatagramClass::Stun => {}
        }
        if class != DatagramClass::Dtls {
            self.follow(transport, tuple);
        }
        Ok(())
    }

    /// Authentic media shows where the peer is.
    fn follow(&mut self, slot: Slot, tuple: Tuple) {
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        if transport.ice.follow(tuple) {
            let transport = transport.id;
            self.emit(Event::PairSelected {
                transport,
                pair: pair_of(tuple),
            });
        }
    }

    pub(super) fn receive_stun(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        datagram: &[u8],
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let request = StunView::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        if (request.class(), request.method()) == (StunClass::Success, METHOD_BINDING) {
            return match self.receive_answer(now, tuple, &request) {
                Err(DropReason::StunUnexpected) => self.pass_answer(tuple, datagram),
                received => received,
            };
        }
        if (request.class(), request.method()) != (StunClass::Request, METHOD_BINDING) {
            return Err(DropReason::StunUnexpected);
        }
        let ufrag = request
            .username()
            .and_then(local_part)
            .ok_or(DropReason::StunUsername)?;
        match self.demux.by_ufrag(ufrag) {
            Some(slot) => {
                self.answer_check(now, slot, tuple, &request, tx)?;
                self.claim_tuple(&tuple);
                Ok(())
            }
            None => self.pass_check(tuple, self.id, ufrag, datagram),
        }
    }

    /// A check for a ufrag of ours, wherever it arrived.
    pub(super) fn answer_check(
        &mut self,
        now: Timestamp,
        slot: Slot,
        tuple: Tuple,
        request: &StunView<'_>,
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        // To one that is closed we are gone: its peer learns by the loss of consent (RFC 7675 §5.1)
        // where no goodbye reached it.
        let transport = self
            .transports
            .get_mut(slot)
            .filter(|transport| !transport.closed)
            .ok_or(DropReason::StunUfragUnknown)?;

        let outcome = transport
            .ice
            .receive(now, tuple, request, self.scratch.as_mut_slice())?;
        if let Some(response) = self.scratch.get(..outcome.response_len) {
            send_datagram(&mut transport.train, tuple, response, tx, &mut self.metrics);
        }
        let transport_id = transport.id;
        self.place_here(transport_id);
        self.note_check(slot, tuple, outcome);
        Ok(())
    }

    /// What an authentic check changed, theirs or ours.
    pub(super) fn note_check(&mut self, slot: Slot, tuple: Tuple, outcome: CheckOutcome) {
        if outcome.new_tuple || self.demux.by_tuple(&tuple) != Some(slot) {
            self.demux.add_tuple(tuple, slot);
        }
        if let Some(evicted) = outcome.evicted {
            self.forget_tuple(&evicted, slot);
        }
        if let Some(ended) = outcome.ended_ufrag {
            self.demux.remove_ufrag(&ended);
        }
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        let heard_again = std::mem::take(&mut transport.disconnected);
        if heard_again || outcome.selected_changed {
            let transport = transport.id;
            self.emit(Event::PairSelected {
                transport,
                pair: pair_of(tuple),
            });
        }
        // Any other check only makes deadlines later, which the timer finds when it fires.
        if heard_again || outcome.new_tuple {
            self.arm_transport(slot);
        }
    }

    fn receive_dtls(
        &mut self,
        now: Timestamp,
        slot: Slot,
        record: &[u8],
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let transport = self
            .transports
            .get_mut(slot)
            .ok_or(DropReason::TupleUnvalidated)?;
        transport.police.dtls(now)?;
        self.half_open.admit(slot, transport)?;
        let received = transport.receive_dtls(now, record, &self.identity, &self.epoch);
        self.pump(now, slot, tx);
        received
    }

    fn receive_rtp(
        &mut self,
        now: Timestamp,
        slot: Slot,
        packet: &mut [u8],
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let transport = self
            .transports
            .get_mut(slot)
            .ok_or(DropReason::TupleUnvalidated)?;
        let wire_len = packet.len();
        let len = transport.security.rx()?.unprotect_rtp(packet)?.len;
        transport.police.rtp(now, wire_len)?;
        let plain = packet.get(..len).ok_or(DropReason::RtpMalformed)?;
        let rtp = RtpView::parse(plain).map_err(|_| DropReason::RtpMalformed)?;
        self.metrics.rtp_received += 1;

        let ext_ids = transport.receive_ext_ids;
        let transport_cc = ext_ids.id(ExtKind::TransportCc).and_then(|id| rtp.ext(id));
        if let Some(seq) = transport_cc.and_then(rtp_ext::transport_cc) {
            transport.streams.note_heard(rtp.ssrc);
            transport.transport_cc.record(now, seq, wire_len);
            let at = transport.transport_cc.next_timeout();
            self.timers
                .arm(&mut transport.armed, at, Reason::Transport(slot));
        }
        let stream = match transport.streams.by_ssrc(rtp.ssrc) {
            Some(stream) => stream,
            None => self.learn_stream(now, slot, &rtp)?,
        };
        self.receive_media(now, stream, &rtp, tx)
    }

    /// RFC 8843 §9.2: a packet of an unknown SSRC belongs to the m-line that its MID names, and
    /// without one to the only m-line that has its payload type.
    fn learn_stream(
        &mut self,
        now: Timestamp,
        slot: Slot,
        rtp: &RtpView<'_>,
    ) -> Result<StreamRef, DropReason> {
        let transport = self
            .transports
            .get_mut(slot)
            .ok_or(DropReason::TupleUnvalidated)?;
        if transport.streams.is_full() {
            return Err(DropReason::SsrcLimit);
        }
        let ext_ids = transport.receive_ext_ids;
        let ext = |kind: ExtKind| ext_ids.id(kind).and_then(|id| rtp.ext(id));
        let up_track = match ext(ExtKind::Mid).and_then(rtp_ext::mid) {
            Some(mid) => transport.streams.by_mid(mid),
            None => {
                let mut candidates = transport.up_tracks.iter().copied().filter(|up_track| {
                    self.up_tracks
                        .get(*up_track)
                        .is_some_and(|entry| entry.track.has_pt(rtp.pt))
                });
                candidates.next().filter(|_| candidates.next().is_none())
            }
        }
        .ok_or(DropReason::RtpStreamUnknown)?;
        let entry = self
            .up_tracks
            .get_mut(up_track)
            .ok_or(DropReason::RtpStreamUnknown)?;
        let claim = StreamClaim {
            ssrc: rtp.ssrc,
            pt: rtp.pt,
            rid: ext(ExtKind::Rid).and_then(rtp_ext::rid),
            repaired_rid: ext(ExtKind::RepairedRid).and_then(rtp_ext::rid),
        };
        let role = entry
            .track
            .resolve(now, &claim)
            .ok_or(DropReason::RtpStreamUnknown)?;
        let stream = StreamRef { up_track, role };
        transport.streams.learn(rtp.ssrc, stream);
        Ok(stream)
    }

    fn receive_media(
        &mut self,
        now: Timestamp,
        stream: StreamRef,
        rtp: &RtpView<'_>,
        tx: &mut dyn Transmit,
    ) -> Result<(), DropReason> {
        let entry = self
            .up_tracks
            .get_mut(stream.up_track)
            .ok_or(DropReason::RtpStreamUnknown)?;
        let publisher = entry.origin.publisher();
        let publisher = publisher
            .and_then(|slot| self.transports.get(slot))
            .ok_or(DropReason::RtpStreamUnknown)?;
        let ext_ids = publisher.receive_ext_ids;
        if stream.role.rtx {
            self.metrics.rtx_received += 1;
        }
        let track = entry.track.track();
        let received = entry.track.receive(now, stream.role, rtp, &ext_ids);
        let at = entry.track.next_timeout();
        self.timers
            .arm(&mut entry.armed, at, Reason::UpTrack(stream.up_track));
        self.announce_stream(now, stream, rtp);
        match received? {
            Received::Packet(packet) => {
                self.send_to_mirrors(stream.up_track, track, &packet);
                self.forward_packet(now, stream.up_track, &packet, tx);
                self.observe_level(now, stream.up_track, rtp, ext_ids.id(ExtKind::AudioLevel));
            }
            Received::Padding { spatial, seq } => {
                self.send_padding_to_mirrors(stream.up_track, track, spatial, seq);
                let routes = self.router.fanout(stream.up_track);
                skip(routes, &mut self.down_tracks, spatial, seq);
                let entry = self.up_tracks.get(stream.up_track);
                if entry.is_some_and(|entry| entry.track.is_muted()) {
                    return Err(DropReason::TrackMuted);
                }
            }
        }
        Ok(())
    }

    /// To every copy that is here, whether the track is or a mirror of it.
    pub(super) fn forward_packet(
        &mut self,
        now: Timestamp,
        up_track: Slot,
        packet: &Packet<'_>,
        tx: &mut dyn Transmit,
    ) {
        let Some(entry) = self.up_tracks.get(up_track) else {
            return;
        };
        let clocks = entry.track.clocks();
        let live_layers = entry.track.live_layers(now);
        let is_video = entry.track.kind() == MediaKind::Video;
        let forwarded = self.metrics.rtp_forwarded;
        let mut fan = Fan {
            routes: self.router.fanout(up_track),
            down_tracks: &mut self.down_tracks,
            transports: &mut self.transports,
            timers: &mut self.timers,
            metrics: &mut self.metrics,
            epoch: &self.epoch,
            events: self.events.as_ref(),
        };
        let wanted = forward(now, packet, &clocks, live_layers, &mut fan, tx);
        // A layer that nobody takes, or a small room's frame, says nothing of a big one's.
        if is_video && self.metrics.rtp_forwarded - forwarded >= LINGER_COPIES_MIN {
            self.frame_open = !packet.meta.marker;
        }
        self.request_keyframes(now, up_track, wanted, tx);
    }

    /// Tells control plane and mirrors of the first packet of each encoding, muted or not.
    fn announce_stream(&mut self, now: Timestamp, stream: StreamRef, rtp: &RtpView<'_>) {
        let Some(entry) = self.up_tracks.get_mut(stream.up_track) else {
            return;
        };
        let bit = 1u8 << stream.role.spatial.min(7);
        if entry.started_layers & bit != 0 || stream.role.rtx {
            return;
        }
        entry.started_layers |= bit;
        entry.started_pt = Some(rtp.pt);
        let track = entry.track.track();
        let transport = entry.origin.publisher();
        let transport = transport
            .and_then(|slot| self.transports.get(slot))
            .map(|transport| transport.id);
        self.describe_to_mirrors(now, track);
        if let Some(transport) = transport {
            let (spatial, ssrc, pt) = (stream.role.spatial, rtp.ssrc, rtp.pt);
            self.emit(Event::UpTrackStarted {
                transport,
                track,
                spatial,
                ssrc,
                pt,
            });
        }
    }

    fn observe_level(
        &mut self,
        now: Timestamp,
        up_track: Slot,
        rtp: &RtpView<'_>,
        ext_id: Option<u8>,
    ) {
        let level = ext_id
            .and_then(|id| rtp.ext(id))
            .and_then(rtp_ext::audio_level);
        let (
            Some(level),
            Some(UpEntry {
                origin: Origin::Publisher(transport),
                track,
                ..
            }),
        ) = (level, self.up_tracks.get(up_track))
        else {
            return;
        };
        let Some(group_slot) = self
            .transports
            .get(*transport)
            .map(|transport| transport.group)
        else {
            return;
        };
        if let Some(group) = self.groups.get_mut(group_slot) {
            group
                .speakers
                .observe(now, track.track(), level.below_overload_db, rtp.timestamp);
            let at = group.speakers.next_timeout();
            self.timers
                .arm(&mut group.armed, at, Reason::Group(group_slot));
        }
    }
}

pub(super) fn pair_of(tuple: Tuple) -> CandidatePair {
    CandidatePair {
        local: tuple.local,
        remote: tuple.remote,
    }
}
