//! From what a publisher sends to what one subscriber can decode.

use millrace_shared::link::{Codec, PtMapping, RedMapping};

use super::codec::PublishedCodec;
use super::remote::RemoteCodec;

/// What a publisher sends of all that its answer allowed: the first format, and Opus beneath RED.
/// Offering the rest as well would multiply every subscriber's description for codecs that browsers
/// never switch to by themselves.
pub(super) fn sent(source: &[PublishedCodec]) -> impl Iterator<Item = &PublishedCodec> {
    let red = source
        .first()
        .is_some_and(|first| first.up.codec == Codec::Red);
    source.iter().enumerate().filter_map(move |(index, codec)| {
        (index == 0 || (red && codec.up.codec == Codec::Opus)).then_some(codec)
    })
}

/// A subscriber's formats for what is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mapped {
    pub(super) pts: Vec<PtMapping>,
    /// Formats of the subscriber that are used, in the publisher's order, each once.
    pub(super) used: Vec<RemoteCodec>,
}

/// None if the subscriber cannot decode what is sent. RED for a subscriber without RED, such as
/// Firefox, is unwrapped to its Opus.
pub(super) fn map(source: &[PublishedCodec], theirs: &[RemoteCodec]) -> Option<Mapped> {
    let mut mapped = Mapped {
        pts: Vec::new(),
        used: Vec::new(),
    };
    for (index, codec) in sent(source).enumerate() {
        let format = best(codec, theirs).or_else(|| match codec.up.codec {
            Codec::Red => theirs.iter().find(|theirs| theirs.codec == Codec::Opus),
            _ => None,
        });
        match format {
            Some(format) => {
                mapped.pts.push(PtMapping {
                    up: codec.up.pt,
                    down: format.pt,
                    down_rtx: format.rtx_pt,
                    red: red_mapping(codec, format, theirs),
                });
                if mapped.used.iter().all(|used| used.pt != format.pt) {
                    mapped.used.push(*format);
                }
            }
            None if index == 0 => return None,
            None => {}
        }
    }
    (!mapped.pts.is_empty()).then_some(mapped)
}

/// The blocks within RED name payload types too: the publisher's, until they are mapped.
fn red_mapping(
    codec: &PublishedCodec,
    format: &RemoteCodec,
    theirs: &[RemoteCodec],
) -> Option<RedMapping> {
    match (codec.up.codec, format.codec) {
        (Codec::Red, Codec::Red) => theirs
            .iter()
            .find(|theirs| theirs.codec == Codec::Opus)
            .map(|opus| RedMapping::Blocks(opus.pt)),
        (Codec::Red, _) => Some(RedMapping::Unwrap),
        _ => None,
    }
}

/// Same profile first, then one that contains it; the subscriber's order decides between equals.
fn best<'a>(codec: &PublishedCodec, theirs: &'a [RemoteCodec]) -> Option<&'a RemoteCodec> {
    theirs
        .iter()
        .filter(|theirs| theirs.codec == codec.up.codec)
        .filter_map(|theirs| Some((theirs.profile.decodes(codec.profile)?, theirs)))
        .rev()
        .max_by_key(|(fit, _)| *fit)
        .map(|(_, theirs)| theirs)
}
