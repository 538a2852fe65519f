//! Frames of RFC 6455, as a server reads and writes them.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_lossless,
        clippy::cast_possible_wrap
    )
)]

use bytes::Bytes;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// RFC 6455 §5.5: a control frame carries no more.
const CONTROL_LEN_MAX: usize = 125;
/// Of one message. Clients send it whole; empty fragments without end would be work for nothing.
const FRAGMENTS_MAX: usize = 1024;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn code(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Continuation,
            Self::Text,
            Self::Binary,
            Self::Close,
            Self::Ping,
            Self::Pong,
        ]
        .into_iter()
        .find(|opcode| opcode.code() == code)
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    /// With the peer's status code and reason as they came.
    Close(Bytes),
}

/// Why nothing more is read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum ReadError {
    /// More than a message may have.
    TooLong,
    /// What RFC 6455 forbids a client.
    Protocol,
    /// Text that is not UTF-8.
    Text,
    /// The connection ended or broke.
    Ended,
}

/// The header of a client's frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    len: usize,
}

impl Header {
    /// The header and what follows it; none while it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, ReadError> {
        let Some(([first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        // RFC 6455 §5.2: reserved bits belong to extensions, of which none is negotiated.
        if first & RESERVED != 0 {
            return Err(ReadError::Protocol);
        }
        // RFC 6455 §5.1: what a client sends is masked.
        if second & MASKED == 0 {
            return Err(ReadError::Protocol);
        }
        let opcode = Opcode::from_code(first & 0x0f).ok_or(ReadError::Protocol)?;
        let (len, rest) = match second & !MASKED {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            len => (u64::from(len), rest),
        };
        let len = usize::try_from(len).map_err(|_| ReadError::TooLong)?;
        let fin = first & FIN != 0;
        // RFC 6455 §5.5: control frames are short and whole.
        if opcode.is_control() && (!fin || len > CONTROL_LEN_MAX) {
            return Err(ReadError::Protocol);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let header = Self {
            fin,
            opcode,
            mask: *mask,
            len,
        };
        Ok(Some((header, rest)))
    }
}

/// A message of which not all fragments have come.
#[derive(Debug)]
struct Fragments {
    text: bool,
    count: usize,
    payload: Vec<u8>,
}

/// Makes messages of the bytes that arrive. While nothing is under way it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    unread: Vec<u8>,
    /// What of it is taken already.
    taken: usize,
    fragments: Option<Fragments>,
}

impl Reader {
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.unread.drain(..self.taken);
        self.taken = 0;
        self.unread.extend_from_slice(bytes);
    }

    /// The next message; none when more bytes are needed.
    pub(crate) fn next(&mut self, len_max: usize) -> Result<Option<Message>, ReadError> {
        loop {
            let unread = self.unread.get(self.taken..).unwrap_or_default();
            let Some((header, rest)) = Header::parse(unread)? else {
                return Ok(None);
            };
            let held = match (&self.fragments, header.opcode) {
                (Some(fragments), Opcode::Continuation) => fragments.payload.len(),
                // RFC 6455 §5.4: the fragments of a message are not interleaved with another's.
                (None, Opcode::Continuation) | (Some(_), Opcode::Text | Opcode::Binary) => {
                    return Err(ReadError::Protocol);
                }
                _ => 0,
            };
            if held.saturating_add(header.len) > len_max {
                return Err(ReadError::TooLong);
            }
            let Some(payload) = rest.get(..header.len) else {
                return Ok(None);
            };
            let payload = unmasked(payload, header.mask);
            self.taken = self.unread.len() - (rest.len() - header.len);
            if self.taken == self.unread.len() {
                self.unread = Vec::new();
                self.taken = 0;
            }
            if let Some(message) = self.take_frame(header, payload)? {
                return Ok(Some(message));
            }
        }
    }

    /// Bytes of memory for what is under way.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let fragments = self
            .fragments
            .as_ref()
            .map_or(0, |it| it.payload.capacity());
        self.unread.capacity() + fragments
    }

    /// A message, if this frame completes one.
    fn take_frame(
        &mut self,
        header: Header,
        payload: Vec<u8>,
    ) -> Result<Option<Message>, ReadError> {
        let (text, count, payload) = match header.opcode {
            Opcode::Ping => return Ok(Some(Message::Ping(payload.into()))),
            Opcode::Pong => return Ok(Some(Message::Pong)),
            Opcode::Close => return Ok(Some(Message::Close(payload.into()))),
            Opcode::Text => (true, 1, payload),
            Opcode::Binary => (false, 1, payload),
            Opcode::Continuation => {
                let mut fragments = self.fragments.take().ok_or(ReadError::Protocol)?;
                fragments.payload.extend_from_slice(&payload);
                (fragments.text, fragments.count + 1, fragments.payload)
            }
        };
        if !header.fin {
            if count >= FRAGMENTS_MAX {
                return Err(ReadError::TooLong);
            }
            self.fragments = Some(Fragments {
                text,
                count,
                payload,
            });
            return Ok(None);
        }
        if !text {
            return Ok(Some(Message::Binary(payload.into())));
        }
        // RFC 6455 §8.1
        match String::from_utf8(payload) {
            Ok(text) => Ok(Some(Message::Text(text))),
            Err(_) => Err(ReadError::Text),
        }
    }
}

/// RFC 6455 §5.3
fn unmasked(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect()
}

/// Appends the header of a server's whole message.
pub(crate) fn put_header(frames: &mut Vec<u8>, opcode: Opcode, len: usize) {
    frames.push(FIN | opcode.code());
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => frames.push(len),
        (_, Ok(len)) => {
            frames.push(126);
            frames.extend(len.to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend((len as u64).to_be_bytes());
        }
    }
}
