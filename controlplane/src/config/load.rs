use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use millrace_shared::limits::SHARDS_MAX;
use serde_saphyr::Options;

use super::advertise::Cidr;
use super::overrides::{self, Override};
use super::tree::{self, Finding, KeyTree};
use super::{Config, NodeIp, PortRange};
use crate::auth::ApiKeys;

/// Key and secret of development; everybody knows them.
const DEV_KEY: &str = "devkey";
const DEV_SECRET: &str = "secret";

/// Secrets shorter than this can be searched for; LiveKit warns below it, too.
const SECRET_LEN_MIN: usize = 32;

/// Where the configuration comes from; what comes later in this list wins.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name, for messages.
    pub name: String,
    /// YAML.
    pub body: String,
    /// Keys set singly, see [`super::settable_keys`].
    pub overrides: Vec<Override>,
    pub dev: bool,
    pub bind_addresses: Vec<String>,
    /// YAML, `key: secret` lines.
    pub keys: Option<String>,
    pub key_file: Option<String>,
    pub region: Option<String>,
    pub node_ip: Option<String>,
    pub udp_port: Option<String>,
    pub redis_host: Option<String>,
    /// Unknown keys are warned of instead of refused.
    pub lenient: bool,
}

/// A configuration that can be started, and what its writer should know.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("{name}, line {line}: there is no key `{path}`; {suggestion}")]
    UnknownKey {
        name: String,
        line: u64,
        path: String,
        suggestion: String,
    },
    #[error("{name}, line {line}: {}{reason}", key_prefix(.path))]
    Invalid {
        name: String,
        line: u64,
        /// Empty when the line holds no key.
        path: String,
        reason: String,
    },
    #[error("{origin} sets `{path}`: {reason}")]
    Override {
        origin: String,
        path: String,
        reason: String,
    },
    #[error("`{path}`: {reason}")]
    Refused { path: &'static str, reason: String },
}

fn key_prefix(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("`{path}`: ")
    }
}

/// The pair of keys that development runs with when it has no others.
pub fn development_keys() -> ApiKeys {
    [(DEV_KEY.to_owned(), DEV_SECRET.to_owned())]
        .into_iter()
        .collect()
}

/// Reads and checks the whole configuration.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let config = parse(sources, &mut warnings)?;
    let mut config = overrides::apply(config, &sources.overrides)?;
    for each in &sources.overrides {
        if let Some(super::keys::Support::Unserved(why)) = tree::support(&each.path) {
            warnings.push(format!("{} has no effect: {why}", each.origin));
        }
    }
    apply_flags(&mut config, sources)?;
    fold_older_spellings(&mut config, &mut warnings);
    load_keys(&mut config, &mut warnings)?;
    refuse_unbuilt(&config)?;
    check_prometheus(&config)?;
    check_ports(&config, &mut warnings)?;
    check_addresses(&config)?;
    check_level(&config)?;
    warn_of_public_dev_keys(&config, &mut warnings);
    Ok(Loaded { config, warnings })
}

fn parse(sources: &Sources, warnings: &mut Vec<String>) -> Result<Config, ConfigError> {
    let tree: Option<KeyTree> = from_yaml(&sources.body, &sources.name, None)?;
    let Some(tree) = tree else {
        return Ok(Config::default());
    };
    for finding in tree::findings(&tree) {
        match finding {
            Finding::Unserved { path, line, why } => warnings.push(format!(
                "{}, line {line}: `{path}` has no effect: {why}",
                sources.name
            )),
            Finding::Unknown { path, line } => {
                let unknown = ConfigError::UnknownKey {
                    name: sources.name.clone(),
                    line,
                    suggestion: tree::suggestion(&path),
                    path,
                };
                if !sources.lenient {
                    return Err(unknown);
                }
                warnings.push(unknown.to_string());
            }
        }
    }
    let config: Option<Config> = from_yaml(&sources.body, &sources.name, Some(&tree))?;
    Ok(config.unwrap_or_default())
}

