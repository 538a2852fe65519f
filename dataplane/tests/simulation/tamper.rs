//! A shard that errs: changes what it sent before the oracles see it. Each kind of error is there
//! to show that an oracle notices it.

use millrace_dataplane::shard::Sizes;
use millrace_shared::ids::{Pt, ShardId, Ssrc};
use millrace_shared::limits::DATAGRAM_SEND_LEN_MAX;
use millrace_shared::link::{Codec, Event, ExtKind, Layer};
use millrace_shared::payload::vp9::Vp9Descriptor;
use millrace_shared::time::{SeqNo, Timestamp};
use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket, RtcpWriter, SenderInfo};
use millrace_shared::wire::rtp::{RtpView, ext_mut};

use crate::encoder::AUDIO_PT;
use crate::h265::has_parameter_sets;
use crate::ledger::DOWN_RED_PT;
use crate::media::{DOWN_PT, DOWN_RTX_PT, down_ext_ids};

/// An error of a shard.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// A packet once more, under the number it had.
    RepeatNumber,
    /// A number is left out, and all later ones are one more.
    SkipNumber,
    /// A retransmission carries another packet's number.
    WrongOriginal,
    /// The number of a retransmission is used for the next one again.
    RepeatRetransmission,
    /// A packet goes to another peer as well.
    WrongPeer,
    /// Media time of one packet in a hundred goes back.
    TimeBack,
    /// Media time jumps ahead and stays.
    TimeJump,
    /// The picture id of a frame goes back by one.
    PictureIdBack,
    /// TL0PICIDX of a frame goes back by one.
    BaseIndexBack,
    /// Of AV1, the frame number in the dependency descriptor goes back by one.
    FrameNumberBack,
    /// Of VP9, a bit beside the layer indices is another.
    LayerIndices,
    /// Of VP9, the middle one of three temporal layers does not go.
    DropMiddleLayer,
    /// A byte of a payload is another.
    PayloadByte,
    /// A block of RED names another codec.
    RedBlock,
    /// A frame in fifty does not go.
    DropFrames,
    /// The first packet of key frames does not go.
    DropKeyStart,
    /// Sender reports count a packet too few.
    ReportCount,
    /// Sender reports have the media time of 20 ms ago.
    ReportTime,
    /// Feedback tells of packets that did not arrive.
    FeedbackAhead,
    /// A packet is filled up with padding.
    TooLong,
    /// A transport-wide number is used twice.
    RepeatTransportCc,
    /// Sender reports end.
    DropReports,
    /// Nothing is sent again.
    DropRetransmissions,
    /// Publishers are not asked for what was lost.
    DropNacks,
    /// The store grows by what passes.
    Leak,
    /// The control plane is told of another shard than the transport moved to.
    WrongHome,
    /// Datagrams take a way round.
    PassOn,
    /// All temporal layers go, whatever is wanted.
    AllTemporalLayers,
    /// All spatial layers may go, whatever is wanted.
    AllSpatialLayers,
    /// Nothing goes for some seconds.
    Freeze,
    /// In the calm at the end one frame is lost and not sent again.
    LoseInCalm,
}

#[derive(Debug)]
pub(crate) struct Tamper {
    fault: Fault,
    seen: u64,
    leaked: usize,
    /// Numbers are this much higher than the shard wrote them.
    shift: u16,
    frozen_at: Option<Timestamp>,
}

/// A packet as the oracles see it.
#[derive(Debug)]
pub(crate) struct Tampered {
    pub(crate) peer: usize,
    pub(crate) plain: Vec<u8>,
}

/// Late enough for everybody to be there, early enough for the calm to come.
const WARM_UP: Timestamp = Timestamp::from_millis(12_000);
const CALM: Timestamp = Timestamp::from_millis(18_200);
const FROZEN_MS: u64 = 4_600;

