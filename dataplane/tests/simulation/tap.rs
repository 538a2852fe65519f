//! Between shards and networks: opens what a shard wrote, shows it to the oracles, and puts it on
//! its way.

use std::net::SocketAddr;

use millrace_shared::ice::Tuple;
use millrace_shared::limits::DATAGRAM_SEND_LEN_MAX;
use millrace_shared::link::{Codec, ExtKind};
use millrace_shared::time::{NtpTime, SeqNo, Timestamp};
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket};
use millrace_shared::wire::rtp::RtpView;
use millrace_shared::wire::rtp_ext;
use millrace_shared::wire::stun::{IntegrityKey, StunClass, StunView};

use crate::content::Content;
use crate::encoder::Load;
use crate::io::Written;
use crate::media::down_ext_ids;
use crate::peer::WALLCLOCK_START;
use crate::tamper::Tampered;
use crate::verdict::Oracle;
use crate::world::{Delivery, Effect, Mark, Pending, STRANGER, World};

/// A check of the stranger's address.
fn is_check(written: &Written) -> bool {
    let message = StunView::parse(&written.bytes);
    written.tuple.remote == STRANGER.into()
        && message.is_ok_and(|it| it.class() == StunClass::Request)
}

impl World {
    /// A datagram that a shard took from its network.
    pub(crate) fn note_taken(&mut self, now: Timestamp, shard: usize, tuple: Tuple, mark: Mark) {
        let one_port = self.layout.one_port;
        let Some(peer) = self.peer_at(tuple.remote) else {
            return;
        };
        let Some(member) = self.member(peer) else {
            return;
        };
        let passed = member.home != shard;
        match mark {
            // Where it arrives elsewhere, the answer says that the address is known.
            Mark::Check if !one_port || (member.keys.is_none() && member.home == shard) => {
                member.valid.insert(tuple.remote);
            }
            Mark::Check => {}
            Mark::Report | Mark::Stray => {}
            Mark::Media {
                load,
                content,
                transport_cc,
            } => {
                if member.valid.contains(&tuple.remote) {
                    self.ledger
                        .heard
                        .entry(peer)
                        .or_default()
                        .insert(transport_cc);
                    self.accept(now, load, content, passed);
                }
            }
        }
    }

    /// `passed`: it crosses a lane to the transport's home.
    fn accept(&mut self, now: Timestamp, load: Load, content: Content, passed: bool) {
        let mut effects = self.effects.iter();
        let muting = |effect| matches!(effect, Effect::Muted(track, _) if track == content.track);
        let unsure = passed && (self.lane_lost || effects.any(|it| muting(it.effect)));
        let mut tracks = self.tracks.iter();
        let track = tracks.find(|it| it.publishing.track == content.track);
        if let Some(track) = track.filter(|it| !it.gone && load != Load::Probe) {
            let silent = track.muted || load == Load::Padding;
            self.ledger.accept(now, content, silent, unsure);
        }
    }

    /// A datagram that a shard wrote.
    pub(crate) fn tap(&mut self, shard: usize, written: Written) {
        let Some(peer) = self.peer_at(written.tuple.remote) else {
            // An authentic packet from there: it may be a peer's NAT, and only the peer can answer.
            if is_check(&written) {
                return;
            }
            let text = format!("a datagram to {}", written.tuple.remote);
            self.verdict.blame(self.now(), Oracle::Stranger, text);
            return;
        };
        match classify(&written.bytes) {
            Some(DatagramClass::Stun) => self.tap_stun(shard, peer, &written),
            Some(DatagramClass::Rtp) => self.tap_secured(peer, &written, true),
            Some(DatagramClass::Rtcp) => self.tap_secured(peer, &written, false),
            class => {
                let text = format!("{class:?} to peer {peer}");
                self.verdict.blame(self.now(), Oracle::Authenticity, text);
            }
        }
    }

