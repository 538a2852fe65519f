//! One SCTP association and its data channels.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as Ppid, ServerConfig, StreamEvent, TransportConfig,
};

use super::backlog::Backlog;
use super::channel::{Channel, ChannelState, Reliability};
use super::chunk::{data_tsns, is_init, sacks};
use super::dcep::DcepMessage;
use super::outstanding::Outstanding;
use crate::drop::DropReason;
use crate::limits::{
    DATA_BUFFERED_PER_TRANSPORT_MAX, DATA_CHANNELS_MAX, DATA_MESSAGE_LEN_MAX,
    SCTP_DATAGRAM_LEN_MAX, SCTP_GATHERING, SCTP_INITS_MAX, SCTP_MTU, SCTP_RECEIVE_WINDOW,
    SCTP_RESETS_MAX,
};
use crate::time::{Epoch, Timestamp};

/// SCTP common header and header of one DATA chunk.
const DATA_OVERHEAD: usize = 12 + 16;
/// What of a message a DATA chunk holds.
pub(super) const CHUNK_LEN: usize = SCTP_MTU - DATA_OVERHEAD;
/// Retransmission timers, as libwebrtc sets them: the minimum lies above a peer's delayed
/// acknowledgement of 200 ms. The maximum is lower, because a lost network costs a reconnect long
/// before a minute has passed.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 400;
const RTO_MAX_MS: u64 = 10_000;
/// The library tells associations apart by tag, and only carries the address along.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// Our side of the DTLS association below, which decides who uses which stream ids.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Waits for the peer's INIT, which all WebRTC clients send, and opens odd streams.
    DtlsServer,
    /// Sends an INIT and opens even streams. It leaves the peer's own INIT to the peer's
    /// retransmission, so two of this role do not connect.
    DtlsClient,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SctpOutput {
    /// To be sent as DTLS application data.
    Datagram(Bytes),
    /// Channels can send from now on.
    Established,
    /// The peer opened a channel.
    ChannelOpened {
        stream: u16,
        label: String,
        ordered: bool,
        reliability: Reliability,
    },
    Message {
        stream: u16,
        binary: bool,
        payload: Bytes,
    },
    /// A channel was closed, by either side. Its stream id may come again.
    ChannelClosed { stream: u16 },
    /// The association is over, and all channels with it.
    Closed,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    #[error("the channel's buffer is full")]
    BufferFull,
    #[error("the message is longer than a data channel message may be")]
    MessageLength,
    #[error("no such channel, or it is closing")]
    Unknown,
    #[error("the association is not established yet")]
    NotEstablished,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("too many data channels")]
    ChannelLimit,
    #[error("the association is over")]
    Closed,
}

/// Whether the library is to be asked for packets: to ask it walks over all that is under way.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Wanted {
    /// It had nothing, and nothing has happened since.
    Nothing,
    /// Messages were queued, which may wait for others.
    Messages,
    Everything,
}

/// One association. After every call that takes the time, and after [`Self::open_channel`],
/// [`Self::close_channel`] and [`Self::send`], poll until `None`.
#[derive(Debug)]
pub struct Sctp {
    role: Role,
    epoch: Epoch,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Box<Association>)>,
    established: bool,
    over: bool,
    channels: Vec<Channel>,
    backlog: Backlog,
    outstanding: Outstanding,
    wanted: Wanted,
    /// Until then messages wait for each other if much is under way.
    gathers_until: Timestamp,
    /// Streams that the peer has reset and we have asked it to reset, too (RFC 8831 §6.7), less
    /// those of which it has answered.
    resetting: usize,
    /// INITs received.
    inits: u8,
    outputs: VecDeque<SctpOutput>,
}

impl Sctp {
    pub fn new(role: Role, epoch: &Epoch) -> Self {
        let Configs { endpoint, server } = &*CONFIGS;
        let mut sctp = Self {
            role,
            epoch: *epoch,
            endpoint: Endpoint::new(Arc::clone(endpoint), Some(Arc::clone(server))),
            association: None,
            established: false,
            over: false,
            channels: Vec::new(),
            backlog: Backlog::default(),
            outstanding: Outstanding::default(),
            wanted: Wanted::Everything,
            gathers_until: Timestamp::default(),
            resetting: 0,
            inits: 0,
            outputs: VecDeque::new(),
        };
        if role == Role::DtlsClient {
            sctp.connect();
        }
        sctp
    }

