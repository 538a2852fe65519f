//! A publisher of three VP8 encodings behind a bad network.

use millrace_shared::ids::Pt;
use millrace_shared::time::{ExtSeq, NtpTime, RtpTime, Timestamp};
use std::time::Duration;

use crate::packet::{LayerClocks, PacketMeta, SenderClock, Vp8Fields, Vp8PictureId};

pub(super) const LAYERS: usize = 3;
pub(super) const FRAME_MS: u64 = 33;
pub(super) const RATE_HZ: u32 = 90_000;
const TICKS_PER_MS: u32 = RATE_HZ / 1_000;

/// xorshift64*: the same sequence on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub(super) fn permille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }
}

/// What the network does, in events per thousand packets.
#[derive(Copy, Clone, Debug)]
pub(super) struct Network {
    pub(super) loss: u64,
    /// Of lost ones: come back by retransmission.
    pub(super) recovered: u64,
    pub(super) reorder: u64,
    pub(super) duplicate: u64,
    pub(super) padding: u64,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Media(PacketMeta),
    Padding { spatial: u8, seq: ExtSeq },
}

/// A packet as it reaches the forwarder, with what only the publisher knows.
#[derive(Copy, Clone, Debug)]
pub(super) struct Arrival {
    pub(super) at_ms: u64,
    pub(super) content: Content,
    /// Counts the pictures of its encoding, without wrapping.
    pub(super) picture: u64,
    pub(super) capture_ms: u64,
}

#[derive(Clone, Debug)]
struct Encoder {
    spatial: u8,
    seq_next: u64,
    rtp_base: u32,
    picture: u64,
    picture_id_base: u16,
    long: bool,
    tl0_pic_idx: u8,
    key_idx: u8,
    phase: u64,
    synced: [bool; 3],
    highest: Option<ExtSeq>,
}

#[derive(Clone, Debug)]
pub(super) struct Publisher {
    encoders: [Encoder; LAYERS],
    network: Network,
    in_flight: Vec<Arrival>,
}

impl Publisher {
    pub(super) fn new(random: &mut Random, network: Network) -> Self {
        let encoders = std::array::from_fn(|spatial| Encoder {
            spatial: spatial as u8,
            seq_next: 0x1_0000 + random.below(0x1_0000),
            rtp_base: random.below(u64::from(u32::MAX)) as u32,
            picture: 0,
            picture_id_base: random.below(0x8000) as u16,
            long: random.permille(700),
            tl0_pic_idx: random.below(256) as u8,
            key_idx: random.below(32) as u8,
            phase: 0,
            synced: [false; 3],
            highest: None,
        });
        Self {
            encoders,
            network,
            in_flight: Vec::new(),
        }
    }

    /// Reports of all encodings at one wallclock.
    pub(super) fn clocks(&self, known: bool) -> LayerClocks {
        let clock = |encoder: &Encoder| {
            known.then(|| SenderClock {
                ntp: NtpTime::from_duration(Duration::from_secs(1_000)),
                rtp_time: RtpTime(encoder.rtp_base),
                arrival: Timestamp::ZERO,
            })
        };
        LayerClocks {
            clock_rate_hz: RATE_HZ,
            layers: self.encoders.each_ref().map(clock),
        }
    }

    /// Sends one picture on each encoding into the network.
    pub(super) fn capture(&mut self, random: &mut Random, now_ms: u64, keyframe: Option<u8>) {
        for encoder in &mut self.encoders {
            let key = encoder.picture == 0 || keyframe == Some(encoder.spatial);
            let sent = encoder.encode(random, now_ms, key, self.network.padding);
            for arrival in sent {
                transmit(random, &self.network, arrival, &mut self.in_flight);
            }
        }
    }

    /// What arrives until `now_ms`, in order of arrival.
    pub(super) fn arrivals(&mut self, now_ms: u64) -> Vec<Arrival> {
        let (mut due, rest): (Vec<_>, Vec<_>) =
            self.in_flight.drain(..).partition(|a| a.at_ms <= now_ms);
        self.in_flight = rest;
        due.sort_by_key(|arrival| arrival.at_ms);
        for arrival in &mut due {
            self.receive(arrival);
        }
        due
    }

    /// What the UpTrack adds.
    fn receive(&mut self, arrival: &mut Arrival) {
        let (spatial, seq) = match arrival.content {
            Content::Media(meta) => (meta.spatial, meta.seq),
            Content::Padding { spatial, seq } => (spatial, seq),
        };
        let highest = &mut self.encoders[usize::from(spatial)].highest;
        let late = highest.is_some_and(|highest| seq < highest);
        *highest = (*highest).max(Some(seq));
        if let Content::Media(meta) = &mut arrival.content {
            meta.late = late;
            meta.arrival = Timestamp::from_millis(arrival.at_ms);
        }
    }
}

impl Encoder {
    /// L1T3: 0 2 1 2, the first 1 and 2 after a base frame now and then with the sync bit.
    fn encode(
        &mut self,
        random: &mut Random,
        now_ms: u64,
        key: bool,
        padding: u64,
    ) -> Vec<Arrival> {
        if key {
            self.phase = 0;
            self.key_idx = (self.key_idx + 1) & 0x1f;
        }
        let temporal = [0, 2, 1, 2][(self.phase % 4) as usize];
        self.phase += 1;
        if temporal == 0 {
            self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
            self.synced = [true, random.permille(300), random.permille(300)];
        }
        let picture_id = self.picture_id_base.wrapping_add(self.picture as u16)
            & if self.long { 0x7fff } else { 0x7f };
        let count = 1 + random.below(if key { 6 } else { 3 });
        let mut sent: Vec<Arrival> = (0..count)
            .map(|index| Arrival {
                at_ms: now_ms,
                picture: self.picture,
                capture_ms: now_ms,
                content: Content::Media(PacketMeta {
                    arrival: Timestamp::ZERO,
                    seq: self.take_seq(),
                    rtp_time: RtpTime(
                        self.rtp_base
                            .wrapping_add((now_ms as u32).wrapping_mul(TICKS_PER_MS)),
                    ),
                    spatial: self.spatial,
                    temporal,
                    pt: Pt(96),
                    marker: index == count - 1,
                    keyframe_start: key && index == 0,
                    late: false,
                    vp8: Some(Vp8Fields {
                        picture_id: Some(Vp8PictureId {
                            value: picture_id,
                            long: self.long,
                        }),
                        tl0_pic_idx: Some(self.tl0_pic_idx),
                        key_idx: Some(self.key_idx),
                        layer_sync: self.synced[usize::from(temporal)],
                    }),
                }),
            })
            .collect();
        if random.permille(padding) {
            sent.push(Arrival {
                at_ms: now_ms,
                picture: self.picture,
                capture_ms: now_ms,
                content: Content::Padding {
                    spatial: self.spatial,
                    seq: self.take_seq(),
                },
            });
        }
        self.picture += 1;
        sent
    }

    fn take_seq(&mut self) -> ExtSeq {
        self.seq_next += 1;
        ExtSeq(self.seq_next)
    }
}

fn transmit(
    random: &mut Random,
    network: &Network,
    mut arrival: Arrival,
    in_flight: &mut Vec<Arrival>,
) {
    arrival.at_ms += 20;
    if random.permille(network.loss) {
        if !random.permille(network.recovered) {
            return;
        }
        arrival.at_ms += 30 + random.below(120);
    } else if random.permille(network.reorder) {
        arrival.at_ms += random.below(60);
    }
    in_flight.push(arrival);
    if random.permille(network.duplicate) {
        arrival.at_ms += random.below(100);
        in_flight.push(arrival);
    }
}
