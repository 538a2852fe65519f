//! Our offers to a subscriber's connection.
//!
//! m-lines are never taken away (RFC 3264 §8): one whose track ended turns inactive, and carries
//! another track of its kind once the client has answered that. The data channels' m-line is always
//! the first, so that the tagged one of the BUNDLE group cannot be rejected for its codec.

use millrace_shared::ids::{DownTrackId, Mid, Pt};
use millrace_shared::link::{Codec, DownTrackConfig, ExtIds, ExtKind, Layer, MediaKind};
use sdp_types::Media;
use serde::{Deserialize, Serialize};

use super::answer::{SEND_AUDIO, SEND_VIDEO, down_config, send_feedback};
use super::codec::{OwnFormat, own_format};
use super::error::SdpError;
use super::mapping;
use super::plan::{LocalTransport, SendPlan, SessionLines};
use super::profile::Profile;
use super::remote::{Feedback, RemoteCodec, RemoteDescription, RemoteMedia, Setup};
use super::write::{
    self, CodecLines, OpusFmtp, PORT_DISCARD, Role, SectionWriter, fmtp, media_name,
};

const DATA_MID: &str = "0";

/// Ids of the extensions in our offers, the same on every m-line (RFC 8843 §9.1).
const EXT_IDS: [(ExtKind, u8); 6] = [
    (ExtKind::Mid, 1),
    (ExtKind::TransportCc, 2),
    (ExtKind::AbsSendTime, 3),
    (ExtKind::AbsCaptureTime, 4),
    (ExtKind::DependencyDescriptor, 5),
    (ExtKind::PlayoutDelay, 6),
];

/// What an answer settled.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Negotiated {
    /// New ones, and those whose description changed.
    pub send: Vec<DownTrackConfig>,
    /// Subscriptions whose codec the client cannot decode. They are removed already.
    pub unsupported: Vec<DownTrackId>,
}

#[derive(Debug, Serialize, Deserialize)]
enum State {
    Active(Box<Active>),
    /// Its track was removed; the client does not know yet, or has not answered.
    Ending,
    /// Inactive and answered: the next track of its kind may have it.
    Idle,
    /// The client rejected it. It stays with port 0 until another m-line takes its place, under
    /// another mid (RFC 8829 §5.2.2).
    Stopped,
}

#[derive(Debug, Serialize, Deserialize)]
struct Active {
    plan: SendPlan,
    settled: Option<DownTrackConfig>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OfferedSection {
    mid: Mid,
    kind: MediaKind,
    state: State,
    /// Whether any offer had it.
    offered: bool,
}

/// What the offer that waits for its answer says of an m-line. Meanwhile its track may be removed,
/// and a stopped one be replaced.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Awaited {
    mid: Mid,
    kind: MediaKind,
    down: Option<DownTrackId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Offerer {
    session: SessionLines,
    /// Those after the data channels' m-line.
    sections: Vec<OfferedSection>,
    mids_given: u32,
    changed: bool,
    awaited: Option<Vec<Awaited>>,
}

impl Offerer {
    pub const fn new(session: SessionLines) -> Self {
        Self {
            session,
            sections: Vec::new(),
            mids_given: 0,
            changed: true,
            awaited: None,
        }
    }

    /// Gives the track an m-line. It is offered with the next [`Self::offer`].
    pub fn add(&mut self, plan: SendPlan) -> Mid {
        self.changed = true;
        let kind = plan.kind;
        let free = self
            .sections
            .iter()
            .position(|section| match section.state {
                State::Idle => section.kind == kind,
                State::Stopped => true,
                State::Active(_) | State::Ending => false,
            });
        let active = State::Active(Box::new(Active {
            plan,
            settled: None,
        }));
        if let Some(section) = free.and_then(|index| self.sections.get_mut(index))
            && matches!(section.state, State::Idle)
        {
            section.state = active;
            return section.mid;
        }
        self.mids_given += 1;
        // At most ten digits.
        let mid = Mid::from(&self.mids_given.to_string()).unwrap_or_default();
        let section = OfferedSection {
            mid,
            kind,
            state: active,
            offered: false,
        };
        match free.and_then(|index| self.sections.get_mut(index)) {
            Some(stopped) => *stopped = section,
            None => self.sections.push(section),
        }
        mid
    }

    /// Ends the track's m-line. Of a track that is not there nothing is done.
    pub fn remove(&mut self, down: DownTrackId) {
        if let Some(section) = self.section_of(down) {
            section.state = if section.offered {
                State::Ending
            } else {
                State::Idle
            };
            self.changed = true;
        }
    }

    /// Keeps the plan true, so that a later answer does not bring back an old choice of layers.
    pub fn set_layer(&mut self, down: DownTrackId, max_layer: Layer, paused: bool) {
        if let Some(section) = self.section_of(down)
            && let State::Active(active) = &mut section.state
        {
            active.plan.max_layer = max_layer;
            active.plan.paused = paused;
            if let Some(settled) = &mut active.settled {
                settled.max_layer = max_layer;
                settled.paused = paused;
            }
        }
    }

