//! The configuration in the terms of each part.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_controlplane::auth::{self, ApiKeys, Claims};
use millrace_controlplane::config::Config;
use millrace_controlplane::room;

/// The version of LiveKit's server that clients take us for: they gate features on it, and parse
/// it as a semantic version.
const LIVEKIT_VERSION: &str = "1.13.5";

pub(crate) fn rooms(config: &Config, node_id: &str, shards: usize) -> room::Settings {
    let len = |limit: u32| limit as usize;
    // Below zero means no limit, as zero does.
    let count = |limit: i32| usize::try_from(limit).unwrap_or(0);
    let limit = &config.limit;
    let pli = config.rtc.pli_throttle;
    room::Settings {
        auto_create: config.room.auto_create,
        empty_timeout_s: config.room.empty_timeout,
        departure_timeout_s: config.room.departure_timeout,
        max_participants: config.room.max_participants,
        enabled_codecs: config
            .room
            .enabled_codecs
            .iter()
            .map(|codec| codec.mime.clone())
            .collect(),
        enable_remote_unmute: config.room.enable_remote_unmute,
        max_metadata_size: len(limit.max_metadata_size),
        max_attributes_size: len(limit.max_attributes_size),
        max_room_name_length: len(limit.max_room_name_length),
        max_participant_identity_length: len(limit.max_participant_identity_length),
        max_participant_name_length: len(limit.max_participant_name_length),
        subscription_limit_audio: count(limit.subscription_limit_audio),
        subscription_limit_video: count(limit.subscription_limit_video),
        pli_throttle_ms: [pli.low_quality, pli.mid_quality, pli.high_quality]
            .map(|throttle| throttle.as_millis_u32()),
        server_version: LIVEKIT_VERSION.into(),
        region: config.region.clone(),
        node_id: node_id.to_owned(),
        shards,
        placement: config.dataplane.placement,
        token_signer: token_signer(config.keys.clone()),
        ..room::Settings::default()
    }
}

/// Signs a participant's claims anew, for as long as they ask.
fn token_signer(keys: ApiKeys) -> room::TokenSigner {
    Arc::new(move |claims: &Claims| {
        let now = SystemTime::now();
        let expiry = UNIX_EPOCH + Duration::from_secs(claims.exp);
        let validity = expiry.duration_since(now).unwrap_or_default();
        auth::mint(&keys, claims, now, validity).unwrap_or_else(|error| {
            tracing::error!(%error, "a token could not be refreshed");
            String::new()
        })
    })
}
