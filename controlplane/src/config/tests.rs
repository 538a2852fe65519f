use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;

const KEYS: &str = "keys: {key: a secret of more than thirty-two characters}\n";

fn sources(body: &str) -> Sources {
    Sources {
        name: "config.yaml".into(),
        body: body.into(),
        ..Sources::default()
    }
}

fn load_with_keys(body: &str) -> Result<Loaded, ConfigError> {
    load(&sources(&format!("{KEYS}{body}")))
}

fn message(body: &str) -> String {
    load_with_keys(body).unwrap_err().to_string()
}

fn override_of(path: &str, text: &str) -> Override {
    Override {
        path: path.into(),
        text: text.into(),
        origin: variable_of(path),
    }
}

#[test]
fn every_documented_key_is_read() {
    let Loaded { config, warnings } = load(&sources(include_str!("every_key.yaml"))).unwrap();
    assert_eq!(config.rtc.udp_port, Some("7882-7892".parse().unwrap()));
    assert_eq!(config.rtc.node_ip.to_string(), "203.0.113.7,2001:db8::7");
    let pli = config.rtc.pli_throttle;
    assert_eq!(pli.low_quality.0, Duration::from_millis(250));
    assert_eq!(pli.high_quality.0, Duration::from_secs(90));
    assert_eq!(config.rtc.ips.excludes, ["192.168.1.0/24"]);
    assert_eq!(
        config.keys.secret("one"),
        Some("0123456789012345678901234567890123456789")
    );
    assert_eq!(config.logging.level, "debug");
    assert_eq!(config.room.enabled_codecs.len(), 2);
    assert_eq!(config.room.max_participants, 50);
    assert_eq!(config.limit.subscription_limit_video, -1);
    assert_eq!(config.limit.max_metadata_size, 1000);
    assert_eq!(config.audio.min_percentile, 41);
    assert_eq!(config.dataplane.shards, 4);
    assert_eq!(config.dataplane.backend, Backend::Mmsg);

    for unserved in ["rtc.tcp_port", "webhook", "rtc.turn_servers", "psrpc"] {
        let naming = |warning: &&String| warning.contains(&format!("`{unserved}`"));
        assert_eq!(warnings.iter().filter(naming).count(), 1, "{unserved}");
    }
    assert!(!warnings.iter().any(|warning| warning.contains("webhook.")));
    assert!(!format!("{config:?} {warnings:?}").contains("hidden"));
}

#[test]
fn absent_keys_have_livekits_defaults() {
    let config = load_with_keys("").unwrap().config;
    assert_eq!(config.port, 7880);
    assert_eq!(config.udp_ports().to_string(), "50000-60000");
    assert_eq!(config.room.enabled_codecs.len(), 10);
    assert_eq!(config.limit.max_api_request_body_size, 10 << 20);
}

#[test]
fn an_unknown_key_stops_with_its_line_and_what_to_write() {
    for (body, line, instead) in [
        ("rtc:\n  udp_ports: 7882\n", 3, "`rtc.udp_port`"),
        ("udp_port: 7882\n", 2, "`rtc.udp_port`"),
        ("debug_handler_port: 1\n", 2, "`debug_handler.port`"),
        ("rooms:\n  auto_create: true\n", 2, "known here: port, "),
        (
            "rtc:\n  turn_servers:\n    - host: x\n      proto: tls\n",
            5,
            "host, port, protocol",
        ),
        ("limit:\n  frobnicate_everything: 1\n", 3, "num_tracks"),
    ] {
        let message = message(body);
        assert!(
            message.starts_with(&format!("config.yaml, line {line}: there is no key `")),
            "{message}"
        );
        assert!(message.contains(instead), "{message}");
    }
}

#[test]
fn leniency_turns_unknown_keys_into_warnings() {
    let mut sources = sources(&format!("{KEYS}nonsense: 1\n"));
    sources.lenient = true;
    let warnings = load(&sources).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("nonsense")));
}