    /// See [`SessionLines::skip`].
    pub(crate) const fn skip_versions(&mut self, versions: u64) {
        self.session.skip(versions);
    }

    /// Something changed since the last offer.
    pub const fn needs_offer(&self) -> bool {
        self.changed
    }

    /// An offer waits for its answer. Another one before that is only for an ICE restart.
    pub const fn awaits_answer(&self) -> bool {
        self.awaited.is_some()
    }

    /// The whole description as it stands. It replaces an offer that still waits for its answer.
    pub fn offer(&mut self, local: &LocalTransport) -> String {
        let mut medias = vec![data_section(local)];
        let mut awaited = Vec::with_capacity(self.sections.len());
        for section in &mut self.sections {
            section.offered = true;
            medias.push(section.describe(local));
            awaited.push(Awaited {
                mid: section.mid,
                kind: section.kind,
                down: section.down(),
            });
        }
        let bundled = self
            .sections
            .iter()
            .filter(|section| !matches!(section.state, State::Stopped))
            .map(|section| section.mid.as_str());
        let mids: Vec<&str> = std::iter::once(DATA_MID).chain(bundled).collect();
        let sdp = write::session(&mut self.session, &mids, true, medias);
        self.awaited = Some(awaited);
        self.changed = false;
        sdp
    }

    pub fn apply_answer(&mut self, answer: &RemoteDescription) -> Result<Negotiated, SdpError> {
        let awaited = self.awaited.as_ref().ok_or(SdpError::NoOffer)?;
        check_sections(answer, awaited)?;
        // RFC 8842 §5.3: an answer chooses; the server's part has to remain for us.
        if answer.setup != Setup::Active {
            return Err(SdpError::DtlsRole);
        }
        let awaited = self.awaited.take().unwrap_or_default();
        let mut negotiated = Negotiated::default();
        let answered = answer.media.iter().skip(1);
        for ((section, awaited), media) in self.sections.iter_mut().zip(awaited).zip(answered) {
            if section.mid == awaited.mid {
                section.answered(awaited.down, media, &mut negotiated);
            }
        }
        // Their m-lines are to be offered again, as inactive.
        self.changed |= !negotiated.unsupported.is_empty();
        Ok(negotiated)
    }

    /// Which `track_sid` each sending m-line carries.
    pub fn mid_to_track(&self) -> Vec<(Mid, String)> {
        self.sections
            .iter()
            .filter_map(|section| match &section.state {
                State::Active(active) => Some((section.mid, active.plan.track_sid.clone())),
                State::Ending | State::Idle | State::Stopped => None,
            })
            .collect()
    }

    fn section_of(&mut self, down: DownTrackId) -> Option<&mut OfferedSection> {
        self.sections
            .iter_mut()
            .find(|section| section.down() == Some(down))
    }
}

impl OfferedSection {
    const fn down(&self) -> Option<DownTrackId> {
        match &self.state {
            State::Active(active) => Some(active.plan.down),
            State::Ending | State::Idle | State::Stopped => None,
        }
    }

    fn describe(&self, local: &LocalTransport) -> Media {
        let formats = self.formats();
        let plan = match &self.state {
            State::Active(active) => Some(&active.plan),
            State::Ending | State::Idle => None,
            State::Stopped => return self.stopped(&formats),
        };
        let kind = self.kind;
        let mid = self.mid.as_str();
        let mut writer =
            SectionWriter::new(media_name(kind), PORT_DISCARD, "UDP/TLS/RTP/SAVPF", mid);
        writer.transport(local, Role::Offer, false);
        writer.property(if plan.is_some() {
            "sendonly"
        } else {
            "inactive"
        });
        writer.rtp_mux();
        let ext_ids = own_ext_ids(kind);
        writer.extensions(&ext_ids, &ext_ids, &ext_ids);
        let feedback = feedback(kind, &formats);
        let opus = OpusFmtp {
            sprop_stereo: plan.is_some_and(|plan| plan.stereo),
            ..OpusFmtp::default()
        };
        for lines in codec_lines(&formats, feedback, opus) {
            writer.codec(&lines);
        }
        if let Some(plan) = plan {
            let rtx = formats.iter().any(|(_, format)| format.rtx_pt.is_some());
            writer.source(plan, rtx);
        }
        writer.finish()
    }

    fn stopped(&self, formats: &[(Codec, OwnFormat)]) -> Media {
        let mid = self.mid.as_str();
        let mut writer = SectionWriter::new(media_name(self.kind), 0, "UDP/TLS/RTP/SAVPF", mid);
        for (_, format) in formats {
            writer.fmt(format.pt.to_string());
        }
        writer.property("inactive");
        writer.finish()
    }

