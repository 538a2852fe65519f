//! Keeps the running fields of VP8's payload descriptor continuous for one subscriber (RFC 7741
//! §4.2): picture id, TL0PICIDX and KEYIDX count on over layer switches, and the picture id over
//! pictures that are not sent.
//!
//! A picture id always leaves in its 15 bit form, whatever form it came in, so that a switch
//! between encodings of different forms needs no rule. A descriptor without one stays without.

use crate::packet::{Vp8Fields, Vp8PictureId};

/// Picture ids count modulo 2^15.
const PICTURE_ID_MASK: u16 = 0x7fff;
/// KEYIDX counts modulo 2^5.
const KEY_IDX_MASK: u8 = 0x1f;

/// What is subtracted from each field, modulo its range.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Vp8Offsets {
    picture_id: u16,
    tl0_pic_idx: u8,
    key_idx: u8,
}

/// Values that the first packet gets, from the host's random source (RFC 7741 §4.2: the picture
/// id may start anywhere).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Vp8Start {
    pub(super) picture_id: u16,
    pub(super) tl0_pic_idx: u8,
    pub(super) key_idx: u8,
}

/// State of one subscriber's copy. `last` are the newest values of the source in order, seen and
/// not necessarily sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Vp8Rewriter {
    offsets: Vp8Offsets,
    picture_id_last: u16,
    tl0_pic_idx_last: u8,
    key_idx_last: u8,
    picture_id_known: bool,
    tl0_pic_idx_known: bool,
    key_idx_known: bool,
}

impl Vp8Rewriter {
    pub(super) fn new(start: Vp8Start) -> Self {
        // Zero offsets: the values before the first ones are the last that went out.
        Self {
            offsets: Vp8Offsets::default(),
            picture_id_last: start.picture_id.wrapping_sub(1) & PICTURE_ID_MASK,
            tl0_pic_idx_last: start.tl0_pic_idx.wrapping_sub(1),
            key_idx_last: start.key_idx.wrapping_sub(1) & KEY_IDX_MASK,
            picture_id_known: false,
            tl0_pic_idx_known: false,
            key_idx_known: false,
        }
    }

    pub(super) fn offsets(&self) -> Vp8Offsets {
        self.offsets
    }

    /// The next packet comes from another encoding, or the same one after a pause: each field goes
    /// on at one more than the last value sent, whatever the source counts.
    pub(super) fn begin_run(&mut self) {
        self.picture_id_known = false;
        self.tl0_pic_idx_known = false;
        self.key_idx_known = false;
    }

    /// Takes note of a packet in order that is sent, before its offsets are read.
    pub(super) fn send(&mut self, fields: &Vp8Fields) {
        if let Some(id) = fields.picture_id {
            if !self.picture_id_known {
                self.join_picture_id(id);
            }
            self.picture_id_last = self.extend_in_order(id);
        }
        if let Some(idx) = fields.tl0_pic_idx {
            if !self.tl0_pic_idx_known {
                let out_last = self.tl0_pic_idx_last.wrapping_sub(self.offsets.tl0_pic_idx);
                self.offsets.tl0_pic_idx = idx.wrapping_sub(out_last).wrapping_sub(1);
                self.tl0_pic_idx_known = true;
            }
            self.tl0_pic_idx_last = idx;
        }
        if let Some(idx) = fields.key_idx {
            if !self.key_idx_known {
                let out_last = self.key_idx_last.wrapping_sub(self.offsets.key_idx);
                self.offsets.key_idx = idx.wrapping_sub(out_last).wrapping_sub(1) & KEY_IDX_MASK;
                self.key_idx_known = true;
            }
            self.key_idx_last = idx;
        }
    }

    /// Takes note of a packet in order that is not sent. The first one of a picture closes the gap
    /// that the picture leaves in the picture ids. The other fields stay: it may show a base
    /// picture or key frame that is still missing and will be sent.
    pub(super) fn drop(&mut self, fields: &Vp8Fields) {
        if let Some(idx) = fields.tl0_pic_idx.filter(|_| self.tl0_pic_idx_known) {
            self.tl0_pic_idx_last = idx;
        }
        if let Some(idx) = fields.key_idx.filter(|_| self.key_idx_known) {
            self.key_idx_last = idx;
        }
        let Some(id) = fields.picture_id.filter(|_| self.picture_id_known) else {
            return;
        };
        let extended = self.extend_in_order(id);
        if extended != self.picture_id_last {
            self.offsets.picture_id = self.offsets.picture_id.wrapping_add(1) & PICTURE_ID_MASK;
            self.picture_id_last = extended;
        }
    }

    /// The fields as they leave, with the offsets of the packet's time.
    pub(super) fn rewrite(&self, fields: &Vp8Fields, offsets: Vp8Offsets) -> Vp8Fields {
        Vp8Fields {
            picture_id: fields.picture_id.map(|id| Vp8PictureId {
                value: self.extend(id).wrapping_sub(offsets.picture_id) & PICTURE_ID_MASK,
                long: true,
            }),
            tl0_pic_idx: fields
                .tl0_pic_idx
                .map(|idx| idx.wrapping_sub(offsets.tl0_pic_idx)),
            key_idx: fields
                .key_idx
                .map(|idx| idx.wrapping_sub(offsets.key_idx) & KEY_IDX_MASK),
            layer_sync: fields.layer_sync,
        }
    }

