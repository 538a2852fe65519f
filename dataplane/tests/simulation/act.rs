//! What happens to a world by its plan: commands as the control plane gives them, and what peers
//! and networks do by themselves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millrace_dataplane::shard::lanes::LaneLimits;
use millrace_shared::ids::{DownTrackId, GroupId, Mid, Ssrc, TrackId};
use millrace_shared::link::{
    AddTransport, Codec, Command, DataPublish, Encoding, IceCredentials, Layer, MediaKind,
    PtMapping, SetRemote, UpCodec, UpTrackConfig,
};
use millrace_shared::sim::Path;
use millrace_shared::time::SeqNo;

use crate::encoder::{AUDIO_PT, Encoder, EncoderConfig, RED_PT, Temporal};
use crate::ledger::{Copy, CopyOf, Wish};
use crate::media::{RIDS, copy, up_ext_ids, video};
use crate::node::FINGERPRINT;
use crate::peer::{Opener, Peer, Publication, keys};
use crate::plan::{Action, Publishing, Subscribing};
use crate::receiver::Receiver;
use crate::world::{Effect, Member, Pending, Track, World};

const GROUP: GroupId = GroupId(1);
/// Parts of the seed.
const PART_KEYS: u64 = 100;
const PART_PATHS: u64 = 200;
const PART_TRACKS: u64 = 10_000;
/// A publisher begins when its track was answered: never before the command.
const PUBLISH_DELAY: Duration = Duration::from_millis(5);

/// Of a peer, by how often it has roamed. Some have IPv6, or change to it.
fn address(peer: usize, visit: u16) -> SocketAddr {
    let port = 40_000 + 100 * visit + peer as u16;
    let ip = if (peer + usize::from(visit)) % 3 == 2 {
        "2001:db8:7::7"
    } else {
        "198.51.100.7"
    };
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn mid(track: u16) -> &'static str {
    if track.is_multiple_of(10) { "v" } else { "a" }
}

/// With Opus beside RED, as browsers negotiate it.
fn audio(track: u16, codec: Codec) -> UpTrackConfig {
    let up = |pt, codec| UpCodec {
        pt,
        codec,
        clock_rate_hz: 48_000,
        rtx_pt: None,
    };
    let red = (codec == Codec::Red).then(|| up(RED_PT, Codec::Red));
    UpTrackConfig {
        kind: MediaKind::Audio,
        codecs: red.into_iter().chain([up(AUDIO_PT, Codec::Opus)]).collect(),
        encodings: vec![Encoding {
            rid: None,
            spatial: 0,
            ssrc: None,
            rtx_ssrc: None,
        }],
        nack: false,
        ..video(TrackId(track.into()), mid(track), 1)
    }
}