    /// Takes a datagram that DTLS decrypted. An error says why it was dropped; that the association
    /// is over is an output.
    pub fn receive(&mut self, now: Timestamp, datagram: &[u8]) -> Result<(), DropReason> {
        if self.over {
            return Err(DropReason::SctpUnexpected);
        }
        // RFC 9260 §5.2.2 lets an INIT pass an established association by; the library would end
        // it. One that was retransmitted and overtaken is legitimate.
        if is_init(datagram) {
            self.inits = self.inits.saturating_add(1);
            if self.established || self.inits > SCTP_INITS_MAX {
                return Err(DropReason::SctpUnexpected);
            }
        }
        self.outstanding.admit(now, datagram, self.resetting)?;
        self.backlog.received(datagram);
        if self.backlog.is_exceeded() {
            self.end();
            return Err(DropReason::SctpUnexpected);
        }
        let (now, data) = (self.epoch.instant(now), Bytes::copy_from_slice(datagram));
        self.wanted = Wanted::Everything;
        let event = self.endpoint.handle(now, PEER, None, None, data);
        match (event, &mut self.association) {
            (Some((handle, DatagramEvent::NewAssociation(association))), None) => {
                self.endpoint.reject_new_associations();
                self.association = Some((handle, Box::new(association)));
                Ok(())
            }
            (Some((handle, DatagramEvent::AssociationEvent(event))), Some((ours, association)))
                if handle == *ours =>
            {
                let mut before = association.stats();
                association.handle_event(event);
                let mut after = association.stats();
                let taken = after.get_num_sacks() - before.get_num_sacks();
                let data = after.get_num_datas() - before.get_num_datas();
                let seen = sacks(datagram).count() as u64;
                // It found what was hidden from us, and will again.
                if taken > seen || data > data_tsns(datagram).count() as u64 {
                    self.end();
                    return Err(DropReason::SctpMalformed);
                }
                // One malformed chunk, and it has ignored all of the packet.
                if taken == seen {
                    self.outstanding.received(datagram);
                }
                Ok(())
            }
            _ => Err(DropReason::SctpMalformed),
        }
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.epoch.instant(now);
        self.wanted = Wanted::Everything;
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
    }

    /// When to call [`Self::handle_timeout`]; right after a poll that gave `None`.
    pub fn next_timeout(&self) -> Timestamp {
        let Some((_, association)) = &self.association else {
            return Timestamp::NEVER;
        };
        let due = association
            .poll_timeout()
            .map_or(Timestamp::NEVER, |at| self.epoch.timestamp(at));
        match self.wanted {
            Wanted::Messages => due.min(self.gathers_until),
            Wanted::Nothing | Wanted::Everything => due,
        }
    }

    /// Opens a channel, or will as soon as the association is established. Returns its stream id.
    pub fn open_channel(
        &mut self,
        label: &str,
        ordered: bool,
        reliability: Reliability,
    ) -> Result<u16, OpenError> {
        if self.over {
            return Err(OpenError::Closed);
        }
        if self.channels.len() >= DATA_CHANNELS_MAX {
            return Err(OpenError::ChannelLimit);
        }
        // RFC 8832 §6: the DTLS client uses even ids, the server odd ones; 65535 is illegal.
        let first = match self.role {
            Role::DtlsServer => 1,
            Role::DtlsClient => 0,
        };
        let stream = (first..u16::MAX)
            .step_by(2)
            .find(|id| self.channel(*id).is_none())
            .ok_or(OpenError::ChannelLimit)?;
        self.channels.push(Channel {
            stream,
            state: ChannelState::Waiting {
                label: label.to_owned(),
            },
            ordered,
            reliability,
        });
        self.announce_channels();
        Ok(stream)
    }

