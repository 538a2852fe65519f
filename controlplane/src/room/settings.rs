//! What the configuration says about rooms.

use std::sync::Arc;

use crate::auth::Claims;
use crate::config::Placement;

/// Signs the claims of a refreshed token.
pub type TokenSigner = Arc<dyn Fn(&Claims) -> String + Send + Sync>;

/// Filled from the configuration file; the defaults are LiveKit's.
#[derive(Clone)]
pub struct Settings {
    /// `room.auto_create`: joining makes the room.
    pub auto_create: bool,
    /// How long a room that nobody joined stays.
    pub empty_timeout_s: u32,
    /// How long a room stays after the last one left.
    pub departure_timeout_s: u32,
    /// 0 = no limit. Agents and recorders do not count.
    pub max_participants: u32,
    /// Mime types, as `audio/opus`.
    pub enabled_codecs: Vec<String>,
    pub enable_remote_unmute: bool,

    /// Limits of what clients and the API may store; 0 = no limit.
    pub max_metadata_size: usize,
    pub max_attributes_size: usize,
    pub max_room_name_length: usize,
    pub max_participant_identity_length: usize,
    pub max_participant_name_length: usize,
    /// `limit.subscription_limit_audio` and `_video`; 0 = no limit.
    pub subscription_limit_audio: usize,
    pub subscription_limit_video: usize,

    /// Least time between key frame requests, by spatial layer.
    pub pli_throttle_ms: [u32; 3],
    pub ping_interval_s: u32,
    pub ping_timeout_s: u32,
    /// Least time between two batches of updates about participants that publish nothing.
    pub update_batch_ms: u64,

    /// What clients see; they gate features on it.
    pub server_version: String,
    pub region: String,
    pub node_id: String,

    /// Shards to wait for before the node is ready.
    pub shards: usize,
    pub placement: Placement,
    pub token_signer: TokenSigner,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("auto_create", &self.auto_create)
            .field("empty_timeout_s", &self.empty_timeout_s)
            .field("departure_timeout_s", &self.departure_timeout_s)
            .field("max_participants", &self.max_participants)
            .field("enabled_codecs", &self.enabled_codecs)
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto_create: true,
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            enabled_codecs: [
                "audio/PCMU",
                "audio/PCMA",
                "audio/opus",
                "audio/red",
                "video/VP8",
                "video/H264",
                "video/VP9",
                "video/AV1",
                "video/H265",
            ]
            .map(String::from)
            .to_vec(),
            enable_remote_unmute: false,
            max_metadata_size: 512 * 1024,
            max_attributes_size: 64 * 1024,
            max_room_name_length: 256,
            max_participant_identity_length: 256,
            max_participant_name_length: 256,
            subscription_limit_audio: 0,
            subscription_limit_video: 0,
            pli_throttle_ms: [500, 1000, 1000],
            // LiveKit has 5 and 15. A client whose address changed without its browser noticing, or on a
            // network that swallows everything, begins its resume when this has passed without an
            // answer, and hears and sees nothing until then. Media needs no resume after a hole
            // shorter than that, so that one too many costs a renegotiation.
            ping_interval_s: 2,
            ping_timeout_s: 6,
            update_batch_ms: 200,
            server_version: "1.13.5".into(),
            region: String::new(),
            node_id: "ND_local".into(),
            shards: 1,
            placement: Placement::Home,
            // Without keys nothing can be signed; clients then keep their token.
            token_signer: Arc::new(|_| String::new()),
        }
    }
}

/// Whether `size` is within `limit`, where 0 means there is none.
pub(crate) const fn within(size: usize, limit: usize) -> bool {
    limit == 0 || size <= limit
}
