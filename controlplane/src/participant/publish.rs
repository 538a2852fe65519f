//! What a participant publishes: requests that wait for their m-line, and tracks.

use std::collections::VecDeque;

use livekit_protocol as proto;
use millrace_shared::ids::TrackId;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{layers, memo};
use crate::room::sid;

/// Requests to publish that wait for their m-line (LiveKit: 20).
pub(crate) const PENDING_MAX: usize = 20;
/// Requests for one cid that wait for its track to be unpublished (LiveKit: 3).
pub(crate) const QUEUED_PER_CID_MAX: usize = 3;

/// Encoded length of one request to publish: what it says is kept, and told to everybody.
pub(crate) const ADD_TRACK_LEN_MAX: usize = 16 * 1024;
/// Features kept of a track; the protocol has eight.
const FEATURES_MAX: usize = 32;

/// Requests of one cid whose m-line has not come. The second and later ones wait for the track
/// before them to be unpublished.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PendingTrack {
    /// The client's id of the track in its request.
    pub(crate) cid: String,
    #[serde(with = "memo::messages")]
    pub(crate) infos: VecDeque<proto::TrackInfo>,
    /// A track of this cid is still published: an offer does not take the first request yet.
    pub(crate) queued: bool,
}

/// A track whose m-line is negotiated.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PublishedTrack {
    pub(crate) track: TrackId,
    pub(crate) cid: String,
    /// Track id in the m-line's msid.
    pub(crate) sdp_cid: String,
    #[serde(with = "memo::message")]
    pub(crate) info: proto::TrackInfo,
    /// Others know of it.
    pub(crate) announced: bool,
    /// The publisher was told that somebody subscribed.
    pub(crate) ever_subscribed: bool,
}

impl PublishedTrack {
    pub(crate) fn sid(&self) -> &str {
        &self.info.sid
    }

    pub(crate) fn has_cid(&self, cid: &str) -> bool {
        self.cid == cid || self.sdp_cid == cid || self.info.codecs.iter().any(|c| c.cid == cid)
    }
}

