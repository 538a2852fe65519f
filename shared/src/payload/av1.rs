//! AV1 aggregation header (RTP Payload Format For AV1 §4.4).

use super::PayloadError;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Av1AggregationHeader {
    /// Z: the first OBU element continues the last one of the packet before.
    pub continuation: bool,
    /// Y: the last OBU element continues in the next packet.
    pub continued: bool,
    /// W: number of OBU elements; 0 if each one carries its length.
    pub elements: u8,
    /// N: first packet of a coded video sequence.
    pub new_sequence: bool,
}

impl Av1AggregationHeader {
    pub const LEN: usize = 1;

    pub fn parse(payload: &[u8]) -> Result<Self, PayloadError> {
        let header = *payload.first().ok_or(PayloadError::Truncated)?;
        Ok(Self {
            continuation: header & 0x80 != 0,
            continued: header & 0x40 != 0,
            elements: (header >> 4) & 0x03,
            new_sequence: header & 0x08 != 0,
        })
    }

    /// The first packet of a key frame: decoding can start here.
    pub const fn keyframe_start(&self) -> bool {
        // AV1 RTP §4.4: a packet with N set does not continue an element. One that claims both is
        // no start.
        self.new_sequence && !self.continuation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregation_headers() {
        let start = Av1AggregationHeader::parse(&[0x68, 0x0a]).unwrap();
        assert_eq!(
            start,
            Av1AggregationHeader {
                continuation: false,
                continued: true,
                elements: 2,
                new_sequence: true,
            }
        );
        assert!(start.keyframe_start());
        assert!(
            !Av1AggregationHeader::parse(&[0x10])
                .unwrap()
                .keyframe_start()
        );
        assert!(
            !Av1AggregationHeader::parse(&[0x88])
                .unwrap()
                .keyframe_start()
        );
        assert_eq!(
            Av1AggregationHeader::parse(&[]),
            Err(PayloadError::Truncated)
        );
    }
}
