//! One participant with its one media transport: a publisher's or a subscriber's.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bytes::Bytes;
use livekit_protocol as proto;
use millrace_shared::dtls::{Dtls, DtlsOutput, Identity, PollBuffer};
use millrace_shared::link::IceCredentials;
use millrace_shared::sctp::{Reliability, Role as SctpRole, Sctp, SctpOutput};
use millrace_shared::srtp::{SrtpRx, SrtpTx, roll_over_count};
use millrace_shared::time::{ExtSeq, Timestamp};
use millrace_shared::wire::class::{DatagramClass, classify};
use millrace_shared::wire::rtcp::RtcpWriter;
use millrace_shared::wire::rtp::HEADER_LEN_MIN;
use millrace_shared::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, StunClass, StunView, TransactionId,
    write_binding_request,
};
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;

use super::acks::Acks;
use super::media::{Mark, Video, epoch, now};
use super::sdp;
use super::signal::{Refused, Signal};
use crate::node::Node;
use crate::outcome::{Outcome, Said as _};
use crate::token::Grant;

/// As libwebrtc: often until there is a connection, then for consent.
const CHECK_INTERVAL_FIRST: Duration = Duration::from_millis(100);
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);
/// ICE, DTLS and the fingerprint.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits no longer than this for one datagram, so that timers are looked at.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(20);
const DATAGRAM_LEN_MAX: usize = 1_500;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

/// Who joins, and how honestly.
#[derive(Clone, Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) room: &'a str,
    pub(crate) identity: &'a str,
    pub(crate) role: Role,
    /// Written instead of the line that names our certificate.
    pub(crate) fingerprint: Option<String>,
}

impl<'a> Joining<'a> {
    pub(crate) fn new(room: &'a str, identity: &'a str, role: Role) -> Self {
        Self {
            room,
            identity,
            role,
            fingerprint: None,
        }
    }
}

pub(crate) struct Session {
    pub(crate) signal: Signal,
    pub(crate) socket: UdpSocket,
    ice: IceCredentials,
    pub(crate) remote_ice: IceCredentials,
    fingerprint: String,
    dtls: Box<Dtls>,
    dtls_begun: bool,
    pub(crate) sctp: Option<Box<Sctp>>,
    pub(crate) srtp: Option<(SrtpTx, SrtpRx)>,
    poll_buffer: Box<PollBuffer>,
    transactions: u64,
    check_at: Timestamp,
    signal_at: Timestamp,
    pub(crate) connected: bool,
    /// Stream and label of every open channel.
    pub(crate) channels: Vec<(u16, String)>,
    /// Takes what its data channels bring; a peer that does not is a slow one.
    pub(crate) reads_data: bool,
    pub(crate) messages: u64,
    pub(crate) acks: Acks,
    /// Decrypted compounds.
    pub(crate) rtcp: Vec<Vec<u8>>,
    pub(crate) video: Video,
    pub(crate) number: u64,
    /// Why it is over.
    pub(crate) ended: Option<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("number", &self.number)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Joins and negotiates; [`Session::connect`] does the rest.
    pub(crate) fn join(node: &Node, joining: &Joining<'_>, number: u64) -> Outcome<Self> {
        let publisher = joining.role == Role::Publisher;
        let grant = Grant {
            publish: publisher,
            subscribe: !publisher,
        };
        let token = node.key.join(joining.room, joining.identity, grant);
        let mut signal = Signal::open(node.http, &token).map_err(|refused| match refused {
            Refused::Status(status) => format!("the join was refused with {status}"),
            Refused::Broken(text) => text,
        })?;
        signal.wait("join", |response| {
            matches!(response, Response::Join(_)).then_some(())
        })?;
        let identity = Identity::generate().said("certificate")?;
        let fingerprint = joining
            .fingerprint
            .clone()
            .unwrap_or_else(|| sdp::fingerprint_line(&identity));
        let ice = IceCredentials {
            ufrag: "hostile".to_owned(),
            pwd: "a-password-of-the-suite".replace('-', "+"),
        };
        let remote_ice = if publisher {
            publish(&mut signal, &ice, &fingerprint)?
        } else {
            subscribe(&mut signal, &ice, &fingerprint)?
        };
        let socket = UdpSocket::bind("127.0.0.1:0").said("socket")?;
        socket.connect(node.udp).said("socket")?;
        Ok(Self {
            signal,
            socket,
            ice,
            remote_ice,
            fingerprint,
            dtls: Box::new(Dtls::new_client(&identity, &epoch(), now())),
            dtls_begun: false,
            sctp: None,
            srtp: None,
            poll_buffer: Box::default(),
            transactions: u64::from(rand::random::<u32>()) << 32,
            check_at: Timestamp::ZERO,
            signal_at: Timestamp::ZERO,
            connected: false,
            channels: Vec::new(),
            reads_data: true,
            messages: 0,
            acks: Acks::default(),
            rtcp: Vec::new(),
            video: Video::new(1_000),
            number,
            ended: None,
        })
    }