fn put(plain: &mut [u8], at: usize, bytes: &[u8]) {
    plain[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Tamper {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            seen: 0,
            leaked: 0,
            shift: 0,
            frozen_at: None,
        }
    }

    /// What the shards say of their sizes.
    pub(crate) fn grow(&self, sizes: Sizes) -> Sizes {
        Sizes {
            store_bytes: sizes.store_bytes + self.leaked,
            ..sizes
        }
    }

    /// What the shards tell the control plane.
    pub(crate) fn tell(&self, event: Event) -> Event {
        match event {
            Event::TransportMoved { transport, shard } if self.fault == Fault::WrongHome => {
                let shard = ShardId(shard.0 ^ 1);
                Event::TransportMoved { transport, shard }
            }
            event => event,
        }
    }

    /// What a shard makes of the layer that a subscriber wants.
    pub(crate) fn order(&self, wanted: Layer) -> Layer {
        match self.fault {
            Fault::AllTemporalLayers => Layer {
                temporal: Layer::BEST.temporal,
                ..wanted
            },
            Fault::AllSpatialLayers => Layer {
                spatial: Layer::BEST.spatial,
                ..wanted
            },
            _ => wanted,
        }
    }

    /// How many datagrams shards say that they passed on.
    pub(crate) fn pass(&self, passed: u64) -> u64 {
        passed + u64::from(self.fault == Fault::PassOn)
    }

    /// Whether it is the turn of this packet, one in `n`.
    fn nth(&self, n: u64) -> bool {
        self.seen.is_multiple_of(n)
    }

    pub(crate) fn apply(
        &mut self,
        now: Timestamp,
        peer: usize,
        mut plain: Vec<u8>,
        (rtp, codec): (bool, Option<Codec>),
    ) -> Vec<Tampered> {
        if self.fault == Fault::None || now < WARM_UP {
            return vec![Tampered { peer, plain }];
        }
        self.seen += 1;
        let keep = if rtp {
            self.change_rtp(now, codec, &mut plain)
        } else {
            self.change_rtcp(&mut plain)
        };
        if self.fault == Fault::TooLong && rtp && self.nth(100) {
            let len = plain.len();
            plain.resize(len + DATAGRAM_SEND_LEN_MAX, 0);
        }
        let mut out = Vec::new();
        if self.fault == Fault::WrongPeer && rtp && self.nth(100) {
            let (peer, plain) = (usize::from(peer == 0), plain.clone());
            out.push(Tampered { peer, plain });
        }
        if self.fault == Fault::RepeatNumber && rtp && self.nth(200) {
            let plain = plain.clone();
            out.push(Tampered { peer, plain });
        }
        if keep {
            out.push(Tampered { peer, plain });
        }
        out
    }

    /// False when the packet does not go.
    fn change_rtp(&mut self, now: Timestamp, codec: Option<Codec>, plain: &mut [u8]) -> bool {
        let Ok(view) = RtpView::parse(plain) else {
            return true;
        };
        let (seq, pt, time, header) = (
            view.seq,
            view.pt,
            view.timestamp,
            plain.len() - view.payload().len() - view.padding_len,
        );
        let (marker, len) = (view.marker, plain.len());
        let media = [DOWN_PT, AUDIO_PT, DOWN_RED_PT].contains(&pt);
        if let Some(payload) = plain.get_mut(header..)
            && !self.change_payload(pt, codec, payload)
        {
            return false;
        }
        match self.fault {
            Fault::SkipNumber if media => {
                self.shift = u16::from(self.shift > 0 || self.nth(300));
                put(plain, 2, &seq.wrapping_add(self.shift).0.to_be_bytes());
            }
            Fault::WrongOriginal if pt == DOWN_RTX_PT => {
                let original = u16::from_be_bytes([plain[header], plain[header + 1]]);
                put(plain, header, &original.wrapping_sub(1).to_be_bytes());
            }
            Fault::RepeatRetransmission if pt == DOWN_RTX_PT => {
                put(plain, 2, &SeqNo(seq.0 & !1).0.to_be_bytes());
            }
            Fault::TimeBack if media && self.nth(100) => {
                put(
                    plain,
                    4,
                    &time
                        .wrapping_add(900_000_u32.wrapping_neg())
                        .0
                        .to_be_bytes(),
                );
            }
            Fault::TimeJump if media && now > CALM => {
                put(plain, 4, &time.wrapping_add(90_000).0.to_be_bytes());
            }
            Fault::RepeatTransportCc if self.nth(100) => {
                if let Some(number) = ext_of(plain, ExtKind::TransportCc) {
                    number[1] = number[1].wrapping_sub(1);
                }
            }
            Fault::FrameNumberBack if self.nth(20) => {
                if let Some(descriptor) = ext_of(plain, ExtKind::DependencyDescriptor) {
                    descriptor[2] = descriptor[2].wrapping_sub(1);
                }
            }
            Fault::DropRetransmissions => return pt != DOWN_RTX_PT,
            Fault::DropFrames if pt == DOWN_PT => return !self.nth(50),
            Fault::Leak => self.leaked += len * 1_000,
            Fault::Freeze => {
                let since = *self.frozen_at.get_or_insert(now);
                return now.since(since).as_millis() > u128::from(FROZEN_MS);
            }
            Fault::LoseInCalm if pt == DOWN_PT && now > CALM && marker => {
                return !self.nth(7);
            }
            Fault::LoseInCalm if pt == DOWN_RTX_PT && now > CALM => return false,
            _ => {}
        }
        true
    }

    /// What depends on the codec. False when the packet does not go.
    fn change_payload(&self, pt: Pt, codec: Option<Codec>, payload: &mut [u8]) -> bool {
        let Some(first) = payload.first().copied() else {
            return true;
        };
        let media = codec.filter(|_| pt == DOWN_PT);
        if media == Some(Codec::Vp9) {
            return self.change_vp9(payload);
        }
        let vp8 = media == Some(Codec::Vp8);
        match self.fault {
            Fault::PayloadByte if self.nth(100) => {
                if let Some(last) = payload.last_mut() {
                    *last ^= 1;
                }
            }
            // Behind the descriptor's two first bytes.
            Fault::PictureIdBack if vp8 && self.nth(50) => picture_id_back(payload, 2),
            // The lowest bit behind the descriptor is 0 in the first packet of a key frame.
            Fault::DropKeyStart if vp8 => {
                let starts = first & 0x10 != 0;
                return !(starts && payload[6] & 1 == 0);
            }
            Fault::DropKeyStart if media == Some(Codec::H265) => {
                return !has_parameter_sets(payload);
            }
            // N of the aggregation header.
            Fault::DropKeyStart if media == Some(Codec::Av1) => return first & 0x08 == 0,
            // Parameter sets are in an aggregate.
            Fault::DropKeyStart if media == Some(Codec::H264) => return first & 0x1f != 24,
            // RFC 2198 §3: the header of the first block begins with its payload type.
            Fault::RedBlock if pt == DOWN_RED_PT && self.nth(100) => payload[0] ^= 1,
            _ => {}
        }
        true
    }

    /// The same of VP9.
    fn change_vp9(&self, payload: &mut [u8]) -> bool {
        let Ok(descriptor) = Vp9Descriptor::parse(payload) else {
            return true;
        };
        match self.fault {
            Fault::PayloadByte if self.nth(100) => {
                if let Some(last) = payload.last_mut() {
                    *last ^= 1;
                }
            }
            Fault::PictureIdBack if self.nth(50) => picture_id_back(payload, 1),
            Fault::BaseIndexBack if self.nth(50) && descriptor.tl0_pic_idx.is_some() => {
                payload[4] = payload[4].wrapping_sub(1);
            }
            // U.
            Fault::LayerIndices if self.nth(50) && descriptor.layer.is_some() => payload[3] ^= 0x10,
            Fault::DropMiddleLayer => return descriptor.temporal() != 1,
            Fault::DropKeyStart => return !descriptor.keyframe_start(),
            _ => {}
        }
        true
    }

    /// False when the compound does not go.
    fn change_rtcp(&mut self, plain: &mut Vec<u8>) -> bool {
        match self.fault {
            Fault::ReportCount => {
                rewrite_report(plain, |info| info.packets = info.packets.wrapping_sub(1));
            }
            Fault::ReportTime => rewrite_report(plain, |info| {
                info.rtp_time = info.rtp_time.wrapping_add(1_800_u32.wrapping_neg());
            }),
            // RTPFB with format 15; its base sequence number is behind the two SSRCs.
            Fault::FeedbackAhead if plain[0] & 0x1f == 15 && plain[1] == 205 => {
                let base = u16::from_be_bytes([plain[12], plain[13]]);
                put(plain, 12, &base.wrapping_add(5_000).to_be_bytes());
            }
            Fault::DropReports => return plain[1] != 200,
            // RTPFB with format 1.
            Fault::DropNacks => return plain[0] & 0x1f != 1 || plain[1] != 205,
            _ => {}
        }
        true
    }
}

/// As subscribers negotiate it.
fn ext_of(plain: &mut [u8], kind: ExtKind) -> Option<&mut [u8]> {
    ext_mut(plain, down_ext_ids().id(kind)?)
}

/// One of 15 bits.
fn picture_id_back(payload: &mut [u8], at: usize) {
    let id = u16::from_be_bytes([payload[at], payload[at + 1]]);
    let back = (id.wrapping_sub(1) & 0x7fff) | 0x8000;
    put(payload, at, &back.to_be_bytes());
}

/// Changes a compound that is a sender report and a description.
fn rewrite_report(plain: &mut Vec<u8>, change: impl FnOnce(&mut SenderInfo)) {
    let Some(Ok(RtcpPacket::SenderReport(report))) = RtcpCompound::parse(plain).next() else {
        return;
    };
    let (ssrc, mut info): (Ssrc, SenderInfo) = (report.ssrc, report.info);
    change(&mut info);
    let mut bytes = [0; 200];
    let mut writer = RtcpWriter::new(&mut bytes);
    writer.sender_report(ssrc, &info, &[]).unwrap();
    *plain = writer.written().to_vec();
}
