//! Flags and variables: LiveKit's, so that start scripts and container manifests carry over.

use std::fs;
use std::io;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser};
use millrace_controlplane::config::{self, Config, ConfigError, Loaded, Override, Sources};

/// A WebRTC SFU that LiveKit clients connect to unmodified.
///
/// Without a command it runs the server. To try it out: `millrace --dev`.
#[derive(Debug, Parser)]
#[command(name = "millrace", version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Subcommand>,
}

#[derive(Debug, Args)]
struct Flags {
    /// Configuration file (YAML, as LiveKit's config.yaml)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// The configuration itself
    #[arg(
        long,
        global = true,
        env = "LIVEKIT_CONFIG",
        hide_env_values = true,
        value_name = "YAML"
    )]
    config_body: Option<String>,
    /// API keys, a line `key: secret` each
    #[arg(
        long,
        global = true,
        env = "LIVEKIT_KEYS",
        hide_env_values = true,
        value_name = "KEYS"
    )]
    keys: Option<String>,
    /// File with API keys, a line `key: secret` each
    #[arg(long, global = true, env = "LIVEKIT_KEY_FILE", value_name = "FILE")]
    key_file: Option<String>,
    /// Address to listen on for HTTP; may be given several times
    #[arg(long, global = true, value_name = "IP")]
    bind: Vec<String>,
    /// Address that clients are told to send media to
    #[arg(long, global = true, env = "NODE_IP", value_name = "IP")]
    node_ip: Option<String>,
    /// UDP port for media, or a range such as 7882-7885
    #[arg(long, global = true, env = "UDP_PORT", value_name = "PORT")]
    udp_port: Option<String>,
    /// Name of the region this server is in
    #[arg(long, global = true, env = "LIVEKIT_REGION", value_name = "NAME")]
    region: Option<String>,
    /// Redis server, host and port
    #[arg(long, global = true, env = "REDIS_HOST", hide = true)]
    redis_host: Option<String>,
    #[arg(
        long,
        global = true,
        env = "REDIS_PASSWORD",
        hide = true,
        hide_env_values = true
    )]
    redis_password: Option<String>,
    #[arg(long, global = true, env = "LIVEKIT_TURN_CERT", hide = true)]
    turn_cert: Option<String>,
    #[arg(long, global = true, env = "LIVEKIT_TURN_KEY", hide = true)]
    turn_key: Option<String>,
    /// Development: key devkey/secret, HTTP on loopback only
    #[arg(long, global = true)]
    dev: bool,
    /// Warn of unknown keys in the configuration instead of stopping
    #[arg(long, global = true)]
    disable_strict_config: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Run the data plane alone: media, and a socket for the control plane (dataplane.socket)
    Dataplane,
    /// Run the control plane alone, on the data plane's socket; its restart interrupts no call
    Controlplane,
    /// Make an API key and its secret
    GenerateKeys,
    /// Make a token with which a client joins a room
    CreateJoinToken(JoinToken),
    /// List the ports that the configuration uses, for a firewall
    Ports,
    /// Show help with every configuration flag
    HelpVerbose,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct JoinToken {
    #[arg(long)]
    pub(crate) room: String,
    #[arg(long)]
    pub(crate) identity: String,
    /// For a hidden participant that only subscribes
    #[arg(long)]
    pub(crate) recorder: bool,
    /// How long the token is valid
    #[arg(long, default_value_t = 6, value_name = "HOURS")]
    pub(crate) valid_for: u64,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Option<Subcommand>,
    flags: Flags,
    overrides: Vec<Override>,
}

/// Reads the command line; exits with help or a message when it is not one of ours.
pub(crate) fn parse() -> Invocation {
    let matches = command(true).get_matches();
    match from_matches(&matches) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    }
}

fn from_matches(matches: &ArgMatches) -> Result<Invocation, clap::Error> {
    let cli = Cli::from_arg_matches(matches)?;
    Ok(Invocation {
        command: cli.command,
        flags: cli.flags,
        overrides: overrides(matches),
    })
}

