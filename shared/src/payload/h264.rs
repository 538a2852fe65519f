//! Key frames in H.264 packets (RFC 6184 §5).

use crate::wire::bytes::ByteReader;

const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether decoding can start at this packet: it has a sequence parameter set, which encoders send
/// right before a key frame. The slices of an IDR picture are no start: whoever began with them had
/// no parameters for it, of another encoding's picture the wrong ones, and what was lost before them
/// came too late to be placed in front.
pub fn keyframe_start(payload: &[u8]) -> bool {
    let Some((header, rest)) = payload.split_first() else {
        return false;
    };
    match header & 0x1f {
        STAP_A => aggregated(rest),
        // RFC 6184 §5.8: the first fragment has the start bit, and the type of the whole unit.
        FU_A => rest
            .first()
            .is_some_and(|fu| fu & 0x80 != 0 && fu & 0x1f == SPS),
        kind => kind == SPS && !rest.is_empty(),
    }
}

/// RFC 6184 §5.7.1: units one after the other, each behind its length.
fn aggregated(units: &[u8]) -> bool {
    let mut reader = ByteReader::new(units);
    while let Some(len) = reader.u16() {
        match reader.take(usize::from(len)).map(<[u8]>::first) {
            Some(Some(header)) if header & 0x1f == SPS => return true,
            Some(_) => {}
            None => return false,
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
        assert!(keyframe_start(&[0x67, 0x42, 0x00, 0x1f]), "SPS");
        assert!(
            !keyframe_start(&[0x65, 0x88, 0x84]),
            "slice of an IDR picture"
        );
        assert!(!keyframe_start(&[0x68, 0xce, 0x3c]), "PPS");
        assert!(!keyframe_start(&[0x41, 0x9a]), "slice of a delta picture");
        assert!(!keyframe_start(&[0x67]));
        assert!(!keyframe_start(&[]));
    }

    #[test]
    fn aggregated_units() {
        let sps_and_pps = [0x78, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 0, 3, 0x68, 0xce, 0x3c];
        assert!(keyframe_start(&sps_and_pps));
        assert!(
            keyframe_start(&[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x67, 0x42]),
            "behind a delimiter"
        );
        assert!(!keyframe_start(&[0x78, 0, 1, 0x06, 0, 2, 0x65, 0x88]));
        assert!(!keyframe_start(&[0x78, 0, 3, 0x68, 0xce, 0x3c]));
        assert!(!keyframe_start(&[0x78, 0, 0, 0, 0]), "empty units");
        assert!(
            !keyframe_start(&[0x78, 0, 9, 0x67, 0x42]),
            "length past the end"
        );
    }

    #[test]
    fn fragments() {
        assert!(
            !keyframe_start(&[0x7c, 0x85, 0x88]),
            "start of an IDR slice"
        );
        assert!(keyframe_start(&[0x7c, 0x87, 0x42]), "start of a long SPS");
        assert!(!keyframe_start(&[0x7c, 0x05, 0x88]), "middle");
        assert!(!keyframe_start(&[0x7c, 0x45, 0x88]), "end");
        assert!(
            !keyframe_start(&[0x7c, 0x81, 0x9a]),
            "start of a delta slice"
        );
        assert!(!keyframe_start(&[0x7c]));
    }

    proptest! {
        #[test]
        fn noise_never_panics(mut payload in vec(any::<u8>(), 0..64), aggregated: bool) {
            if let (true, Some(first)) = (aggregated, payload.first_mut()) {
                *first = STAP_A;
            }
            keyframe_start(&payload);
        }
    }
}
