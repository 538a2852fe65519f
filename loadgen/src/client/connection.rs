use std::net::SocketAddr;

use livekit_protocol as proto;
use millrace_shared::link::{Fingerprint, IceCredentials};
use tokio::sync::mpsc::UnboundedSender;

use super::{ClientError, ClientSpec, Path, ice_credentials, next_peer_id};
use crate::pump::{Command, NewPeer, PeerEvent, PeerId, PumpHandle};
use crate::sdp::{self, Line};

/// One peer connection on the control side.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    local: SocketAddr,
    ice: IceCredentials,
    descriptions: u64,
    pub(super) path: Option<Path>,
}

impl Connection {
    /// A transport on the client's media thread.
    pub(super) fn open(
        pump: &PumpHandle,
        spec: &ClientSpec,
        events: &UnboundedSender<(PeerId, PeerEvent)>,
    ) -> Result<Self, ClientError> {
        let local = pump.take_local().ok_or(ClientError::NoAddress)?;
        let peer = next_peer_id();
        let ice = ice_credentials();
        pump.send(Command::Add(Box::new(NewPeer {
            id: peer,
            local,
            ice: ice.clone(),
            sample_rank: spec.sample_rank,
            impairment: spec.impairment,
            seed: rand::random(),
            established: None,
            events: events.clone(),
        })));
        Ok(Self {
            peer,
            local,
            ice,
            descriptions: 0,
            path: None,
        })
    }

    pub(super) fn local(&mut self, fingerprint: Fingerprint) -> sdp::Local {
        self.descriptions += 1;
        sdp::Local {
            ice: self.ice.clone(),
            fingerprint,
            candidate: Some(self.local).filter(|local| !local.ip().is_unspecified()),
            version: self.descriptions,
        }
    }

    pub(super) fn offer(
        &mut self,
        fingerprint: Fingerprint,
        lines: &[Line],
        id: u32,
    ) -> proto::SessionDescription {
        proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: sdp::offer(&self.local(fingerprint), lines),
            id,
            ..proto::SessionDescription::default()
        }
    }
}
