use std::path::PathBuf;
use std::{env, fmt};

use millrace_shared::limits::SHARDS_MAX;
use serde::{Deserialize, Serialize};

use super::rtc::{PortRange, RtcConfig};
use crate::auth::ApiKeys;

/// The link's socket within its directory.
const SOCKET_NAME: &str = "dataplane.sock";

/// The configuration as it is served: LiveKit's `config.yaml` and our section `dataplane`. What is
/// absent has LiveKit's default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub port: u16,
    /// Addresses to listen on for HTTP; every one when absent.
    pub bind_addresses: Option<Vec<String>>,
    pub key_file: String,
    pub keys: ApiKeys,
    pub region: String,
    pub development: bool,
    /// Older spelling of `logging.level`.
    pub log_level: String,
    pub logging: LoggingConfig,
    /// Older spelling of `prometheus.port`.
    pub prometheus_port: u16,
    pub prometheus: PrometheusConfig,
    pub rtc: RtcConfig,
    pub redis: RedisConfig,
    pub turn: TurnConfig,
    pub audio: AudioConfig,
    pub room: RoomConfig,
    pub limit: LimitConfig,
    pub dataplane: DataplaneConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 7880,
            bind_addresses: None,
            key_file: String::new(),
            keys: ApiKeys::default(),
            region: String::new(),
            development: false,
            log_level: String::new(),
            logging: LoggingConfig::default(),
            prometheus_port: 0,
            prometheus: PrometheusConfig::default(),
            rtc: RtcConfig::default(),
            redis: RedisConfig::default(),
            turn: TurnConfig::default(),
            audio: AudioConfig::default(),
            room: RoomConfig::default(),
            limit: LimitConfig::default(),
            dataplane: DataplaneConfig::default(),
        }
    }
}

impl Config {
    /// UDP ports of the shards. A range given by its ends wins over `udp_port`, as it does in
    /// LiveKit; so do the defaults, one port in development and a range otherwise.
    pub fn udp_ports(&self) -> PortRange {
        let (start, end) = (self.rtc.port_range_start, self.rtc.port_range_end);
        match self.rtc.udp_port {
            _ if start != 0 && end >= start => PortRange { start, end },
            Some(range) => range,
            None if self.development => PortRange::single(7882),
            None => PortRange {
                start: 50_000,
                end: 60_000,
            },
        }
    }

    /// The socket between the planes when they run as two processes. Without a path of its own it
    /// lies where the user's processes put such things: systemd's runtime directory of the service,
    /// that of the session, or `/run/millrace`.
    pub fn link_socket(&self) -> PathBuf {
        let directory = |variable| env::var_os(variable).filter(|value| !value.is_empty());
        if !self.dataplane.socket.is_empty() {
            PathBuf::from(&self.dataplane.socket)
        } else if let Some(service) = directory("RUNTIME_DIRECTORY") {
            PathBuf::from(service).join(SOCKET_NAME)
        } else if let Some(session) = directory("XDG_RUNTIME_DIR") {
            PathBuf::from(session).join("millrace").join(SOCKET_NAME)
        } else {
            PathBuf::from("/run/millrace").join(SOCKET_NAME)
        }
    }

    /// Shards to run on a machine with `cpus` CPUs: as many as configured, else one for each CPU
    /// less one for the control plane. A range has to have a port for each; a single port is shared.
    pub fn shards(&self, cpus: usize) -> usize {
        let most = match self.udp_ports().len() {
            1 => SHARDS_MAX,
            ports => ports.min(SHARDS_MAX),
        };
        match self.dataplane.shards {
            0 => cpus.saturating_sub(1).clamp(1, most),
            shards => usize::from(shards),
        }
    }
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LoggingConfig {
    pub json: bool,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PrometheusConfig {
    /// A port of its own for metrics; 0 leaves them on the main port.
    pub port: u16,
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RedisConfig {
    pub address: String,
    pub sentinel_addresses: Vec<String>,
    pub cluster_addresses: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnConfig {
    pub enabled: bool,
}

/// How speakers are told from listeners.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AudioConfig {
    /// Level in -dBov that counts as speech; 0 is the loudest.
    pub active_level: u8,
    /// Share of an interval in percent that must be speech.
    pub min_percentile: u8,
    /// Milliseconds between two updates.
    pub update_interval: u32,
    pub smooth_intervals: u32,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            active_level: 35,
            min_percentile: 40,
            update_interval: 400,
            smooth_intervals: 2,
        }
    }
}

/// What rooms are made like.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomConfig {
    pub auto_create: bool,
    pub enabled_codecs: Vec<CodecConfig>,
    pub max_participants: u32,
    /// Seconds that a room stays when nobody joins.
    pub empty_timeout: u32,
    /// Seconds that a room stays after the last one left.
    pub departure_timeout: u32,
    pub enable_remote_unmute: bool,
    /// Older spellings of keys in `limit`; 0 leaves those alone.
    pub max_metadata_size: u32,
    pub max_room_name_length: u32,
    pub max_participant_identity_length: u32,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            auto_create: true,
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
                "video/rtx",
            ]
            .map(|mime| CodecConfig { mime: mime.into() })
            .into(),
            max_participants: 0,
            empty_timeout: 300,
            departure_timeout: 20,
            enable_remote_unmute: false,
            max_metadata_size: 0,
            max_room_name_length: 0,
            max_participant_identity_length: 0,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CodecConfig {
    pub mime: String,
}

/// What clients and the API may ask for; 0 means no limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitConfig {
    /// Below 0 means no limit, too.
    pub subscription_limit_video: i32,
    pub subscription_limit_audio: i32,
    pub max_metadata_size: u32,
    pub max_attributes_size: u32,
    pub max_room_name_length: u32,
    pub max_participant_identity_length: u32,
    pub max_participant_name_length: u32,
    /// Bytes of one message of a client.
    pub signal_message_size_limit: u32,
    /// Bytes of one request to the server API.
    pub max_api_request_body_size: u32,
    /// Our own: joins of one address a second, and twenty times that at once. A proxy on another host
    /// is one address for all its clients.
    pub joins_per_address: u32,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            subscription_limit_video: 0,
            subscription_limit_audio: 0,
            max_metadata_size: 512 * 1024,
            max_attributes_size: 64 * 1024,
            max_room_name_length: 256,
            max_participant_identity_length: 256,
            max_participant_name_length: 256,
            signal_message_size_limit: 2 << 20,
            max_api_request_body_size: 10 << 20,
            joins_per_address: 50,
        }
    }
}

/// Our own section.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneConfig {
    /// Threads that forward media; 0 leaves one CPU to the control plane and takes the others.
    pub shards: u16,
    pub placement: Placement,
    pub backend: Backend,
    /// Path of the socket between `millrace dataplane` and `millrace controlplane`.
    pub socket: String,
}

/// Where the participants of a room are placed.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// All on the room's shard: nothing has to cross.
    #[default]
    Home,
    /// Each where the fewest transports are: for rooms too big for one shard.
    Spread,
}

/// How packets reach the kernel.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `ring` where the kernel allows it, otherwise `mmsg`.
    #[default]
    Auto,
    /// io_uring.
    Ring,
    /// sendmmsg and recvmmsg.
    Mmsg,
}