    fn join_picture_id(&mut self, id: Vp8PictureId) {
        let out_last = self.picture_id_last.wrapping_sub(self.offsets.picture_id);
        self.offsets.picture_id = id.value.wrapping_sub(out_last).wrapping_sub(1) & PICTURE_ID_MASK;
        self.picture_id_last = id.value & PICTURE_ID_MASK;
        self.picture_id_known = true;
    }

    /// The source id of a packet in order, modulo 2^15: however many pictures were lost before it, a
    /// 7 bit one has counted on.
    fn extend_in_order(&self, id: Vp8PictureId) -> u16 {
        if id.long {
            return id.value & PICTURE_ID_MASK;
        }
        let ahead = id.value.wrapping_sub(self.picture_id_last) & 0x7f;
        self.picture_id_last.wrapping_add(ahead) & PICTURE_ID_MASK
    }

    /// A source id modulo 2^15: a 7 bit one is taken as the nearest to the newest id. RFC 7741
    /// §4.2 lets a sender change the form at any time.
    fn extend(&self, id: Vp8PictureId) -> u16 {
        if id.long {
            return id.value & PICTURE_ID_MASK;
        }
        let behind = self.picture_id_last.wrapping_sub(id.value) & 0x7f;
        let nearest = if behind < 0x40 {
            self.picture_id_last.wrapping_sub(behind)
        } else {
            self.picture_id_last.wrapping_add(0x80 - behind)
        };
        nearest & PICTURE_ID_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(picture_id: u16, long: bool, tl0: u8, key: u8) -> Vp8Fields {
        Vp8Fields {
            picture_id: Some(Vp8PictureId {
                value: picture_id,
                long,
            }),
            tl0_pic_idx: Some(tl0),
            key_idx: Some(key),
            layer_sync: false,
        }
    }

    fn send(vp8: &mut Vp8Rewriter, source: Vp8Fields) -> (u16, u8, u8) {
        vp8.send(&source);
        let out = vp8.rewrite(&source, vp8.offsets());
        (
            out.picture_id.unwrap().value,
            out.tl0_pic_idx.unwrap(),
            out.key_idx.unwrap(),
        )
    }

    fn started() -> Vp8Rewriter {
        Vp8Rewriter::new(Vp8Start {
            picture_id: 0,
            tl0_pic_idx: 0,
            key_idx: 0,
        })
    }

    #[test]
    fn the_first_packet_gets_the_start_values() {
        let mut vp8 = started();
        assert_eq!(send(&mut vp8, fields(500, true, 77, 9)), (0, 0, 0));
        assert_eq!(send(&mut vp8, fields(501, true, 78, 9)), (1, 1, 0));
    }

    // RFC 7741 §4.2: the picture id increases by 1 for each subsequent frame.
    #[test]
    fn pictures_that_are_not_sent_leave_no_gap() {
        let mut vp8 = started();
        send(&mut vp8, fields(32_766, true, 255, 31));
        vp8.drop(&fields(32_767, true, 255, 31));
        vp8.drop(&fields(32_767, true, 255, 31));
        assert_eq!(send(&mut vp8, fields(0, true, 0, 31)), (1, 1, 0));
    }

    #[test]
    fn a_lost_picture_leaves_one() {
        let mut vp8 = started();
        send(&mut vp8, fields(10, true, 1, 1));
        vp8.drop(&fields(12, true, 2, 1));
        assert_eq!(send(&mut vp8, fields(13, true, 3, 1)).0, 2);
    }

    #[test]
    fn a_switch_counts_on_from_another_form() {
        let mut vp8 = started();
        send(&mut vp8, fields(32_767, true, 3, 1));
        vp8.begin_run();
        assert_eq!(send(&mut vp8, fields(126, false, 200, 30)), (1, 1, 1));
        assert_eq!(send(&mut vp8, fields(127, false, 201, 30)), (2, 2, 1));
        assert_eq!(send(&mut vp8, fields(0, false, 202, 31)), (3, 3, 2));
    }

    /// A publisher that nobody heard for two seconds has sent more pictures than half of the range.
    #[test]
    fn a_seven_bit_id_counts_on_over_a_long_loss() {
        let mut vp8 = started();
        assert_eq!(send(&mut vp8, fields(65, false, 0, 0)).0, 0);
        assert_eq!(send(&mut vp8, fields(135 & 0x7f, false, 1, 0)).0, 70);
        vp8.drop(&fields(235 & 0x7f, false, 2, 0));
        assert_eq!(send(&mut vp8, fields(236 & 0x7f, false, 3, 0)).0, 170);
    }

    #[test]
    fn a_late_seven_bit_id_is_taken_from_before_the_wrap() {
        let mut vp8 = started();
        send(&mut vp8, fields(126, false, 0, 0));
        let offsets = vp8.offsets();
        send(&mut vp8, fields(1, false, 1, 0));
        let late = vp8.rewrite(&fields(127, false, 0, 0), offsets);
        assert_eq!(late.picture_id.unwrap().value, 1);
    }
}
