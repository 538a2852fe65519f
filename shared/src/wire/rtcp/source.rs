//! Source description and goodbye (RFC 3550 §6.5, §6.6).

use super::{RtcpError, ssrcs};
use crate::ids::Ssrc;
use crate::wire::bytes::ByteReader;

pub(super) const ITEM_CNAME: u8 = 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sdes<'a> {
    count: u8,
    body: ByteReader<'a>,
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let mut rest = body.clone();
        for _ in 0..count {
            chunk(&mut rest).ok_or(RtcpError::Truncated)?;
        }
        Ok(Self { count, body })
    }

    /// Sources with their canonical names, where they have one in UTF-8.
    pub fn cnames(&self) -> impl Iterator<Item = (Ssrc, &'a str)> + Clone + 'a {
        let mut rest = self.body.clone();
        (0..self.count)
            .map_while(move |_| chunk(&mut rest))
            .filter_map(|(ssrc, cname)| Some((ssrc, std::str::from_utf8(cname?).ok()?)))
    }
}

/// Reads one source's items, and the padding behind them.
fn chunk<'a>(rest: &mut ByteReader<'a>) -> Option<(Ssrc, Option<&'a [u8]>)> {
    let ssrc = Ssrc(rest.u32()?);
    let mut cname = None;
    let items_len = rest.rest().len();
    loop {
        match rest.u8()? {
            0 => break,
            kind => {
                let len = rest.u8()?;
                let text = rest.take(usize::from(len))?;
                if kind == ITEM_CNAME && cname.is_none() {
                    cname = Some(text);
                }
            }
        }
    }
    // RFC 3550 §6.5: the items end with a zero byte, and more of them up to a whole word.
    let read = items_len - rest.rest().len();
    rest.take(read.next_multiple_of(4) - read)?;
    Some((ssrc, cname))
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
    reason: Option<&'a str>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, mut body: ByteReader<'a>) -> Result<Self, RtcpError> {
        let ssrcs = body
            .take(usize::from(count) * 4)
            .ok_or(RtcpError::Truncated)?;
        let reason = body
            .u8()
            .and_then(|len| body.take(usize::from(len)))
            .and_then(|text| std::str::from_utf8(text).ok());
        Ok(Self { ssrcs, reason })
    }

    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + Clone + 'a {
        ssrcs(self.ssrcs)
    }

    pub const fn reason(&self) -> Option<&'a str> {
        self.reason
    }
}