impl World {
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Join(peer) => self.join(peer),
            Action::Leave(peer) => self.leave(peer),
            Action::Publish(publishing) => self.publish(publishing),
            Action::Unpublish(track) => self.unpublish(track),
            Action::Subscribe(subscribing) => self.subscribe(subscribing),
            Action::Unsubscribe(copy) => self.unsubscribe(copy),
            Action::SetLayer(copy, layer, paused) => self.set_layer(copy, layer, paused),
            Action::Mute(track, muted, sends) => self.mute(track, muted, sends),
            Action::Send(track, layers) => self.send_layers(track, layers),
            Action::Roam(peer) => self.roam(peer),
            Action::BlackOut(peer, time) => self.black_out(peer, time),
            Action::StepWallclock(peer, step_ms) => self.step_wallclock(peer, step_ms),
            Action::Stall(time) => {
                let until = self.now() + time;
                self.node.stall(until);
                self.unsettle_all(until);
                for member in self.members.iter_mut().flatten() {
                    member.was_dark = true;
                }
            }
            Action::Network(peer, up, down) => self.set_network(peer, up, down),
            Action::Io(config) => self.node.set_io(config),
            Action::Lanes(limits) => self.limit_lanes(limits),
        }
    }

    fn limit_lanes(&mut self, mut limits: LaneLimits) {
        // With one port commands cross the lanes, too, and when they take effect is told from when
        // they were given.
        if self.layout.one_port {
            limits.control_messages_max = LaneLimits::default().control_messages_max;
        }
        self.node.limit_lanes(limits);
    }

    fn command(&mut self, peer: usize, command: Command) {
        if let Some(shard) = self.member(peer).map(|it| it.shard) {
            self.node.command(shard, command);
        }
    }

    fn effect(&mut self, peer: usize, effect: Effect) {
        if let Some(shard) = self.member(peer).map(|it| it.shard) {
            self.effects.push(Pending {
                shard,
                of: Some(peer),
                effect,
            });
        }
    }

    fn join(&mut self, peer: usize) {
        if self.visits.len() <= peer {
            self.visits.resize(peer + 1, 0);
        }
        self.visits[peer] += 1;
        let part = PART_KEYS + peer as u64 + 1_000 * self.visits[peer];
        let mut random = self.random.fork(part);
        let (theirs, ours) = keys(&mut random);
        let shard = peer % self.layout.shards;
        let ice = IceCredentials {
            ufrag: format!("{shard}-{peer}"),
            pwd: format!("password-of-peer-{peer:04}"),
        };
        let transport = self.transport(peer);
        let (up, down) = self.paths[peer];
        let paths = self.random.fork(PART_PATHS + peer as u64);
        let member = Member {
            peer: Peer::new(address(peer, 0), ice.clone(), &theirs),
            shard,
            home: shard,
            landed: shard,
            opener: Opener::new(&ours),
            keys: Some((ours, theirs)),
            up: Path::new(up, paths.fork(0)),
            down: Path::new(down, paths.fork(1)),
            addresses: BTreeSet::from([address(peer, 0)]),
            valid: BTreeSet::new(),
            present: true,
            transport_cc: None,
            was_dark: false,
            steps: vec![0],
        };
        if self.members.len() <= peer {
            self.members.resize_with(peer + 1, || None);
        }
        self.members[peer] = Some(member);
        let add = AddTransport {
            transport,
            group: GROUP,
            label: format!("peer-{peer}"),
            ice: ice.clone(),
            data_publish: DataPublish {
                stamp: Bytes::new(),
                allowed: false,
            },
            data_receive: false,
            open_data_channels: false,
        };
        self.command(peer, Command::AddTransport(Box::new(add)));
    }

    /// A shard answered a check, so the transport lives there: keys follow, once.
    pub(crate) fn connect(&mut self, shard: usize, peer: usize, remote: SocketAddr) {
        let landing = self.landing(peer, remote);
        let transport = self.transport(peer);
        let Some(member) = self.member(peer) else {
            return;
        };
        let ice = member.peer.ice.clone();
        let Some((ours, theirs)) = member.keys.take() else {
            return;
        };
        member.home = shard;
        member.landed = landing;
        self.node.key_transport(shard, transport, &ours, &theirs);
        let remote = SetRemote {
            transport,
            ice,
            fingerprint: FINGERPRINT,
            receive_ext_ids: up_ext_ids(),
        };
        self.command(peer, Command::SetRemote(Box::new(remote)));
    }

    fn leave(&mut self, peer: usize) {
        let Some(member) = self.member(peer) else {
            return;
        };
        member.present = false;
        let transport = self.transport(peer);
        self.command(peer, Command::RemoveTransport { transport });
        self.effect(peer, Effect::Left(peer));
    }

    fn publish(&mut self, publishing: Publishing) {
        let (peer, track) = (publishing.peer, publishing.track);
        let config = match publishing.codec.kind() {
            MediaKind::Audio => audio(track, publishing.codec),
            MediaKind::Video => {
                let mut config = video(TrackId(track.into()), mid(track), publishing.layers);
                config.codecs[0].codec = publishing.codec;
                config
            }
        };
        let transport = self.transport(peer);
        self.command(
            peer,
            Command::SetUpTrack {
                transport,
                config: Box::new(config),
            },
        );
        let random = self.random.fork(PART_TRACKS + u64::from(track));
        let encoders = (0..publishing.layers).map(|spatial| {
            let mut random = random.fork(spatial.into());
            let config = EncoderConfig {
                codec: publishing.codec,
                track,
                spatial,
                ssrc: Ssrc(100_000 + 100 * u32::from(track) + u32::from(spatial)),
                mid: mid(track),
                rid: (publishing.layers > 1).then(|| RIDS[usize::from(spatial)]),
                temporal: match (publishing.temporal_layers, publishing.layers) {
                    (false, _) => Temporal::None,
                    (true, 2) if publishing.codec == Codec::Vp9 => Temporal::Two,
                    (true, 2) => Temporal::Chained,
                    (true, _) => Temporal::Three,
                },
                long_picture_id: publishing.long_picture_id,
                vp9: publishing.vp9,
                // Low, and close to the wrap now and then (RFC 3711 §3.3.1 wants it below 2^15).
                seq: SeqNo((random.next_u64() & 0x7fff) as u16),
                packets_max: 1 + 2 * u64::from(spatial),
                key_interval: publishing.key_interval,
            };
            Encoder::new(config, random)
        });
        if !publishing.long_picture_id {
            self.ledger.short_ids.insert(track);
        }
        let next_at = self.now() + PUBLISH_DELAY;
        let publication = Publication {
            encoders: encoders.collect(),
            interval: publishing.interval,
            next_at,
            sends: 0b111,
        };
        if let Some(member) = self.member(peer).filter(|it| it.present) {
            member.peer.publications.push(publication);
            self.tracks.push(Track {
                publishing,
                muted: false,
                gone: false,
                steady_since: next_at,
            });
        }
    }

    pub(crate) fn track(&mut self, track: u16) -> Option<&mut Track> {
        let mut tracks = self.tracks.iter_mut();
        tracks.find(|it| it.publishing.track == track && !it.gone)
    }

    fn unpublish(&mut self, track: u16) {
        let Some(found) = self.track(track) else {
            return;
        };
        found.gone = true;
        let peer = found.publishing.peer;
        if let Some(member) = self.member(peer) {
            let publications = &mut member.peer.publications;
            publications.retain(|it| it.encoders[0].config.track != track);
        }
        let transport = self.transport(peer);
        let track = TrackId(track.into());
        self.command(peer, Command::RemoveUpTrack { transport, track });
    }

    fn subscribe(&mut self, subscribing: Subscribing) {
        let now = self.now();
        let number = self.ledger.copies.len() as u64 + 1;
        let copy_of = CopyOf {
            peer: subscribing.peer,
            down: DownTrackId(number),
            track: subscribing.track,
            codec: subscribing.codec,
            ssrc: Ssrc(10_000 + 10 * number as u32),
        };
        let wish = Wish {
            since: now,
            max_layer: subscribing.max_layer,
            paused: false,
        };
        let mut noted = Copy::new(&copy_of, wish);
        let present = self.member(subscribing.peer).is_some_and(|it| it.present);
        noted.removed = !present;
        let (red, audio_pt) = (noted.red(), noted.audio_pt());
        self.ledger.copies.push(noted);
        if !present {
            return;
        }
        let track = TrackId(subscribing.track.into());
        let mut config = copy(copy_of.down, track, copy_of.ssrc.0);
        config.mid = Mid::from(&format!("s{number}")).unwrap();
        config.max_layer = self.tamper.order(subscribing.max_layer);
        let kind = subscribing.codec.kind();
        if kind == MediaKind::Audio {
            config.kind = MediaKind::Audio;
            config.rtx_ssrc = None;
            config.nack = false;
            config.pts = vec![PtMapping {
                up: if red.is_some() { RED_PT } else { AUDIO_PT },
                down: audio_pt,
                down_rtx: None,
                red,
            }];
        }
        if let Some(member) = self.member(subscribing.peer) {
            let (ssrc, rtx_ssrc) = (copy_of.ssrc, Ssrc(copy_of.ssrc.0 + 1));
            let receiver = Receiver::new(copy_of.down, kind, ssrc, rtx_ssrc);
            member.peer.receivers.push(receiver);
        }
        let transport = self.transport(subscribing.peer);
        let config = Box::new(config);
        self.command(
            subscribing.peer,
            Command::SetDownTrack { transport, config },
        );
    }

    fn unsubscribe(&mut self, copy: usize) {
        let Some(found) = self.ledger.copies.get(copy).filter(|it| !it.removed) else {
            return;
        };
        let (peer, down) = (found.peer, found.down);
        let transport = self.transport(peer);
        self.command(peer, Command::RemoveDownTrack { transport, down });
        self.effect(peer, Effect::Removed(copy));
    }

    fn set_layer(&mut self, copy: usize, max_layer: Layer, paused: bool) {
        let now = self.now();
        let Some(found) = self.ledger.copies.get_mut(copy).filter(|it| !it.removed) else {
            return;
        };
        let (peer, down) = (found.peer, found.down);
        if found.paused() && found.wishes.len() > 1 && paused {
            return;
        }
        // What is allowed from now on is allowed before the shard knows; what is not any more, only
        // once it does.
        found.wishes.push(Wish {
            since: now,
            max_layer,
            paused: false,
        });
        self.command(
            peer,
            Command::SetDownTrackLayer {
                transport: self.transport(peer),
                down,
                max_layer: self.tamper.order(max_layer),
                paused,
            },
        );
        if paused {
            let wishes = self.ledger.copies[copy].wishes.len();
            self.effect(peer, Effect::Paused(copy, wishes));
        }
    }

    fn mute(&mut self, track: u16, muted: bool, sends: bool) {
        let now = self.now();
        let Some(found) = self.track(track) else {
            return;
        };
        let peer = found.publishing.peer;
        found.steady_since = now;
        let sent = if sends { 0b111 } else { 0 };
        self.set_sends(track, sent);
        let track_id = TrackId(track.into());
        self.command(
            peer,
            Command::MuteUpTrack {
                transport: self.transport(peer),
                track: track_id,
                muted,
            },
        );
        self.effect(peer, Effect::Muted(track, muted));
    }

    fn set_sends(&mut self, track: u16, layers: u8) {
        let publications = self.members.iter_mut().flatten();
        let mut publications = publications.flat_map(|it| &mut it.peer.publications);
        if let Some(publication) = publications.find(|it| it.encoders[0].config.track == track) {
            publication.sends = layers;
        }
    }

    fn send_layers(&mut self, track: u16, layers: u8) {
        let now = self.now();
        if let Some(found) = self.track(track) {
            found.steady_since = now;
        }
        self.set_sends(track, layers);
    }

    fn roam(&mut self, peer: usize) {
        let now = self.now();
        let Some(member) = self.member(peer).filter(|it| it.present) else {
            return;
        };
        member.was_dark = true;
        let remote = address(peer, member.addresses.len() as u16 + 1);
        member.addresses.insert(remote);
        member.peer.roam(remote);
        self.roamed = true;
        self.unsettle(peer, now);
    }

    fn black_out(&mut self, peer: usize, time: Duration) {
        let until = self.now() + time;
        if let Some(member) = self.member(peer) {
            member.was_dark = true;
            member.up.black_out(until);
            member.down.black_out(until);
        }
        self.unsettle(peer, until);
    }

    fn step_wallclock(&mut self, peer: usize, step_ms: i64) {
        self.stepped = true;
        if let Some(member) = self.member(peer) {
            let step = (i128::from(step_ms) << 32) / 1_000;
            member.peer.wallclock_step += step as i64;
            member.steps.push(member.peer.wallclock_step);
        }
    }

    fn set_network(
        &mut self,
        peer: usize,
        up: millrace_shared::sim::PathConfig,
        down: millrace_shared::sim::PathConfig,
    ) {
        if self.paths.len() <= peer {
            self.paths.resize_with(peer + 1, Default::default);
        }
        self.paths[peer] = (up, down);
        if let Some(member) = self.member(peer) {
            member.up.set_config(up);
            member.down.set_config(down);
        }
    }

    /// What a shard has applied holds from now on.
    pub(crate) fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Validated(peer, remote) => {
                if let Some(member) = self.member(peer) {
                    member.valid.insert(remote);
                }
            }
            Effect::Removed(copy) => self.ledger.copies[copy].removed = true,
            Effect::Paused(copy, wishes) => {
                let now = self.now();
                let copy = &mut self.ledger.copies[copy];
                // Another wish may have come meanwhile: then the pause is over as it begins.
                let wish = copy.wishes[wishes - 1];
                let paused = Wish {
                    since: now,
                    paused: true,
                    ..wish
                };
                copy.wishes.insert(wishes, paused);
            }
            Effect::Muted(track, muted) => {
                if let Some(found) = self.track(track) {
                    found.muted = muted;
                }
            }
            Effect::Left(peer) => {
                for copy in self.ledger.copies.iter_mut().filter(|it| it.peer == peer) {
                    copy.removed = true;
                }
                for track in self
                    .tracks
                    .iter_mut()
                    .filter(|it| it.publishing.peer == peer)
                {
                    track.gone = true;
                }
            }
        }
    }
}