#[test]
fn a_wrong_value_names_its_key_and_line() {
    let port = message("rtc:\n  udp_port: 7885-7882\n");
    assert!(
        port.starts_with("config.yaml, line 3: `rtc.udp_port`: "),
        "{port}"
    );
    let node_ip = message("rtc:\n  node_ip: <external-ip-of-node>\n");
    assert!(node_ip.contains("line 3: `rtc.node_ip`"), "{node_ip}");
    assert!(message("port: many\n").contains("line 2: `port`"));
    assert!(message("dataplane: {backend: dpdk}\n").contains("line 2"));
    assert!(message("rtc: [\n").contains("line"));
    assert!(message("rtc: {ips: {excludes: [docker0]}}\n").starts_with("`rtc.ips`: `docker0`"));
    assert!(message("logging: {level: loud}\n").contains("debug, info, warn"));
    assert!(message("port: 1\nport: 2\n").contains("line 3"));
}

#[test]
fn a_broken_file_shows_no_secret() {
    let error = load(&sources("keys:\n  key: hidden\n  other: [hidden]\n")).unwrap_err();
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[test]
fn unserved_keys_warn_only_when_they_ask_for_something() {
    let silent = "rtc: {tcp_port: 0, use_mdns: false, stun_servers: []}\nwebhook: {urls: []}\n";
    assert_eq!(
        load_with_keys(silent).unwrap().warnings,
        Vec::<String>::new()
    );
    let warnings = load_with_keys("rtc: {use_external_ip: true}\n")
        .unwrap()
        .warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("rtc.node_ip"), "{warnings:?}");
}

#[test]
fn what_is_not_built_stops_the_start() {
    for body in [
        "redis: {address: redis.example:6379}\n",
        "redis: {sentinel_addresses: [a:1]}\n",
        "redis: {cluster_addresses: [a:1]}\n",
    ] {
        assert!(message(body).starts_with("`redis`: several nodes"));
    }
    assert!(message("turn: {enabled: true}\n").starts_with("`turn.enabled`: "));
    assert!(load_with_keys("redis: {}\nturn: {enabled: false}\n").is_ok());
}

#[test]
fn keys_are_required_and_short_secrets_warned_of() {
    let none = load(&sources("")).unwrap_err().to_string();
    assert!(none.contains("generate-keys"), "{none}");
    let short = load(&sources("keys: {key1: secret1}\n")).unwrap();
    assert!(short.warnings[0].contains("key1"));
    assert!(!short.warnings[0].contains("secret1"));
    assert!(load(&sources("keys: {key1: ''}\n")).is_err());
}

