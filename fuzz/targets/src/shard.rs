//! A whole shard with a call on it: arbitrary datagrams, arbitrary packets under the right keys, and
//! what the control plane does meanwhile. Keys come from real handshakes, so that a run repeats in
//! all but its bytes on the wire.

use arbitrary::{Arbitrary, Unstructured};
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, TrackId};
use millrace_shared::limits::TUPLES_PER_TRANSPORT_MAX;
use millrace_shared::link::{Command, Layer};
use millrace_shared::wire::rtp::{RtpHeader, parse_header, write_header};
use millrace_shared::{ids, time};

use crate::harness::media::{RIDS, UP_PT, UP_RTX_PT, Vp8Encoder};
use crate::harness::{Joining, World, remote};

const STEPS_MAX: usize = 64;
const TRACK: TrackId = TrackId(1);
const DOWN: DownTrackId = DownTrackId(1);
const DOWN_SSRC: u32 = 10_000;
const LAYERS: u8 = 2;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// From the publisher, the subscriber or a stranger.
    Datagram {
        from: u8,
        bytes: &'a [u8],
    },
    /// A check of the peer's, with a byte changed.
    BrokenCheck {
        from: u8,
        at: u8,
        xor: u8,
    },
    /// A check of the publisher's from another address: it roams.
    Check {
        port: u8,
        use_candidate: bool,
    },
    /// Any RTP packet under the publisher's or the subscriber's key.
    Rtp {
        from: u8,
        bytes: &'a [u8],
    },
    /// RTP of a source that the shard may know, with any payload and extension block.
    Media {
        rtx: bool,
        layer: u8,
        seq: u16,
        rtp_time: u32,
        ext: &'a [u8],
        payload: &'a [u8],
    },
    /// Any RTCP under a right key.
    Rtcp {
        from: u8,
        bytes: &'a [u8],
    },
    /// A NACK, PLI or report of the subscriber's about its copy.
    Feedback {
        kind: u8,
        seq: u16,
        mask: u16,
    },
    /// A good frame.
    Frame {
        key: bool,
        packets: u8,
        lose: u8,
    },
    Wait {
        tens_ms: u8,
    },
    Command(Change),
}

#[derive(Arbitrary, Debug)]
enum Change {
    Mute(bool),
    Layer {
        spatial: u8,
        temporal: u8,
        paused: bool,
    },
    Subscribe,
    Unsubscribe,
    Publish {
        layers: u8,
    },
    Unpublish,
}

struct Call {
    world: World,
    publisher: usize,
    subscriber: usize,
    encoders: Vec<Vp8Encoder>,
}

pub(crate) fn shard(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut call = Call::new();
    for _ in 0..STEPS_MAX {
        let Ok(step) = Step::arbitrary(&mut input) else {
            break;
        };
        call.step(&step);
        if input.is_empty() {
            break;
        }
    }
    call.check();
}

impl Call {
    fn new() -> Self {
        let mut world = World::new();
        let publisher = world.join(&Joining::media("alice"));
        let subscriber = world.join(&Joining::media("viewer"));
        world.publish(publisher, TRACK, LAYERS);
        world.subscribe(subscriber, DOWN, TRACK, DOWN_SSRC);
        let encoders = (0..LAYERS)
            .map(|layer| {
                let rid = RIDS[usize::from(layer)];
                Vp8Encoder::new(5_000 + u32::from(layer), "m1", Some(rid))
            })
            .collect();
        let mut call = Self {
            world,
            publisher,
            subscriber,
            encoders,
        };
        call.frame(true, 2, 0);
        call
    }

