//! Why a packet stopped. Noise from the network is counted here and is never an error.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal),* $(,)?) => {
        /// Why a packet stopped; exported as the counter `drop_<reason>`.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $name),*
        }

        impl DropReason {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            pub const COUNT: usize = Self::ALL.len();

            /// The reason as it appears in metrics, without the `drop_` prefix.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }
        }
    };
}

drop_reasons! {
    /// Zero-length datagram, or longer than a receive buffer.
    DatagramLength => "datagram_length",
    /// First byte belongs to none of STUN, DTLS, RTP, RTCP (RFC 7983 §7).
    DatagramClass => "datagram_class",
    /// Not STUN, and from a tuple that no Binding Request has validated.
    TupleUnvalidated => "tuple_unvalidated",
    StunMalformed => "stun_malformed",
    /// A ufrag that no transport has.
    StunUfragUnknown => "stun_ufrag_unknown",
    StunIntegrity => "stun_integrity",
    /// A STUN message that is not a Binding Request.
    StunUnexpected => "stun_unexpected",
    /// More checks for other shards than are passed on in a tick.
    StunPassLimit => "stun_pass_limit",
    /// A check that came from another address before: a copy, which proves nothing of who sent it.
    StunReplay => "stun_replay",
    /// The transport was told of no remote ICE credentials yet, or others.
    StunUsername => "stun_username",
    /// An unauthenticated alert before the handshake completed.
    DtlsAlertEarly => "dtls_alert_early",
    /// A DTLS record while DTLS is closed or has failed; data for a peer whose handshake is not
    /// complete.
    DtlsUnexpected => "dtls_unexpected",
    /// A datagram that ended an attempt at the handshake; the next attempt waits for the client.
    DtlsHandshakeBroken => "dtls_handshake_broken",
    /// More application data than may wait for one poll.
    DtlsSendFull => "dtls_send_full",
    /// The first record of a handshake while the shard has as many under way as it may.
    DtlsHandshakesFull => "dtls_handshakes_full",
    /// More records than one transport may send us.
    DtlsRate => "dtls_rate",
    /// SRTP or SRTCP before the handshake gave keys.
    SrtpNoKeys => "srtp_no_keys",
    SrtpMalformed => "srtp_malformed",
    SrtpAuthentication => "srtp_authentication",
    SrtpReplay => "srtp_replay",
    /// This direction has used every packet index its key allows (RFC 3711 §9.2).
    SrtpIndexExhausted => "srtp_index_exhausted",
    RtpMalformed => "rtp_malformed",
    /// No track claims this SSRC, mid and rid.
    RtpStreamUnknown => "rtp_stream_unknown",
    /// A payload type that was not negotiated for the track.
    RtpPayloadTypeUnknown => "rtp_payload_type_unknown",
    /// A retransmission whose original is unknown, or padding on the RTX stream.
    RtxUnusable => "rtx_unusable",
    /// More than [`crate::limits::SSRCS_PER_TRANSPORT_MAX`] sources.
    SsrcLimit => "ssrc_limit",
    /// Authentic, but more packets or bytes than one transport may send us.
    RtpRate => "rtp_rate",
    /// Seen before.
    RtpDuplicate => "rtp_duplicate",
    /// Older than anything we still track.
    RtpTooOld => "rtp_too_old",
    /// A packet from another shard of a track that has no subscribers here any more.
    MirrorUnknown => "mirror_unknown",
    RtcpMalformed => "rtcp_malformed",
    /// Authentic, but more RTCP packets than one transport may send us.
    RtcpRate => "rtcp_rate",
    /// A key frame request of a subscriber that asks too often.
    KeyframeRequestRate => "keyframe_request_rate",
    /// A NACK of a subscriber that asks for more retransmissions than it may have; what is left of
    /// the message goes unanswered.
    NackRate => "nack_rate",
    /// Transport-wide feedback that comes too often.
    TransportCcRate => "transport_cc_rate",
    /// The publisher's track is muted.
    TrackMuted => "track_muted",
    /// No free slot in the send arena, even after a submit.
    SendFull => "send_full",
    /// The kernel refused the datagram.
    SendFailed => "send_failed",
    /// A packet that, rewritten, exceeds what we send.
    SendLength => "send_length",
    SctpMalformed => "sctp_malformed",
    /// An SCTP packet while the association is over; an INIT while it is established.
    SctpUnexpected => "sctp_unexpected",
    /// An SCTP packet that costs more than its peer may cause: much is under way to it, and it
    /// sends many acknowledgements.
    SctpRate => "sctp_rate",
    DataMalformed => "data_malformed",
    /// A data packet from a transport that may not publish data.
    DataForbidden => "data_forbidden",
    /// A reliable data packet whose sequence was seen before.
    DataDuplicate => "data_duplicate",
    /// The receiver's data channel is not open.
    DataNotOpen => "data_not_open",
    /// A data channel whose buffer is full.
    DataBufferFull => "data_buffer_full",
    /// A data channel with room, in a shard that holds as much unacknowledged data as it may.
    DataShardFull => "data_shard_full",
    /// More data packets or bytes than one transport may send us.
    DataRate => "data_rate",
    /// A data packet on a channel whose label we do not serve.
    DataLabelUnknown => "data_label_unknown",
}

/// One counter per [`DropReason`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DropCounts([u64; DropReason::COUNT]);

/// By name, and without those at zero: a release with other reasons can still be understood.
impl serde::Serialize for DropCounts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named: Vec<(&str, u64)> = self
            .iter()
            .filter(|(_, packets)| *packets > 0)
            .map(|(reason, packets)| (reason.as_str(), packets))
            .collect();
        named.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for DropCounts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = Vec::<(String, u64)>::deserialize(deserializer)?;
        let mut counts = Self::default();
        for reason in DropReason::ALL {
            if let Some((_, packets)) = named.iter().find(|(name, _)| name == reason.as_str()) {
                counts.0[*reason as usize] = *packets;
            }
        }
        Ok(counts)
    }
}

impl Default for DropCounts {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounts {
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    pub fn add(&mut self, reason: DropReason, packets: u64) {
        self.0[reason as usize] += packets;
    }

    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|reason| (*reason, self.of(*reason)))
    }
}
