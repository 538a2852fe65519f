//! Identifiers as newtypes. Those of the link are chosen by the control plane and opaque to the
//! data plane; those of RTP come from the wire.

use std::fmt;

use arrayvec::ArrayString;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Copy,
            Clone,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            Debug,
            Default,
            serde::Serialize,
            serde::Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One ICE + DTLS + SRTP association.
    TransportId,
    u64
);
id!(
    /// One published medium, and its UpTrack.
    TrackId,
    u64
);
id!(
    /// One subscriber's copy of a track.
    DownTrackId,
    u64
);
id!(
    /// Transports that exchange data packets and are ranked together as speakers.
    GroupId,
    u64
);
id!(
    /// What the control plane lets the data plane keep for it.
    MemoKey,
    u64
);
id!(
    /// A pinned thread of the data plane, counted from 0.
    ShardId,
    u16
);
id!(
    /// RTP synchronization source (RFC 3550 §3).
    Ssrc,
    u32
);
id!(
    /// RTP payload type, 0..=127.
    Pt,
    u8
);

/// Longest mid or rid we carry. Browsers use one or two characters; RFC 8852 sets no limit, but a
/// one-byte header extension carries at most 16 bytes.
pub const TOKEN_LEN_MAX: usize = 16;

/// Media identification of an m-line (RFC 5888, RFC 8843 §15).
pub type Mid = ArrayString<TOKEN_LEN_MAX>;
/// RTP stream id of a simulcast encoding (RFC 8851).
pub type Rid = ArrayString<TOKEN_LEN_MAX>;
