//! The answer to a client's offer.

use millrace_shared::ids::{DownTrackId, Mid, Pt, Rid, TrackId};
use millrace_shared::limits::SPATIAL_LAYERS_MAX;
use millrace_shared::link::{
    Codec, DownTrackConfig, Encoding, ExtIds, ExtKind, MediaKind, UpCodec, UpTrackConfig,
};
use sdp_types::Media;
use serde::{Deserialize, Serialize};

use super::codec::{PublishedCodec, clock_rate_hz};
use super::error::SdpError;
use super::mapping;
use super::plan::{LocalTransport, MediaPlan, ReceivePlan, SendPlan, SessionLines};
use super::remote::{Feedback, RemoteCodec, RemoteDescription, RemoteMedia, Section, Setup};
use super::write::{
    self, CodecLines, OpusFmtp, PORT_DISCARD, Role, SectionWriter, fmtp, media_name,
    token_or_underscores,
};

/// A published track as its answer settled it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Received {
    pub config: UpTrackConfig,
    /// For the plans of its subscribers; the first is what the client sends.
    pub codecs: Vec<PublishedCodec>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    pub sdp: String,
    pub receive: Vec<Received>,
    pub send: Vec<DownTrackConfig>,
    /// Publications for which the client offered no codec that it may use.
    pub refused: Vec<TrackId>,
    /// Subscriptions whose codec the client cannot decode.
    pub unsupported: Vec<DownTrackId>,
    /// Subscriptions planned for an m-line that receives nothing: they need another one.
    pub unplaced: Vec<DownTrackId>,
    /// Which `track_sid` each sending m-line carries.
    pub mid_to_track: Vec<(Mid, String)>,
}

/// Extensions we accept where the client publishes. Not among them: video-orientation, without
/// which the sender rotates the picture itself and every subscriber sees it upright; abs-send-time,
/// which only a REMB estimator reads.
const RECEIVE_AUDIO: &[ExtKind] = &[
    ExtKind::Mid,
    ExtKind::AudioLevel,
    ExtKind::TransportCc,
    ExtKind::AbsCaptureTime,
];
const RECEIVE_VIDEO: &[ExtKind] = &[
    ExtKind::Mid,
    ExtKind::Rid,
    ExtKind::RepairedRid,
    ExtKind::TransportCc,
    ExtKind::AbsCaptureTime,
    ExtKind::DependencyDescriptor,
    ExtKind::PlayoutDelay,
];

/// Extensions for which a subscriber has a use.
pub(super) const SEND_AUDIO: &[ExtKind] = &[
    ExtKind::Mid,
    ExtKind::TransportCc,
    ExtKind::AbsSendTime,
    ExtKind::AbsCaptureTime,
];
pub(super) const SEND_VIDEO: &[ExtKind] = &[
    ExtKind::Mid,
    ExtKind::TransportCc,
    ExtKind::AbsSendTime,
    ExtKind::AbsCaptureTime,
    ExtKind::DependencyDescriptor,
    ExtKind::PlayoutDelay,
];

/// Answers `offer`, m-line by m-line as `plans` say. It changes nothing but the version of the
/// `o=` line.
pub fn answer(
    offer: &RemoteDescription,
    plans: &[MediaPlan],
    local: &LocalTransport,
    session: &mut SessionLines,
) -> Result<Answer, SdpError> {
    if plans.len() != offer.media.len() {
        return Err(SdpError::PlanCount {
            sections: offer.media.len(),
            plans: plans.len(),
        });
    }
    // RFC 8842 §5.3: passive answers actpass or active.
    if offer.setup == Setup::Passive {
        return Err(SdpError::DtlsRole);
    }
    let mut answer = Answer::default();
    let opus = opus_of_first(offer, plans);
    let mut medias = Vec::with_capacity(plans.len());
    let mut mids: Vec<&str> = Vec::new();
    for (media, plan) in offer.media.iter().zip(plans) {
        let tagged = mids.is_empty();
        match answer.section(media, plan, local, tagged, opus) {
            Some(section) => {
                medias.push(section);
                mids.push(media.mid.as_str());
            }
            None => medias.push(rejected(media)),
        }
    }
    if !offer.grouped {
        mids.clear();
    }
    answer.sdp = write::session(session, &mids, offer.ext_mixed, medias);
    Ok(answer)
}