    fn step(&mut self, step: &Step<'_>) {
        match *step {
            Step::Datagram { from, bytes } => {
                let tuple = self.tuple(from);
                self.world.inject_on(tuple, bytes.to_vec());
            }
            Step::BrokenCheck { from, at, xor } => {
                let tuple = self.tuple(from);
                let mut check = self.world.peers[self.publisher].check(true);
                // The integrity covers everything but FINGERPRINT, the last eight bytes.
                let covered_len = check.len() - 8;
                check[usize::from(at) % covered_len] ^= xor.max(1);
                self.world.inject_on(tuple, check);
            }
            Step::Check {
                port,
                use_candidate,
            } => self.roam(port, use_candidate),
            Step::Rtp { from, bytes } => self.sealed_rtp(from, bytes.to_vec()),
            Step::Media { .. } => self.media(step),
            Step::Rtcp { from, bytes } => self.sealed_rtcp(from, bytes),
            Step::Feedback { kind, seq, mask } => self.feedback(kind, seq, mask),
            Step::Frame { key, packets, lose } => self.frame(key, packets % 8 + 1, lose),
            Step::Wait { tens_ms } => self.world.run_ms(u64::from(tens_ms) * 10),
            Step::Command(ref change) => self.change(change),
        }
        self.world.settle();
    }

    fn peer(&self, from: u8) -> usize {
        if from.is_multiple_of(2) {
            self.publisher
        } else {
            self.subscriber
        }
    }

    fn tuple(&self, from: u8) -> Tuple {
        let tuple = self.world.peers[self.peer(from)].tuple;
        if from < 128 {
            return tuple;
        }
        Tuple {
            remote: remote(usize::from(from)),
            ..tuple
        }
    }

    /// The publisher's client checks another path, and takes it if it says so.
    fn roam(&mut self, port: u8, use_candidate: bool) {
        let peer = &mut self.world.peers[self.publisher];
        let check = peer.check(use_candidate);
        let tuple = Tuple {
            remote: remote(300 + usize::from(port)),
            ..peer.tuple
        };
        peer.also_at.push(tuple.remote);
        if use_candidate {
            let before = std::mem::replace(&mut peer.tuple, tuple);
            peer.also_at.push(before.remote);
        }
        self.world.inject_on(tuple, check);
    }

    fn sealed_rtp(&mut self, from: u8, mut bytes: Vec<u8>) {
        let peer = self.peer(from);
        let Ok(header) = parse_header(&bytes) else {
            return;
        };
        let header_len = header.header_len();
        let Some((tx, _)) = &self.world.peers[peer].srtp else {
            return;
        };
        let len = bytes.len();
        bytes.resize(len + tx.profile().rtp_overhead(), 0);
        if tx.protect_rtp(&mut bytes, header_len, len, 0).is_ok() {
            self.world.inject(peer, bytes);
        }
    }

    fn media(&mut self, step: &Step<'_>) {
        let Step::Media {
            rtx,
            layer,
            seq,
            rtp_time,
            ext,
            payload,
        } = *step
        else {
            return;
        };
        let encoder = &self.encoders[usize::from(layer % LAYERS)];
        let header = RtpHeader {
            marker: layer >= 128,
            pt: if rtx { UP_RTX_PT } else { UP_PT },
            seq: time::SeqNo(seq),
            timestamp: time::RtpTime(rtp_time),
            ssrc: if rtx { encoder.rtx_ssrc } else { encoder.ssrc },
        };
        // Ids 7 and above are none that were negotiated.
        let ext = &ext[..ext.len().min(255)];
        let exts: &[(u8, &[u8])] = &[(4, &[0, layer]), (layer % 9 + 1, ext)];
        let mut bytes = vec![0; 1_500];
        let Some(header_len) = write_header(&mut bytes, &header, exts) else {
            return;
        };
        bytes.truncate(header_len);
        bytes.extend_from_slice(&payload[..payload.len().min(1_400 - header_len)]);
        self.sealed_rtp(0, bytes);
    }

    fn sealed_rtcp(&mut self, from: u8, bytes: &[u8]) {
        let peer = self.peer(from);
        let Some((tx, _)) = &mut self.world.peers[peer].srtp else {
            return;
        };
        let mut sealed = bytes.to_vec();
        sealed.resize(bytes.len() + tx.profile().rtcp_overhead(), 0);
        if tx.protect_rtcp(&mut sealed, bytes.len()).is_ok() {
            self.world.inject(peer, sealed);
        }
    }

