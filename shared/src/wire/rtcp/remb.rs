//! Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).

use super::{RtcpError, feedback_ssrcs, ssrcs};
use crate::ids::Ssrc;
use crate::wire::bytes::ByteReader;

pub(super) const IDENTIFIER: [u8; 4] = *b"REMB";
const MANTISSA_BITS: u32 = 18;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remb<'a> {
    pub sender_ssrc: Ssrc,
    pub bitrate_bps: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    /// `None` if it is another application's feedback.
    pub(super) fn parse(mut body: ByteReader<'a>) -> Result<Option<Self>, RtcpError> {
        let [sender_ssrc, _] = feedback_ssrcs(&mut body)?;
        if body.array() != Some(IDENTIFIER) {
            return Ok(None);
        }
        let count = body.u8().ok_or(RtcpError::Truncated)?;
        let bitrate = body.u24().ok_or(RtcpError::Truncated)?;
        let ssrcs = body
            .take(usize::from(count) * 4)
            .ok_or(RtcpError::Truncated)?;
        Ok(Some(Self {
            sender_ssrc,
            bitrate_bps: decode(bitrate),
            ssrcs,
        }))
    }

    /// The media sources that share the bitrate.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + Clone + 'a {
        ssrcs(self.ssrcs)
    }
}

/// Six bits of exponent and eighteen of mantissa; more than 64 bits hold is as much as they hold.
fn decode(bits: u32) -> u64 {
    let mantissa = u64::from(bits & ((1 << MANTISSA_BITS) - 1));
    let exponent = bits >> MANTISSA_BITS;
    if mantissa.leading_zeros() < exponent {
        return if mantissa == 0 { 0 } else { u64::MAX };
    }
    mantissa << exponent
}

/// The largest representable bitrate that is not above `bitrate_bps`.
pub(super) fn encode(bitrate_bps: u64) -> u32 {
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mantissa = u32::try_from(bitrate_bps >> exponent).unwrap_or(u32::MAX);
    (exponent << MANTISSA_BITS) | (mantissa & ((1 << MANTISSA_BITS) - 1))
}