/// The command with a flag `--section.key` and a variable `LIVEKIT_SECTION_KEY` for each key of
/// the configuration, as LiveKit generates them.
pub(crate) fn command(hide_keys: bool) -> Command {
    generated_keys().fold(Cli::command(), |command, path| {
        command.arg(
            Arg::new(path)
                .long(path)
                .env(variable(path))
                .hide_env_values(true)
                .global(true)
                .hide(hide_keys)
                .help_heading("Keys of the configuration")
                .num_args(0..=1)
                .default_missing_value("true")
                .value_name("VALUE"),
        )
    })
}

/// Keys without a flag that is written out above.
fn generated_keys() -> impl Iterator<Item = &'static str> {
    config::settable_keys().filter(|path| !["key_file", "region"].contains(path))
}

/// The name must live as long as the command, which is as long as the program.
fn variable(path: &str) -> &'static str {
    config::variable_of(path).leak()
}

fn overrides(matches: &ArgMatches) -> Vec<Override> {
    generated_keys()
        .filter_map(|path| {
            let text = matches.get_one::<String>(path)?;
            let origin = match matches.value_source(path) {
                Some(ValueSource::EnvVariable) => config::variable_of(path),
                _ => format!("--{path}"),
            };
            Some(Override {
                path: path.to_owned(),
                text: text.clone(),
                origin,
            })
        })
        .collect()
}

#[derive(Debug)]
pub(crate) enum LoadError {
    Unreadable { name: String, error: io::Error },
    Config(ConfigError),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { name, error } => {
                write!(f, "the configuration file {name} cannot be read: {error}")
            }
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl Invocation {
    /// The configuration that all sources together make.
    pub(crate) fn load(&self) -> Result<Loaded, LoadError> {
        let flags = &self.flags;
        let (name, body) = self.body()?;
        config::load(&Sources {
            name,
            body,
            overrides: self.overrides.clone(),
            dev: flags.dev,
            bind_addresses: flags.bind.clone(),
            keys: flags.keys.clone(),
            key_file: flags.key_file.clone(),
            region: flags.region.clone(),
            node_ip: flags.node_ip.clone(),
            udp_port: flags.udp_port.clone(),
            redis_host: flags.redis_host.clone(),
            lenient: flags.disable_strict_config,
        })
        .map_err(LoadError::Config)
    }

    pub(crate) fn config(&self) -> Result<Config, LoadError> {
        self.load().map(|loaded| loaded.config)
    }

    /// The body wins over the file, as in LiveKit.
    fn body(&self) -> Result<(String, String), LoadError> {
        let given = self.flags.config_body.as_ref();
        if let Some(body) = given.filter(|body| !body.is_empty()) {
            return Ok(("the configuration body".into(), body.clone()));
        }
        let Some(name) = self.flags.config.clone() else {
            return Ok((String::new(), String::new()));
        };
        match fs::read_to_string(&name) {
            Ok(body) => Ok((name, body)),
            Err(error) => Err(LoadError::Unreadable { name, error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(args: &[&str]) -> Invocation {
        let matches = command(true).get_matches_from([&["millrace"], args].concat());
        from_matches(&matches).unwrap()
    }

    #[test]
    fn the_command_is_consistent() {
        command(true).debug_assert();
    }

    #[test]
    fn every_key_has_a_flag() {
        let loaded = invocation(&[
            "--dev",
            "--rtc.udp_port",
            "7990-7993",
            "--room.enable_remote_unmute",
            "--room.max_participants=3",
        ]);
        let config = loaded.config().unwrap();
        assert_eq!(config.udp_ports().to_string(), "7990-7993");
        assert!(config.room.enable_remote_unmute);
        assert_eq!(config.room.max_participants, 3);
    }

    #[test]
    fn flags_may_follow_the_command() {
        for args in [
            [
                "--dev",
                "create-join-token",
                "--room",
                "r",
                "--identity",
                "i",
            ],
            [
                "create-join-token",
                "--room",
                "r",
                "--identity",
                "i",
                "--dev",
            ],
        ] {
            let invocation = invocation(&args);
            assert!(invocation.config().unwrap().development);
            match invocation.command {
                Some(Subcommand::CreateJoinToken(token)) => assert_eq!(token.room, "r"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = invocation(&["--config", "/nonexistent.yaml"])
            .load()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/nonexistent.yaml cannot be read")
        );
    }
}