    /// What the publisher sends, in our numbers; for an m-line without a track, and for a profile
    /// that has no number, what every client knows.
    fn formats(&self) -> Vec<(Codec, OwnFormat)> {
        let mut formats = Vec::new();
        if let State::Active(active) = &self.state {
            let stereo = active.plan.stereo;
            formats.extend(mapping::sent(&active.plan.source).filter_map(|sent| {
                let codec = sent.up.codec;
                Some((codec, own_format(codec, sent.profile, stereo)?))
            }));
        }
        if formats.is_empty() {
            let common = match self.kind {
                MediaKind::Audio => Codec::Opus,
                MediaKind::Video => Codec::Vp8,
            };
            formats.extend(own_format(common, Profile::Only, false).map(|format| (common, format)));
        }
        formats
    }

    /// `offered` is the track that the answered offer had here.
    fn answered(
        &mut self,
        offered: Option<DownTrackId>,
        media: &RemoteMedia,
        negotiated: &mut Negotiated,
    ) {
        let same = offered.is_some() && self.down() == offered;
        if media.rejected {
            if same {
                negotiated.unsupported.extend(offered);
            }
            if same || matches!(self.state, State::Ending | State::Idle) {
                self.state = State::Stopped;
            }
            return;
        }
        match &mut self.state {
            State::Active(active) if same => match active.settle(self.mid, media) {
                Some(config) => {
                    if active.settled.as_ref() != Some(&config) {
                        negotiated.send.push(config.clone());
                        active.settled = Some(config);
                    }
                }
                None => {
                    negotiated.unsupported.extend(offered);
                    self.state = State::Ending;
                }
            },
            State::Ending if offered.is_none() => self.state = State::Idle,
            State::Active(_) | State::Ending | State::Idle | State::Stopped => {}
        }
    }
}

impl Active {
    fn settle(&self, mid: Mid, media: &RemoteMedia) -> Option<DownTrackConfig> {
        if !media.direction.receives() {
            return None;
        }
        let kind = self.plan.kind;
        let mapped = mapping::map(&self.plan.source, &media.codecs)?;
        let mut ext_ids = ExtIds::default();
        let own = own_ext_ids(kind);
        for ext in ExtKind::ALL {
            // RFC 8285 §6: an accepted extension keeps the offer's id.
            let accepted = media.receive_ext_ids.id(ext);
            if let Some(id) = own.id(ext).filter(|id| accepted == Some(*id)) {
                ext_ids.set(ext, id);
            }
        }
        let ours = send_feedback(kind, &mapped.used);
        Some(down_config(&self.plan, mid, &mapped, ours, ext_ids))
    }
}

fn data_section(local: &LocalTransport) -> Media {
    let mut writer = SectionWriter::new("application", PORT_DISCARD, "UDP/DTLS/SCTP", DATA_MID);
    writer.transport(local, Role::Offer, true);
    writer.data_channels();
    writer.finish()
}

/// RFC 3264 §6: an answer has the m-lines of the offer, in its order.
fn check_sections(answer: &RemoteDescription, awaited: &[Awaited]) -> Result<(), SdpError> {
    if answer.media.len() != awaited.len() + 1 {
        return Err(SdpError::SectionCount {
            offered: awaited.len() + 1,
            answered: answer.media.len(),
        });
    }
    for (index, media) in answer.media.iter().enumerate() {
        let (kind, mid) = match index.checked_sub(1).and_then(|index| awaited.get(index)) {
            Some(awaited) => (Some(awaited.kind), awaited.mid.as_str()),
            None => (None, DATA_MID),
        };
        // A rejected m-line may come without its mid.
        let same_mid = media.mid.as_str() == mid || (media.rejected && media.mid.is_empty());
        if media.kind.media() != kind || !same_mid {
            return Err(SdpError::SectionMismatch { index });
        }
    }
    Ok(())
}

fn own_ext_ids(kind: MediaKind) -> ExtIds {
    let wanted = match kind {
        MediaKind::Audio => SEND_AUDIO,
        MediaKind::Video => SEND_VIDEO,
    };
    let mut ids = ExtIds::default();
    for (ext, id) in EXT_IDS {
        if wanted.contains(&ext) {
            ids.set(ext, id);
        }
    }
    ids
}

fn feedback(kind: MediaKind, formats: &[(Codec, OwnFormat)]) -> Feedback {
    let codecs: Vec<RemoteCodec> = formats
        .iter()
        .map(|(codec, format)| RemoteCodec {
            pt: format.pt,
            codec: *codec,
            profile: format.profile,
            rtx_pt: format.rtx_pt,
            feedback: Feedback::default(),
            start_bitrate_kbps: None,
        })
        .collect();
    send_feedback(kind, &codecs)
}

fn codec_lines(
    formats: &[(Codec, OwnFormat)],
    feedback: Feedback,
    opus: OpusFmtp,
) -> impl Iterator<Item = CodecLines> {
    let opus_pt = formats
        .iter()
        .find(|(codec, _)| *codec == Codec::Opus)
        .map_or(Pt(0), |(_, format)| format.pt);
    formats.iter().map(move |(codec, format)| CodecLines {
        pt: format.pt,
        rtx_pt: format.rtx_pt,
        codec: *codec,
        fmtp: fmtp(*codec, format.profile, opus, opus_pt),
        feedback,
    })
}
