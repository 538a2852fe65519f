//! Every limit of the product, with the relations between them checked at compile time.

/// Largest UDP payload we send. Below the IPv6 minimum MTU less headers (1280 - 40 - 8), and what
/// browsers use themselves.
pub const DATAGRAM_SEND_LEN_MAX: usize = 1232;
/// Largest UDP payload we accept: an Ethernet MTU. Longer ones are cut by the kernel and dropped.
pub const DATAGRAM_RECEIVE_LEN_MAX: usize = 1500;

/// Packets of one GSO train. More than 8 is a line-rate burst (livekit#4724: 0.44 % against
/// 0.007 % loss).
pub const TRAIN_PACKETS_MAX: usize = 8;

/// Shards of a node: one bit each in a word.
pub const SHARDS_MAX: usize = 64;
/// Packets on their way from one shard to another: what a shard receives in four full ticks. A lane
/// takes 1.6 kB for each that was ever on its way at once.
pub const LANE_MEDIA_PACKETS_MAX: usize = 1024;
/// Messages on their way from one shard to another.
pub const LANE_CONTROL_MESSAGES_MAX: usize = 1024;
/// Messages that wait with their sender when a control lane is full. As with commands, a queue this
/// long means a shard that hangs.
pub const CONTROL_BACKLOG_MAX: usize = 65_536;

/// Spatial layers of a track: q, h, f.
pub const SPATIAL_LAYERS_MAX: usize = 3;
/// Temporal layers of an encoding.
pub const TEMPORAL_LAYERS_MAX: usize = 4;

/// Validated tuples of one transport; the least recently seen one makes room.
pub const TUPLES_PER_TRANSPORT_MAX: usize = 8;
/// Transports of one shard.
pub const TRANSPORTS_PER_SHARD_MAX: usize = 16_384;
/// Published tracks of one transport.
pub const UP_TRACKS_PER_TRANSPORT_MAX: usize = 64;
/// Subscribed tracks of one transport.
pub const DOWN_TRACKS_PER_TRANSPORT_MAX: usize = 512;
/// SSRCs that one transport may send us: each track has up to three layers and their RTX.
pub const SSRCS_PER_TRANSPORT_MAX: usize = UP_TRACKS_PER_TRANSPORT_MAX * SPATIAL_LAYERS_MAX * 2;

/// Packets that SRTP replay protection looks back. Browsers reorder by less; mediasoup uses the
/// same.
pub const REPLAY_WINDOW_PACKETS: usize = 1024;

/// Packets of one published layer that stay available for retransmission.
pub const STORE_PACKETS_VIDEO: usize = 512;
/// The same for audio: 4 s of 20 ms packets.
pub const STORE_PACKETS_AUDIO: usize = 200;
/// Bytes they may take: the packets above at the size browsers send, and the loss where a packet
/// does not fit the end of a chunk. A layer takes them as its bitrate asks.
pub const STORE_BYTES_VIDEO: usize = 768 * 1024;
/// The same for audio: 2 s of stereo Opus at 510 kbit/s.
pub const STORE_BYTES_AUDIO: usize = 160 * 1024;

/// Missing packets of one encoding that are asked for at a time. A larger gap is left to a key
/// frame. libwebrtc keeps 1000, mediasoup 500, LiveKit 100.
pub const NACK_PACKETS_MAX: usize = 256;
/// Sequence numbers that duplicate detection of one SSRC looks back.
pub const RECEIVE_WINDOW_PACKETS: usize = 1024;
/// Arrivals that a transport keeps for congestion feedback: 0.5 s at 2,000 packets a second.
pub const TWCC_WINDOW_PACKETS: usize = 1024;

/// Longest session description we read: an m-line of a browser takes 1 to 6 kB.
pub const SDP_LEN_MAX: usize = 1 << 20;
/// m-lines of a session description: every track of a transport, and the data channels.
pub const SDP_SECTIONS_MAX: usize = 640;
/// Simulcast encodings (`a=rid`) that we read of an m-line; those beyond are ignored.
pub const SDP_RIDS_MAX: usize = 8;
/// Synchronization sources that we read of an m-line; those beyond are ignored.
pub const SDP_SSRCS_MAX: usize = 64;
/// Largest datagram of a DTLS handshake: with room for a TURN header and a VPN's.
pub const DTLS_DATAGRAM_LEN_MAX: usize = 1200;
/// What DTLS 1.2 adds to application data: record header, explicit nonce, GCM tag.
pub const DTLS_OVERHEAD: usize = 13 + 8 + 16;
/// Datagrams that DTLS keeps while a handshake message is incomplete.
pub const DTLS_QUEUE_DATAGRAMS_MAX: usize = 30;
/// Datagrams of application data that may wait for one poll.
pub const DTLS_SEND_DATAGRAMS_MAX: usize = 48;
/// Attempts at a handshake after the first: forged records before its end can only break this many.
pub const DTLS_REBUILDS_MAX: u8 = 3;

