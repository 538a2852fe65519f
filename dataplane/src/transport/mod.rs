//! One ICE + DTLS + SRTP association of a shard, with what is negotiated for all its tracks.

pub mod channels;
pub mod police;
pub mod security;
pub mod streams;

use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use millrace_netio::TrainHint;
use millrace_shared::drop::DropReason;
use millrace_shared::dtls::{DtlsOutput, Identity, PollBuffer};
use millrace_shared::ice::{CONSENT_TIMEOUT, DISCONNECTED_AFTER, IceLite};
use millrace_shared::ids::{Ssrc, TransportId};
use millrace_shared::link::{AddTransport, CloseReason, DataPublish, ExtIds};
use millrace_shared::sctp::{Reliability, Role, Sctp, SctpOutput, SendError};
use millrace_shared::time::{Epoch, Timestamp};

use crate::congestion::feedback::SubscriberFeedback;
use crate::congestion::twcc::TransportCcRecorder;
use crate::shard::timers::Armed;
use crate::slots::Slot;
use channels::{ChannelKind, Channels};
use police::Police;
use security::{Security, Trust};
use streams::StreamsRx;

/// Receiver reports leave this often (RFC 3550 §6.2: well below the 5 s minimum of large groups;
/// libwebrtc sends one a second for video).
const RECEIVER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Silence is noticed at multiples of this, for all transports with one wake-up: of a thousand that
/// say nothing but their checks, each looks at its peer's last one every nine seconds.
const SILENCE_STEP: Duration = Duration::from_millis(250);

/// What the peer's DTLS and SCTP made of the bytes they were given.
#[derive(Clone, Debug)]
pub enum Signal {
    /// ICE, DTLS and the fingerprint are all right: media may flow.
    Connected,
    Closed(CloseReason),
    ChannelOpened(ChannelKind),
    Data {
        kind: ChannelKind,
        payload: Bytes,
    },
    Dropped(DropReason),
}

/// Where datagrams go; the shard binds it to a tuple and to netio.
pub trait Outlet {
    fn send(&mut self, datagram: &[u8]);
}

#[derive(Debug)]
pub struct Transport {
    pub id: TransportId,
    pub group: Slot,
    pub label: Box<str>,
    pub added_at: Timestamp,
    pub ice: IceLite,
    pub security: Security,
    pub sctp: Option<Box<Sctp>>,
    pub channels: Channels,
    pub data_publish: DataPublish,
    pub data_receive: bool,
    /// As last counted by [`police::DataBuffered`].
    pub data_buffered: usize,
    pub police: Police,
    pub open_data_channels: bool,
    /// Sequence of the last reliable data packet accepted.
    pub reliable_sequence: u32,
    pub receive_ext_ids: ExtIds,
    pub streams: StreamsRx,
    pub up_tracks: Vec<Slot>,
    pub down_tracks: Vec<Slot>,
    /// Copies by the SSRC of media and of retransmissions.
    pub down_by_ssrc: HashMap<Ssrc, Slot>,
    pub transport_cc: TransportCcRecorder,
    pub feedback: SubscriberFeedback,
    /// Next transport-wide sequence number of what we send.
    pub transport_cc_next: u16,
    pub train: TrainHint,
    pub armed: Armed,
    pub disconnected: bool,
    pub closed: bool,
    report_at: Timestamp,
}

// A participant has two of them, and the next larger block of the allocator has 1,536 bytes.
const _: () = assert!(size_of::<Transport>() <= 1_280);

impl Transport {
    pub fn new(add: &AddTransport, group: Slot, now: Timestamp) -> Self {
        Self {
            id: add.transport,
            group,
            label: add.label.as_str().into(),
            added_at: now,
            ice: IceLite::new(&add.ice),
            security: Security::default(),
            sctp: None,
            channels: Channels::default(),
            data_publish: add.data_publish.clone(),
            data_receive: add.data_receive,
            data_buffered: 0,
            police: Police::default(),
            open_data_channels: add.open_data_channels,
            reliable_sequence: 0,
            receive_ext_ids: ExtIds::default(),
            streams: StreamsRx::default(),
            up_tracks: Vec::new(),
            down_tracks: Vec::new(),
            down_by_ssrc: HashMap::new(),
            transport_cc: TransportCcRecorder::default(),
            feedback: SubscriberFeedback::default(),
            transport_cc_next: 1,
            train: TrainHint::default(),
            armed: Armed::default(),
            disconnected: false,
            closed: false,
            report_at: Timestamp::NEVER,
        }
    }