/// Parses YAML into `T`. `tree` gives the key that an error's line stands for.
fn from_yaml<T: serde::de::DeserializeOwned>(
    body: &str,
    name: &str,
    tree: Option<&KeyTree>,
) -> Result<Option<T>, ConfigError> {
    // A snippet of the file in a message could be one of a secret.
    let mut options = Options::default();
    options.with_snippet = false;
    serde_saphyr::from_str_with_options(body, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        ConfigError::Invalid {
            name: name.to_owned(),
            line,
            path: tree.and_then(|tree| tree.path_at(line)).unwrap_or_default(),
            reason: error.to_string(),
        }
    })
}

fn apply_flags(config: &mut Config, sources: &Sources) -> Result<(), ConfigError> {
    config.development |= sources.dev;
    if !sources.bind_addresses.is_empty() {
        config.bind_addresses = Some(sources.bind_addresses.clone());
    }
    if let Some(keys) = &sources.keys {
        config.keys = parse_keys("keys", keys)?;
    }
    if let Some(key_file) = &sources.key_file {
        config.key_file.clone_from(key_file);
    }
    if let Some(region) = &sources.region {
        config.region.clone_from(region);
    }
    if let Some(redis_host) = &sources.redis_host {
        config.redis.address.clone_from(redis_host);
    }
    if let Some(node_ip) = &sources.node_ip {
        config.rtc.node_ip = node_ip
            .parse::<NodeIp>()
            .map_err(|reason| refused("rtc.node_ip", reason))?;
    }
    if let Some(udp_port) = &sources.udp_port {
        let range = udp_port.parse::<PortRange>();
        config.rtc.udp_port = Some(range.map_err(|reason| refused("rtc.udp_port", reason))?);
    }
    Ok(())
}

fn refused(path: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Refused {
        path,
        reason: reason.into(),
    }
}

fn fold_older_spellings(config: &mut Config, warnings: &mut Vec<String>) {
    if !config.log_level.is_empty() {
        config.logging.level.clone_from(&config.log_level);
    }
    if config.prometheus_port != 0 {
        warnings.push("`prometheus_port` is an older spelling of `prometheus.port`".into());
        config.prometheus.port = config.prometheus_port;
    }
    let room = &config.room;
    let limit = &mut config.limit;
    for (older, newer) in [
        (room.max_metadata_size, &mut limit.max_metadata_size),
        (room.max_room_name_length, &mut limit.max_room_name_length),
        (
            room.max_participant_identity_length,
            &mut limit.max_participant_identity_length,
        ),
    ] {
        if older != 0 {
            *newer = older;
        }
    }
}

fn load_keys(config: &mut Config, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    if !config.key_file.is_empty() {
        config.keys = read_key_file(&config.key_file)?;
    }
    if config.development && config.keys.is_empty() {
        config.keys = development_keys();
        if config.bind_addresses.is_none() {
            config.bind_addresses = Some(vec!["127.0.0.1".into(), "::1".into()]);
        }
    }
    if config.keys.is_empty() {
        return Err(refused(
            "keys",
            "no API key is configured. Make a pair with `millrace generate-keys` and write it \
             as `keys: {<key>: <secret>}` into the configuration, name a file with --key-file, \
             or start with --dev to try things out",
        ));
    }
    for (key, secret) in config.keys.iter() {
        if secret.is_empty() {
            return Err(refused(
                "keys",
                format!("the secret of API key {key} is empty"),
            ));
        }
        if secret.len() < SECRET_LEN_MIN && !config.development {
            warnings.push(format!(
                "the secret of API key {key} is shorter than {SECRET_LEN_MIN} characters and \
                 could be guessed: make a new pair with `millrace generate-keys`"
            ));
        }
    }
    Ok(())
}

fn read_key_file(name: &str) -> Result<ApiKeys, ConfigError> {
    let unreadable = |error| refused("key_file", format!("{name} cannot be read: {error}"));
    let home = std::env::var_os("HOME").unwrap_or_default();
    let path = match name.strip_prefix("~/") {
        Some(below) => Path::new(&home).join(below),
        None => Path::new(name).to_owned(),
    };
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(refused(
            "key_file",
            format!("{name} is open to other users: run `chmod o= {name}`"),
        ));
    }
    let body = fs::read_to_string(&path).map_err(unreadable)?;
    parse_keys("key_file", &body)
}