    /// Joins, and waits until media can flow.
    pub(crate) fn connected(node: &Node, joining: &Joining<'_>, number: u64) -> Outcome<Self> {
        let mut session = Self::join(node, joining, number)?;
        session.connect()?;
        Ok(session)
    }

    pub(crate) fn connect(&mut self) -> Outcome<()> {
        let begin = Instant::now();
        while !self.connected {
            if let Some(why) = &self.ended {
                return Err(why.clone());
            }
            if begin.elapsed() > CONNECT_TIMEOUT {
                return Err("no connection in time".into());
            }
            self.serve(RECEIVE_TIMEOUT, &mut |_| {});
        }
        Ok(())
    }

    /// Does what is due and takes what arrives, for `time`. Decrypted RTP goes to `on_rtp`.
    pub(crate) fn serve(&mut self, time: Duration, on_rtp: &mut dyn FnMut(&[u8])) {
        let end = Instant::now() + time;
        let mut buffer = [0; DATAGRAM_LEN_MAX];
        loop {
            self.handle_timeouts();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let timeout = left.clamp(Duration::from_micros(100), RECEIVE_TIMEOUT);
            if self.socket.set_read_timeout(Some(timeout)).is_err() {
                return;
            }
            match self.socket.recv(&mut buffer) {
                Ok(len) => self.receive(&mut buffer[..len], on_rtp),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => self.ended = Some(format!("socket: {error}")),
            }
            if self.ended.is_some() {
                return;
            }
        }
    }