impl Answer {
    /// The m-line, or none if it is rejected.
    fn section(
        &mut self,
        media: &RemoteMedia,
        plan: &MediaPlan,
        local: &LocalTransport,
        tagged: bool,
        opus: OpusFmtp,
    ) -> Option<Media> {
        let usable = media.bundled && !media.rejected;
        let Some(kind) = media.kind.media() else {
            let data = usable && matches!(plan, MediaPlan::Data);
            return data.then(|| data_section(media, local, tagged));
        };
        let settled = match plan {
            MediaPlan::Receive(plan) => self.receive(media, plan, usable),
            MediaPlan::Send(plan) => self.send(media, plan, usable, opus),
            MediaPlan::Inactive | MediaPlan::Data => None,
        };
        if !usable || media.codecs.is_empty() {
            return None;
        }
        let settled = settled.unwrap_or_else(|| inactive(media, kind, opus));
        let mut section = SectionWriter::new(
            media_name(kind),
            PORT_DISCARD,
            &media.proto,
            media.mid.as_str(),
        );
        section.transport(local, Role::Answer, tagged);
        section.property(settled.direction);
        section.rtp_mux();
        if media.ext_mixed {
            section.property("extmap-allow-mixed");
        }
        section.extensions(
            &settled.ext_ids,
            &media.send_ext_ids,
            &media.receive_ext_ids,
        );
        for codec in &settled.codecs {
            section.codec(codec);
        }
        section.simulcast(&settled.rids);
        if let Some((plan, rtx)) = settled.source {
            section.source(plan, rtx);
        }
        Some(section.finish())
    }

    fn receive<'p>(
        &mut self,
        media: &RemoteMedia,
        plan: &ReceivePlan,
        usable: bool,
    ) -> Option<Settled<'p>> {
        let kind = media.kind.media()?;
        if !usable || !media.direction.sends() {
            return None;
        }
        let mut accepted = accepted_codecs(media, plan);
        if accepted.is_empty() {
            self.refused.push(plan.track);
            return None;
        }
        if kind == MediaKind::Audio {
            // RFC 4585 §4.2 allows an answer no feedback that was not offered. Browsers offer no
            // NACK for audio, yet answer NACKs if the answer has it; LiveKit relies on that.
            for codec in &mut accepted {
                codec.feedback.nack = true;
            }
        }
        let ours = receive_feedback(kind);
        let (encodings, rids) = encodings(media, &plan.rids);
        let ids = match kind {
            MediaKind::Audio => select(&media.send_ext_ids, RECEIVE_AUDIO),
            MediaKind::Video => select(&media.send_ext_ids, RECEIVE_VIDEO),
        };
        let codecs: Vec<PublishedCodec> = accepted.iter().map(published).collect();
        self.receive.push(Received {
            config: UpTrackConfig {
                track: plan.track,
                mid: media.mid,
                kind,
                codecs: codecs.iter().map(|codec| codec.up).collect(),
                encodings,
                nack: accepted
                    .iter()
                    .any(|codec| codec.feedback.nack && ours.nack),
                pli_interval_ms: plan.pli_interval_ms,
            },
            codecs,
        });
        Some(Settled {
            direction: "recvonly",
            codecs: lines(&accepted, ours, opus_of(plan)),
            ext_ids: ids,
            rids,
            source: None,
        })
    }

    fn send<'p>(
        &mut self,
        media: &RemoteMedia,
        plan: &'p SendPlan,
        usable: bool,
        opus: OpusFmtp,
    ) -> Option<Settled<'p>> {
        if !usable || !media.direction.receives() || media.kind.media() != Some(plan.kind) {
            self.unplaced.push(plan.down);
            return None;
        }
        let Some(mapped) = mapping::map(&plan.source, &media.codecs) else {
            self.unsupported.push(plan.down);
            return None;
        };
        let ours = send_feedback(plan.kind, &mapped.used);
        let ext_ids = match plan.kind {
            MediaKind::Audio => select(&media.receive_ext_ids, SEND_AUDIO),
            MediaKind::Video => select(&media.receive_ext_ids, SEND_VIDEO),
        };
        let config = down_config(plan, media.mid, &mapped, ours, ext_ids);
        let rtx = config.rtx_ssrc.is_some();
        self.send.push(config);
        self.mid_to_track.push((media.mid, plan.track_sid.clone()));
        Some(Settled {
            direction: "sendonly",
            codecs: lines(&mapped.used, ours, opus),
            ext_ids: kept_ext_ids(media, plan.kind),
            rids: Vec::new(),
            source: Some((plan, rtx)),
        })
    }
}

/// What an answered m-line of media says.
struct Settled<'p> {
    direction: &'static str,
    codecs: Vec<CodecLines>,
    ext_ids: ExtIds,
    rids: Vec<Rid>,
    /// What we send, and whether with RTX.
    source: Option<(&'p SendPlan, bool)>,
}

