//! What happens in a run, drawn from its seed before it begins.

use std::time::Duration;

use millrace_dataplane::shard::lanes::LaneLimits;
use millrace_shared::limits::DATAGRAM_SEND_LEN_MAX;
use millrace_shared::link::{Codec, Layer};
use millrace_shared::sim::{Burst, PathConfig, Prng};
use millrace_shared::time::Timestamp;

use crate::io::IoConfig;
use crate::vp9::Vp9Shape;

pub(crate) const START: Timestamp = Timestamp::from_millis(10_000);
/// From here on the network is as good as it can be.
pub(crate) const CALM_AT: Duration = Duration::from_millis(5_000);
/// By then every copy runs as it should.
pub(crate) const SETTLED_AT: Duration = Duration::from_millis(8_000);
pub(crate) const END_AT: Duration = Duration::from_millis(9_500);

/// A published track.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Publishing {
    pub(crate) peer: usize,
    pub(crate) track: u16,
    pub(crate) codec: Codec,
    pub(crate) layers: u8,
    pub(crate) temporal_layers: bool,
    pub(crate) long_picture_id: bool,
    pub(crate) vp9: Vp9Shape,
    pub(crate) interval: Duration,
    /// Frames from one key frame to the next, whoever asks; 0: when asked.
    pub(crate) key_interval: u32,
}

/// A subscription.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Subscribing {
    pub(crate) peer: usize,
    pub(crate) track: u16,
    pub(crate) codec: Codec,
    pub(crate) max_layer: Layer,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Join(usize),
    Leave(usize),
    Publish(Publishing),
    Unpublish(u16),
    Subscribe(Subscribing),
    /// The nth subscription that was made ends.
    Unsubscribe(usize),
    SetLayer(usize, Layer, bool),
    /// And whether the publisher goes on sending.
    Mute(u16, bool, bool),
    /// Bit n: encoding n of the track is sent.
    Send(u16, u8),
    Roam(usize),
    BlackOut(usize, Duration),
    StepWallclock(usize, i64),
    Stall(Duration),
    Network(usize, PathConfig, PathConfig),
    Io(IoConfig),
    Lanes(LaneLimits),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) actions: Vec<(Timestamp, Action)>,
    pub(crate) end: Timestamp,
}