    fn tap_stun(&mut self, shard: usize, peer: usize, written: &Written) {
        let Some(member) = self.member(peer) else {
            return;
        };
        let key = IntegrityKey::new(member.peer.ice.pwd.as_bytes());
        let class = StunView::parse(&written.bytes)
            .ok()
            .filter(|message| message.verify_integrity(&key))
            .map(|message| message.class());
        match class {
            Some(StunClass::Success) => {}
            // A check of the shard's own, of where the peer roamed to: it has its own on the way.
            Some(StunClass::Request) => return,
            _ => {
                let text = format!("a check of peer {peer} is answered wrongly");
                self.verdict.blame(self.now(), Oracle::Authenticity, text);
            }
        }
        self.connect(shard, peer, written.tuple.remote);
        self.validate(shard, peer, written.tuple.remote);
        self.pass_on(peer, written, &Delivery::CheckAnswer);
    }

    /// A shard answered a check. If the address's datagrams arrive at another one, that passes them
    /// on from its next tick on.
    fn validate(&mut self, shard: usize, peer: usize, remote: SocketAddr) {
        let effect = Effect::Validated(peer, remote);
        let landing = self.landing(peer, remote);
        if landing == shard {
            self.take_effect(effect);
        } else {
            self.effects.push(Pending {
                shard: landing,
                of: None,
                effect,
            });
        }
    }

    fn tap_secured(&mut self, peer: usize, written: &Written, rtp: bool) {
        let now = self.now();
        let Some(member) = self.member(peer) else {
            return;
        };
        match member.opener.open(&written.bytes, rtp) {
            Ok(plain) => {
                let codec = rtp.then(|| self.codec_of(peer, &plain)).flatten();
                let tampered = self.tamper.apply(now, peer, plain, (rtp, codec));
                for Tampered { peer, plain } in tampered {
                    self.inspect(peer, written, plain, rtp);
                }
            }
            Err(reason) => {
                let text = format!("to peer {peer}: {reason}");
                self.verdict.blame(now, Oracle::Authenticity, text);
            }
        }
    }

    fn codec_of(&mut self, peer: usize, plain: &[u8]) -> Option<Codec> {
        let rtp = RtpView::parse(plain).ok()?;
        let copy = self.ledger.copy_of(peer, rtp.ssrc)?;
        Some(copy.codec)
    }

    fn inspect(&mut self, peer: usize, written: &Written, plain: Vec<u8>, rtp: bool) {
        self.capture(written.tuple.local, written.tuple.remote, &plain);
        let len = written.bytes.len().max(plain.len());
        if len > DATAGRAM_SEND_LEN_MAX {
            let text = format!("{len} bytes to peer {peer}");
            self.verdict.blame(self.now(), Oracle::Length, text);
        }
        if rtp {
            self.inspect_rtp(peer, written, &plain);
        } else {
            self.inspect_rtcp(peer, &plain);
            self.pass_on(peer, written, &Delivery::Rtcp(plain));
        }
    }

    fn inspect_rtp(&mut self, peer: usize, written: &Written, plain: &[u8]) {
        let now = self.now();
        let Ok(rtp) = RtpView::parse(plain) else {
            let text = format!("to peer {peer}: not RTP inside");
            self.verdict.blame(now, Oracle::Content, text);
            return;
        };
        let excuses = self.ledger.excuses(peer);
        let Some(copy) = self.ledger.copy_of(peer, rtp.ssrc) else {
            let text = format!("{:?} to peer {peer}", rtp.ssrc);
            self.verdict.blame(now, Oracle::Stranger, text);
            return;
        };
        let noted = copy.note(now, &rtp, written.carried, excuses, &mut self.verdict);
        if let Some((_, content)) = noted {
            self.check_muted(content);
        }
        let transport_cc = down_ext_ids()
            .id(ExtKind::TransportCc)
            .and_then(|id| rtp.ext(id))
            .and_then(rtp_ext::transport_cc);
        self.check_transport_cc(peer, transport_cc);
        let delivery = Delivery::Rtp {
            number: noted.map_or(rtp.seq, |(number, _)| number),
            content: noted.map(|(_, content)| content),
            ssrc: rtp.ssrc,
            transport_cc,
            len: written.bytes.len(),
        };
        self.pass_on(peer, written, &delivery);
    }