    /// Sends a message; an empty one is a message too. May be called as soon as
    /// [`SctpOutput::Established`] was seen. Nothing is copied, so that many channels share one
    /// payload.
    pub fn send(&mut self, stream: u16, binary: bool, payload: Bytes) -> Result<(), SendError> {
        let buffered_total = self.buffered_total();
        self.outstanding.settle(buffered_total);
        let Some((_, association)) = &mut self.association else {
            return Err(self.refusal(stream));
        };
        let channel = self.channels.iter().find(|it| it.stream == stream);
        let Some(channel) = channel.filter(|it| it.state != ChannelState::Closing) else {
            return Err(SendError::Unknown);
        };
        if !self.established {
            return Err(SendError::NotEstablished);
        }
        if payload.len() > DATA_MESSAGE_LEN_MAX {
            return Err(SendError::MessageLength);
        }
        let mut handle = association.stream(stream).map_err(|_| SendError::Unknown)?;
        let buffered = handle.buffered_amount().unwrap_or(usize::MAX);
        let beyond = |held: usize, len_max| held.saturating_add(payload.len()) > len_max;
        if beyond(buffered, channel.reliability.buffer_len_max())
            || beyond(buffered_total, DATA_BUFFERED_PER_TRANSPORT_MAX)
            || !self.outstanding.has_room(payload.len())
        {
            return Err(SendError::BufferFull);
        }
        // RFC 8831 §6.6: SCTP has no empty message, so its identifier says that one byte is none.
        let (ppid, payload) = match (binary, payload.is_empty()) {
            (true, false) => (Ppid::Binary, payload),
            (false, false) => (Ppid::String, payload),
            (true, true) => (Ppid::BinaryEmpty, Bytes::from_static(&[0])),
            (false, true) => (Ppid::StringEmpty, Bytes::from_static(&[0])),
        };
        let len = payload.len();
        handle
            .set_default_payload_type(ppid)
            .and_then(|()| handle.write_chunks(&mut [payload]))
            .map_err(|_| SendError::Unknown)?;
        self.outstanding.queued(len);
        if self.wanted == Wanted::Nothing {
            self.wanted = Wanted::Messages;
        }
        Ok(())
    }

    /// Bytes of a channel that the peer has not acknowledged; 0 for an unknown one.
    pub fn buffered_amount(&mut self, stream: u16) -> usize {
        self.association
            .as_mut()
            .and_then(|(_, association)| association.stream(stream).ok())
            .and_then(|handle| handle.buffered_amount().ok())
            .unwrap_or(0)
    }

    /// Bytes of all channels that the peer has not acknowledged.
    pub fn buffered_total(&mut self) -> usize {
        let Some((_, association)) = &mut self.association else {
            return 0;
        };
        let mut total = 0;
        for channel in &self.channels {
            let held = association
                .stream(channel.stream)
                .and_then(|handle| handle.buffered_amount());
            total += held.unwrap_or(0);
        }
        total
    }

    /// Closes a channel, once what it has buffered is acknowledged (RFC 8831 §6.7: by resetting its
    /// stream). [`SctpOutput::ChannelClosed`] follows.
    pub fn close_channel(&mut self, stream: u16) {
        let Some(at) = self.channels.iter().position(|it| it.stream == stream) else {
            return;
        };
        if let ChannelState::Waiting { .. } = self.channels[at].state {
            self.channels.remove(at);
            self.outputs.push_back(SctpOutput::ChannelClosed { stream });
            return;
        }
        self.channels[at].state = ChannelState::Closing;
        self.wanted = Wanted::Everything;
        if let Some((_, association)) = &mut self.association
            && let Ok(mut handle) = association.stream(stream)
        {
            // It fails only when the association is over, which has an output of its own.
            let _ = handle.close();
        }
    }