    fn feedback(&mut self, kind: u8, seq: u16, mask: u16) {
        if self.world.peers[self.subscriber].srtp.is_none() {
            return;
        }
        let sender = ids::Ssrc(1);
        let copy = ids::Ssrc(DOWN_SSRC);
        let last = self.world.peers[self.subscriber].rtp.last();
        let last = last.map_or(time::SeqNo(0), |got| got.view().seq);
        let first = last.wrapping_add(0_u16.wrapping_sub(seq % 64));
        let seqs: Vec<_> = (0..16)
            .filter(|bit| (mask | 1) & (1 << bit) != 0)
            .map(|bit| first.wrapping_add(bit))
            .collect();
        let subscriber = self.subscriber;
        self.world.send_rtcp(subscriber, |writer| {
            let written = match kind % 4 {
                0 => writer.nack(sender, copy, seqs),
                1 => writer.pli(sender, copy),
                2 => writer.remb(sender, u64::from(mask) << (seq % 40), &[copy]),
                _ => writer.bye(&[sender, copy]),
            };
            written.expect("it fits");
        });
    }

    fn frame(&mut self, key: bool, packets: u8, lose: u8) {
        if self.world.peers[self.publisher].srtp.is_none() {
            return;
        }
        let mut number = self.world.transport_cc;
        for encoder in &mut self.encoders {
            for (index, packet) in (0_u8..).zip(encoder.frame(key, packets.into(), &mut number)) {
                if lose & (1 << (index % 8)) == 0 {
                    self.world.send_rtp(self.publisher, &packet);
                }
            }
        }
        self.world.transport_cc = number;
        self.world.run_ms(33);
    }

    fn change(&mut self, change: &Change) {
        let transport = self.world.peers[self.publisher].transport;
        match *change {
            Change::Mute(muted) => self.world.command(Command::MuteUpTrack {
                transport,
                track: TRACK,
                muted,
            }),
            Change::Layer {
                spatial,
                temporal,
                paused,
            } => self.world.command(Command::SetDownTrackLayer {
                transport: self.world.peers[self.subscriber].transport,
                down: DOWN,
                max_layer: Layer { spatial, temporal },
                paused,
            }),
            Change::Subscribe => {
                let subscriber = self.subscriber;
                self.world.subscribe(subscriber, DOWN, TRACK, DOWN_SSRC);
            }
            Change::Unsubscribe => self.world.command(Command::RemoveDownTrack {
                transport: self.world.peers[self.subscriber].transport,
                down: DOWN,
            }),
            Change::Publish { layers } => {
                let publisher = self.publisher;
                self.world.publish(publisher, TRACK, layers % 3 + 1);
            }
            Change::Unpublish => self.world.command(Command::RemoveUpTrack {
                transport,
                track: TRACK,
            }),
        }
    }

    /// What holds whatever was sent.
    fn check(&mut self) {
        self.world.run_ms(100);
        let metrics = self.world.metrics();
        assert_eq!(metrics.datagrams_received, self.world.datagrams_in);
        assert!(metrics.rtp_received <= metrics.datagrams_received);
        let drops: u64 = metrics.drops.iter().map(|(_, count)| count).sum();
        // Of a received packet, each copy may be dropped, and a copy of each is retransmitted.
        assert!(drops <= 4 * metrics.datagrams_received + metrics.nacks_received);
        assert_eq!(self.world.stray, 0, "an answer to a stranger");
        for peer in &self.world.peers {
            assert!(peer.broken.is_empty(), "{:?}", peer.broken);
        }
        let counts = self.world.counts();
        assert!(counts.tuples <= 2 * TUPLES_PER_TRANSPORT_MAX, "{counts:?}");
        assert!(counts.transports == 2 && counts.ids <= 8, "{counts:?}");
    }
}