/// Largest data channel message, as LiveKit's server has it.
pub const DATA_MESSAGE_LEN_MAX: usize = 65_535;

/// Largest SCTP packet by the library's count, which leaves out the padding of bundled chunks.
pub const SCTP_MTU: usize = 1000;
/// What such a packet can really have, when every chunk carries one byte: 20 bytes instead of the
/// 17 counted, and a last chunk of which only the byte is counted.
pub const SCTP_DATAGRAM_LEN_MAX: usize = 12 + (SCTP_MTU - 13) * 20 / 17 + 20;
/// Bytes of unread messages and of fragments that an SCTP association holds, hence also the window
/// it advertises: some messages of the largest size at once.
pub const SCTP_RECEIVE_WINDOW: usize = 256 * 1024;
/// Received DATA chunks that wait for the rest of their message or for an earlier message. Each one
/// more costs time in proportion to all of them.
pub const SCTP_CHUNKS_WAITING_MAX: usize = SCTP_RECEIVE_WINDOW / 64;
/// Data channels of one transport. LiveKit's clients use two to four.
pub const DATA_CHANNELS_MAX: usize = 32;
/// Bytes a reliable channel buffers until its peer acknowledged them.
pub const DATA_CHANNEL_BUFFER_RELIABLE: usize = 1024 * 1024;
/// The same for a channel that may lose messages: late ones are worth little.
pub const DATA_CHANNEL_BUFFER_LOSSY: usize = 256 * 1024;

/// Reliable data packets a group keeps for those who join or resume, as LiveKit's server does.
pub const REPLAY_BYTES_PER_GROUP_MAX: usize = 100_000;
/// Destinations of one data packet that are looked at.
pub const DATA_DESTINATIONS_MAX: usize = 1024;

/// Commands that wait for a shard. A join takes some ten; a queue this long means a shard that
/// hangs.
pub const COMMANDS_QUEUED_MAX: usize = 65_536;
/// Events that wait for the control plane. A shard makes some hundred a second when a thousand
/// participants join at once.
pub const EVENTS_QUEUED_MAX: usize = 16_384;

const _: () = assert!(DATAGRAM_SEND_LEN_MAX <= 1280 - 40 - 8);
const _: () = assert!(DATAGRAM_SEND_LEN_MAX <= DATAGRAM_RECEIVE_LEN_MAX);
const _: () =
    assert!(SDP_SECTIONS_MAX > UP_TRACKS_PER_TRANSPORT_MAX + DOWN_TRACKS_PER_TRANSPORT_MAX);
const _: () = assert!(DTLS_DATAGRAM_LEN_MAX <= DATAGRAM_SEND_LEN_MAX);
const _: () = assert!(SCTP_DATAGRAM_LEN_MAX + DTLS_OVERHEAD <= DATAGRAM_SEND_LEN_MAX);
const _: () = assert!(SCTP_RECEIVE_WINDOW >= 2 * DATA_MESSAGE_LEN_MAX);
const _: () = assert!(DATA_CHANNEL_BUFFER_LOSSY >= DATA_MESSAGE_LEN_MAX);
const _: () = assert!(STORE_PACKETS_VIDEO.is_power_of_two());
const _: () = assert!(STORE_BYTES_VIDEO >= STORE_PACKETS_VIDEO * DATAGRAM_SEND_LEN_MAX);
const _: () = assert!(NACK_PACKETS_MAX <= STORE_PACKETS_VIDEO);
const _: () = assert!(RECEIVE_WINDOW_PACKETS.is_multiple_of(64));
const _: () = assert!(RECEIVE_WINDOW_PACKETS >= STORE_PACKETS_VIDEO);
const _: () = assert!(TWCC_WINDOW_PACKETS.is_power_of_two());
const _: () = assert!(REPLAY_WINDOW_PACKETS.is_power_of_two());