/// RFC 8829 §5.3.1: port 0, the format list repeated.
fn rejected(media: &RemoteMedia) -> Media {
    let kind = match media.kind {
        Section::Audio => "audio",
        Section::Video => "video",
        Section::Application => "application",
    };
    let mut section = SectionWriter::new(kind, 0, &media.proto, media.mid.as_str());
    section.fmt(media.fmt.as_str());
    section.property("inactive");
    section.finish()
}

fn data_section(media: &RemoteMedia, local: &LocalTransport, tagged: bool) -> Media {
    let mid = media.mid.as_str();
    let mut section = SectionWriter::new("application", PORT_DISCARD, &media.proto, mid);
    section.transport(local, Role::Answer, tagged);
    section.data_channels();
    section.finish()
}

/// Kept open for later: everything the two of us know, nothing flows.
fn inactive<'p>(media: &RemoteMedia, kind: MediaKind, opus: OpusFmtp) -> Settled<'p> {
    Settled {
        direction: "inactive",
        codecs: lines(&media.codecs, receive_feedback(kind), opus),
        ext_ids: kept_ext_ids(media, kind),
        rids: Vec::new(),
        source: None,
    }
}

/// What the client may publish with, best first: RED if wanted, then the codec it asked for, then
/// the rest in its order; of one codec the format that most subscribers decode.
fn accepted_codecs(media: &RemoteMedia, plan: &ReceivePlan) -> Vec<RemoteCodec> {
    let allowed = |codec: Codec| plan.allowed.contains(&codec);
    let mut codecs: Vec<RemoteCodec> = media
        .codecs
        .iter()
        .filter(|codec| allowed(codec.codec))
        .filter(|codec| codec.codec != Codec::Red || (plan.red && allowed(Codec::Opus)))
        .copied()
        .collect();
    let order: Vec<Codec> = codecs.iter().map(|codec| codec.codec).collect();
    let rank = |codec: Codec| match (codec, plan.preferred) {
        (Codec::Red, None | Some(Codec::Opus | Codec::Red)) => 0,
        (Codec::Opus, Some(Codec::Red)) => 1,
        (codec, Some(preferred)) if codec == preferred => 1,
        _ => 2,
    };
    codecs.sort_by_key(|codec| {
        let place = order.iter().position(|other| *other == codec.codec);
        (rank(codec.codec), place, codec.profile.rank())
    });
    let preferred_first = codecs
        .first()
        .is_some_and(|first| plan.preferred == Some(first.codec));
    if plan.only_preferred && preferred_first && media.kind == Section::Video {
        codecs.truncate(1);
    }
    codecs
}

fn published(codec: &RemoteCodec) -> PublishedCodec {
    PublishedCodec {
        up: UpCodec {
            pt: codec.pt,
            codec: codec.codec,
            clock_rate_hz: clock_rate_hz(codec.codec),
            rtx_pt: codec.rtx_pt,
        },
        profile: codec.profile,
    }
}

/// The encodings by ascending layer, and the rids to repeat in the answer, in the offer's order.
fn encodings(media: &RemoteMedia, order: &[Rid]) -> (Vec<Encoding>, Vec<Rid>) {
    let rtx_of = |ssrc| {
        let pair = media
            .rtx_ssrcs
            .iter()
            .find(|(media, _)| Some(*media) == ssrc);
        pair.map(|(_, rtx)| *rtx)
    };
    let by_ssrc = |spatial: u8, ssrc| Encoding {
        rid: None,
        spatial,
        ssrc,
        rtx_ssrc: rtx_of(ssrc),
    };
    if media.send_rids.is_empty() {
        let encodings = match media.sim_ssrcs.as_slice() {
            [] | [_] => vec![by_ssrc(0, media.ssrcs.first().copied())],
            layers => (0_u8..)
                .zip(layers.iter().take(SPATIAL_LAYERS_MAX))
                .map(|(spatial, ssrc)| by_ssrc(spatial, Some(*ssrc)))
                .collect(),
        };
        return (encodings, Vec::new());
    }
    let mut layers = media.send_rids.clone();
    layers.sort_by_key(|rid| rid_place(rid, order));
    layers.truncate(SPATIAL_LAYERS_MAX);
    let rids = media
        .send_rids
        .iter()
        .filter(|rid| layers.contains(rid))
        .copied()
        .collect();
    let encodings = (0_u8..)
        .zip(layers)
        .map(|(spatial, rid)| Encoding {
            rid: Some(rid),
            spatial,
            // The SDP of a simulcast sender names no SSRCs: MID and RID tell.
            ssrc: None,
            rtx_ssrc: None,
        })
        .collect();
    (encodings, rids)
}

