//! The session keys of one direction.

use std::cell::OnceCell;

use super::profile::{MasterKey, Profile};
use super::transform::Transform;

/// Keys for RTP and for RTCP (RFC 3711 §4.3), each derived when the first packet needs it: they are
/// 550 bytes each, and of a connection that carries no media none is ever needed.
#[derive(Debug)]
pub(super) struct SessionKeys {
    master: MasterKey,
    rtp: OnceCell<Box<Transform>>,
    rtcp: OnceCell<Box<Transform>>,
}

impl SessionKeys {
    pub(super) fn new(master: &MasterKey) -> Self {
        Self {
            master: master.clone(),
            rtp: OnceCell::new(),
            rtcp: OnceCell::new(),
        }
    }

    pub(super) fn profile(&self) -> Profile {
        self.master.profile()
    }

    pub(super) fn rtp(&self) -> &Transform {
        self.rtp
            .get_or_init(|| Box::new(Transform::rtp(&self.master)))
    }

    pub(super) fn rtcp(&self) -> &Transform {
        self.rtcp
            .get_or_init(|| Box::new(Transform::rtcp(&self.master)))
    }
}
