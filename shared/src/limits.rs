//! Every limit of the product, with the relations between them checked at compile time.

use std::time::Duration;

use crate::bucket::Rate;

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
/// The same for data packets, the only messages of more than some hundred bytes.
pub const DATA_BACKLOG_MAX: usize = 1024;

/// Commands that are kept of a transport until its peer is heard, for the shard that the peer may
/// reach. One with more stays where it was placed.
pub const UNPLACED_COMMANDS_MAX: usize = 1024;
/// Tuples of other shards that a shard passes on: every one was validated by its owner.
pub const FOREIGN_TUPLES_MAX: usize = 16_384;
/// Checks for other shards that are passed on in a tick. They are not authenticated yet, and must
/// not take the media lanes' places.
pub const CHECKS_PASSED_PER_TICK_MAX: usize = 64;

/// Spatial layers of a track: q, h, f.
pub const SPATIAL_LAYERS_MAX: usize = 3;
/// Temporal layers of an encoding.
pub const TEMPORAL_LAYERS_MAX: usize = 4;

/// Validated tuples of one transport; the least recently seen one makes room.
pub const TUPLES_PER_TRANSPORT_MAX: usize = 8;
/// Transports with whose keys a packet from an unknown tuple is tried, and how often one is.
pub const STRAY_OWNERS_TRIED_MAX: usize = 8;
/// Where nobody at its address sent it: transports that are asked whether they know its SSRC, which
/// takes some 50 ns, and of those that do, how many are tried, at some 0.3 us each. Subscribers that
/// publish nothing all report under the same SSRC.
pub const STRAY_TRANSPORTS_ASKED_MAX: usize = 512;
pub const STRAY_SOURCES_TRIED_MAX: usize = 32;
/// Packets from unknown tuples that a shard looks at. Others pass on as many again, and where they are
/// more than 10, up to 10 each.
pub const STRAYS_PER_SECOND_MAX: u64 = 100;
/// Checks of ours that wait for an answer, in one shard.
pub const CHECKS_PENDING_MAX: usize = 32;
/// Checks of one transport that a copy is compared with. Browsers send one every 2.5 s for each pair.
pub const CHECKS_REMEMBERED: usize = 32;
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
/// DATA chunks that an association has queued and its peer has not acknowledged, while fewer are under
/// way, so that twice as many may be in the end: more than [`DATA_BUFFERED_PER_TRANSPORT_MAX`] bytes of long messages have, and
/// than a group keeps for those who resume. Each look for packets to send walks over those sent.
pub const SCTP_CHUNKS_OUTSTANDING_MAX: usize = DATA_BUFFERED_PER_TRANSPORT_MAX / 640;
/// Data channels of one transport. LiveKit's clients use two to four.
pub const DATA_CHANNELS_MAX: usize = 32;
/// Bytes a reliable channel buffers until its peer acknowledged them.
pub const DATA_CHANNEL_BUFFER_RELIABLE: usize = 1024 * 1024;
/// The same for a channel that may lose messages: late ones are worth little.
pub const DATA_CHANNEL_BUFFER_LOSSY: usize = 256 * 1024;

/// Bytes that an association buffers over all its channels: one of each kind that we send on. A peer
/// that closes a channel and opens it again, and acknowledges nothing, gets no second buffer.
pub const DATA_BUFFERED_PER_TRANSPORT_MAX: usize =
    DATA_CHANNEL_BUFFER_RELIABLE + DATA_CHANNEL_BUFFER_LOSSY;
/// Bytes that all associations of a shard buffer together, however many of them do not read.
/// Messages to many are counted for each, though they share one copy.
pub const DATA_BUFFERED_PER_SHARD_MAX: usize = 256 * 1024 * 1024;
/// Of these, what messages that may be lost leave to the reliable ones.
pub const DATA_BUFFERED_RESERVED: usize = DATA_BUFFERED_PER_SHARD_MAX / 2;
/// Streams that a peer has reset without answering our own resets of them.
pub const SCTP_RESETS_MAX: usize = 2 * DATA_CHANNELS_MAX;
/// INITs of an association that are answered. RFC 9260 §16 has a client send at most nine.
pub const SCTP_INITS_MAX: u8 = 32;

