//! The clear part of DTLS records (RFC 6347 §4.1), for what must be decided before the library
//! sees them.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

const HEADER_LEN: usize = 13;
const ALERT: u8 = 21;

/// Whether any record of the datagram is an alert of epoch 0, which anyone can write.
pub(super) fn has_plaintext_alert(mut datagram: &[u8]) -> bool {
    while let Some((header, rest)) = datagram.split_first_chunk::<HEADER_LEN>() {
        let [content_type, _, _, epoch_high, epoch_low, .., high, low] = *header;
        if content_type == ALERT && [epoch_high, epoch_low] == [0, 0] {
            return true;
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        datagram = rest.get(len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8, fragment: &[u8]) -> Vec<u8> {
        let mut record = vec![content_type, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0, 0];
        record.push(u8::try_from(fragment.len()).unwrap());
        record.extend_from_slice(fragment);
        record
    }

    #[test]
    fn finds_an_alert_behind_other_records() {
        let handshake = record(22, 0, &[21; 30]);
        let alert = record(ALERT, 0, &[2, 40]);
        assert!(!has_plaintext_alert(&handshake));
        assert!(has_plaintext_alert(&alert));
        assert!(has_plaintext_alert(
            &[handshake.clone(), alert.clone()].concat()
        ));
        assert!(!has_plaintext_alert(&record(ALERT, 1, &[2, 40])));
        // Cut in its header it is no record, and the library discards it too.
        assert!(!has_plaintext_alert(&alert[..12]));
        assert!(!has_plaintext_alert(&[]));
    }
}
