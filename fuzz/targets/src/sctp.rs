//! An SCTP association with a peer that also sends chunks of its own making, with the tag and the
//! checksum that make an association read them.

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use millrace_shared::limits::DATA_MESSAGE_LEN_MAX;
use millrace_shared::sctp::{Reliability, Role, Sctp, SctpOutput};
use millrace_shared::time::{Epoch, Timestamp};

const STEPS_MAX: usize = 48;
const OUTPUTS_MAX: usize = 20_000;
const COMMON_HEADER_LEN: usize = 12;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// The peer's next datagram arrives.
    ToServer,
    ToClient,
    /// The peer's next datagram arrives with a byte of a chunk changed.
    ToServerBroken {
        at: u16,
        xor: u8,
    },
    /// Chunks of the fuzzer's, under the association's tag.
    Chunks {
        bytes: &'a [u8],
    },
    /// Not even a header.
    Noise {
        bytes: &'a [u8],
    },
    Open {
        from_server: bool,
        ordered: bool,
    },
    Send {
        from_server: bool,
        stream: u8,
        len: u16,
    },
    Close {
        from_server: bool,
        stream: u8,
    },
    Wait {
        tens_ms: u8,
    },
}

struct Side {
    sctp: Sctp,
    out: Vec<Vec<u8>>,
}

struct Pair {
    now: Timestamp,
    server: Side,
    client: Side,
    /// Tag of the server's association, from the first datagram that carries it.
    tag: [u8; 4],
}

pub(crate) fn sctp(bytes: &[u8]) {
    let epoch = Epoch {
        instant: Instant::now(),
        since_1900: Duration::ZERO,
    };
    let mut pair = Pair {
        now: Timestamp::from_millis(1),
        server: Side::new(Sctp::new(Role::DtlsServer, &epoch)),
        client: Side::new(Sctp::new(Role::DtlsClient, &epoch)),
        tag: [0; 4],
    };
    let mut input = Unstructured::new(bytes);
    if input.arbitrary().unwrap_or_default() {
        pair.establish();
    }
    pair.poll();
    for _ in 0..STEPS_MAX {
        let Ok(step) = Step::arbitrary(&mut input) else {
            return;
        };
        pair.step(&step);
        pair.poll();
        if input.is_empty() {
            return;
        }
    }
}

impl Side {
    fn new(sctp: Sctp) -> Self {
        Self {
            sctp,
            out: Vec::new(),
        }
    }

    fn next_datagram(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| self.out.remove(0))
    }

    fn poll(&mut self, now: Timestamp) {
        for _ in 0..OUTPUTS_MAX {
            match self.sctp.poll(now) {
                None => return,
                Some(SctpOutput::Datagram(datagram)) => self.out.push(datagram.to_vec()),
                Some(SctpOutput::Message { payload, .. }) => {
                    assert!(payload.len() <= DATA_MESSAGE_LEN_MAX);
                }
                Some(SctpOutput::ChannelOpened { label, .. }) => assert!(label.len() <= 65_535),
                Some(_) => {}
            }
        }
        panic!("a poll does not end");
    }
}

impl Pair {
    /// The four packets of the handshake.
    fn establish(&mut self) {
        for _ in 0..8 {
            self.poll();
            self.step(&Step::ToServer);
            self.poll();
            self.step(&Step::ToClient);
        }
    }

    fn poll(&mut self) {
        self.server.poll(self.now);
        self.client.poll(self.now);
    }

    fn step(&mut self, step: &Step<'_>) {
        match *step {
            Step::ToServer => {
                if let Some(datagram) = self.client.next_datagram() {
                    self.deliver(&datagram);
                }
            }
            Step::ToClient => {
                if let Some(datagram) = self.server.next_datagram() {
                    let _ = self.client.sctp.receive(self.now, &datagram);
                }
            }
            Step::ToServerBroken { at, xor } => {
                if let Some(mut datagram) = self.client.next_datagram() {
                    let body_len = datagram.len() - COMMON_HEADER_LEN;
                    datagram[COMMON_HEADER_LEN + usize::from(at) % body_len] ^= xor.max(1);
                    sign(&mut datagram);
                    self.deliver(&datagram);
                }
            }
            Step::Chunks { bytes } => {
                // RFC 8261 §5.5: WebRTC uses port 5000 on both sides.
                let mut datagram = vec![0x13, 0x88, 0x13, 0x88];
                datagram.extend_from_slice(&self.tag);
                datagram.extend_from_slice(&[0; 4]);
                datagram.extend_from_slice(bytes);
                sign(&mut datagram);
                let _ = self.server.sctp.receive(self.now, &datagram);
            }
            Step::Noise { bytes } => {
                let _ = self.server.sctp.receive(self.now, bytes);
            }
            Step::Open {
                from_server,
                ordered,
            } => {
                let sctp = self.side(from_server);
                let _ = sctp.open_channel("_reliable", ordered, Reliability::Reliable);
            }
            Step::Send {
                from_server,
                stream,
                len,
            } => {
                let payload = Bytes::from(vec![0x55; usize::from(len)]);
                let _ = self
                    .side(from_server)
                    .send(u16::from(stream % 8), true, payload);
            }
            Step::Close {
                from_server,
                stream,
            } => self.side(from_server).close_channel(u16::from(stream % 8)),
            Step::Wait { tens_ms } => {
                self.now += Duration::from_millis(u64::from(tens_ms) * 10);
                for side in [&mut self.server, &mut self.client] {
                    if side.sctp.next_timeout() <= self.now {
                        side.sctp.handle_timeout(self.now);
                    }
                }
            }
        }
    }

    fn side(&mut self, server: bool) -> &mut Sctp {
        if server {
            &mut self.server.sctp
        } else {
            &mut self.client.sctp
        }
    }

    fn deliver(&mut self, datagram: &[u8]) {
        if let Some(tag) = datagram.get(4..8)
            && tag != [0; 4]
        {
            self.tag.copy_from_slice(tag);
        }
        let _ = self.server.sctp.receive(self.now, datagram);
    }
}

/// Writes the checksum (RFC 9260 §6.8: CRC32c, little-endian).
fn sign(datagram: &mut [u8]) {
    datagram[8..12].fill(0);
    let checksum = datagram.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 }
        })
    });
    datagram[8..12].copy_from_slice(&(!checksum).to_le_bytes());
}