/// Where a rid stands among the layers; unknown ones come last, in the offer's order.
fn rid_place(rid: &Rid, order: &[Rid]) -> usize {
    let known = order.iter().position(|other| other == rid);
    known.unwrap_or_else(|| match rid.as_str() {
        "q" | "2" => 0,
        "h" | "1" => 1,
        "f" | "0" => 2,
        _ => usize::MAX,
    })
}

pub(super) fn down_config(
    plan: &SendPlan,
    mid: Mid,
    mapped: &mapping::Mapped,
    ours: Feedback,
    ext_ids: ExtIds,
) -> DownTrackConfig {
    let rtx = mapped.pts.iter().any(|pt| pt.down_rtx.is_some());
    DownTrackConfig {
        down: plan.down,
        track: plan.track,
        kind: plan.kind,
        mid,
        cname: token_or_underscores(&plan.stream_id),
        ssrc: plan.ssrc,
        rtx_ssrc: rtx.then_some(plan.rtx_ssrc),
        pts: mapped.pts.clone(),
        ext_ids,
        nack: ours.nack && mapped.used.iter().any(|codec| codec.feedback.nack),
        max_layer: plan.max_layer,
        paused: plan.paused,
    }
}

/// Not REMB: with both on offer the sender would be free to choose, and we report transport-wide.
const fn receive_feedback(kind: MediaKind) -> Feedback {
    let video = matches!(kind, MediaKind::Video);
    Feedback {
        transport_cc: true,
        remb: false,
        nack: true,
        pli: video,
        fir: video,
    }
}

/// Both estimates: which one the client makes depends on the extensions of the packets we send.
/// RED repairs single losses by itself, so that its m-lines go without NACK, as LiveKit's do.
pub(super) fn send_feedback(kind: MediaKind, codecs: &[RemoteCodec]) -> Feedback {
    let video = kind == MediaKind::Video;
    Feedback {
        transport_cc: true,
        remb: video,
        nack: codecs.iter().all(|codec| codec.codec != Codec::Red),
        pli: video,
        fir: video,
    }
}

/// The lines of formats of the client, with the feedback that both sides know (RFC 4585 §4.2).
fn lines(codecs: &[RemoteCodec], ours: Feedback, opus: OpusFmtp) -> Vec<CodecLines> {
    let opus_pt = codecs
        .iter()
        .find(|codec| codec.codec == Codec::Opus)
        .map_or(Pt(0), |codec| codec.pt);
    codecs
        .iter()
        .map(|codec| {
            let mut fmtp = fmtp(codec.codec, codec.profile, opus, opus_pt);
            if let Some(kbps) = codec.start_bitrate_kbps {
                let separator = if fmtp.is_empty() { "" } else { ";" };
                fmtp = format!("{fmtp}{separator}x-google-start-bitrate={kbps}");
            }
            CodecLines {
                pt: codec.pt,
                rtx_pt: codec.rtx_pt,
                codec: codec.codec,
                fmtp,
                feedback: codec.feedback.and(ours),
            }
        })
        .collect()
}

/// RFC 8843 §9.1.1: one payload type, one `a=fmtp`. The numbers are the client's, so that m-lines
/// on which it does not publish repeat what the first publication was asked.
fn opus_of_first(offer: &RemoteDescription, plans: &[MediaPlan]) -> OpusFmtp {
    offer
        .media
        .iter()
        .zip(plans)
        .find_map(|(media, plan)| match plan {
            MediaPlan::Receive(plan) if media.kind == Section::Audio => Some(opus_of(plan)),
            _ => None,
        })
        .unwrap_or_default()
}

const fn opus_of(plan: &ReceivePlan) -> OpusFmtp {
    OpusFmtp {
        dtx: plan.dtx,
        stereo: plan.stereo,
        sprop_stereo: false,
    }
}

/// All that any m-line of the kind may need. Once an answer leaves an extension out, Chromium offers
/// it on no new m-line either: without the rid accepted on m-lines that receive, a client with one
/// connection could not publish simulcast afterwards.
fn kept_ext_ids(media: &RemoteMedia, kind: MediaKind) -> ExtIds {
    let wanted = match kind {
        MediaKind::Audio => [RECEIVE_AUDIO, SEND_AUDIO],
        MediaKind::Video => [RECEIVE_VIDEO, SEND_VIDEO],
    };
    let mut offered = media.send_ext_ids;
    offered.merge(&media.receive_ext_ids);
    select(&offered, &wanted.concat())
}

fn select(offered: &ExtIds, wanted: &[ExtKind]) -> ExtIds {
    let mut ids = ExtIds::default();
    for kind in wanted {
        if let Some(id) = offered.id(*kind) {
            ids.set(*kind, id);
        }
    }
    ids
}
