//! Commands that are done when they return.

use std::error::Error;
use std::time::{Duration, SystemTime};

use millrace_controlplane::auth::{self, Claims, VideoGrant};
use millrace_controlplane::config::Config;

use crate::cli::{self, Invocation, JoinToken, Subcommand};

pub(crate) fn run(command: &Subcommand, invocation: &Invocation) -> Result<(), Box<dyn Error>> {
    match command {
        // They run until a signal ends them: see `main`.
        Subcommand::Dataplane | Subcommand::Controlplane => {}
        Subcommand::GenerateKeys => {
            println!("API Key:  {}", auth::generate_key());
            println!("API Secret:  {}", auth::generate_secret());
        }
        Subcommand::CreateJoinToken(token) => {
            println!("{}", join_token(&invocation.config()?, token)?);
        }
        Subcommand::Ports => print!("{}", ports(&invocation.config()?)),
        Subcommand::HelpVerbose => cli::command(false).print_long_help()?,
    }
    Ok(())
}

/// A token for a participant, signed with the first key.
pub(crate) fn join_token(config: &Config, token: &JoinToken) -> Result<String, auth::MintError> {
    let publishes = token.recorder.then_some(false);
    let claims = Claims {
        sub: token.identity.clone(),
        video: Some(VideoGrant {
            room_join: true,
            room: token.room.clone(),
            hidden: token.recorder,
            recorder: token.recorder,
            can_publish: publishes,
            can_publish_data: publishes,
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let validity = Duration::from_hours(token.valid_for);
    auth::mint(&config.keys, &claims, SystemTime::now(), validity)
}

fn ports(config: &Config) -> String {
    let mut tcp = format!("TCP Ports\n{} - HTTP service\n", config.port);
    if config.prometheus.port != 0 {
        tcp += &format!("{} - Prometheus\n", config.prometheus.port);
    }
    format!("{tcp}UDP Ports\n{} - ICE/UDP\n", config.udp_ports())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_is_hidden_and_publishes_nothing() {
        let config = Config {
            keys: [("key".to_owned(), "secret".to_owned())]
                .into_iter()
                .collect(),
            ..Config::default()
        };
        let token = JoinToken {
            room: "lobby".into(),
            identity: "recorder".into(),
            recorder: true,
            valid_for: 1,
        };
        let token = join_token(&config, &token).unwrap();
        let claims = auth::verify(&config.keys, &token).unwrap();
        assert_eq!(claims.sub, "recorder");
        let video = claims.video.unwrap();
        assert!(video.hidden && video.recorder && video.subscribes());
        assert!(!video.publishes() && !video.publishes_data());
    }

    #[test]
    fn ports_are_those_of_the_configuration() {
        assert_eq!(
            ports(&Config::default()),
            "TCP Ports\n7880 - HTTP service\nUDP Ports\n50000-60000 - ICE/UDP\n"
        );
    }
}
