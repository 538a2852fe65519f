//! What the planes say first over a socket, and the version of all that follows.
//!
//! An opening is one frame: eight bytes that say who we are, the version, a byte for the kind, and
//! the rest. That much stays as it is in every version, so that any two can tell each other why
//! they do not fit.
#![deny(clippy::indexing_slicing)]

use serde::{Deserialize, Serialize};

use super::codec::{FrameError, read_message};

/// Version of the messages over a socket. Any change of what is sent raises it: the layout's test
/// in `codec_tests.rs` says when.
pub const LINK_VERSION: u32 = 3;

const MAGIC: [u8; 8] = *b"millrace";
const KIND_GREETING: u8 = 0;
const KIND_REFUSAL: u8 = 1;
/// Longest refusal that is read.
const REFUSAL_LEN_MAX: usize = 1024;

/// Who opens the link, or accepts it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// Version of the program, for people.
    pub build: String,
    pub pid: u32,
    /// Data plane: its shards. Each sends its Hello and its snapshot.
    pub shards: u16,
    /// Data plane: the token of the snapshot that follows.
    pub token: u64,
    /// Control plane: it starts anew and wants the memos of the one before. Otherwise they are
    /// dropped: it has told its clients to start anew.
    pub restores: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opening {
    Greeting(Greeting),
    /// A sentence for the log.
    Refusal(String),
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpeningError {
    #[error("what is at the other end of the socket is no Millrace")]
    Stranger,
    #[error(
        "the other plane speaks version {theirs} of the link and this one version {LINK_VERSION}: \
         run both planes from the same release"
    )]
    Version { theirs: u32 },
    #[error("an opening that cannot be read: {0}")]
    Malformed(FrameError),
}

impl Opening {
    /// The payload of its frame.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(LINK_VERSION)
    }

    pub(super) fn encode_as(&self, version: u32) -> Vec<u8> {
        let (kind, rest) = match self {
            // Writing to memory does not fail.
            Self::Greeting(greeting) => (
                KIND_GREETING,
                postcard::to_stdvec(greeting).unwrap_or_default(),
            ),
            Self::Refusal(sentence) => (KIND_REFUSAL, sentence.as_bytes().to_vec()),
        };
        let mut payload = MAGIC.to_vec();
        payload.extend(version.to_le_bytes());
        payload.push(kind);
        payload.extend(rest);
        payload
    }

    /// A refusal is read whatever its version.
    pub fn decode(payload: &[u8]) -> Result<Self, OpeningError> {
        let rest = payload.strip_prefix(&MAGIC).ok_or(OpeningError::Stranger)?;
        let (version, rest) = rest
            .split_first_chunk::<4>()
            .ok_or(OpeningError::Stranger)?;
        let (kind, rest) = rest.split_first().ok_or(OpeningError::Stranger)?;
        let theirs = u32::from_le_bytes(*version);
        match *kind {
            KIND_REFUSAL => {
                let sentence = rest.get(..REFUSAL_LEN_MAX).unwrap_or(rest);
                Ok(Self::Refusal(
                    String::from_utf8_lossy(sentence).into_owned(),
                ))
            }
            _ if theirs != LINK_VERSION => Err(OpeningError::Version { theirs }),
            KIND_GREETING => read_message(rest)
                .map(Self::Greeting)
                .map_err(OpeningError::Malformed),
            _ => Err(OpeningError::Stranger),
        }
    }
}