    /// The next output, or `None` when there is nothing to do before [`Self::next_timeout`].
    pub fn poll(&mut self, now: Timestamp) -> Option<SctpOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let (_, association) = self.association.as_mut()?;
            if let Some(event) = association.poll() {
                self.on_event(now, event);
            } else if !self.is_wanted(now) || !self.transmit(now) {
                // A channel that is silent for hours keeps no room; one that is not allocates some
                // bytes per packet, which sealing the packet costs many times over.
                self.outputs = VecDeque::new();
                return None;
            }
        }
    }

    fn connect(&mut self) {
        let mut client = ClientConfig::new();
        client.transport = Arc::clone(&CONFIGS.server.transport);
        let (handle, association) = self
            .endpoint
            .connect(client, PEER)
            .expect("a new endpoint has room, and the ports are not zero");
        self.endpoint.reject_new_associations();
        self.association = Some((handle, Box::new(association)));
    }

    /// Whether to ask the library for packets now. Others choose how many messages we send to a
    /// peer, and the peer how much it leaves under way: together they decide how often we walk over
    /// how much.
    fn is_wanted(&mut self, now: Timestamp) -> bool {
        let free = !self.outstanding.is_much() || self.gathers_until <= now;
        if self.wanted == Wanted::Messages && free {
            self.wanted = Wanted::Everything;
            self.gathers_until = now + SCTP_GATHERING;
        }
        self.wanted == Wanted::Everything
    }

    /// Queues what the association has to send; whether there was anything.
    fn transmit(&mut self, now: Timestamp) -> bool {
        let now = self.epoch.instant(now);
        let transmit = self
            .association
            .as_mut()
            .and_then(|(_, association)| association.poll_transmit(now));
        let Some(Payload::RawEncode(datagrams)) = transmit.map(|it| it.payload) else {
            self.wanted = Wanted::Nothing;
            return false;
        };
        for datagram in datagrams {
            self.backlog.sent(&datagram);
            self.outstanding.sent(&datagram);
            // Only a SACK that reports hundreds of gaps can be so long. Without it the peer
            // retransmits by its timer, and the gaps become fewer.
            if datagram.len() > SCTP_DATAGRAM_LEN_MAX {
                continue;
            }
            self.outputs.push_back(SctpOutput::Datagram(datagram));
        }
        true
    }

    fn on_event(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Connected => {
                self.established = true;
                self.outputs.push_back(SctpOutput::Established);
                self.announce_channels();
            }
            Event::HandshakeFailed { .. } | Event::AssociationLost { .. } => {
                // An ABORT may wait.
                self.transmit(now);
                self.end();
            }
            Event::Stream(StreamEvent::Opened { id }) => self.on_stream_opened(id),
            Event::Stream(StreamEvent::Readable { id }) => self.read(id),
            Event::Stream(StreamEvent::Finished { id }) => {
                self.channels.retain(|it| it.stream != id);
                let closed = SctpOutput::ChannelClosed { stream: id };
                self.outputs.push_back(closed);
                self.resetting += 1;
                // The library keeps a request for each until it is answered.
                if self.resetting > SCTP_RESETS_MAX {
                    self.end();
                }
            }
            Event::Stream(StreamEvent::ResetComplete { id }) => {
                self.resetting = self.resetting.saturating_sub(1);
                self.acknowledge(id);
            }
            Event::Stream(StreamEvent::ResetFailed { .. }) => {
                self.resetting = self.resetting.saturating_sub(1);
            }
            // Statistics, and levels nobody waits for.
            _ => {}
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.established = false;
        self.association = None;
        self.channels = Vec::new();
        self.outputs.push_back(SctpOutput::Closed);
    }

    fn on_stream_opened(&mut self, stream: u16) {
        if let Some((_, association)) = &mut self.association {
            // Takes it from the library's queue of accepted streams.
            let _ = association.accept_stream();
        }
        if self.channel(stream).is_some() {
            return;
        }
        if self.channels.len() >= DATA_CHANNELS_MAX {
            self.end();
            return;
        }
        self.channels.push(Channel {
            stream,
            state: ChannelState::Unannounced,
            ordered: true,
            reliability: Reliability::Reliable,
        });
    }

    fn read(&mut self, stream: u16) {
        while let Some((_, association)) = &mut self.association
            && let Ok(mut handle) = association.stream(stream)
            && let Ok(Some(chunks)) = handle.read_sctp()
        {
            self.backlog.delivered(chunks.chunks.len());
            let mut payload = vec![0; chunks.len()];
            if chunks.read(&mut payload).is_err() {
                continue;
            }
            match chunks.ppi {
                Ppid::Dcep => self.on_dcep(stream, &payload),
                Ppid::Binary => self.on_message(stream, true, payload),
                Ppid::String => self.on_message(stream, false, payload),
                Ppid::BinaryEmpty => self.on_message(stream, true, Vec::new()),
                Ppid::StringEmpty => self.on_message(stream, false, Vec::new()),
                Ppid::Unknown => {}
            }
        }
    }

    fn on_message(&mut self, stream: u16, binary: bool, payload: Vec<u8>) {
        match self.channel(stream).map(|it| &it.state) {
            // Nobody knows what it is for.
            None | Some(ChannelState::Unannounced | ChannelState::Closing) => return,
            // RFC 8832 §6: a message is as good as an ACK.
            Some(ChannelState::Opening) => self.set_open(stream),
            Some(_) => {}
        }
        self.outputs.push_back(SctpOutput::Message {
            stream,
            binary,
            payload: Bytes::from(payload),
        });
    }

    fn on_dcep(&mut self, stream: u16, message: &[u8]) {
        let state = self.channel(stream).map(|it| it.state.clone());
        match (DcepMessage::parse(message), state) {
            (Some(DcepMessage::Ack), Some(ChannelState::Opening)) => self.set_open(stream),
            (
                Some(DcepMessage::Open {
                    label,
                    ordered,
                    reliability,
                }),
                Some(ChannelState::Unannounced),
            ) => {
                if let Some(channel) = self.channel_mut(stream) {
                    channel.state = ChannelState::Unacknowledged;
                    channel.ordered = ordered;
                    channel.reliability = reliability;
                }
                self.acknowledge(stream);
                self.outputs.push_back(SctpOutput::ChannelOpened {
                    stream,
                    label,
                    ordered,
                    reliability,
                });
            }
            // RFC 8832 §5: a channel that cannot be established is closed.
            (None, Some(ChannelState::Unannounced)) => self.close_channel(stream),
            _ => {}
        }
    }

    /// Answers the peer's OPEN; again later if the stream is still being reset.
    fn acknowledge(&mut self, stream: u16) {
        let waits = self.channel(stream).map(|it| &it.state) == Some(&ChannelState::Unacknowledged);
        if waits && self.write_dcep(stream, &DcepMessage::Ack) {
            self.set_open(stream);
        }
    }

    /// Both sides know the channel: its messages may go as agreed from now on.
    fn set_open(&mut self, stream: u16) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        let Some(channel) = self.channels.iter_mut().find(|it| it.stream == stream) else {
            return;
        };
        channel.state = ChannelState::Open;
        let (kind, value) = channel.reliability.to_library();
        if let Ok(mut handle) = association.stream(stream) {
            let _ = handle.set_reliability_params(!channel.ordered, kind, value);
        }
    }

    /// Sends the OPEN of every channel that waits for the association.
    fn announce_channels(&mut self) {
        if !self.established {
            return;
        }
        for at in 0..self.channels.len() {
            let Channel {
                stream,
                state: ChannelState::Waiting { label },
                ordered,
                reliability,
            } = &self.channels[at]
            else {
                continue;
            };
            let open = DcepMessage::Open {
                label: label.clone(),
                ordered: *ordered,
                reliability: *reliability,
            };
            let (stream, (kind, value)) = (*stream, reliability.to_library());
            let Some((_, association)) = &mut self.association else {
                return;
            };
            if association.open_stream(stream, Ppid::Binary).is_err() {
                continue;
            }
            if self.write_dcep(stream, &open) {
                self.channels[at].state = ChannelState::Opening;
            }
            // RFC 8832 §6: until the peer has answered, messages are sent in order, or one could
            // overtake the OPEN.
            if let Some((_, association)) = &mut self.association
                && let Ok(mut handle) = association.stream(stream)
            {
                let _ = handle.set_reliability_params(false, kind, value);
            }
        }
    }

    fn write_dcep(&mut self, stream: u16, message: &DcepMessage) -> bool {
        self.wanted = Wanted::Everything;
        self.association
            .as_mut()
            .and_then(|(_, association)| association.stream(stream).ok())
            .is_some_and(|mut handle| handle.write_with_ppi(&message.write(), Ppid::Dcep).is_ok())
    }

    fn refusal(&self, stream: u16) -> SendError {
        if self.over || self.channel(stream).is_none() {
            SendError::Unknown
        } else {
            SendError::NotEstablished
        }
    }

    /// Opens a channel on a stream of the test's choice, whatever the limit.
    #[cfg(test)]
    pub(super) fn open_channel_at(&mut self, stream: u16, label: &str, reliability: Reliability) {
        self.channels.push(Channel {
            stream,
            state: ChannelState::Waiting {
                label: label.to_owned(),
            },
            ordered: true,
            reliability,
        });
        self.announce_channels();
    }

    fn channel(&self, stream: u16) -> Option<&Channel> {
        self.channels.iter().find(|it| it.stream == stream)
    }

    fn channel_mut(&mut self, stream: u16) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|it| it.stream == stream)
    }
}

/// What all associations have in common.
struct Configs {
    endpoint: Arc<EndpointConfig>,
    server: Arc<ServerConfig>,
}

static CONFIGS: LazyLock<Configs> = LazyLock::new(|| {
    let mut endpoint = EndpointConfig::new();
    endpoint.max_payload_size(len_u32(CHUNK_LEN));
    // An endpoint without it panics on an INIT.
    let mut server = ServerConfig::new();
    server.transport = Arc::new(transport_config());
    Configs {
        endpoint: Arc::new(endpoint),
        server: Arc::new(server),
    }
});

fn transport_config() -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(len_u32(SCTP_RECEIVE_WINDOW))
        .with_max_send_message_size(len_u32(DATA_MESSAGE_LEN_MAX))
        .with_max_receive_message_size(len_u32(DATA_MESSAGE_LEN_MAX))
        // Whether a peer is still there is for ICE to say (RFC 7675).
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS)
}

/// Our limits, all far below 2^32.
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
