//! Contents of the RTP header extensions we understand.

use crate::ids::TOKEN_LEN_MAX;
use crate::time::{NtpTime, SeqNo};

/// Sequence number of the transport-wide congestion control extension
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2). Its second version appends a feedback
/// request, which is left out here.
pub fn transport_cc(ext: &[u8]) -> Option<SeqNo> {
    ext.first_chunk().map(|seq| SeqNo(u16::from_be_bytes(*seq)))
}

pub const fn write_transport_cc(seq: SeqNo) -> [u8; 2] {
    seq.0.to_be_bytes()
}

/// Absolute send time in its 24 bits: seconds in 6.18 fixed point, modulo 64 s
/// (<http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time>).
pub fn abs_send_time(ext: &[u8]) -> Option<u32> {
    ext.first_chunk()
        .map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]))
}

pub const fn write_abs_send_time(at: NtpTime) -> [u8; 3] {
    // Bits 14..38 of 32.32: six of the seconds and eighteen of the fraction.
    let [.., a, b, c] = (at.0 >> 14).to_be_bytes();
    [a, b, c]
}

/// Client-to-mixer audio level (RFC 6464 §3).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct AudioLevel {
    /// How far below the overload point, 0 (loudest) to 127 (silence).
    pub below_overload_db: u8,
    /// The sender believes that this is voice.
    pub voice: bool,
}

pub fn audio_level(ext: &[u8]) -> Option<AudioLevel> {
    ext.first().map(|byte| AudioLevel {
        below_overload_db: byte & 0x7f,
        voice: byte & 0x80 != 0,
    })
}

pub const fn write_audio_level(level: AudioLevel) -> [u8; 1] {
    let below = if level.below_overload_db > 127 {
        127
    } else {
        level.below_overload_db
    };
    [below | if level.voice { 0x80 } else { 0 }]
}

/// Media identification (RFC 8843 §15) of at most [`TOKEN_LEN_MAX`] bytes.
pub fn mid(ext: &[u8]) -> Option<&str> {
    token(ext)
}

/// RTP stream id or repaired RTP stream id (RFC 8852 §3) of at most [`TOKEN_LEN_MAX`] bytes.
pub fn rid(ext: &[u8]) -> Option<&str> {
    token(ext)
}

fn token(ext: &[u8]) -> Option<&str> {
    // Senders may fill the element with NUL; libwebrtc reads it as a C string, too.
    let len = ext.iter().position(|byte| *byte == 0).unwrap_or(ext.len());
    if len == 0 || len > TOKEN_LEN_MAX {
        return None;
    }
    std::str::from_utf8(ext.get(..len)?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn transport_cc_in_both_versions() {
        assert_eq!(transport_cc(&[0x12, 0x34]), Some(SeqNo(0x1234)));
        assert_eq!(transport_cc(&[0x12, 0x34, 0x80, 0x01]), Some(SeqNo(0x1234)));
        assert_eq!(transport_cc(&[0x12]), None);
        assert_eq!(
            transport_cc(&write_transport_cc(SeqNo(65_535))),
            Some(SeqNo(65_535))
        );
    }

    #[test]
    fn abs_send_time_is_6_18_modulo_64_s() {
        let at = NtpTime::from_duration(Duration::from_millis(65_500));
        assert_eq!(write_abs_send_time(at), [0x06, 0x00, 0x00]);
        assert_eq!(
            abs_send_time(&write_abs_send_time(at)),
            Some((1 << 18) + (1 << 17))
        );
        assert_eq!(abs_send_time(&[1, 2]), None);
    }

    #[test]
    fn audio_level_and_voice() {
        let spoken = AudioLevel {
            below_overload_db: 30,
            voice: true,
        };
        assert_eq!(audio_level(&[0x9e]), Some(spoken));
        assert_eq!(write_audio_level(spoken), [0x9e]);
        assert_eq!(
            audio_level(&[0x7f]),
            Some(AudioLevel {
                below_overload_db: 127,
                voice: false
            })
        );
        let beyond = AudioLevel {
            below_overload_db: 200,
            voice: false,
        };
        assert_eq!(write_audio_level(beyond), [0x7f]);
        assert_eq!(audio_level(&[]), None);
    }

    #[test]
    fn tokens_are_short_text() {
        assert_eq!(mid(b"0"), Some("0"));
        assert_eq!(rid(b"f\0\0"), Some("f"));
        assert_eq!(rid(b""), None);
        assert_eq!(rid(b"\0"), None);
        assert_eq!(mid(&[0xff, 0xfe]), None);
        assert_eq!(mid(&[b'a'; 16]), Some("aaaaaaaaaaaaaaaa"));
        assert_eq!(mid(&[b'a'; 17]), None);
    }
}