fn parse_keys(path: &'static str, body: &str) -> Result<ApiKeys, ConfigError> {
    from_yaml::<ApiKeys>(body, path, None)
        .ok()
        .flatten()
        .ok_or_else(|| {
            refused(
                path,
                "write each pair as `key: secret` on a line of its own, with the space",
            )
        })
}

/// Keys whose being ignored would surprise more than a refused start.
fn refuse_unbuilt(config: &Config) -> Result<(), ConfigError> {
    let redis = &config.redis;
    if !redis.address.is_empty()
        || !redis.sentinel_addresses.is_empty()
        || !redis.cluster_addresses.is_empty()
    {
        return Err(refused(
            "redis",
            "several nodes are not supported yet. Remove the section to run a single node",
        ));
    }
    if config.turn.enabled {
        return Err(refused(
            "turn.enabled",
            "the embedded TURN server is not there yet. Set it to false; clients then need UDP",
        ));
    }
    Ok(())
}

fn check_prometheus(config: &Config) -> Result<(), ConfigError> {
    let prometheus = &config.prometheus;
    if prometheus.username.is_empty() != prometheus.password.0.is_empty() {
        return Err(refused(
            "prometheus",
            "set both username and password, or neither",
        ));
    }
    if prometheus.port == config.port {
        return Err(refused(
            "prometheus.port",
            format!("port {} is taken by the server itself", config.port),
        ));
    }
    Ok(())
}

fn check_ports(config: &Config, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let (start, end) = (config.rtc.port_range_start, config.rtc.port_range_end);
    if (start != 0 || end != 0) && (start == 0 || end < start) {
        return Err(refused(
            "rtc.port_range_start",
            format!("{start} to {end} is no range of ports: port_range_end must not be lower"),
        ));
    }
    if start != 0 && config.rtc.udp_port.is_some() {
        warnings.push(
            "`rtc.udp_port` has no effect beside `rtc.port_range_start` and `port_range_end`"
                .into(),
        );
    }
    let ports = config.udp_ports();
    let shards = usize::from(config.dataplane.shards);
    if shards > SHARDS_MAX {
        return Err(refused(
            "dataplane.shards",
            format!("{shards} shards are more than the {SHARDS_MAX} that a node may have"),
        ));
    }
    if ports.len() > 1 && shards > ports.len() {
        return Err(refused(
            "dataplane.shards",
            format!(
                "{shards} shards need a UDP port each, or one for all: write a range of as many, or \
                 a single port, as rtc.udp_port, which now is {ports}"
            ),
        ));
    }
    Ok(())
}

fn check_addresses(config: &Config) -> Result<(), ConfigError> {
    let ips = &config.rtc.ips;
    for text in ips.includes.iter().chain(&ips.excludes) {
        text.parse::<Cidr>()
            .map_err(|reason| refused("rtc.ips", reason))?;
    }
    Ok(())
}

fn check_level(config: &Config) -> Result<(), ConfigError> {
    match config.logging.level.to_lowercase().as_str() {
        "" | "trace" | "debug" | "info" | "warn" | "error" => Ok(()),
        level => Err(refused(
            "logging.level",
            format!("`{level}` is no level: write debug, info, warn or error"),
        )),
    }
}

fn warn_of_public_dev_keys(config: &Config, warnings: &mut Vec<String>) {
    if config.keys.secret(DEV_KEY) != Some(DEV_SECRET) {
        return;
    }
    let is_local = |address: &String| match address.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => address == "localhost",
    };
    let all_local = config
        .bind_addresses
        .as_ref()
        .is_some_and(|addresses| addresses.iter().all(is_local));
    if !all_local {
        warnings.push(
            "THE KEY devkey/secret IS KNOWN TO EVERYBODY, and this server listens on a public \
             address: anybody who reaches it may join, record and delete every room. Use keys \
             of your own (`millrace generate-keys`) or bind to 127.0.0.1"
                .into(),
        );
    }
}
