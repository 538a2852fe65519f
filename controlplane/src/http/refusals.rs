//! How often a limit of the HTTP side was reached.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that a peer can reach.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    /// Connections of one address on which nobody has joined.
    ConnectionsPerAddress,
    /// Joins of one address: answered with 503.
    JoinsPerAddress,
    /// Tokens of one address that were refused: answered with 429.
    RefusedTokensPerAddress,
    /// Requests of one participant: its socket was not read for a moment.
    SignalRate,
    /// Bytes of one signal message: its socket was closed.
    SignalMessageLen,
    /// A signal message that is none: its socket was closed.
    SignalMalformed,
}

impl Limit {
    pub(super) const ALL: [Self; 6] = [
        Self::ConnectionsPerAddress,
        Self::JoinsPerAddress,
        Self::RefusedTokensPerAddress,
        Self::SignalRate,
        Self::SignalMessageLen,
        Self::SignalMalformed,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::JoinsPerAddress => "joins_per_address",
            Self::RefusedTokensPerAddress => "refused_tokens_per_address",
            Self::SignalRate => "signal_rate",
            Self::SignalMessageLen => "signal_message_len",
            Self::SignalMalformed => "signal_malformed",
        }
    }
}

/// One counter per [`Limit`].
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; Limit::ALL.len()]);

impl Refusals {
    pub(super) fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize].load(Ordering::Relaxed)
    }
}