#[test]
fn a_key_file_must_be_closed_to_others() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        "filed: a secret of more than thirty-two characters\n",
    )
    .unwrap();
    let mut sources = sources("");
    sources.key_file = Some(file.path().to_str().unwrap().into());
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let open = load(&sources).unwrap_err().to_string();
    assert!(open.contains("chmod"), "{open}");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(
        load(&sources)
            .unwrap()
            .config
            .keys
            .secret("filed")
            .is_some()
    );
    sources.key_file = Some("/nonexistent/keys".into());
    assert!(
        load(&sources)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn development_has_keys_ports_and_addresses_of_its_own() {
    let mut sources = sources("");
    sources.dev = true;
    let Loaded { config, warnings } = load(&sources).unwrap();
    assert_eq!(config.keys.secret("devkey"), Some("secret"));
    assert_eq!(
        config.bind_addresses,
        Some(vec!["127.0.0.1".into(), "::1".into()])
    );
    assert_eq!(config.udp_ports(), PortRange::single(7882));
    assert_eq!(warnings, Vec::<String>::new());

    sources.bind_addresses = vec!["0.0.0.0".into()];
    let warnings = load(&sources).unwrap().warnings;
    assert!(warnings[0].contains("KNOWN TO EVERYBODY"), "{warnings:?}");
}

#[test]
fn flags_and_variables_win_over_the_file() {
    let mut sources = sources(&format!(
        "{KEYS}region: file\nrtc: {{node_ip: 192.0.2.1}}\n"
    ));
    sources.region = Some("flag".into());
    sources.node_ip = Some("192.0.2.9".into());
    sources.keys = Some("flagged: a secret of more than thirty-two characters".into());
    sources.overrides = vec![
        override_of("rtc.udp_port", "7882-7885"),
        override_of("room.auto_create", "false"),
        override_of("room.max_participants", "7"),
        override_of("rtc.pli_throttle.low_quality", "2s"),
        override_of("rtc.ips.includes", "[10.0.0.0/8]"),
        override_of("turn.domain", "turn.example"),
        override_of("rtc.tcp_port", "7881"),
    ];
    let Loaded { config, warnings } = load(&sources).unwrap();
    assert_eq!(config.region, "flag");
    assert_eq!(config.rtc.node_ip.to_string(), "192.0.2.9");
    assert_eq!(config.keys.first().unwrap().0, "flagged");
    assert_eq!(config.udp_ports().len(), 4);
    assert!(!config.room.auto_create);
    assert_eq!(config.room.max_participants, 7);
    assert_eq!(config.rtc.pli_throttle.low_quality.as_millis_u32(), 2_000);
    assert_eq!(config.rtc.ips.includes, ["10.0.0.0/8"]);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("LIVEKIT_RTC_TCP_PORT has no effect"));

    sources.overrides = vec![override_of("port", "many")];
    let refused = load(&sources).unwrap_err().to_string();
    assert!(
        refused.starts_with("LIVEKIT_PORT sets `port`: "),
        "{refused}"
    );
    sources.overrides.clear();
    sources.keys = Some("key:secret".into());
    assert!(
        load(&sources)
            .unwrap_err()
            .to_string()
            .contains("with the space")
    );
}

#[test]
fn ports_and_shards_fit_together() {
    let config = load_with_keys("rtc: {udp_port: 7882-7883}\n")
        .unwrap()
        .config;
    assert_eq!(config.shards(8), 2);
    assert_eq!(config.shards(2), 1);
    assert_eq!(config.shards(1), 1);
    let single = load_with_keys("rtc: {udp_port: 7882}\n").unwrap().config;
    assert_eq!(single.shards(8), 7);
    let short = message("rtc: {udp_port: 7882-7883}\ndataplane: {shards: 3}\n");
    assert!(short.contains("now is 7882-7883"), "{short}");
    let shared = load_with_keys("rtc: {udp_port: 7882}\ndataplane: {shards: 3}\n");
    let shared = shared.unwrap().config;
    assert_eq!(shared.shards(1), 3);
    assert_eq!(shared.udp_ports().port_of(2), Some(7882));
    assert!(message("dataplane: {shards: 65}\n").contains("64"));
    assert!(message("rtc: {port_range_start: 9, port_range_end: 8}\n").contains("no range"));
    let both = load_with_keys("rtc: {udp_port: 1, port_range_start: 8, port_range_end: 9}\n");
    let both = both.unwrap();
    assert_eq!(both.config.udp_ports().to_string(), "8-9");
    assert_eq!(both.warnings.len(), 1);
}

#[test]
fn older_spellings_still_count() {
    let config =
        load_with_keys("log_level: warn\nprometheus_port: 6789\nroom: {max_metadata_size: 5}\n")
            .unwrap()
            .config;
    assert_eq!(config.logging.level, "warn");
    assert_eq!(config.prometheus.port, 6789);
    assert_eq!(config.limit.max_metadata_size, 5);
    assert!(message("prometheus: {port: 1, username: me}\n").contains("both"));
}

#[test]
fn each_variable_sets_one_key() {
    let mut variables: Vec<_> = settable_keys().map(variable_of).collect();
    variables.sort();
    let len = variables.len();
    variables.dedup();
    assert_eq!(variables.len(), len);
    assert!(variables.contains(&"LIVEKIT_RTC_UDP_PORT".into()));
}