    /// A DTLS record from a validated tuple (RFC 8827 §6.5; never from another address).
    pub fn receive_dtls(
        &mut self,
        now: Timestamp,
        record: &[u8],
        identity: &Identity,
        epoch: &Epoch,
    ) -> Result<(), DropReason> {
        if self.closed {
            return Err(DropReason::DtlsUnexpected);
        }
        self.security
            .dtls_or_new(identity, epoch, now)
            .receive(now, record)
    }

    /// Moves everything that DTLS and SCTP have to say: datagrams to `outlet`, the rest to
    /// `signals`.
    pub fn pump(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        poll_buffer: &mut PollBuffer,
        outlet: &mut impl Outlet,
        signals: &mut Vec<Signal>,
    ) {
        loop {
            self.pump_dtls(now, epoch, poll_buffer, outlet, signals);
            if self.settle(now, signals) == Trust::Mismatch {
                self.pump_dtls(now, epoch, poll_buffer, outlet, signals);
                return;
            }
            // One SCTP packet at a time: DTLS queues few.
            if !self.pump_sctp(now, signals) {
                return;
            }
        }
    }

    fn pump_dtls(
        &mut self,
        now: Timestamp,
        epoch: &Epoch,
        poll_buffer: &mut PollBuffer,
        outlet: &mut impl Outlet,
        signals: &mut Vec<Signal>,
    ) {
        let Some(mut dtls) = self.security.dtls.take() else {
            return;
        };
        while let Some(output) = dtls.poll(poll_buffer) {
            match output {
                DtlsOutput::Datagram(datagram) => outlet.send(datagram),
                DtlsOutput::PeerFingerprint(fingerprint) => self.security.present(fingerprint),
                DtlsOutput::Keys { local, remote } => self.security.set_keys(&local, &remote),
                DtlsOutput::Connected => self.security.complete(),
                DtlsOutput::ApplicationData(data) => {
                    let sctp = self
                        .sctp
                        .get_or_insert_with(|| Box::new(Sctp::new(Role::DtlsServer, epoch)));
                    if let Err(reason) = sctp.receive(now, data) {
                        signals.push(Signal::Dropped(reason));
                    }
                }
                DtlsOutput::Closed => signals.push(Signal::Closed(CloseReason::PeerClosed)),
                DtlsOutput::Failed => signals.push(Signal::Closed(CloseReason::DtlsFailed)),
            }
        }
        self.security.dtls = Some(dtls);
    }

    /// Checks the fingerprint once certificate and description are both known.
    fn settle(&mut self, now: Timestamp, signals: &mut Vec<Signal>) -> Trust {
        let trust = self.security.settle();
        match trust {
            Trust::Waiting => {}
            Trust::Established => {
                self.report_at = now + RECEIVER_REPORT_INTERVAL;
                signals.push(Signal::Connected);
            }
            Trust::Mismatch => {
                self.say_goodbye(now);
                signals.push(Signal::Closed(CloseReason::FingerprintMismatch));
            }
        }
        trust
    }

    /// Takes SCTP's outputs up to its next packet, which it hands to DTLS. False when none is left.
    fn pump_sctp(&mut self, now: Timestamp, signals: &mut Vec<Signal>) -> bool {
        // A peer whose certificate is not verified gets no answer, hence no channel either: it
        // would be sent the group's data (RFC 8827 §6.5).
        if !self.security.established() {
            return false;
        }
        let (Some(sctp), Some(dtls)) = (&mut self.sctp, &mut self.security.dtls) else {
            return false;
        };
        while let Some(output) = sctp.poll(now) {
            match output {
                SctpOutput::Datagram(datagram) => {
                    if let Err(reason) = dtls.send(now, &datagram) {
                        signals.push(Signal::Dropped(reason));
                    }
                    return true;
                }
                SctpOutput::Established => {
                    if self.open_data_channels {
                        open_channels(sctp, &mut self.channels, signals);
                    }
                }
                SctpOutput::ChannelOpened { stream, label, .. } => {
                    match ChannelKind::from_label(&label) {
                        Some(kind) => {
                            self.channels.set(kind, stream);
                            signals.push(Signal::ChannelOpened(kind));
                        }
                        None => signals.push(Signal::Dropped(DropReason::DataLabelUnknown)),
                    }
                }
                SctpOutput::Message {
                    stream, payload, ..
                } => match self.channels.kind(stream) {
                    Some(kind) => signals.push(Signal::Data { kind, payload }),
                    None => signals.push(Signal::Dropped(DropReason::DataLabelUnknown)),
                },
                SctpOutput::ChannelClosed { stream } => self.channels.close(stream),
                SctpOutput::Closed => {}
            }
        }
        false
    }

