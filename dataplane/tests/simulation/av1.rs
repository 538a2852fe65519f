//! AV1 as browsers send it (RTP Payload Format For AV1): an aggregation header before the payload,
//! and the dependency descriptor in a header extension.

use crate::content::Content;

/// Of a template dependency structure, which nothing on the way reads. With one, an element needs
/// the two-byte form (RFC 8285 §4.3).
const STRUCTURE_LEN: u8 = 60;

/// A payload with `len` bytes behind its header.
pub(crate) fn payload(content: &Content, len: usize) -> Vec<u8> {
    let mut payload = vec![header(content)];
    payload.resize(1 + len.max(Content::BODY_LEN_MIN), 0);
    content.write(&mut payload[1..]);
    payload
}

/// AV1 RTP §4.4: Z, Y, W and N. Each packet has one element, a piece of the frame.
fn header(content: &Content) -> u8 {
    let starts = content.index == 0;
    let (continuation, continued) = (u8::from(!starts), u8::from(!content.is_last()));
    let new_sequence = u8::from(starts && content.is_key());
    continuation << 7 | continued << 6 | 0x10 | new_sequence << 3
}

/// Some publishers have not negotiated it.
pub(crate) fn descriptor(content: &Content) -> Option<Vec<u8>> {
    if content.track.is_multiple_of(20) {
        return None;
    }
    // AV1 RTP §A.8.2: start and end of the frame, template, and frame number.
    let key = content.is_key();
    let starts = content.index == 0;
    let place = u8::from(starts) << 7 | u8::from(content.is_last()) << 6;
    let [high, low] = (content.frame as u16).to_be_bytes();
    let mut bytes = vec![place | u8::from(!key), high, low];
    if key && starts {
        // template_dependency_structure_present_flag
        bytes.push(0x80);
        bytes.extend((0..STRUCTURE_LEN).map(|it| it ^ low));
    }
    Some(bytes)
}

/// What a packet carries; `None` where it is not what a publisher wrote.
pub(crate) fn read(payload: &[u8], ext: Option<&[u8]>) -> Option<Content> {
    let (told, rest) = payload.split_first()?;
    let content = Content::read(rest)?;
    let same = *told == header(&content) && ext == descriptor(&content).as_deref();
    same.then_some(content)
}
