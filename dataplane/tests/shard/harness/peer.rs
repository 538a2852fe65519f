//! A client as the shard sees it: ICE checks, DTLS as the client, SRTP both ways, data channels.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millrace_shared::dtls::{Dtls, DtlsOutput, Identity, PollBuffer};
use millrace_shared::ice::Tuple;
use millrace_shared::ids::TransportId;
use millrace_shared::link::{Fingerprint, IceCredentials};
use millrace_shared::sctp::{Reliability, Role, Sctp, SctpOutput};
use millrace_shared::srtp::{SrtpRx, SrtpTx};
use millrace_shared::time::{Epoch, Timestamp};
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::rtcp::RtcpWriter;
use millrace_shared::wire::rtp::RtpView;
use millrace_shared::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, StunClass, StunView, TransactionId,
    write_binding_request, write_binding_success,
};

use super::media::Plain;

/// libwebrtc checks a pair that it uses this often.
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);

/// An RTP packet as the subscriber got it, decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Got {
    pub(crate) at: Timestamp,
    pub(crate) bytes: Vec<u8>,
}

impl Got {
    pub(crate) fn view(&self) -> RtpView<'_> {
        RtpView::parse(&self.bytes).unwrap()
    }
}

/// The peer's side, as its description says it.
const PWD: &str = "peer-password-of-22-bytes";

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) transport: TransportId,
    pub(crate) tuple: Tuple,
    /// Addresses it was at before, where it still hears.
    pub(crate) also_at: Vec<SocketAddr>,
    /// Where the control plane placed it.
    pub(crate) shard: usize,
    /// Where the kernel delivers its tuple.
    pub(crate) arrives_at: usize,
    /// The shard's side.
    pub(crate) ice: IceCredentials,
    pub(crate) identity: Identity,
    epoch: Epoch,
    pub(crate) dtls: Option<Box<Dtls>>,
    pub(crate) sctp: Option<Box<Sctp>>,
    pub(crate) srtp: Option<(SrtpTx, SrtpRx)>,
    pub(crate) server_fingerprint: Option<Fingerprint>,
    poll_buffer: PollBuffer,
    /// What DTLS had to say when it received.
    outbox: Vec<Vec<u8>>,
    transactions: u64,
    /// When the next check is due; `NEVER` for a peer that fell silent.
    pub(crate) check_at: Timestamp,
    pub(crate) nominates: bool,
    pub(crate) checks_answered: u64,
    /// Checks of the shard's own, whether it answers them, and what it would say.
    pub(crate) checked: u64,
    pub(crate) answers: bool,
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) uses_data: bool,
    /// The peer opens the data channels, else the shard does.
    pub(crate) opens_channels: bool,
    /// Stream and label of every open channel.
    pub(crate) channels: Vec<(u16, String)>,
    pub(crate) rtp: Vec<Got>,
    /// Compound packets, decrypted.
    pub(crate) rtcp: Vec<Got>,
    pub(crate) messages: Vec<(String, Bytes)>,
    /// Datagrams that are no answer to a check.
    pub(crate) heard: u64,
    pub(crate) closed: bool,
    pub(crate) broken: Vec<String>,
}