    /// Queues a data packet; `pump` sends it.
    pub fn send_data(&mut self, kind: ChannelKind, packet: &Bytes) -> Result<(), DropReason> {
        let (Some(sctp), Some(stream)) = (&mut self.sctp, self.channels.stream(kind)) else {
            return Err(DropReason::DataNotOpen);
        };
        sctp.send(stream, true, packet.clone())
            .map_err(|error| match error {
                SendError::BufferFull => DropReason::DataBufferFull,
                SendError::MessageLength => DropReason::DataMalformed,
                _ => DropReason::DataNotOpen,
            })
    }

    /// Runs what is due; `pump` afterwards.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(dtls) = &mut self.security.dtls
            && dtls.next_timeout() <= now
        {
            dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp
            && self.security.established()
            && sctp.next_timeout() <= now
        {
            sctp.handle_timeout(now);
        }
    }

    /// Whether receiver reports are due; the next ones are due an interval later.
    pub fn take_report_due(&mut self, now: Timestamp) -> bool {
        let due = now >= self.report_at;
        if due {
            self.report_at = now + RECEIVER_REPORT_INTERVAL;
        }
        due
    }

    /// RFC 7675 §5.1: the peer was heard once, and not for the consent time.
    pub fn consent_lost(&self, now: Timestamp) -> bool {
        self.ice
            .last_check()
            .is_some_and(|heard| now.since(heard) >= CONSENT_TIMEOUT)
    }

    /// Tells the peer that we end: it need not wait for its timeouts.
    pub fn say_goodbye(&mut self, now: Timestamp) {
        if let Some(dtls) = &mut self.security.dtls {
            dtls.close(now);
        }
    }

    /// When silence makes it disconnected.
    pub fn disconnected_at(&self) -> Timestamp {
        match self.ice.last_check() {
            Some(heard) if !self.disconnected => heard + DISCONNECTED_AFTER,
            _ => Timestamp::NEVER,
        }
    }

    pub fn next_timeout(&self) -> Timestamp {
        if self.closed {
            return Timestamp::NEVER;
        }
        let dtls = self
            .security
            .dtls
            .as_ref()
            .map_or(Timestamp::NEVER, |dtls| dtls.next_timeout());
        // Its timers wait with it for the certificate.
        let sctp = self
            .sctp
            .as_ref()
            .filter(|_| self.security.established())
            .map_or(Timestamp::NEVER, |sctp| sctp.next_timeout());
        let reports = if self.up_tracks.is_empty() {
            Timestamp::NEVER
        } else {
            self.report_at
        };
        let silence = self.ice.next_expiry().min(self.disconnected_at());
        dtls.min(sctp)
            .min(reports)
            .min(self.transport_cc.next_timeout())
            .min(silence.round_up(SILENCE_STEP))
    }
}

fn open_channels(sctp: &mut Sctp, channels: &mut Channels, signals: &mut Vec<Signal>) {
    for (kind, ordered, reliability) in [
        (ChannelKind::Reliable, true, Reliability::Reliable),
        (ChannelKind::Lossy, false, Reliability::Retransmits(0)),
    ] {
        match sctp.open_channel(kind.label(), ordered, reliability) {
            Ok(stream) => {
                channels.set(kind, stream);
                signals.push(Signal::ChannelOpened(kind));
            }
            Err(_) => signals.push(Signal::Dropped(DropReason::DataNotOpen)),
        }
    }
}