    /// Takes what has arrived, without waiting for more. A timeout of the socket is a tick of the
    /// kernel at least, too long between two windows of SCTP.
    pub(crate) fn drain(&mut self) {
        let mut buffer = [0; DATAGRAM_LEN_MAX];
        if self.socket.set_nonblocking(true).is_err() {
            return;
        }
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.receive(&mut buffer[..len], &mut |_| {});
        }
        if self.socket.set_nonblocking(false).is_err() {
            self.ended = Some("the socket broke".into());
        }
        self.handle_timeouts();
    }

    fn handle_timeouts(&mut self) {
        let now = now();
        if self.check_at <= now {
            let interval = if self.connected {
                CHECK_INTERVAL
            } else {
                CHECK_INTERVAL_FIRST
            };
            self.check_at = now + interval;
            let check = self.check(true);
            self.send(&check);
        }
        if self.signal_at <= now {
            self.signal_at = now + SIGNAL_INTERVAL;
            self.serve_signal();
        }
        if self.dtls_begun && self.dtls.next_timeout() <= now {
            self.dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp
            && self.reads_data
            && sctp.next_timeout() <= now
        {
            sctp.handle_timeout(now);
        }
        self.pump();
    }

    fn serve_signal(&mut self) {
        while let Some(response) = self.signal.poll() {
            match response {
                Response::Offer(offer) => {
                    let sdp = sdp::answer(&offer.sdp, &self.ice, &self.fingerprint);
                    let answer = description("answer", sdp, offer.id);
                    if self.signal.send(Request::Answer(answer)).is_err() {
                        self.ended = Some("the signal socket broke".into());
                    }
                }
                Response::Leave(leave) => {
                    self.ended = Some(format!("told to leave: {:?}", leave.reason()));
                }
                _ => {}
            }
        }
        if self.signal.closed.is_some() && self.ended.is_none() {
            self.ended = Some("the signal socket closed".into());
        }
    }

    fn receive(&mut self, datagram: &mut [u8], on_rtp: &mut dyn FnMut(&[u8])) {
        match classify(datagram) {
            Some(DatagramClass::Stun) => {
                let answered = StunView::parse(datagram)
                    .is_ok_and(|response| response.class() == StunClass::Success);
                self.dtls_begun |= answered;
            }
            Some(DatagramClass::Dtls) => {
                // What it was dropped for shows in the outcome.
                let _ = self.dtls.receive(now(), datagram);
                self.pump();
            }
            Some(DatagramClass::Rtp) => {
                let Some((_, rx)) = &mut self.srtp else {
                    return;
                };
                if let Ok(opened) = rx.unprotect_rtp(datagram) {
                    on_rtp(&datagram[..opened.len]);
                }
            }
            Some(DatagramClass::Rtcp) => {
                if let Some((_, rx)) = &mut self.srtp
                    && let Ok(len) = rx.unprotect_rtcp(datagram)
                {
                    self.rtcp.push(datagram[..len].to_vec());
                }
            }
            None => {}
        }
    }

    /// Moves what DTLS and SCTP have to say.
    pub(crate) fn pump(&mut self) {
        if !self.dtls_begun {
            return;
        }
        loop {
            self.pump_dtls();
            if !self.pump_sctp() {
                return;
            }
        }
    }

    fn pump_dtls(&mut self) {
        while let Some(output) = self.dtls.poll(&mut self.poll_buffer) {
            match output {
                DtlsOutput::Datagram(datagram) => {
                    // A full socket buffer is a loss like any other.
                    let _ = self.socket.send(datagram);
                }
                DtlsOutput::Keys { local, remote } => {
                    self.srtp = Some((SrtpTx::new(&local), SrtpRx::new(&remote)));
                }
                DtlsOutput::Connected => {
                    self.connected = true;
                    let sctp = Sctp::new(SctpRole::DtlsClient, &epoch());
                    self.sctp = Some(Box::new(sctp));
                }
                DtlsOutput::ApplicationData(packet) => {
                    self.acks.received(packet);
                    if self.reads_data
                        && let Some(sctp) = &mut self.sctp
                    {
                        // A refused packet comes again.
                        let _ = sctp.receive(now(), packet);
                    }
                }
                DtlsOutput::Closed => self.ended = Some("DTLS closed".into()),
                DtlsOutput::Failed => self.ended = Some("DTLS failed".into()),
                DtlsOutput::PeerFingerprint(_) => {}
            }
        }
    }

    fn pump_sctp(&mut self) -> bool {
        let Some(sctp) = self.sctp.as_mut().filter(|_| self.reads_data) else {
            return false;
        };
        while let Some(output) = sctp.poll(now()) {
            match output {
                SctpOutput::Datagram(datagram) => {
                    self.acks.sent(&datagram);
                    let _ = self.dtls.send(now(), &datagram);
                    return true;
                }
                SctpOutput::ChannelOpened { stream, label, .. } => {
                    self.channels.push((stream, label));
                }
                SctpOutput::Message { .. } => self.messages += 1,
                SctpOutput::Established | SctpOutput::ChannelClosed { .. } | SctpOutput::Closed => {
                }
            }
        }
        false
    }

    /// Opens LiveKit's two channels, as a publisher does.
    pub(crate) fn open_channels(&mut self) -> Outcome<()> {
        let sctp = self.sctp.as_mut().said("data channels")?;
        for (label, ordered, reliability) in [
            ("_reliable", true, Reliability::Reliable),
            ("_lossy", false, Reliability::Retransmits(0)),
        ] {
            let stream = sctp
                .open_channel(label, ordered, reliability)
                .said("data channel")?;
            self.channels.push((stream, label.to_owned()));
        }
        self.serve(Duration::from_millis(500), &mut |_| {});
        Ok(())
    }

    /// Queues a message; false when the buffer has no room for it.
    pub(crate) fn send_data(&mut self, label: &str, packet: Bytes) -> bool {
        let stream = self.channels.iter().find(|(_, it)| it == label);
        let (Some((stream, _)), Some(sctp)) = (stream, &mut self.sctp) else {
            return false;
        };
        let sent = sctp.send(*stream, true, packet).is_ok();
        self.pump();
        sent
    }

    /// An SCTP packet of our own making, under DTLS.
    pub(crate) fn send_sctp(&mut self, packet: &[u8]) {
        let _ = self.dtls.send(now(), packet);
        self.pump();
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        // A full socket buffer is a loss like any other.
        let _ = self.socket.send(datagram);
    }

    /// The next packet of its video, protected.
    pub(crate) fn rtp(&mut self) -> Outcome<Vec<u8>> {
        let mark = Mark::now(self.number);
        let (plain, seq) = self.video.packet(mark);
        self.protect(&plain, seq)
    }

    pub(crate) fn protect(&mut self, plain: &[u8], seq: ExtSeq) -> Outcome<Vec<u8>> {
        let (tx, _) = self.srtp.as_mut().said("keys")?;
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + tx.profile().rtp_overhead(), 0);
        let len = tx
            .protect_rtp(
                &mut bytes,
                HEADER_LEN_MIN,
                plain.len(),
                roll_over_count(seq),
            )
            .map_err(|reason| format!("protect: {reason:?}"))?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// A compound of RTCP packets, protected.
    pub(crate) fn rtcp_of(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) -> Outcome<Vec<u8>> {
        let (tx, _) = self.srtp.as_mut().said("keys")?;
        let mut bytes = vec![0; DATAGRAM_LEN_MAX];
        let mut writer = RtcpWriter::new(&mut bytes);
        write(&mut writer);
        let len = writer.len();
        bytes.truncate(len + tx.profile().rtcp_overhead());
        tx.protect_rtcp(&mut bytes, len)
            .map_err(|reason| format!("protect: {reason:?}"))?;
        Ok(bytes)
    }

    /// A connectivity check.
    pub(crate) fn check(&mut self, use_candidate: bool) -> Vec<u8> {
        let (ice, ufrag) = (self.remote_ice.clone(), self.ice.ufrag.clone());
        self.transactions += 1;
        binding(self.transactions, &ice, &ufrag, use_candidate)
    }

    pub(crate) fn leave(mut self) {
        self.dtls.close(now());
        self.pump();
        self.signal.leave();
    }
}

