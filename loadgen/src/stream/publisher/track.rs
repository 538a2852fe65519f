use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_shared::drop::DropReason;
use millrace_shared::ids::Ssrc;
use millrace_shared::link::ExtIds;
use millrace_shared::srtp::SrtpTx;
use millrace_shared::time::{Epoch, RtpTime, Timestamp};
use millrace_shared::wire::rtcp::SenderInfo;
use millrace_shared::wire::rtp_ext::AudioLevel;

use crate::measure::Meter;
use crate::media::packetize::{Bits, Cut, PAYLOAD_LEN_MAX, VideoCodec};
use crate::media::picture::{Encoder, Encoding, Frame};
use crate::media::recording::Recording;
use crate::media::speech::{self, Manner, Speech};
use crate::media::{Origin, Stamp};
use crate::stream::sender::{PACKET_LEN_MAX, PacketHead, StreamNames, TxStream};

const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
/// A thread that stood still for longer does not catch up: the packets of that time are left out.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);

/// A recording does not say how loud it is: as speech on average.
const RECORDED_LEVEL: AudioLevel = AudioLevel {
    below_overload_db: 30,
    voice: true,
};

/// What a track shows or says.
#[derive(Clone, PartialEq, Debug)]
pub enum TrackSource {
    Speech(Manner),
    /// One encoding, or several of a simulcast, the smallest first.
    Video {
        codec: VideoCodec,
        encodings: Vec<Encoding>,
    },
    Recorded(Arc<Recording>),
}

impl TrackSource {
    /// `None`: sound.
    pub fn video_codec(&self) -> Option<VideoCodec> {
        match self {
            Self::Speech(_) => None,
            Self::Video { codec, .. } => Some(*codec),
            Self::Recorded(recording) => recording.video,
        }
    }

    /// How many encodings of it are sent.
    pub fn encodings_len(&self) -> usize {
        match self {
            Self::Speech(_) | Self::Recorded(_) => 1,
            Self::Video { encodings, .. } => encodings.len(),
        }
    }

    /// Width, height and bitrate of each picture sent, the smallest first.
    pub fn pictures(&self) -> Vec<(u16, u16, u32)> {
        match self {
            Self::Speech(_) => Vec::new(),
            Self::Video { encodings, .. } => encodings
                .iter()
                .map(|it| (it.width, it.height, it.bitrate_bps))
                .collect(),
            Self::Recorded(recording) => {
                let (width, height) = recording.size;
                vec![(width, height, recording.bitrate_bps())]
            }
        }
    }
}

/// A track as it was negotiated.
#[derive(Clone, PartialEq, Debug)]
pub struct PublishedTrack {
    /// Unique in the run.
    pub number: u32,
    pub source: TrackSource,
    pub mid: String,
    pub pt: u8,
    pub rtx_pt: Option<u8>,
    /// Media SSRC, and that of its retransmissions, of each encoding.
    pub ssrcs: Vec<(u32, u32)>,
    /// Of each encoding; empty without simulcast.
    pub rids: Vec<&'static str>,
    pub ids: ExtIds,
    pub seed: u64,
    pub audience: Audience,
}

/// How many subscribers are to get each encoding of a track, at this moment. The control side keeps
/// it while clients come and go.
#[derive(Clone, Debug, Default)]
pub struct Audience(Arc<[AtomicU32; ENCODINGS_MAX]>);

/// Encodings of a simulcast.
const ENCODINGS_MAX: usize = 3;

impl Audience {
    pub fn set(&self, counts: [u32; ENCODINGS_MAX]) {
        for (ours, count) in self.0.iter().zip(counts) {
            ours.store(count, Ordering::Relaxed);
        }
    }

    fn of(&self, layer: usize) -> u64 {
        let count = self.0.get(layer).map(|it| it.load(Ordering::Relaxed));
        count.unwrap_or(0).into()
    }
}

