//! H.265 as browsers send it (RFC 7798): key frames have a packet of parameter sets, and slices that
//! need several packets are fragments.

use crate::content::Content;

/// The head of an aggregation packet (RFC 7798 §4.4.2) with the video, sequence and picture
/// parameter sets.
const PARAMETER_SETS: [u8; 20] = [
    0x60, 1, 0, 4, 0x40, 1, 0x0c, 1, 0, 4, 0x42, 1, 1, 1, 0, 4, 0x44, 1, 0xc1, 0x72,
];
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;
const IDR: u8 = 19;
const TRAIL: u8 = 1;
const SEI: u8 = 39;
/// The first byte of a slice: of a picture's first one the highest bit is set
/// (first_slice_segment_in_pic_flag).
const SLICE_START: u8 = 0xaf;

/// The header of a unit (RFC 7798 §1.1.4), of temporal layer 0.
const fn unit(kind: u8) -> [u8; 2] {
    [kind << 1, 1]
}

/// A payload with `len` bytes behind its headers.
pub(crate) fn payload(content: &Content, len: usize) -> Vec<u8> {
    let len = len.max(Content::BODY_LEN_MIN);
    let mut payload = headers(content, len);
    let at = payload.len();
    payload.resize(at + len, 0);
    content.write(&mut payload[at..]);
    payload
}

fn headers(content: &Content, len: usize) -> Vec<u8> {
    let key = content.is_key();
    if key && content.index == 0 {
        // Behind the parameter sets the slice, or, where that has packets of its own, a message.
        let unit = match content.count {
            1 => [&unit(IDR)[..], &[SLICE_START]].concat(),
            _ => unit(SEI).to_vec(),
        };
        let unit_len = (unit.len() + len) as u16;
        return [&PARAMETER_SETS, &unit_len.to_be_bytes()[..], &unit].concat();
    }
    let slice = if key { IDR } else { TRAIL };
    // The slice's packets: all but the one of parameter sets.
    let first = u8::from(key);
    if content.count - first == 1 {
        return [&unit(slice)[..], &[SLICE_START]].concat();
    }
    // RFC 7798 §4.4.3.
    let (start, end) = (content.index == first, content.is_last());
    let mut headers = unit(FRAGMENTATION).to_vec();
    headers.push(u8::from(start) << 7 | u8::from(end) << 6 | slice);
    headers.extend(start.then_some(SLICE_START));
    headers
}

/// Whether the packet has parameter sets.
pub(crate) fn has_parameter_sets(payload: &[u8]) -> bool {
    payload
        .first()
        .is_some_and(|first| first >> 1 == AGGREGATION)
}

/// What a payload carries; `None` where it is not what a publisher wrote.
pub(crate) fn read(bytes: &[u8]) -> Option<Content> {
    let at = match bytes.first()? >> 1 {
        AGGREGATION => {
            let unit = bytes.get(PARAMETER_SETS.len() + 2)?;
            PARAMETER_SETS.len() + if unit >> 1 == SEI { 4 } else { 5 }
        }
        FRAGMENTATION => 3 + usize::from(bytes.get(2)? >> 7),
        _ => 3,
    };
    let content = Content::read(bytes.get(at..)?)?;
    (bytes == payload(&content, bytes.len() - at)).then_some(content)
}
