//! A client in virtual time, with SRTP keys from the seed: publishes, subscribes, checks its
//! connection, answers feedback.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_dataplane::congestion::twcc::TransportCcRecorder;
use millrace_shared::ids::Ssrc;
use millrace_shared::link::{IceCredentials, MediaKind};
use millrace_shared::sim::Prng;
use millrace_shared::srtp::{MasterKey, Profile, SrtpRx, SrtpTx};
use millrace_shared::time::{NtpTime, SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{
    PayloadFeedback, RtcpCompound, RtcpPacket, RtcpWriter, SenderInfo, TransportFeedback,
};
use millrace_shared::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, TransactionId, write_binding_request,
};

use crate::encoder::{Encoder, Plain};
use crate::receiver::Receiver;

const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);
/// Until the first answer, and after a change of address.
const CHECK_INTERVAL_EAGER: Duration = Duration::from_millis(50);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Loss of a second at which the best encoding is cut, and for how long.
const CUT_LOSS_PERCENT: u32 = 10;
const CUT_TIME: Duration = Duration::from_millis(1_500);
/// Of the peer as a sender of feedback.
const OWN_SSRC: Ssrc = Ssrc(0xfeed);
/// NTP seconds of the publisher's wallclock at time zero.
pub(crate) const WALLCLOCK_START: Duration = Duration::from_secs(3_900_000_000);

/// What a peer sends, before the network.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Check(Vec<u8>),
    Media(Plain),
    /// A compound packet, not yet protected.
    Report(Vec<u8>),
}

/// A published track.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) encoders: Vec<Encoder>,
    pub(crate) interval: Duration,
    pub(crate) next_at: Timestamp,
    /// Bit n: encoding n is being sent.
    pub(crate) sends: u8,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) remote: SocketAddr,
    pub(crate) ice: IceCredentials,
    pub(crate) tx: SrtpTx,
    transactions: u64,
    check_at: Timestamp,
    answered: bool,
    /// A check was answered once: nothing else is sent before.
    connected: bool,
    report_at: Timestamp,
    poll_at: Timestamp,
    pub(crate) transport_cc: u16,
    recorder: TransportCcRecorder,
    pub(crate) publications: Vec<Publication>,
    pub(crate) receivers: Vec<Receiver>,
    /// Added to the wallclock of sender reports.
    pub(crate) wallclock_step: i64,
    /// What feedback said of transport-wide numbers, for the oracle.
    pub(crate) told: Vec<(SeqNo, bool)>,
    pub(crate) key_requests: u64,
    /// Lost and arrived by feedback, since the last look.
    feedback: (u32, u32),
    /// Until then the best encoding of a simulcast track is not sent.
    cut_until: Timestamp,
}

/// The two directions of a transport's keys, from the seed.
pub(crate) fn keys(random: &mut Prng) -> (MasterKey, MasterKey) {
    let profile = match random.below(3) {
        0 => Profile::AeadAes256Gcm,
        1 => Profile::Aes128CmSha1_80,
        _ => Profile::AeadAes128Gcm,
    };
    let mut key = || {
        let (mut key, mut salt) = ([0; 32], [0; 14]);
        random.fill(&mut key);
        random.fill(&mut salt);
        let (key, salt) = (&key[..profile.key_len()], &salt[..profile.salt_len()]);
        MasterKey::new(profile, key, salt).unwrap()
    };
    (key(), key())
}

impl Peer {
    /// `ours` is the key that the peer sends with.
    pub(crate) fn new(remote: SocketAddr, ice: IceCredentials, ours: &MasterKey) -> Self {
        Self {
            remote,
            ice,
            tx: SrtpTx::new(ours),
            transactions: 0,
            check_at: Timestamp::ZERO,
            answered: false,
            connected: false,
            report_at: Timestamp::ZERO,
            poll_at: Timestamp::ZERO,
            transport_cc: 0,
            recorder: TransportCcRecorder::default(),
            publications: Vec::new(),
            receivers: Vec::new(),
            wallclock_step: 0,
            told: Vec::new(),
            key_requests: 0,
            feedback: (0, 0),
            cut_until: Timestamp::ZERO,
        }
    }

    pub(crate) fn roam(&mut self, remote: SocketAddr) {
        self.remote = remote;
        self.check_at = Timestamp::ZERO;
        self.answered = false;
    }

