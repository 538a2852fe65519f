//! LiveKit's `config.yaml`, flags and variables, with messages that say what to write instead.

mod advertise;
mod duration;
mod keys;
mod load;
mod overrides;
mod rtc;
mod sections;
mod tree;

#[cfg(test)]
mod tests;

pub use duration::GoDuration;
pub use load::{ConfigError, Loaded, Sources, development_keys, load};
pub use overrides::{Override, settable_keys, variable_of};
pub use rtc::{AddressFilter, NodeIp, PliThrottle, PortRange, RtcConfig};
pub use sections::{
    AudioConfig, Backend, CodecConfig, Config, DataplaneConfig, LimitConfig, LoggingConfig,
    Placement, PrometheusConfig, RedisConfig, RoomConfig, Secret, TurnConfig,
};
