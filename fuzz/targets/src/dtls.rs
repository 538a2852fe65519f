//! The DTLS server between a real client and somebody who adds, changes and drops datagrams.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use millrace_shared::dtls::{Dtls, DtlsOutput, Identity, PollBuffer};
use millrace_shared::time::{Epoch, Timestamp};
use millrace_shared::wire::class::classify;

const STEPS_MAX: usize = 48;
/// Outputs after one call; more means that a poll does not end.
const OUTPUTS_MAX: usize = 1_000;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A datagram of nobody's, to the server.
    Noise {
        bytes: &'a [u8],
    },
    /// The client's next datagram arrives.
    ToServer,
    /// It arrives with a byte changed, or cut.
    ToServerBroken {
        at: u16,
        xor: u8,
        cut: bool,
    },
    /// The server's next datagram arrives at the client, or is lost.
    ToClient {
        lost: bool,
    },
    /// It comes back to the server.
    Reflected,
    Wait {
        tens_ms: u8,
    },
    /// Application data from either side.
    Data {
        from_server: bool,
        bytes: &'a [u8],
    },
}

struct Side {
    dtls: Dtls,
    /// What it wants to send.
    out: Vec<Vec<u8>>,
    connected: bool,
    received: Vec<Vec<u8>>,
    over: bool,
}

struct Pair {
    now: Timestamp,
    buffer: PollBuffer,
    server: Side,
    client: Side,
    sent: Vec<Vec<u8>>,
}

/// Keys take long to make, and one pair serves every run.
fn identities() -> &'static [Identity; 2] {
    static IDENTITIES: OnceLock<[Identity; 2]> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        [(), ()].map(|()| Identity::generate().expect("the system has random numbers"))
    })
}

pub(crate) fn dtls(bytes: &[u8]) {
    let epoch = Epoch {
        instant: Instant::now(),
        since_1900: Duration::ZERO,
    };
    let now = Timestamp::from_millis(1);
    let [server, client] = identities();
    let mut pair = Pair {
        now,
        buffer: PollBuffer::new(),
        server: Side::new(Dtls::new(server, &epoch, now)),
        client: Side::new(Dtls::new_client(client, &epoch, now)),
        sent: Vec::new(),
    };
    pair.poll();
    let mut input = Unstructured::new(bytes);
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
    fn new(dtls: Dtls) -> Self {
        Self {
            dtls,
            out: Vec::new(),
            connected: false,
            received: Vec::new(),
            over: false,
        }
    }

    fn next_datagram(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| self.out.remove(0))
    }

    fn poll(&mut self, buffer: &mut PollBuffer) {
        for _ in 0..OUTPUTS_MAX {
            match self.dtls.poll(buffer) {
                None => return,
                Some(DtlsOutput::Datagram(datagram)) => self.out.push(datagram.to_vec()),
                Some(DtlsOutput::Connected) => {
                    assert!(!self.connected, "connected twice");
                    self.connected = true;
                }
                Some(DtlsOutput::Keys { local, remote }) => {
                    assert!(self.connected && local.profile() == remote.profile());
                }
                Some(DtlsOutput::ApplicationData(data)) => self.received.push(data.to_vec()),
                Some(DtlsOutput::Closed | DtlsOutput::Failed) => {
                    assert!(!self.over, "over twice");
                    self.over = true;
                }
                Some(DtlsOutput::PeerFingerprint(fingerprint)) => {
                    let [server, client] = identities();
                    let known = [server.fingerprint(), client.fingerprint()];
                    assert!(known.contains(&fingerprint), "a certificate of nobody's");
                }
            }
        }
        panic!("a poll does not end");
    }
}

impl Pair {
    fn step(&mut self, step: &Step<'_>) {
        // What a datagram was dropped for does not matter here, only that nothing breaks.
        match *step {
            Step::Noise { bytes } => {
                let _ = classify(bytes);
                let _ = self.server.dtls.receive(self.now, bytes);
            }
            Step::ToServer => {
                if let Some(datagram) = self.client.next_datagram() {
                    let _ = self.server.dtls.receive(self.now, &datagram);
                }
            }
            Step::ToServerBroken { at, xor, cut } => {
                if let Some(mut datagram) = self.client.next_datagram() {
                    let at = usize::from(at) % datagram.len();
                    if cut {
                        datagram.truncate(at);
                    } else {
                        datagram[at] ^= xor.max(1);
                    }
                    let _ = self.server.dtls.receive(self.now, &datagram);
                }
            }
            Step::ToClient { lost } => {
                if let Some(datagram) = self.server.next_datagram()
                    && !lost
                {
                    let _ = self.client.dtls.receive(self.now, &datagram);
                }
            }
            Step::Reflected => {
                if let Some(datagram) = self.server.next_datagram() {
                    let _ = self.server.dtls.receive(self.now, &datagram);
                }
            }
            Step::Wait { tens_ms } => {
                self.now += Duration::from_millis(u64::from(tens_ms) * 10);
                for side in [&mut self.server, &mut self.client] {
                    if side.dtls.next_timeout() <= self.now {
                        side.dtls.handle_timeout(self.now);
                    }
                }
            }
            Step::Data { from_server, bytes } => {
                let side = if from_server {
                    &mut self.server
                } else {
                    &mut self.client
                };
                if side.dtls.send(self.now, bytes).is_ok() {
                    self.sent.push(bytes.to_vec());
                }
            }
        }
    }

    fn poll(&mut self) {
        self.server.poll(&mut self.buffer);
        self.client.poll(&mut self.buffer);
        for side in [&mut self.server, &mut self.client] {
            for received in side.received.drain(..) {
                assert!(self.sent.contains(&received), "data that nobody sent");
            }
        }
    }
}
