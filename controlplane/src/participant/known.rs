//! Numbers of enums that the schema does not have. What a client says of itself and its tracks goes
//! to everybody, and a client that speaks JSON cannot be told of a number without a name: one hostile
//! publisher would leave it without any update.

use livekit_protocol as proto;

/// The value, or the enum's default in its place.
fn known<E: TryFrom<i32> + Default + Into<i32>>(value: &mut i32) {
    if E::try_from(*value).is_err() {
        *value = E::default().into();
    }
}

/// Only the values that have a name.
fn keep_known<E: TryFrom<i32>>(values: &mut Vec<i32>) {
    values.retain(|value| E::try_from(*value).is_ok());
}

pub(crate) fn client_info(info: &mut proto::ClientInfo) {
    known::<proto::client_info::Sdk>(&mut info.sdk);
    keep_known::<proto::client_info::Capability>(&mut info.capabilities);
}

pub(crate) fn audio_features(features: &mut Vec<i32>) {
    keep_known::<proto::AudioTrackFeature>(features);
}

pub(crate) fn add_track(request: &mut proto::AddTrackRequest) {
    known::<proto::TrackType>(&mut request.r#type);
    known::<proto::TrackSource>(&mut request.source);
    known::<proto::encryption::Type>(&mut request.encryption);
    known::<proto::BackupCodecPolicy>(&mut request.backup_codec_policy);
    audio_features(&mut request.audio_features);
    keep_known::<proto::PacketTrailerFeature>(&mut request.packet_trailer_features);
    layers(&mut request.layers);
    for codec in &mut request.simulcast_codecs {
        known::<proto::video_layer::Mode>(&mut codec.video_layer_mode);
        layers(&mut codec.layers);
    }
}

fn layers(layers: &mut [proto::VideoLayer]) {
    for layer in layers {
        known::<proto::VideoQuality>(&mut layer.quality);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participant::client::Client;
    use crate::participant::publish::track_info;

    #[test]
    fn a_track_of_numbers_without_names_can_be_written_as_json() {
        let layer = proto::VideoLayer {
            quality: 77,
            ..Default::default()
        };
        let mut request = proto::AddTrackRequest {
            r#type: 99,
            source: -1,
            encryption: 1_000,
            backup_codec_policy: 12,
            audio_features: vec![3, 4_711],
            packet_trailer_features: vec![-5],
            layers: vec![layer.clone()],
            simulcast_codecs: vec![proto::SimulcastCodec {
                codec: "vp8".into(),
                video_layer_mode: 50,
                layers: vec![layer],
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(serde_json::to_string(&request).is_err());
        add_track(&mut request);
        serde_json::to_string(&request).unwrap();
        let info = track_info(
            &request,
            None,
            &Client::default(),
            &["video/vp8".to_owned()],
        );
        serde_json::to_string(&info).unwrap();
        assert_eq!(info.audio_features, [3]);
    }

    #[test]
    fn a_client_of_an_unknown_kind_is_unknown() {
        let info = proto::ClientInfo {
            sdk: 999,
            capabilities: vec![-1, 1],
            ..Default::default()
        };
        let client = Client::new(info);
        assert_eq!(client.info.sdk, 0);
        assert_eq!(client.info.capabilities, [1]);
    }
}
