//! Selector and rewriter of one subscriber's copy.

use millrace_shared::link::{Layer, MediaKind};
use millrace_shared::time::ExtSeq;

use super::rewriter::{Rewriter, Rewritten};
use super::selector::{Choice, Position, Selector};
use crate::packet::{LayerClocks, PacketMeta};

#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) selector: Selector,
    pub(super) rewriter: Rewriter,
}

/// A packet that goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Forwarded {
    pub(super) rewritten: Rewritten,
    /// Another encoding, or the first packet since a pause.
    pub(super) starts: bool,
}

impl Forwarder {
    pub(super) fn new(kind: MediaKind, max: Layer, paused: bool, rewriter: Rewriter) -> Self {
        Self {
            selector: Selector::new(kind, max, paused),
            rewriter,
        }
    }

    pub(super) fn set_layer(&mut self, max: Layer, paused: bool) {
        self.selector.set_layer(max, paused);
        if paused {
            self.rewriter.pause();
        }
    }

    pub(super) fn forward(&mut self, meta: &PacketMeta, clocks: &LayerClocks) -> Option<Forwarded> {
        let position = self.rewriter.position(meta);
        if position == Position::Behind {
            return self.rewriter.fill(meta).map(|rewritten| Forwarded {
                rewritten,
                starts: false,
            });
        }
        let choice = self.selector.select(meta, position);
        let temporal_max = self.selector.temporal_max();
        let rewritten = match choice {
            Choice::Start => Some(self.rewriter.start(meta, temporal_max, clocks)),
            Choice::Forward => self.rewriter.forward(meta, temporal_max, clocks),
            Choice::Close => {
                self.rewriter.close(meta, temporal_max);
                None
            }
            Choice::Ignore => None,
        };
        rewritten.map(|rewritten| Forwarded {
            rewritten,
            starts: choice == Choice::Start,
        })
    }

    /// A packet that cannot go whatever the selector says. Only its number counts.
    pub(super) fn skip(&mut self, spatial: u8, seq: ExtSeq) {
        self.rewriter.skip(spatial, seq);
    }
}
