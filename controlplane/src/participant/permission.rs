//! Grants of the token as permissions of the protocol, and back.

use livekit_protocol as proto;

use crate::auth::{Claims, VideoGrant};

pub(crate) fn source_name(source: proto::TrackSource) -> &'static str {
    match source {
        proto::TrackSource::Camera => "camera",
        proto::TrackSource::Microphone => "microphone",
        proto::TrackSource::ScreenShare => "screen_share",
        proto::TrackSource::ScreenShareAudio => "screen_share_audio",
        proto::TrackSource::Unknown => "unknown",
    }
}

fn source_of_name(name: &str) -> Option<proto::TrackSource> {
    [
        proto::TrackSource::Camera,
        proto::TrackSource::Microphone,
        proto::TrackSource::ScreenShare,
        proto::TrackSource::ScreenShareAudio,
    ]
    .into_iter()
    .find(|source| source_name(*source).eq_ignore_ascii_case(name))
}

pub(crate) fn may_publish_source(grant: &VideoGrant, source: proto::TrackSource) -> bool {
    grant.publishes()
        && (grant.can_publish_sources.is_empty()
            || grant
                .can_publish_sources
                .iter()
                .any(|name| name.eq_ignore_ascii_case(source_name(source))))
}

#[expect(deprecated, reason = "old clients read `recorder` and `agent`")]
pub(crate) fn to_proto(grant: &VideoGrant) -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_subscribe: grant.subscribes(),
        can_publish: grant.publishes(),
        can_publish_data: grant.publishes_data(),
        can_publish_sources: grant
            .can_publish_sources
            .iter()
            .filter_map(|name| source_of_name(name))
            .map(i32::from)
            .collect(),
        hidden: grant.hidden,
        recorder: grant.recorder,
        can_update_metadata: grant.updates_own_metadata(),
        agent: grant.agent,
        can_subscribe_metrics: grant.can_subscribe_metrics.unwrap_or(false),
        ..Default::default()
    }
}

/// Takes over everything that may change after the join. What a participant *is* (recorder, agent)
/// stays as the token said.
pub(crate) fn update(grant: &mut VideoGrant, permission: &proto::ParticipantPermission) {
    grant.can_subscribe = Some(permission.can_subscribe);
    grant.can_publish = Some(permission.can_publish);
    grant.can_publish_data = Some(permission.can_publish_data);
    grant.can_publish_sources = permission
        .can_publish_sources()
        .map(|source| source_name(source).to_owned())
        .collect();
    grant.hidden = permission.hidden;
    grant.can_update_own_metadata = Some(permission.can_update_metadata);
    grant.can_subscribe_metrics = Some(permission.can_subscribe_metrics);
}

pub(crate) fn kind(claims: &Claims) -> proto::participant_info::Kind {
    use proto::participant_info::Kind;
    match claims.kind.to_ascii_lowercase().as_str() {
        "ingress" => Kind::Ingress,
        "egress" => Kind::Egress,
        "sip" => Kind::Sip,
        "agent" => Kind::Agent,
        "connector" => Kind::Connector,
        "bridge" => Kind::Bridge,
        _ => Kind::Standard,
    }
}

/// Agents and recorders do not keep a room open and count towards no limit.
pub(crate) fn is_dependent(claims: &Claims) -> bool {
    use proto::participant_info::Kind;
    matches!(kind(claims), Kind::Agent | Kind::Egress)
        || claims
            .video
            .as_ref()
            .is_some_and(|grant| grant.agent || grant.recorder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_survives_the_way_there_and_back() {
        let grant = VideoGrant {
            can_publish: Some(true),
            can_subscribe: Some(false),
            can_publish_sources: vec!["camera".into()],
            can_update_own_metadata: Some(true),
            ..Default::default()
        };
        let mut back = VideoGrant::default();
        update(&mut back, &to_proto(&grant));
        assert_eq!(to_proto(&back), to_proto(&grant));
        assert!(may_publish_source(&back, proto::TrackSource::Camera));
        assert!(!may_publish_source(&back, proto::TrackSource::Microphone));
        assert!(!back.subscribes());
    }

    #[test]
    fn no_sources_means_all() {
        let grant = VideoGrant::default();
        assert!(may_publish_source(&grant, proto::TrackSource::ScreenShare));
    }
}