/// The track that `request` asks for, as everybody will see it.
#[expect(deprecated, reason = "old clients read the deprecated fields")]
pub(crate) fn track_info(
    request: &proto::AddTrackRequest,
    sid_of_cid: Option<&str>,
    client: &Client,
    enabled_codecs: &[String],
) -> proto::TrackInfo {
    let mut info = proto::TrackInfo {
        sid: sid_of_cid.map_or_else(
            || sid::track(request.r#type(), request.source()),
            str::to_owned,
        ),
        r#type: request.r#type,
        name: request.name.clone(),
        width: request.width,
        height: request.height,
        muted: request.muted,
        disable_dtx: request.disable_dtx,
        source: request.source,
        layers: sorted_layers(&request.layers),
        disable_red: request.disable_red,
        stereo: request.stereo,
        encryption: request.encryption,
        stream: request.stream.clone(),
        backup_codec_policy: backup_policy(request).into(),
        audio_features: deduplicated(&request.audio_features),
        packet_trailer_features: deduplicated(&request.packet_trailer_features),
        ..Default::default()
    };
    for (wanted, feature) in [
        (request.stereo, proto::AudioTrackFeature::TfStereo),
        (request.disable_dtx, proto::AudioTrackFeature::TfNoDtx),
    ] {
        if wanted && !info.audio_features.contains(&feature.into()) {
            info.audio_features.push(feature.into());
        }
    }
    if info.stream.is_empty() {
        info.stream = stream_of_source(request.source()).into();
    }
    if request.simulcast_codecs.is_empty() {
        info.codecs = vec![proto::SimulcastCodecInfo {
            cid: request.cid.clone(),
            layers: sorted_layers(&request.layers),
            video_layer_mode: single_stream_mode(client).into(),
            ..Default::default()
        }];
    } else {
        info.codecs = codecs(request, client, enabled_codecs);
        info.simulcast = info.codecs.first().is_some_and(|codec| {
            codec.video_layer_mode() != proto::video_layer::Mode::MultipleSpatialLayersPerStream
                && codec.layers.len() > 1
        });
    }
    info
}

/// Audio is always sent in all its codecs at once.
fn backup_policy(request: &proto::AddTrackRequest) -> proto::BackupCodecPolicy {
    match request.backup_codec_policy() {
        policy @ proto::BackupCodecPolicy::Regression => policy,
        _ if request.r#type() == proto::TrackType::Audio => proto::BackupCodecPolicy::Simulcast,
        policy => policy,
    }
}

fn codecs(
    request: &proto::AddTrackRequest,
    client: &Client,
    enabled: &[String],
) -> Vec<proto::SimulcastCodecInfo> {
    let mut codecs: Vec<proto::SimulcastCodecInfo> = Vec::new();
    for codec in &request.simulcast_codecs {
        let mime = enabled_mime(request.r#type(), &codec.codec, enabled);
        let seen = codecs
            .iter()
            .any(|known| known.mime_type.eq_ignore_ascii_case(&mime));
        if mime.is_empty() || seen {
            continue;
        }
        let layers = if codec.layers.is_empty() {
            &request.layers
        } else {
            &codec.layers
        };
        codecs.push(proto::SimulcastCodecInfo {
            video_layer_mode: layer_mode(request.r#type(), &mime, codec, client).into(),
            mime_type: mime,
            cid: codec.cid.clone(),
            layers: sorted_layers(layers),
            ..Default::default()
        });
    }
    codecs
}

/// The full mime type of `codec`, or of the codec that takes its place when the room does not
/// allow it. Empty when there is none.
fn enabled_mime(kind: proto::TrackType, codec: &str, enabled: &[String]) -> String {
    let (prefix, substitutes) = match kind {
        proto::TrackType::Video => ("video/", ["video/VP8", "video/H264"]),
        _ => ("audio/", ["audio/opus", "audio/red"]),
    };
    let wanted = if codec.to_ascii_lowercase().starts_with(prefix) {
        codec.to_owned()
    } else {
        format!("{prefix}{codec}")
    };
    let is_enabled = |mime: &str| enabled.iter().any(|e| e.eq_ignore_ascii_case(mime));
    if codec.is_empty() || is_enabled(&wanted) {
        return if codec.is_empty() {
            String::new()
        } else {
            wanted
        };
    }
    substitutes
        .into_iter()
        .find(|mime| is_enabled(mime))
        .map(str::to_owned)
        .or_else(|| enabled.iter().find(|e| e.starts_with(prefix)).cloned())
        .unwrap_or_default()
}

fn layer_mode(
    kind: proto::TrackType,
    mime: &str,
    codec: &proto::SimulcastCodec,
    client: &Client,
) -> proto::video_layer::Mode {
    use proto::video_layer::Mode;
    let svc = ["video/VP9", "video/AV1"]
        .iter()
        .any(|svc| svc.eq_ignore_ascii_case(mime));
    match codec.video_layer_mode() {
        Mode::Unused if kind != proto::TrackType::Video => Mode::Unused,
        Mode::Unused if svc => Mode::MultipleSpatialLayersPerStream,
        Mode::Unused => single_stream_mode(client),
        mode => mode,
    }
}

fn single_stream_mode(client: &Client) -> proto::video_layer::Mode {
    use proto::video_layer::Mode;
    if client.is_obs() {
        Mode::OneSpatialLayerPerStreamIncompleteRtcpSr
    } else {
        Mode::OneSpatialLayerPerStream
    }
}

fn sorted_layers(layers: &[proto::VideoLayer]) -> Vec<proto::VideoLayer> {
    let mut layers = layers.to_vec();
    layers.sort_by_key(|layer| layer.quality);
    layers
}

fn deduplicated(values: &[i32]) -> Vec<i32> {
    let mut unique = Vec::new();
    for value in values {
        // A client may send a million, and the search is linear.
        if unique.len() == FEATURES_MAX {
            break;
        }
        if !unique.contains(value) {
            unique.push(*value);
        }
    }
    unique
}

/// What plays in sync when the client does not say: camera with microphone, screen with its sound.
const fn stream_of_source(source: proto::TrackSource) -> &'static str {
    match source {
        proto::TrackSource::Camera | proto::TrackSource::Microphone => "camera",
        proto::TrackSource::ScreenShare | proto::TrackSource::ScreenShareAudio => "screen",
        proto::TrackSource::Unknown => "unknown",
    }
}

/// New features of an audio track, with the deprecated flags that mean the same.
#[expect(deprecated, reason = "old clients read the deprecated fields")]
pub(crate) fn set_audio_features(info: &mut proto::TrackInfo, features: &[i32]) {
    info.audio_features = deduplicated(features);
    info.stereo = features.contains(&proto::AudioTrackFeature::TfStereo.into());
    info.disable_dtx = features.contains(&proto::AudioTrackFeature::TfNoDtx.into());
}

/// Completes `info` when its m-line is negotiated with `mime` and `rids`.
#[expect(deprecated, reason = "old clients read layers of the track")]
pub(crate) fn bind(
    info: &mut proto::TrackInfo,
    mid: &str,
    sdp_cid: &str,
    mime: &str,
    rids: &[String],
) {
    info.mid = mid.into();
    info.mime_type = mime.into();
    if let [codec] = info.codecs.as_mut_slice()
        && codec.mime_type.is_empty()
    {
        codec.mime_type = mime.into();
    }
    if let Some(codec) = info
        .codecs
        .iter_mut()
        .find(|codec| codec.mime_type.eq_ignore_ascii_case(mime))
    {
        codec.mid = mid.into();
        if codec.cid != sdp_cid {
            codec.sdp_cid = sdp_cid.into();
        }
        layers::name(&mut codec.layers, rids);
    }
    layers::name(&mut info.layers, rids);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> Vec<String> {
        ["audio/opus", "video/VP8", "video/VP9"]
            .map(String::from)
            .to_vec()
    }

    #[test]
    fn a_simulcast_request_becomes_a_complete_track() {
        let layer = |quality: proto::VideoQuality, height| proto::VideoLayer {
            quality: quality.into(),
            height,
            ..Default::default()
        };
        let request = proto::AddTrackRequest {
            cid: "cam".into(),
            r#type: proto::TrackType::Video.into(),
            source: proto::TrackSource::Camera.into(),
            width: 1280,
            height: 720,
            layers: vec![
                layer(proto::VideoQuality::High, 720),
                layer(proto::VideoQuality::Low, 180),
            ],
            simulcast_codecs: vec![proto::SimulcastCodec {
                codec: "vp8".into(),
                cid: "cam".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut info = track_info(&request, None, &Client::default(), &enabled());
        assert!(info.sid.starts_with("TR_VC"));
        assert_eq!(info.stream, "camera");
        assert_eq!(info.codecs.len(), 1);
        assert_eq!(info.codecs[0].mime_type, "video/vp8");
        #[expect(deprecated, reason = "the deprecated flag is what is tested")]
        let simulcast = info.simulcast;
        assert!(simulcast);

        bind(&mut info, "1", "browser-id", "video/VP8", &[]);
        let codec = &info.codecs[0];
        assert_eq!(
            (codec.mid.as_str(), codec.sdp_cid.as_str()),
            ("1", "browser-id")
        );
        assert_eq!(codec.layers[0].rid, "q");
        assert_eq!(codec.layers[1].spatial_layer, 1);
    }

    #[test]
    fn a_codec_that_is_not_allowed_is_replaced() {
        assert_eq!(
            enabled_mime(proto::TrackType::Video, "h265", &enabled()),
            "video/VP8"
        );
        assert_eq!(
            enabled_mime(proto::TrackType::Video, "vp9", &enabled()),
            "video/vp9"
        );
        assert_eq!(
            enabled_mime(proto::TrackType::Audio, "red", &enabled()),
            "audio/opus"
        );
        assert_eq!(enabled_mime(proto::TrackType::Audio, "", &enabled()), "");
    }

    #[test]
    fn a_million_features_are_cut_off() {
        let features: Vec<i32> = (0..1_000_000).collect();
        assert_eq!(deduplicated(&features).len(), FEATURES_MAX);
        assert_eq!(deduplicated(&[5, 5, 3]), [5, 3]);
    }

    #[test]
    fn deprecated_audio_flags_follow_the_features() {
        let request = proto::AddTrackRequest {
            r#type: proto::TrackType::Audio.into(),
            audio_features: vec![0, 0, 3],
            ..Default::default()
        };
        let mut info = track_info(&request, Some("TR_x"), &Client::default(), &enabled());
        assert_eq!(info.audio_features, [0, 3]);
        assert_eq!(info.sid, "TR_x");
        set_audio_features(&mut info, &[1]);
        #[expect(deprecated, reason = "the deprecated flags are what is tested")]
        let flags = (info.stereo, info.disable_dtx);
        assert_eq!(flags, (false, true));
    }
}