/// Handshakes that a shard has under way: each may hold what [`DTLS_QUEUE_DATAGRAMS_MAX`] says, and
/// for 30 s. A thousand joins a second at 200 ms of round trips have 400.
pub const DTLS_HANDSHAKES_PER_SHARD_MAX: usize = 2_048;

// What one transport may ask of its shard (OWASP ASVS 5.0 17.2.5: a flood of a valid participant is
// dropped in excess). Everybody honest stays far below: these bound the damage, not the use.

/// RTP packets: twenty 1080p tracks. Browsers send up to 700 a second for one.
pub const RTP_PACKETS: Rate = Rate {
    per_second: 15_000,
    burst: 7_500,
};
/// Their bytes: 200 Mbit/s, and a second of it at once.
pub const RTP_BYTES: Rate = Rate {
    per_second: 25_000_000,
    burst: 25_000_000,
};
/// RTCP packets. A subscriber of 50 videos with loss sends a NACK for each every 20 ms.
pub const RTCP_PACKETS: Rate = Rate {
    per_second: 3_000,
    burst: 3_000,
};
/// Requests for key frames. Who joins a room of 500 videos asks for each, and again.
pub const KEYFRAME_REQUESTS: Rate = Rate {
    per_second: 500,
    burst: 1_000,
};
/// Packets asked for again: 10 % of 50 Mbit/s, each asked for five times.
pub const NACKED_PACKETS: Rate = Rate {
    per_second: 2_500,
    burst: 5_000,
};
/// Transport-wide feedback: libwebrtc sends at most 20 a second.
pub const TRANSPORT_CC_FEEDBACKS: Rate = Rate {
    per_second: 200,
    burst: 200,
};
/// DTLS records: data at its full rate in packets of a kilobyte, and as many acknowledgements.
pub const DTLS_RECORDS: Rate = Rate {
    per_second: 20_000,
    burst: 20_000,
};
/// Chunks under way to a peer that its packets make the SCTP library walk over; a walk takes some
/// 30 ns a chunk. 8 MB/s with a round trip of 100 ms have 800 under way and 4,000 acknowledgements a
/// second, of which this lets 1,200 pass: each says what those before it said.
pub const SCTP_CHUNKS_WALKED: Rate = Rate {
    per_second: 2_000_000,
    burst: 400_000,
};
/// Chunks under way that are walked over for every message: some 8 µs, as sending it takes.
pub const SCTP_CHUNKS_FEW: usize = 128;
/// With more under way, messages wait so long for others: a peer that has as many under way as it
/// may then takes some 2 % of a shard, however many messages others send it.
pub const SCTP_GATHERING: Duration = Duration::from_millis(10);
/// Data packets.
pub const DATA_PACKETS: Rate = Rate {
    per_second: 5_000,
    burst: 5_000,
};
/// Their bytes: 64 Mbit/s.
pub const DATA_BYTES: Rate = Rate {
    per_second: 8_000_000,
    burst: 8_000_000,
};

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
/// Events that a shard keeps while that queue is full: those that are told only once. Each transport
/// has some four of them, and each track one.
pub const EVENTS_OVERFLOW_MAX: usize = 65_536;

/// Longest frame of the link over a socket. The longest are the reports of a full shard: 60 bytes
/// for each of some 100,000 copies.
pub const LINK_FRAME_LEN_MAX: usize = 16 << 20;
/// Transports in one part of a snapshot: with all their tracks they are far below a frame.
pub const SNAPSHOT_TRANSPORTS_MAX: usize = 64;
/// Longest memo. Most of one is a participant's metadata, of which half a megabyte is allowed, and
/// its subscriptions, at about half a kilobyte each.
pub const MEMO_LEN_MAX: usize = 4 << 20;
/// All memos together: 10 kB for each of 25,000 participants.
pub const MEMOS_BYTES_MAX: usize = 256 << 20;