impl PartialEq for Audience {
    fn eq(&self, other: &Self) -> bool {
        (0..ENCODINGS_MAX).all(|layer| self.of(layer) == other.of(layer))
    }
}

/// A payload that waits for its turn.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) track: usize,
    layer: usize,
    pub(super) payload: Vec<u8>,
    descriptor_len: usize,
    pub(super) marker: bool,
    pub(super) timestamp: RtpTime,
    pub(super) level: Option<AudioLevel>,
}

#[derive(Debug)]
enum Source {
    Speech(Speech),
    Pictures {
        codec: VideoCodec,
        encoder: Encoder,
        picture_id: u16,
        tl0_pic_idx: u8,
    },
    Recorded {
        recording: Arc<Recording>,
        next: usize,
        picture_id: u16,
    },
}

#[derive(Debug)]
struct LayerTx {
    stream: TxStream,
    source: Source,
    interval: Duration,
    next_at: Timestamp,
    /// Media time of the next packet or frame.
    timestamp: RtpTime,
    ticks: u32,
    index: u32,
}

#[derive(Debug)]
pub(super) struct TrackTx {
    number: u32,
    audience: Audience,
    layers: Vec<LayerTx>,
}

impl TrackTx {
    pub(super) fn new(now: Timestamp, track: PublishedTrack) -> Self {
        let stream = |layer: usize| {
            let (ssrc, repair) = track.ssrcs[layer];
            let names = StreamNames {
                mid: track.mid.clone(),
                rid: track.rids.get(layer).copied(),
            };
            let repair = track.rtx_pt.map(|pt| (repair, pt));
            TxStream::new(ssrc, track.pt, repair, track.ids, names)
        };
        let seed = |layer: u64| track.seed.wrapping_add(layer);
        // Publishers that begin together would send in step.
        let phase = |interval: Duration| now + interval.mul_f64((track.seed % 64) as f64 / 64.0);
        let layers = match &track.source {
            TrackSource::Speech(manner) => vec![LayerTx {
                stream: stream(0),
                source: Source::Speech(Speech::new(*manner, seed(0))),
                interval: speech::PACKET_INTERVAL,
                next_at: phase(speech::PACKET_INTERVAL),
                timestamp: RtpTime(track.ssrcs[0].0 << 8),
                ticks: speech::PACKET_TICKS,
                index: 0,
            }],
            TrackSource::Video { codec, encodings } => encodings
                .iter()
                .zip(0..)
                .map(|(encoding, layer)| LayerTx {
                    stream: stream(layer),
                    source: Source::Pictures {
                        codec: *codec,
                        encoder: Encoder::new(*encoding, seed(layer as u64)),
                        picture_id: (track.ssrcs[layer].0 & 0x7fff) as u16,
                        tl0_pic_idx: 0,
                    },
                    interval: encoding.frame_interval(),
                    next_at: phase(encoding.frame_interval()),
                    timestamp: RtpTime(track.ssrcs[layer].0 << 8),
                    ticks: VIDEO_CLOCK / encoding.frame_rate.max(1),
                    index: 0,
                })
                .collect(),
            TrackSource::Recorded(recording) => vec![LayerTx {
                stream: stream(0),
                source: Source::Recorded {
                    recording: Arc::clone(recording),
                    next: 0,
                    picture_id: 0,
                },
                // Each frame says how long it lasts.
                interval: Duration::ZERO,
                next_at: now,
                timestamp: RtpTime(track.ssrcs[0].0 << 8),
                ticks: 0,
                index: 0,
            }],
        };
        Self {
            number: track.number,
            audience: track.audience,
            layers,
        }
    }

    pub(super) fn next_timeout(&self) -> Timestamp {
        let due = self.layers.iter().map(|layer| layer.next_at);
        due.min().unwrap_or(Timestamp::NEVER)
    }

