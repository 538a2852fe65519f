//! A parser with a bug planted on purpose: what does not find it finds nothing.

/// A record: `MR`, a type, a length, and as many bytes. The check of the length is missing for type
/// 7.
pub(crate) fn canary(record: &[u8]) {
    let Some((header, body)) = record.split_first_chunk::<4>() else {
        return;
    };
    let [b'M', b'R', kind, len] = *header else {
        return;
    };
    let len = usize::from(len);
    if kind != 7 && len > body.len() {
        return;
    }
    let content = &body[..len];
    assert!(content.len() <= body.len());
}