const _: () = assert!(DATAGRAM_SEND_LEN_MAX <= 1280 - 40 - 8);
const _: () = assert!(CHECKS_PASSED_PER_TICK_MAX * 4 <= LANE_MEDIA_PACKETS_MAX);
const _: () = assert!(DATA_BACKLOG_MAX < CONTROL_BACKLOG_MAX);
const _: () = assert!(DATAGRAM_SEND_LEN_MAX <= DATAGRAM_RECEIVE_LEN_MAX);
const _: () =
    assert!(SDP_SECTIONS_MAX > UP_TRACKS_PER_TRANSPORT_MAX + DOWN_TRACKS_PER_TRANSPORT_MAX);
const _: () = assert!(DTLS_DATAGRAM_LEN_MAX <= DATAGRAM_SEND_LEN_MAX);
const _: () = assert!(SCTP_DATAGRAM_LEN_MAX + DTLS_OVERHEAD <= DATAGRAM_SEND_LEN_MAX);
const _: () = assert!(SCTP_RECEIVE_WINDOW >= 2 * DATA_MESSAGE_LEN_MAX);
const _: () = assert!(DATA_CHANNEL_BUFFER_LOSSY >= DATA_MESSAGE_LEN_MAX);
const _: () = assert!(DATA_BUFFERED_PER_SHARD_MAX >= 64 * DATA_BUFFERED_PER_TRANSPORT_MAX);
const _: () = assert!(DATA_BYTES.burst as usize >= DATA_MESSAGE_LEN_MAX);
const _: () =
    assert!(DTLS_RECORDS.per_second as usize >= 2 * DATA_BYTES.per_second as usize / SCTP_MTU);
// An honest packet, with one acknowledgement and every stream being reset, passes in the end.
const _: () = assert!(
    SCTP_CHUNKS_WALKED.burst as usize
        >= (2 + SCTP_RESETS_MAX) * (1 + 2 * SCTP_CHUNKS_OUTSTANDING_MAX)
);
const _: () = assert!(DTLS_HANDSHAKES_PER_SHARD_MAX <= TRANSPORTS_PER_SHARD_MAX);
const _: () = assert!(RTP_BYTES.burst as usize >= DATAGRAM_RECEIVE_LEN_MAX);
const _: () = assert!(EVENTS_OVERFLOW_MAX >= 4 * TRANSPORTS_PER_SHARD_MAX);
const _: () = assert!(STORE_PACKETS_VIDEO.is_power_of_two());
const _: () = assert!(STORE_BYTES_VIDEO >= STORE_PACKETS_VIDEO * DATAGRAM_SEND_LEN_MAX);
const _: () = assert!(NACK_PACKETS_MAX <= STORE_PACKETS_VIDEO);
const _: () = assert!(RECEIVE_WINDOW_PACKETS.is_multiple_of(64));
const _: () = assert!(RECEIVE_WINDOW_PACKETS >= STORE_PACKETS_VIDEO);
const _: () = assert!(MEMO_LEN_MAX < LINK_FRAME_LEN_MAX);
const _: () = assert!(MEMO_LEN_MAX <= MEMOS_BYTES_MAX);
// Ids of ten bytes at most, and as much again for what else is said of each.
const _: () = assert!(
    SNAPSHOT_TRANSPORTS_MAX * (UP_TRACKS_PER_TRANSPORT_MAX + DOWN_TRACKS_PER_TRANSPORT_MAX) * 20
        < LINK_FRAME_LEN_MAX
);
const _: () = assert!(TWCC_WINDOW_PACKETS.is_power_of_two());
const _: () = assert!(REPLAY_WINDOW_PACKETS.is_power_of_two());