    /// Queues the payloads of what is due.
    pub(super) fn produce(
        &mut self,
        now: Timestamp,
        track: usize,
        paced: &mut VecDeque<Paced>,
        spare: &mut Vec<Vec<u8>>,
        meter: &mut Meter,
    ) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            while layer.next_at <= now {
                let late = now.since(layer.next_at);
                layer.set_pace();
                if late > layer.interval {
                    meter.counters.late_sent += 1;
                }
                if late <= CATCH_UP_MAX {
                    let before = paced.len();
                    layer.produce((track, index), paced, spare);
                    meter.frames.record(paced.len() - before);
                }
                layer.next_at += layer.interval;
                layer.timestamp = layer.timestamp.wrapping_add(layer.ticks);
            }
        }
    }

    /// Stamps and writes a packet that leaves now.
    pub(super) fn write(
        &mut self,
        now: Timestamp,
        paced: &mut Paced,
        head: &PacketHead,
        srtp: &SrtpTx,
        out: &mut [u8; PACKET_LEN_MAX],
        meter: &mut Meter,
    ) -> Result<usize, DropReason> {
        let audience = self.audience.of(paced.layer);
        let layer = &mut self.layers[paced.layer];
        let stamp = Stamp {
            origin: Origin {
                track: self.number,
                layer: paced.layer as u8,
            },
            index: layer.index,
            sent_at: now,
        };
        layer.index = layer.index.wrapping_add(1);
        stamp
            .write(&mut paced.payload, paced.descriptor_len)
            .ok_or(DropReason::SendLength)?;
        let len = layer.stream.write(out, head, &paced.payload, srtp)?;
        let counters = &mut meter.counters;
        counters.sent += 1;
        counters.sent_bytes += len as u64;
        counters.offered += audience;
        counters.offered_bytes += audience * len as u64;
        Ok(len)
    }

    pub(super) fn stream(&mut self, ssrc: Ssrc) -> Option<&mut TxStream> {
        let streams = self.layers.iter_mut().map(|layer| &mut layer.stream);
        streams.into_iter().find(|stream| stream.ssrc() == ssrc)
    }

    pub(super) fn request_key_frame(&mut self, ssrc: Ssrc) {
        for layer in &mut self.layers {
            if layer.stream.ssrc() == ssrc
                && let Source::Pictures { encoder, .. } = &mut layer.source
            {
                encoder.request_key_frame();
            }
        }
    }

    /// Of every stream that has sent something.
    pub(super) fn sender_infos(
        &self,
        now: Timestamp,
        epoch: &Epoch,
    ) -> impl Iterator<Item = (Ssrc, SenderInfo)> {
        let sending = self.layers.iter().filter(|it| it.stream.has_sent());
        sending.map(move |layer| {
            // RFC 3550 §6.4.1: the media time of this moment, not of the last packet.
            let last_at = layer.next_at - layer.interval;
            let clock = layer.clock_rate();
            let since = now.since(last_at).as_nanos() * u128::from(clock) / 1_000_000_000;
            let ticks = u32::try_from(since).unwrap_or(0);
            let media = layer.stream.last_timestamp().wrapping_add(ticks);
            let info = layer.stream.sender_info(epoch.ntp(now), media);
            (layer.stream.ssrc(), info)
        })
    }
}

impl LayerTx {
    fn clock_rate(&self) -> u32 {
        match &self.source {
            Source::Speech(_) => AUDIO_CLOCK,
            Source::Recorded { recording, .. } if recording.video.is_none() => AUDIO_CLOCK,
            Source::Pictures { .. } | Source::Recorded { .. } => VIDEO_CLOCK,
        }
    }

    /// How long the next frame of a recording lasts.
    fn set_pace(&mut self) {
        if let Source::Recorded {
            recording, next, ..
        } = &self.source
        {
            let frame = &recording.frames[next % recording.frames.len()];
            self.interval = frame.duration;
            self.ticks = (frame.duration.as_secs_f64() * f64::from(self.clock_rate())) as u32;
        }
    }