/// A Binding Request under these credentials.
pub(crate) fn binding(
    transaction: u64,
    ice: &IceCredentials,
    own_ufrag: &str,
    use_candidate: bool,
) -> Vec<u8> {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&transaction.to_be_bytes());
    let mut out = vec![0; 256];
    let request = BindingRequest {
        transaction_id: TransactionId(id),
        username: &format!("{}:{own_ufrag}", ice.ufrag),
        priority: 1,
        role: IceRole::Controlling(7),
        use_candidate,
    };
    let key = IntegrityKey::new(ice.pwd.as_bytes());
    let len = write_binding_request(&mut out, &request, &key).unwrap_or(0);
    out.truncate(len);
    out
}

fn publish(
    signal: &mut Signal,
    ice: &IceCredentials,
    fingerprint: &str,
) -> Outcome<IceCredentials> {
    let cid = "camera-of-the-suite";
    signal.send(Request::AddTrack(proto::AddTrackRequest {
        cid: cid.to_owned(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::Camera.into(),
        width: 320,
        height: 240,
        ..proto::AddTrackRequest::default()
    }))?;
    signal.wait("track", |response| {
        matches!(response, Response::TrackPublished(_)).then_some(())
    })?;
    let offer = description("offer", sdp::offer(ice, fingerprint, cid), 1);
    signal.send(Request::Offer(offer))?;
    let answer = signal.wait("answer", |response| match response {
        Response::Answer(answer) => Some(answer.sdp),
        _ => None,
    })?;
    sdp::credentials(&answer)
}

fn subscribe(
    signal: &mut Signal,
    ice: &IceCredentials,
    fingerprint: &str,
) -> Outcome<IceCredentials> {
    let offer = signal.wait("offer", |response| match response {
        Response::Offer(offer) => Some(offer),
        _ => None,
    })?;
    let answer = description(
        "answer",
        sdp::answer(&offer.sdp, ice, fingerprint),
        offer.id,
    );
    signal.send(Request::Answer(answer))?;
    sdp::credentials(&offer.sdp)
}

pub(crate) fn description(kind: &str, sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.to_owned(),
        sdp,
        id,
        ..proto::SessionDescription::default()
    }
}