    pub(crate) fn next_timeout(&self) -> Timestamp {
        if !self.connected {
            return self.check_at;
        }
        let frames = self.publications.iter().map(|it| it.next_at).min();
        self.check_at
            .min(self.report_at)
            .min(self.poll_at)
            .min(frames.unwrap_or(Timestamp::NEVER))
    }

    /// Everything that is due.
    pub(crate) fn poll(&mut self, now: Timestamp, out: &mut Vec<Sent>) {
        if self.check_at <= now {
            let interval = if self.answered {
                CHECK_INTERVAL
            } else {
                CHECK_INTERVAL_EAGER
            };
            self.check_at = now + interval;
            out.push(Sent::Check(self.check()));
        }
        if !self.connected {
            return;
        }
        let number = &mut self.transport_cc;
        for publication in &mut self.publications {
            if publication.next_at > now {
                continue;
            }
            publication.next_at = now + publication.interval;
            let top = publication.encoders.len() as u8 - 1;
            for encoder in &mut publication.encoders {
                let spatial = encoder.config.spatial;
                if self.cut_until > now && spatial == top && top > 0 {
                    encoder.key_wanted = true;
                    continue;
                }
                if publication.sends & (1 << spatial) != 0 {
                    out.extend(encoder.frame(now, number).into_iter().map(Sent::Media));
                }
            }
        }
        if self.report_at <= now {
            self.report_at = now + REPORT_INTERVAL;
            self.report(now, out);
            self.adapt(now);
        }
        if self.poll_at <= now {
            self.poll_at = now + POLL_INTERVAL;
            self.feed_back(now, out);
        }
    }