    fn produce(
        &mut self,
        (track, layer): (usize, usize),
        paced: &mut VecDeque<Paced>,
        spare: &mut Vec<Vec<u8>>,
    ) {
        let timestamp = self.timestamp;
        match &mut self.source {
            Source::Speech(speech) => {
                let Some(utterance) = speech.next_packet() else {
                    return;
                };
                let mut payload = buffer(spare);
                payload.truncate(utterance.payload_len);
                // TOC of 20 ms of wideband SILK, one frame (RFC 6716 §3.1).
                payload[0] = 0x48;
                paced.push_back(Paced {
                    track,
                    layer,
                    payload,
                    descriptor_len: 0,
                    marker: utterance.burst_start,
                    timestamp,
                    level: Some(utterance.level),
                });
            }
            Source::Pictures {
                codec,
                encoder,
                picture_id,
                tl0_pic_idx,
            } => {
                let size = (encoder.encoding().width, encoder.encoding().height);
                let frame = encoder.next_frame();
                *picture_id = picture_id.wrapping_add(1) & 0x7fff;
                *tl0_pic_idx = tl0_pic_idx.wrapping_add(1);
                let cut = Cut::new(*codec, frame, Bits::Made, size)
                    .with_picture_id(*picture_id, *tl0_pic_idx);
                queue_cut(cut, (track, layer), timestamp, true, paced, spare);
            }
            Source::Recorded {
                recording,
                next,
                picture_id,
            } => {
                let frame = &recording.frames[*next % recording.frames.len()];
                *next += 1;
                *picture_id = picture_id.wrapping_add(1) & 0x7fff;
                let Some(codec) = recording.video else {
                    let sound = frame.units.first().map_or(&[][..], Vec::as_slice);
                    queue_sound(sound, (track, layer), timestamp, paced, spare);
                    return;
                };
                let tl0_pic_idx = picture_id.to_le_bytes()[0];
                for (index, unit) in frame.units.iter().enumerate() {
                    let last = index + 1 == frame.units.len();
                    let part = Frame {
                        key: frame.key,
                        len: unit.len(),
                    };
                    let cut = Cut::new(codec, part, Bits::Recorded(unit), recording.size)
                        .with_picture_id(*picture_id, tl0_pic_idx);
                    queue_cut(cut, (track, layer), timestamp, last, paced, spare);
                }
            }
        }
    }
}

/// Queues the payloads of a frame, or of one of its units; `last` is whether it ends the frame.
fn queue_cut(
    mut cut: Cut<'_>,
    (track, layer): (usize, usize),
    timestamp: RtpTime,
    last: bool,
    paced: &mut VecDeque<Paced>,
    spare: &mut Vec<Vec<u8>>,
) {
    let mut next = buffer(spare);
    while let Some(cut) = cut.next_payload(&mut next) {
        let mut payload = std::mem::replace(&mut next, buffer(spare));
        payload.truncate(cut.len);
        paced.push_back(Paced {
            track,
            layer,
            payload,
            descriptor_len: cut.descriptor_len,
            marker: cut.marker && last,
            timestamp,
            level: None,
        });
    }
    spare.push(next);
}

/// Queues a recorded packet of sound.
fn queue_sound(
    sound: &[u8],
    (track, layer): (usize, usize),
    timestamp: RtpTime,
    paced: &mut VecDeque<Paced>,
    spare: &mut Vec<Vec<u8>>,
) {
    let len = sound.len().min(PAYLOAD_LEN_MAX - Stamp::LEN);
    let mut payload = buffer(spare);
    payload[..len].copy_from_slice(&sound[..len]);
    payload.truncate(len + Stamp::LEN);
    paced.push_back(Paced {
        track,
        layer,
        payload,
        descriptor_len: 0,
        marker: false,
        timestamp,
        level: Some(RECORDED_LEVEL),
    });
}

fn buffer(spare: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let mut buffer = spare.pop().unwrap_or_default();
    buffer.resize(PAYLOAD_LEN_MAX, 0x5a);
    buffer
}
