//! Key frames in H.265 packets (RFC 7798 §4.4).

use crate::wire::bytes::ByteReader;

const VPS: u8 = 32;
const SPS: u8 = 33;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

/// Whether decoding can start at this packet: it has a video or sequence parameter set, which
/// encoders send right before a key frame. Slices of an IRAP picture are no start, as in
/// [`super::h264`]. A key frame whose sets have packets of their own is found twice, under one RTP
/// timestamp. Decoding order numbers (`sprop-max-don-diff`), which browsers never negotiate, are not
/// supported.
pub fn keyframe_start(payload: &[u8]) -> bool {
    let mut reader = ByteReader::new(payload);
    let Some(kind) = unit_type(&mut reader) else {
        return false;
    };
    match kind {
        AGGREGATION => aggregated(reader),
        // RFC 7798 §4.4.3: the first fragment has the start bit, and the type of the whole unit.
        FRAGMENTATION => reader
            .u8()
            .is_some_and(|fu| fu & 0x80 != 0 && starts(fu & 0x3f)),
        _ => starts(kind),
    }
}

/// RFC 7798 §1.1.4: the type of a unit, from the two bytes of its header.
fn unit_type(reader: &mut ByteReader<'_>) -> Option<u8> {
    let [first, _] = reader.array()?;
    Some((first >> 1) & 0x3f)
}

const fn starts(kind: u8) -> bool {
    matches!(kind, VPS | SPS)
}

/// RFC 7798 §4.4.2: units one after the other, each behind its length.
fn aggregated(mut units: ByteReader<'_>) -> bool {
    while let Some(len) = units.u16() {
        let Some(unit) = units.take(usize::from(len)) else {
            return false;
        };
        if unit_type(&mut ByteReader::new(unit)).is_some_and(starts) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_units() {
        assert!(keyframe_start(&[0x40, 0x01, 0x0c]), "VPS");
        assert!(keyframe_start(&[0x42, 0x01, 0x01]), "SPS");
        assert!(!keyframe_start(&[0x44, 0x01, 0xc1]), "PPS");
        assert!(!keyframe_start(&[0x26, 0x01, 0xaf]), "IDR_W_RADL");
        assert!(!keyframe_start(&[0x2a, 0x01, 0xaf]), "CRA");
        assert!(!keyframe_start(&[0x02, 0x01, 0xd0]), "TRAIL_R");
        assert!(!keyframe_start(&[0x26, 0x01]));
        assert!(!keyframe_start(&[0x26]));
    }

    #[test]
    fn aggregated_units() {
        let with_vps = [0x60, 0x01, 0, 3, 0x40, 0x01, 0x0c, 0, 3, 0x42, 0x01, 0x01];
        assert!(keyframe_start(&with_vps));
        assert!(!keyframe_start(&[
            0x60, 0x01, 0, 2, 0x46, 0x01, 0, 3, 0x26, 0x01, 0x80
        ]));
        assert!(!keyframe_start(&[0x60, 0x01, 0, 3, 0x44, 0x01, 0xc1]));
        assert!(!keyframe_start(&[0x60, 0x01, 0, 9, 0x40, 0x01]));
        assert!(!keyframe_start(&[0x60, 0x01, 0, 0, 0, 1, 0x40]));
    }

    #[test]
    fn fragments() {
        assert!(keyframe_start(&[0x62, 0x01, 0xa1, 0x01]), "start of an SPS");
        assert!(
            !keyframe_start(&[0x62, 0x01, 0x93, 0xaf]),
            "start of IDR_W_RADL"
        );
        assert!(!keyframe_start(&[0x62, 0x01, 0x13, 0xaf]), "middle");
        assert!(!keyframe_start(&[0x62, 0x01, 0x53, 0xaf]), "end");
        assert!(
            !keyframe_start(&[0x62, 0x01, 0x81, 0xaf]),
            "start of TRAIL_R"
        );
        assert!(!keyframe_start(&[0x62, 0x01]));
    }

    proptest! {
        #[test]
        fn noise_never_panics(mut payload in vec(any::<u8>(), 0..64), aggregated: bool) {
            if let (true, Some(first)) = (aggregated, payload.first_mut()) {
                *first = AGGREGATION << 1;
            }
            keyframe_start(&payload);
        }
    }
}
