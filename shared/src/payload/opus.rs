//! Opus packets, from their table of contents (RFC 6716 §3).

/// Ticks of the 48 kHz RTP clock (RFC 7587 §4.1).
const TICKS_PER_MS: u32 = 48;
/// RFC 6716 §3.2.5: a packet has at most 120 ms.
const PACKET_TICKS_MAX: u32 = 120 * TICKS_PER_MS;

/// 20 ms of silence, stereo, as senders fill a muted track with it.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Whether the packet carries no audio: discontinuous transmission, or [`SILENCE`].
pub fn is_silence(payload: &[u8]) -> bool {
    // RFC 6716 §2.1.9, §3.2.1: DTX leaves frames of no or one byte behind the table of contents.
    payload.len() <= 2 || payload == SILENCE
}

/// Duration of the packet in ticks of 48 kHz; `None` if it is malformed.
pub fn duration_ticks(payload: &[u8]) -> Option<u32> {
    let toc = *payload.first()?;
    let frames = match toc & 0x03 {
        0 => 1,
        1 | 2 => 2,
        // RFC 6716 §3.2.5: the count is in the next byte.
        _ => u32::from(*payload.get(1)? & 0x3f),
    };
    let ticks = frames * frame_ticks(toc >> 3);
    (1..=PACKET_TICKS_MAX).contains(&ticks).then_some(ticks)
}

/// RFC 6716 §3.1, table 2.
const fn frame_ticks(config: u8) -> u32 {
    match (config, config & 0x03) {
        (0..12, 3) => 60 * TICKS_PER_MS,
        (0..12, 2) => 40 * TICKS_PER_MS,
        (0..12, short) | (12..16, short) => {
            if short & 1 == 0 {
                10 * TICKS_PER_MS
            } else {
                20 * TICKS_PER_MS
            }
        }
        (_, short) => (5 * TICKS_PER_MS / 2) << short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_short() {
        assert!(is_silence(&[]));
        assert!(is_silence(&[0x78]));
        assert!(is_silence(&[0x78, 0x00]));
        assert!(is_silence(&SILENCE));
        assert!(!is_silence(&[0x78, 0x80, 0x12]));
    }

    #[test]
    fn durations_of_all_configurations() {
        let ms_times_10 = |config: u8| duration_ticks(&[config << 3]).unwrap() * 10 / 48;
        for config in 0..12 {
            assert_eq!(
                ms_times_10(config),
                [100, 200, 400, 600][usize::from(config % 4)]
            );
        }
        for config in 12..16 {
            assert_eq!(ms_times_10(config), [100, 200][usize::from(config % 2)]);
        }
        for config in 16..32 {
            assert_eq!(
                ms_times_10(config),
                [25, 50, 100, 200][usize::from(config % 4)]
            );
        }
    }

    #[test]
    fn several_frames() {
        assert_eq!(duration_ticks(&[0x78]), Some(960), "one of 20 ms");
        assert_eq!(duration_ticks(&[0x79, 1]), Some(1920), "two");
        assert_eq!(duration_ticks(&[0x7b, 0x83]), Some(2880), "three, VBR");
        assert_eq!(duration_ticks(&[0x7b, 0x06]), Some(5760), "120 ms");
        assert_eq!(duration_ticks(&[0x7b, 0x07]), None, "140 ms");
        assert_eq!(duration_ticks(&[0x7b, 0x00]), None, "none");
        assert_eq!(duration_ticks(&[0x7b]), None);
        assert_eq!(duration_ticks(&[]), None);
    }
}