fn at(after: Duration) -> Timestamp {
    START + after
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How bad networks and kernels are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Weather {
    /// Delay alone: nothing is lost. Key frames come at times of their own, for when they are asked
    /// for depends on when shards hear of each other.
    Fair,
    Foul,
}

/// A network of a house, an office, a train.
pub(crate) fn path(random: &mut Prng, weather: Weather) -> PathConfig {
    let fair = PathConfig {
        delay: ms(random.within(1..=60)),
        // MTU 1280.
        payload_len_max: DATAGRAM_SEND_LEN_MAX,
        ..PathConfig::default()
    };
    if weather == Weather::Fair {
        // Nothing arrives in the very instant of a command: which of them comes first there is
        // nobody's promise.
        let delay = fair.delay + Duration::from_micros(500);
        return PathConfig { delay, ..fair };
    }
    let mut path = PathConfig {
        jitter: ms(random.below(25)),
        ..fair
    };
    match random.below(6) {
        0 => {}
        1 => path.loss_ppm = random.within(2_000..=30_000) as u32,
        2 => path.loss_ppm = random.within(30_000..=100_000) as u32,
        3 => {
            path.burst = Some(Burst {
                enter_ppm: random.within(1_000..=8_000) as u32,
                leave_ppm: random.within(80_000..=400_000) as u32,
                loss_ppm: 900_000,
            });
        }
        4 => {
            path.reorder_ppm = random.within(5_000..=60_000) as u32;
            path.reorder_by = ms(random.within(5..=60));
        }
        _ => {
            path.rate_bps = Some(random.within(1_200_000..=4_000_000));
            path.queue_len_max = random.within(8_000..=40_000) as usize;
        }
    }
    if random.one_in(3) {
        path.duplicate_ppm = random.within(1_000..=30_000) as u32;
    }
    path
}

fn io(random: &mut Prng) -> IoConfig {
    let ppm = |random: &mut Prng, most: u64| {
        if random.one_in(2) {
            random.below(most) as u32
        } else {
            0
        }
    };
    IoConfig {
        arena_len: if random.one_in(4) { 12 } else { 4_096 },
        refuse_ppm: if random.one_in(4) { 3_000 } else { 0 },
        enobufs_ppm: ppm(random, 20_000),
        short_batch_ppm: ppm(random, 300_000),
        short_drain_ppm: ppm(random, 300_000),
    }
}

fn layer(random: &mut Prng) -> Layer {
    Layer {
        spatial: random.below(3) as u8,
        temporal: if random.one_in(3) {
            random.below(3) as u8
        } else {
            3
        },
    }
}

struct Draft {
    random: Prng,
    /// Most tracks of video have this codec and not VP8, with others than H.264 all.
    other_codec: Option<Codec>,
    weather: Weather,
    key_interval: u32,
    actions: Vec<(Timestamp, Action)>,
    publishings: Vec<Publishing>,
    subscribings: Vec<Subscribing>,
    /// When each peer joins.
    joined: Vec<Timestamp>,
}

impl Draft {
    /// A time of the first five seconds.
    fn sometime(&mut self, from_ms: u64) -> Timestamp {
        at(ms(self.random.within(from_ms..=4_900)))
    }

    fn add(&mut self, at: Timestamp, action: Action) {
        self.actions.push((at, action));
    }

    fn peers(&mut self, count: usize) {
        for peer in 0..count {
            let mut random = self.random.fork(1_000 + peer as u64);
            let (up, down) = (
                path(&mut random, self.weather),
                path(&mut random, self.weather),
            );
            let calm = |path: PathConfig| PathConfig {
                delay: path.delay,
                ..PathConfig::default()
            };
            self.add(START, Action::Network(peer, up, down));
            self.add(at(CALM_AT), Action::Network(peer, calm(up), calm(down)));
            let early_at = at(ms(self.random.below(400)));
            let join_at = if peer > 0 && random.one_in(5) {
                at(ms(random.within(1_500..=3_500)))
            } else {
                early_at
            };
            self.joined.push(join_at);
            self.add(join_at, Action::Join(peer));
        }
    }

    /// Of a peer's video and audio. Drawn apart, so that it changes nothing else.
    fn codecs(&self, peer: usize) -> (Codec, Codec) {
        let mut random = self.random.fork(3_000 + peer as u64);
        let other = |it: &Codec| *it != Codec::H264 || !random.one_in(4);
        let video = self.other_codec.filter(other).unwrap_or(Codec::Vp8);
        let h26x = matches!(self.other_codec, Some(Codec::H264 | Codec::H265));
        let red = h26x && !random.one_in(4);
        (video, if red { Codec::Red } else { Codec::Opus })
    }

    /// How a peer makes VP9, if it does. Spatial layers of one stream and simulcast exclude each
    /// other.
    fn vp9(&self, peer: usize, codec: Codec, layers: u8) -> Vp9Shape {
        let mut random = self.random.fork(4_000 + peer as u64);
        if codec != Codec::Vp9 {
            return Vp9Shape::PLAIN;
        }
        Vp9Shape {
            flexible: random.one_in(2),
            spatial_layers: match layers {
                1 => random.within(1..=3) as u8,
                _ => 1,
            },
            inter_layer: random.one_in(2),
        }
    }

    fn publish(&mut self, peer: usize) {
        let track = 10 * (peer as u16 + 1);
        let (video_codec, audio_codec) = self.codecs(peer);
        let vp8 = video_codec == Codec::Vp8;
        let layered = vp8 || video_codec == Codec::Vp9;
        let layers = self.random.within(1..=3) as u8;
        let vp9 = self.vp9(peer, video_codec, layers);
        let random = &mut self.random;
        let video = Publishing {
            peer,
            track,
            codec: video_codec,
            layers,
            // H.264 and H.265 have neither, AV1's are not told apart, and VP9's picture ids are long.
            temporal_layers: random.one_in(2) && layered,
            long_picture_id: !random.one_in(5) || !vp8,
            vp9,
            interval: ms(if random.one_in(3) { 33 } else { 66 }),
            key_interval: self.key_interval,
        };
        self.publishings.push(video);
        let joined = self.joined[peer] + ms(30);
        let video_at = at(ms(450 + self.random.below(800))).max(joined);
        self.add(video_at, Action::Publish(video));
        if self.random.one_in(2) {
            let audio = Publishing {
                track: track + 1,
                codec: audio_codec,
                layers: 1,
                interval: ms(20),
                ..video
            };
            self.publishings.push(audio);
            let audio_at = at(ms(450 + self.random.below(800))).max(joined);
            self.add(audio_at, Action::Publish(audio));
        }
    }

    /// Early, before the track is there, or late.
    fn subscribe(&mut self, peer: usize) {
        for publishing in self.publishings.clone() {
            if publishing.peer == peer {
                continue;
            }
            let subscribing = Subscribing {
                peer,
                track: publishing.track,
                codec: publishing.codec,
                max_layer: layer(&mut self.random),
            };
            self.subscribings.push(subscribing);
            let subscribe_at = if self.random.one_in(2) {
                at(ms(420 + self.random.below(200)))
            } else {
                self.sometime(600)
            };
            let subscribe_at = subscribe_at.max(self.joined[peer] + ms(20));
            self.add(subscribe_at, Action::Subscribe(subscribing));
        }
    }

    /// What subscribers and publishers do meanwhile.
    fn disturb(&mut self) {
        for copy in 0..self.subscribings.len() {
            for _ in 0..self.random.below(4) {
                let when = self.sometime(1_500);
                let layer = layer(&mut self.random);
                let paused = self.random.one_in(6);
                self.add(when, Action::SetLayer(copy, layer, paused));
                if paused {
                    let resume_at = when + ms(self.random.within(100..=900));
                    self.add(resume_at, Action::SetLayer(copy, layer, false));
                }
            }
        }
        for publishing in self.publishings.clone() {
            let track = publishing.track;
            if self.random.one_in(4) {
                let (when, sends) = (self.sometime(1_500), self.random.one_in(2));
                self.add(when, Action::Mute(track, true, sends));
                let unmute_at = when + ms(self.random.within(50..=1_200));
                self.add(unmute_at, Action::Mute(track, false, true));
            }
            if self.random.one_in(4) && publishing.layers > 1 {
                let when = self.sometime(1_500);
                self.add(when, Action::Send(track, 1));
                let again_at = when + ms(self.random.within(200..=2_000));
                self.add(again_at, Action::Send(track, 0b111));
            }
        }
    }

    /// Of VP9, whose temporal layers are left and entered without a key frame: half of the copies
    /// want others now and then. Drawn apart, so that it changes nothing else.
    fn want_temporal_layers(&mut self) {
        for (copy, subscribing) in self.subscribings.clone().into_iter().enumerate() {
            let mut random = self.random.fork(5_000 + copy as u64);
            if subscribing.codec != Codec::Vp9 || random.one_in(2) {
                continue;
            }
            for _ in 0..random.within(2..=8) {
                let when = at(ms(random.within(1_500..=4_900)));
                let layer = Layer {
                    temporal: random.below(4) as u8,
                    ..subscribing.max_layer
                };
                self.add(when, Action::SetLayer(copy, layer, false));
            }
        }
    }

    fn misfortunes(&mut self, peers: usize) {
        for peer in 0..peers {
            if self.random.one_in(4) {
                let when = self.sometime(1_500);
                self.add(when, Action::Roam(peer));
            }
            if self.random.one_in(6) {
                let (when, dark) = (self.sometime(1_500), ms(self.random.within(100..=1_500)));
                self.add(when, Action::BlackOut(peer, dark));
            }
            if self.random.one_in(6) {
                let (when, step) = (self.sometime(1_500), self.random.within(1..=20_000) as i64);
                let step = if self.random.one_in(2) { step } else { -step };
                self.add(when, Action::StepWallclock(peer, step));
            }
        }
        if self.random.one_in(4) {
            let (when, stall) = (self.sometime(1_500), ms(self.random.within(20..=400)));
            self.add(when, Action::Stall(stall));
        }
        if self.random.one_in(2) {
            let (when, config) = (self.sometime(600), io(&mut self.random));
            self.add(when, Action::Io(config));
        }
        if self.random.one_in(3) {
            let narrow = LaneLimits {
                media_packets_max: self.random.below(6) as usize,
                control_messages_max: self.random.below(4) as usize,
            };
            let (when, narrowed) = (self.sometime(600), ms(self.random.within(5..=800)));
            self.add(when, Action::Lanes(narrow));
            self.add(when + narrowed, Action::Lanes(LaneLimits::default()));
        }
        self.add(at(CALM_AT), Action::Io(IoConfig::SOUND));
        self.add(at(CALM_AT), Action::Lanes(LaneLimits::default()));
    }

    /// With another transport, from the same address, perhaps.
    fn come_back(&mut self, peer: usize, left_at: Timestamp) {
        let mut random = self.random.fork(2_000);
        let published = self.publishings.iter().any(|it| it.peer == peer);
        if published || left_at < self.joined[peer] || random.one_in(3) {
            return;
        }
        let join_at = left_at + ms(random.within(1..=900));
        self.add(join_at, Action::Join(peer));
        for publishing in self.publishings.clone() {
            let subscribing = Subscribing {
                peer,
                track: publishing.track,
                codec: publishing.codec,
                max_layer: layer(&mut random),
            };
            let subscribe_at = join_at + ms(random.within(1..=300));
            self.add(subscribe_at, Action::Subscribe(subscribing));
        }
    }

    /// Some leave.
    fn come_and_go(&mut self, peers: usize) {
        if self.random.one_in(3) && self.subscribings.len() > 1 {
            let copy = self.random.below(self.subscribings.len() as u64) as usize;
            let when = self.sometime(2_500);
            self.add(when, Action::Unsubscribe(copy));
        }
        if self.random.one_in(4) && peers > 2 {
            let when = self.sometime(2_500);
            self.add(when, Action::Leave(peers - 1));
            self.come_back(peers - 1, when);
        }
        if self.random.one_in(8) {
            let (when, track) = (self.sometime(3_000), self.publishings[0].track);
            self.add(when, Action::Unpublish(track));
        }
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64, weather: Weather) -> Self {
        let mut random = Prng::new(seed).fork(1);
        let peers = random.within(2..=5) as usize;
        let publishers = random.within(1..=peers.min(3) as u64) as usize;
        let mut draft = Draft {
            random,
            other_codec: match seed % 12 {
                2 | 5 | 8 => Some(Codec::H264),
                11 => Some(Codec::H265),
                0 | 6 => Some(Codec::Vp9),
                9 => Some(Codec::Av1),
                _ => None,
            },
            weather,
            key_interval: match weather {
                Weather::Fair => 12,
                Weather::Foul => 0,
            },
            actions: Vec::new(),
            publishings: Vec::new(),
            subscribings: Vec::new(),
            joined: Vec::new(),
        };
        draft.peers(peers);
        for peer in 0..publishers {
            draft.publish(peer);
        }
        for peer in 0..peers {
            draft.subscribe(peer);
        }
        draft.disturb();
        draft.want_temporal_layers();
        if weather == Weather::Foul {
            draft.misfortunes(peers);
        }
        draft.come_and_go(peers);
        let mut actions = draft.actions;
        // Stable: what was drawn first happens first.
        actions.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            actions,
            end: at(END_AT),
        }
    }
}
