//! A thread that sends to subscribers what a server would: each packet to all of them in turn.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millrace_netio::{Config, Doorbell, NetIo, TrainHint};
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::srtp::{MasterKey, SrtpTx, roll_over_count};
use millrace_shared::time::{Epoch, ExtSeq, RtpTime, SeqNo};
use millrace_shared::wire::rtp::{RtpHeader, write_header};

use super::Traffic;
use crate::media::{Origin, Stamp};
use crate::stream::receiver::{SYNTHETIC_PT, SYNTHETIC_TRANSPORT_CC};

const PACKET_LEN_MAX: usize = 1500;

/// The subscribers of one receiving thread.
#[derive(Debug)]
pub(super) struct Fan(Vec<(SocketAddr, SrtpTx)>);

impl Fan {
    pub(super) fn new<'a>(subscribers: impl Iterator<Item = (SocketAddr, &'a MasterKey)>) -> Self {
        Self(
            subscribers
                .map(|(to, key)| (to, SrtpTx::new(key)))
                .collect(),
        )
    }
}

pub(super) fn stream_ssrcs(count: u32) -> impl Iterator<Item = Ssrc> {
    (1..=count.max(1)).map(Ssrc)
}

#[derive(Debug)]
pub(super) struct PacketSource {
    pub(super) address: SocketAddr,
    fed: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl PacketSource {
    /// Begins with the first of the fans.
    pub(super) fn start(
        traffic: Traffic,
        fans: Vec<Fan>,
        cpu: Option<usize>,
        epoch: Epoch,
    ) -> Result<Self, String> {
        let (fed, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (tx, started) = mpsc::sync_channel(1);
        let streams = vec![Streams::default(); fans.len()];
        let mut body = Body {
            traffic,
            fans,
            epoch,
            streams,
        };
        let shared = (Arc::clone(&fed), Arc::clone(&ended));
        let thread = std::thread::Builder::new().name("packet-source".to_owned());
        let run = move || {
            if let Some(cpu) = cpu
                && let Err(error) = millrace_netio::pin_to_cpu(cpu)
            {
                tracing::warn!(cpu, %error, "the sending thread is not pinned");
            }
            match open() {
                Ok((io, address)) => {
                    // The starter has gone only if it panicked.
                    let _ = tx.send(Ok(address));
                    body.run(io, address, &shared.0, &shared.1);
                }
                Err(error) => {
                    let _ = tx.send(Err(error));
                }
            }
        };
        let thread = thread.spawn(run).map_err(|error| error.to_string())?;
        let address = started.recv().map_err(|error| error.to_string())??;
        Ok(Self {
            address,
            fed,
            ended,
            thread,
        })
    }

    /// Sends to the fan of this number from now on.
    pub(super) fn feed(&self, fan: usize) {
        self.fed.store(fan, Ordering::Relaxed);
    }

    pub(super) fn stop(self) {
        self.ended.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the sending thread ended by a panic");
        }
    }
}

fn open() -> Result<(Box<dyn NetIo>, SocketAddr), String> {
    let config = Config {
        bind: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        trains: 1024,
        ..Config::default()
    };
    let doorbell = Doorbell::new().map_err(|error| error.to_string())?;
    let (io, facts) = millrace_netio::open(&config, &doorbell).map_err(|it| it.to_string())?;
    let address = facts.bound.first().copied();
    Ok((io, address.ok_or("no address was bound")?))
}

struct Body {
    traffic: Traffic,
    fans: Vec<Fan>,
    epoch: Epoch,
    /// Of each fan: one that was not fed for a while has missed nothing.
    streams: Vec<Streams>,
}

/// Where the streams to a fan are; packets are of each in turn.
#[derive(Clone, Debug)]
struct Streams {
    seq: ExtSeq,
    /// Of the packet before, counted from 1.
    stream: u32,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            seq: ExtSeq::first(SeqNo(1)),
            stream: 0,
        }
    }
}

impl Body {
    fn run(
        &mut self,
        mut io: Box<dyn NetIo>,
        local: SocketAddr,
        fed: &AtomicUsize,
        ended: &AtomicBool,
    ) {
        let per_turn = f64::from(self.traffic.subscribers * self.traffic.train).max(1.0);
        let interval = Duration::from_secs_f64(per_turn / self.traffic.packets_per_s.max(1.0));
        let mut next = Instant::now();
        let mut hints = vec![TrainHint::default(); self.traffic.subscribers as usize];
        while !ended.load(Ordering::Relaxed) {
            let fan = fed.load(Ordering::Relaxed);
            let packets: Vec<_> = (0..self.traffic.train).map(|_| self.packet(fan)).collect();
            let (_, tx) = io.split();
            for (index, (remote, srtp)) in self.fans[fan].0.iter().enumerate() {
                let path = Tuple {
                    local,
                    remote: *remote,
                };
                for plain in &packets {
                    let len = plain.bytes.len() + srtp.profile().rtp_overhead();
                    if let Some(slot) = tx.reserve(&path, &mut hints[index], len) {
                        slot[..plain.bytes.len()].copy_from_slice(&plain.bytes);
                        // A slot has room for the overhead.
                        let _ =
                            srtp.protect_rtp(slot, plain.header_len, plain.bytes.len(), plain.roc);
                    }
                }
            }
            io.submit();
            next += interval;
            // Feedback of the subscribers is read and dropped while waiting.
            loop {
                while io.split().0.receive().is_some() {}
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                io.park(Some(left));
            }
        }
    }

    /// The next packet, of each stream in turn.
    fn packet(&mut self, fan: usize) -> Plain {
        let streams = self.traffic.streams.max(1);
        let at = &mut self.streams[fan];
        if at.stream == streams {
            at.stream = 0;
            at.seq = ExtSeq(at.seq.0 + 1);
        }
        at.stream += 1;
        let (seq, stream) = (at.seq, at.stream);
        let number = seq.0.wrapping_mul(u64::from(streams)) + u64::from(stream);
        let header = RtpHeader {
            marker: seq.0.is_multiple_of(6),
            pt: Pt(SYNTHETIC_PT),
            seq: seq.seq(),
            timestamp: RtpTime(((seq.0 / 6 * 3000) & 0xffff_ffff) as u32),
            ssrc: Ssrc(stream),
        };
        let mut bytes = vec![0; PACKET_LEN_MAX];
        let cc = ((number & 0xffff) as u16).to_be_bytes();
        let exts: [(u8, &[u8]); 1] = [(SYNTHETIC_TRANSPORT_CC, &cc)];
        let header_len = write_header(&mut bytes, &header, &exts).unwrap_or(0);
        // The tag of AES-GCM comes behind.
        let shortest = header_len + Stamp::LEN + 8;
        bytes.truncate(self.traffic.packet_len.saturating_sub(16).max(shortest));
        let stamp = Stamp {
            origin: Origin {
                track: stream,
                layer: 0,
            },
            index: (seq.0 & 0xffff_ffff) as u32,
            sent_at: self.epoch.timestamp(Instant::now()),
        };
        // There is room for it.
        let _ = stamp.write(&mut bytes[header_len..], 4);
        Plain {
            bytes,
            header_len,
            roc: roll_over_count(seq),
        }
    }
}

/// A packet before each subscriber's protection.
struct Plain {
    bytes: Vec<u8>,
    header_len: usize,
    roc: u32,
}