impl Peer {
    pub(crate) fn new(
        transport: TransportId,
        tuple: Tuple,
        ice: IceCredentials,
        identity: Identity,
        epoch: Epoch,
    ) -> Self {
        Self {
            transport,
            tuple,
            also_at: Vec::new(),
            shard: 0,
            arrives_at: 0,
            ice,
            identity,
            epoch,
            dtls: None,
            sctp: None,
            srtp: None,
            server_fingerprint: None,
            poll_buffer: PollBuffer::new(),
            outbox: Vec::new(),
            transactions: 0,
            check_at: Timestamp::NEVER,
            nominates: true,
            checks_answered: 0,
            checked: 0,
            answers: true,
            answer: None,
            uses_data: false,
            opens_channels: false,
            channels: Vec::new(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            messages: Vec::new(),
            heard: 0,
            closed: false,
            broken: Vec::new(),
        }
    }

    /// A connectivity check with the shard's current credentials.
    pub(crate) fn check(&mut self, use_candidate: bool) -> Vec<u8> {
        let ice = self.ice.clone();
        self.check_with(&ice, use_candidate)
    }

    pub(crate) fn check_with(&mut self, ice: &IceCredentials, use_candidate: bool) -> Vec<u8> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transactions.to_be_bytes());
        let mut out = vec![0; 256];
        let request = BindingRequest {
            transaction_id: TransactionId(id),
            username: &format!("{}:peer", ice.ufrag),
            priority: 1,
            role: IceRole::Controlling(7),
            use_candidate,
        };
        let key = IntegrityKey::new(ice.pwd.as_bytes());
        let len = write_binding_request(&mut out, &request, &key).unwrap();
        out.truncate(len);
        out
    }

    pub(crate) fn start_dtls(&mut self, now: Timestamp) {
        let dtls = Dtls::new_client(&self.identity, &self.epoch, now);
        self.dtls = Some(Box::new(dtls));
    }

    /// An RTP packet, protected.
    pub(crate) fn protect(&mut self, plain: &Plain) -> Vec<u8> {
        let (tx, _) = self.srtp.as_mut().unwrap();
        let mut bytes = plain.bytes.clone();
        let len = bytes.len();
        bytes.resize(len + tx.profile().rtp_overhead(), 0);
        let roc = plain.roc;
        let sealed = tx
            .protect_rtp(&mut bytes, plain.header_len, len, roc)
            .unwrap();
        assert_eq!(sealed, bytes.len());
        bytes
    }

    /// A compound RTCP packet, protected.
    pub(crate) fn rtcp_of(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) -> Vec<u8> {
        let mut bytes = vec![0; 1_500];
        let mut writer = RtcpWriter::new(&mut bytes);
        write(&mut writer);
        let len = writer.len();
        let (tx, _) = self.srtp.as_mut().unwrap();
        bytes.truncate(len + tx.profile().rtcp_overhead());
        tx.protect_rtcp(&mut bytes, len).unwrap();
        bytes
    }

    pub(crate) fn send_message(&mut self, label: &str, packet: Bytes) {
        let stream = self.stream(label).expect("the channel is open");
        let sctp = self.sctp.as_mut().unwrap();
        sctp.send(stream, true, packet).unwrap();
    }

    pub(crate) fn stream(&self, label: &str) -> Option<u16> {
        let mut channels = self.channels.iter();
        channels.find(|(_, it)| it == label).map(|(id, _)| *id)
    }

    /// Takes what the shard sent.
    pub(crate) fn receive(&mut self, now: Timestamp, datagram: &[u8]) {
        match classify(datagram) {
            Some(DatagramClass::Stun) => self.receive_stun(datagram),
            Some(class) => {
                self.heard += 1;
                self.receive_secured(now, class, datagram);
            }
            None => self
                .broken
                .push(format!("no class: {:?}", datagram.first())),
        }
    }

    fn receive_stun(&mut self, datagram: &[u8]) {
        let response = StunView::parse(datagram).unwrap();
        if response.class() == StunClass::Request {
            self.answer(&response);
            return;
        }
        assert_eq!(response.class(), StunClass::Success);
        assert!(response.verify_integrity(&IntegrityKey::new(self.ice.pwd.as_bytes())));
        self.checks_answered += 1;
    }

    /// RFC 8445 §7.3, of a full agent.
    fn answer(&mut self, request: &StunView<'_>) {
        let key = IntegrityKey::new(PWD.as_bytes());
        assert!(request.verify_integrity(&key));
        assert_eq!(
            request.username(),
            Some(format!("peer:{}", self.ice.ufrag).as_str())
        );
        self.checked += 1;
        if !self.answers {
            return;
        }
        let mut out = vec![0; 256];
        let (id, mapped) = (request.transaction_id(), self.tuple.local);
        let len = write_binding_success(&mut out, id, mapped, &key).unwrap();
        out.truncate(len);
        self.answer = Some(out);
    }

    fn receive_secured(&mut self, now: Timestamp, class: DatagramClass, datagram: &[u8]) {
        if class == DatagramClass::Dtls {
            if let Some(dtls) = &mut self.dtls
                && let Err(reason) = dtls.receive(now, datagram)
            {
                self.broken.push(format!("dtls: {reason:?}"));
            }
            // It keeps few datagrams, and a tick may send many.
            let mut outbox = std::mem::take(&mut self.outbox);
            self.poll_dtls(now, &mut outbox);
            self.outbox = outbox;
            return;
        }
        let Some((_, rx)) = &mut self.srtp else {
            self.broken.push(format!("{class:?} before there are keys"));
            return;
        };
        let mut bytes = datagram.to_vec();
        let (len, list) = if class == DatagramClass::Rtp {
            let opened = rx.unprotect_rtp(&mut bytes).map(|opened| opened.len);
            (opened, &mut self.rtp)
        } else {
            (rx.unprotect_rtcp(&mut bytes), &mut self.rtcp)
        };
        match len {
            Ok(len) => {
                bytes.truncate(len);
                list.push(Got { at: now, bytes });
            }
            Err(reason) => self.broken.push(format!("{class:?}: {reason:?}")),
        }
    }

    /// What is due, and everything there is to send.
    pub(crate) fn poll(&mut self, now: Timestamp, out: &mut Vec<Vec<u8>>) {
        out.extend(self.answer.take());
        if self.check_at <= now {
            self.check_at = now + CHECK_INTERVAL;
            out.push(self.check(self.nominates));
        }
        out.append(&mut self.outbox);
        if let Some(dtls) = &mut self.dtls
            && dtls.next_timeout() <= now
        {
            dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp
            && sctp.next_timeout() <= now
        {
            sctp.handle_timeout(now);
        }
        loop {
            self.poll_dtls(now, out);
            if !self.poll_sctp(now) {
                return;
            }
        }
    }

    fn poll_dtls(&mut self, now: Timestamp, out: &mut Vec<Vec<u8>>) {
        let Some(mut dtls) = self.dtls.take() else {
            return;
        };
        while let Some(output) = dtls.poll(&mut self.poll_buffer) {
            match output {
                DtlsOutput::Datagram(datagram) => out.push(datagram.to_vec()),
                DtlsOutput::PeerFingerprint(it) => self.server_fingerprint = Some(it),
                DtlsOutput::Keys { local, remote } => {
                    self.srtp = Some((SrtpTx::new(&local), SrtpRx::new(&remote)));
                }
                DtlsOutput::Connected => {
                    if self.uses_data {
                        self.sctp = Some(Box::new(Sctp::new(Role::DtlsClient, &self.epoch)));
                    }
                }
                DtlsOutput::ApplicationData(packet) => {
                    if let Some(sctp) = &mut self.sctp
                        && let Err(reason) = sctp.receive(now, packet)
                    {
                        self.broken.push(format!("sctp: {reason:?}"));
                    }
                }
                DtlsOutput::Closed | DtlsOutput::Failed => self.closed = true,
            }
        }
        self.dtls = Some(dtls);
    }

    fn poll_sctp(&mut self, now: Timestamp) -> bool {
        let (Some(sctp), Some(dtls)) = (&mut self.sctp, &mut self.dtls) else {
            return false;
        };
        while let Some(output) = sctp.poll(now) {
            match output {
                SctpOutput::Datagram(datagram) => {
                    // Refused once the association is closed.
                    let _ = dtls.send(now, &datagram);
                    return true;
                }
                SctpOutput::Established if self.opens_channels => {
                    for (label, ordered, reliability) in [
                        ("_reliable", true, Reliability::Reliable),
                        ("_lossy", false, Reliability::Retransmits(0)),
                    ] {
                        let stream = sctp.open_channel(label, ordered, reliability).unwrap();
                        self.channels.push((stream, label.to_owned()));
                    }
                }
                SctpOutput::ChannelOpened { stream, label, .. } => {
                    self.channels.push((stream, label));
                }
                SctpOutput::Message {
                    stream, payload, ..
                } => {
                    let found = self.channels.iter().find(|(id, _)| *id == stream);
                    let label = found.map_or_else(String::new, |(_, label)| label.clone());
                    self.messages.push((label, payload));
                }
                SctpOutput::Established | SctpOutput::ChannelClosed { .. } | SctpOutput::Closed => {
                }
            }
        }
        false
    }

    pub(crate) fn next_timeout(&self) -> Timestamp {
        let dtls = self.dtls.as_ref().map(|it| it.next_timeout());
        let sctp = self.sctp.as_ref().map(|it| it.next_timeout());
        let timeouts = [dtls, sctp, Some(self.check_at)];
        let timeouts = timeouts.into_iter().flatten();
        timeouts.min().unwrap_or(Timestamp::NEVER)
    }

    pub(crate) fn is_at(&self, remote: SocketAddr) -> bool {
        self.tuple.remote == remote || self.also_at.contains(&remote)
    }
}