    fn check(&mut self) -> Vec<u8> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transactions.to_be_bytes());
        let mut bytes = vec![0; 256];
        let request = BindingRequest {
            transaction_id: TransactionId(id),
            username: &format!("{}:peer", self.ice.ufrag),
            priority: 1,
            role: IceRole::Controlling(7),
            use_candidate: true,
        };
        let key = IntegrityKey::new(self.ice.pwd.as_bytes());
        let len = write_binding_request(&mut bytes, &request, &key).unwrap();
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn wallclock(&self, now: Timestamp) -> NtpTime {
        let clock = WALLCLOCK_START + Duration::from_nanos(now.as_nanos());
        let ntp = NtpTime::from_duration(clock).0;
        NtpTime(ntp.wrapping_add_signed(self.wallclock_step))
    }

    /// Sender reports of every encoding, and one receiver report.
    fn report(&mut self, now: Timestamp, out: &mut Vec<Sent>) {
        let ntp = self.wallclock(now);
        let encoders = self.publications.iter().flat_map(|it| &it.encoders);
        for encoder in encoders.filter(|encoder| encoder.packets > 0) {
            let info = SenderInfo {
                ntp,
                rtp_time: encoder.rtp_time(now),
                packets: encoder.packets,
                bytes: encoder.bytes,
            };
            out.push(compound(|writer| {
                writer
                    .sender_report(encoder.config.ssrc, &info, &[])
                    .unwrap();
            }));
        }
        let receivers = self.receivers.iter_mut();
        let blocks: Vec<_> = receivers.filter_map(|it| it.report_block(now)).collect();
        for blocks in blocks.chunks(31) {
            out.push(compound(|writer| {
                writer.receiver_report(OWN_SSRC, blocks).unwrap();
            }));
        }
    }

    /// A path that loses much gets less.
    fn adapt(&mut self, now: Timestamp) {
        let (lost, arrived) = std::mem::take(&mut self.feedback);
        if lost + arrived > 20 && lost * 100 > (lost + arrived) * CUT_LOSS_PERCENT {
            self.cut_until = now + CUT_TIME;
        }
    }

    /// NACKs, requests for key frames, and how packets arrived.
    fn feed_back(&mut self, now: Timestamp, out: &mut Vec<Sent>) {
        for receiver in self.receivers.iter_mut().filter(|it| it.is_busy()) {
            let (seqs, pli) = receiver.due(now);
            if !seqs.is_empty() {
                out.push(compound(|writer| {
                    writer.nack(OWN_SSRC, receiver.ssrc, seqs).unwrap();
                }));
            }
            if pli {
                out.push(compound(|writer| {
                    writer.pli(OWN_SSRC, receiver.ssrc).unwrap();
                }));
            }
        }
        loop {
            let mut bytes = [0; 1_500];
            let mut writer = RtcpWriter::new(&mut bytes);
            let recorder = &mut self.recorder;
            if !recorder.write_feedback(now, OWN_SSRC, Ssrc(1), &mut writer) {
                break;
            }
            out.push(Sent::Report(writer.written().to_vec()));
        }
    }

    pub(crate) fn receive_check_answer(&mut self) {
        self.answered = true;
        self.connected = true;
    }

    pub(crate) fn note_arrival(&mut self, now: Timestamp, transport_cc: Option<SeqNo>, len: usize) {
        if let Some(seq) = transport_cc {
            self.recorder.record(now, seq, len);
        }
    }

    pub(crate) fn receiver(&mut self, ssrc: Ssrc) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|it| it.ssrc == ssrc)
    }

    /// A compound packet of the shard; what it makes the peer send at once.
    pub(crate) fn receive_rtcp(&mut self, now: Timestamp, compound: &[u8], out: &mut Vec<Sent>) {
        for packet in RtcpCompound::parse(compound) {
            match packet.unwrap() {
                RtcpPacket::SenderReport(report) => {
                    if let Some(receiver) = self.receiver(report.ssrc) {
                        receiver.sender_report(now, report.info.ntp);
                    }
                }
                RtcpPacket::TransportFeedback(TransportFeedback::Nack(nack)) => {
                    for seq in nack.seqs() {
                        let again = self.retransmit(nack.media_ssrc, seq);
                        out.extend(again.map(Sent::Media));
                    }
                }
                RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) => {
                    for status in feedback.statuses() {
                        let arrived = status.arrival_us.is_some();
                        self.told.push((status.seq, arrived));
                        self.feedback.0 += u32::from(!arrived);
                        self.feedback.1 += u32::from(arrived);
                    }
                }
                RtcpPacket::PayloadFeedback(PayloadFeedback::Pli(pli)) => {
                    self.key_requests += 1;
                    if let Some(encoder) = self.encoder(pli.media_ssrc) {
                        encoder.key_wanted = true;
                    }
                }
                _ => {}
            }
        }
    }

    fn encoder(&mut self, ssrc: Ssrc) -> Option<&mut Encoder> {
        let publications = self.publications.iter_mut();
        let mut encoders = publications.flat_map(|it| &mut it.encoders);
        encoders.find(|encoder| encoder.config.ssrc == ssrc)
    }

    fn retransmit(&mut self, ssrc: Ssrc, seq: SeqNo) -> Option<Plain> {
        let mut number = self.transport_cc;
        let again = self
            .encoder(ssrc)
            .filter(|encoder| encoder.config.codec.kind() == MediaKind::Video)?
            .again(seq, &mut number);
        self.transport_cc = number;
        again
    }

    /// The datagram of what is sent.
    pub(crate) fn protect(&mut self, sent: &Sent) -> Vec<u8> {
        match sent {
            Sent::Check(bytes) => bytes.clone(),
            Sent::Media(plain) => {
                let mut bytes = plain.bytes.clone();
                let len = bytes.len();
                bytes.resize(len + self.tx.profile().rtp_overhead(), 0);
                let (header_len, roc) = (plain.header_len, plain.roc);
                self.tx
                    .protect_rtp(&mut bytes, header_len, len, roc)
                    .unwrap();
                bytes
            }
            Sent::Report(plain) => {
                let mut bytes = plain.clone();
                bytes.resize(plain.len() + self.tx.profile().rtcp_overhead(), 0);
                self.tx.protect_rtcp(&mut bytes, plain.len()).unwrap();
                bytes
            }
        }
    }
}

fn compound(write: impl FnOnce(&mut RtcpWriter<'_>)) -> Sent {
    let mut bytes = [0; 1_500];
    let mut writer = RtcpWriter::new(&mut bytes);
    write(&mut writer);
    Sent::Report(writer.written().to_vec())
}

/// Opens what the shard sends to one transport, before the network takes it.
#[derive(Debug)]
pub(crate) struct Opener(SrtpRx);

impl Opener {
    pub(crate) fn new(theirs: &MasterKey) -> Self {
        Self(SrtpRx::new(theirs))
    }

    /// Plain text, or why there is none.
    pub(crate) fn open(&mut self, bytes: &[u8], rtp: bool) -> Result<Vec<u8>, String> {
        let mut plain = bytes.to_vec();
        let len = if rtp {
            self.0.unprotect_rtp(&mut plain).map(|opened| opened.len)
        } else {
            self.0.unprotect_rtcp(&mut plain)
        };
        let len = len.map_err(|reason| format!("{reason:?}"))?;
        plain.truncate(len);
        Ok(plain)
    }
}