    /// draft-holmer-rmcat-transport-wide-cc-extensions-01 §2: one number for every packet sent.
    fn check_transport_cc(&mut self, peer: usize, number: Option<SeqNo>) {
        let now = self.now();
        let Some(member) = self.members[peer].as_mut() else {
            return;
        };
        let before = std::mem::replace(&mut member.transport_cc, number);
        let step = before.zip(number).map(|(before, it)| it.distance(before));
        if number.is_none() || step.is_some_and(|step| step != 1) {
            let text = format!("peer {peer}: transport-wide number {number:?} after {before:?}");
            self.verdict.blame(now, Oracle::Feedback, text);
        }
    }

    fn check_muted(&mut self, content: Content) {
        let arrivals = self.ledger.arrivals.get(&(content.track, content.spatial));
        let seq = &content.seq;
        if arrivals.is_some_and(|it| it.silent.contains(seq) && !it.unsure.contains(seq)) {
            let text = format!("{content:?} was padding, or of a mute");
            self.verdict.blame(self.now(), Oracle::Stranger, text);
        }
    }

    fn inspect_rtcp(&mut self, peer: usize, compound: &[u8]) {
        let now = self.now();
        for packet in RtcpCompound::parse(compound) {
            let Ok(packet) = packet else {
                let text = format!("to peer {peer}: malformed RTCP");
                self.verdict.blame(now, Oracle::Content, text);
                return;
            };
            let RtcpPacket::SenderReport(report) = packet else {
                continue;
            };
            let excuses = self.ledger.excuses(peer);
            let track = self.ledger.copy_of(peer, report.ssrc).map(|it| it.track);
            let captured_us =
                track.map_or(Vec::new(), |track| self.captured(track, report.info.ntp));
            let Some(copy) = self.ledger.copy_of(peer, report.ssrc) else {
                let text = format!("report of {:?} to peer {peer}", report.ssrc);
                self.verdict.blame(now, Oracle::Stranger, text);
                continue;
            };
            copy.note_report(now, &report.info, &captured_us, excuses, &mut self.verdict);
        }
    }

    /// The times that a publisher's wallclock may stand for, in microseconds, one for each step
    /// that it made.
    fn captured(&self, track: u16, ntp: NtpTime) -> Vec<i64> {
        let mut tracks = self.tracks.iter();
        let publishing = tracks.find(|it| it.publishing.track == track);
        let Some(publisher) = publishing.and_then(|it| self.members[it.publishing.peer].as_ref())
        else {
            return Vec::new();
        };
        let start = NtpTime::from_duration(WALLCLOCK_START).0;
        let steps = publisher.steps.iter();
        let times = steps.map(|step| {
            let since = ntp.0.wrapping_sub(start).wrapping_sub(step.cast_unsigned());
            ((u128::from(since) * 1_000_000) >> 32) as i64
        });
        times.collect()
    }

    /// What transport-wide feedback told a peer must have arrived.
    pub(crate) fn check_feedback(&mut self, peer: usize) {
        let now = self.now();
        let Some(member) = self.members[peer].as_mut() else {
            return;
        };
        let told = std::mem::take(&mut member.peer.told);
        let heard = self.ledger.heard.entry(peer).or_default();
        for (seq, arrived) in told {
            if arrived && !heard.contains(&seq.0) {
                let text = format!("peer {peer} is told that {seq:?} arrived");
                self.verdict.blame(now, Oracle::Feedback, text);
            }
        }
    }
}
