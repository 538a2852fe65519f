//! ICE of a client (RFC 8445): a full agent, as simple as one with a single local address can be.
//! It checks the server's candidates, nominates the first that answers, and keeps consent.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_shared::drop::DropReason;
use millrace_shared::link::IceCredentials;
use millrace_shared::time::Timestamp;
use millrace_shared::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, METHOD_BINDING, StunClass, StunView, TransactionId,
    write_binding_request, write_binding_success,
};

use crate::transport::Outlet;

/// RFC 8445 §14.3 asks for 500 ms at least; browsers check every 50 ms until an answer came.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// RFC 8445 §14.2: triggered checks keep the pace of all others, Ta.
const TRIGGERED_INTERVAL: Duration = Duration::from_millis(5);
const CHECK_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// Chromium's interval on a selected pair. RFC 7675 §5.1 allows 4 to 6 s.
const CONSENT_INTERVAL: Duration = Duration::from_millis(2500);
/// RFC 7675 §5.1.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Checks without any answer for so long mean that no candidate is reachable.
const CHECKING_TIMEOUT: Duration = Duration::from_secs(15);
/// Candidates of a server that are checked.
const CANDIDATES_MAX: usize = 8;
const MESSAGE_LEN_MAX: usize = 200;
/// RFC 8445 §5.1.2.1 of a peer-reflexive candidate, which ours is to the server.
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum IceEvent {
    /// Packets may be sent to this address of the server.
    Selected(SocketAddr),
    /// No candidate answered, or consent ended.
    Failed,
}

#[derive(Debug)]
struct Remote {
    username: String,
    key: IntegrityKey,
}

#[derive(Debug)]
struct Check {
    remote: SocketAddr,
    transaction_id: TransactionId,
    interval: Duration,
    next_at: Timestamp,
    sent_at: Option<Timestamp>,
    answered: bool,
    /// The last request carried USE-CANDIDATE.
    nominating: bool,
}

#[derive(Debug)]
pub struct IceAgent {
    local_ufrag: String,
    local_key: IntegrityKey,
    remote: Option<Remote>,
    /// Whether we nominate: as the side that offered, or because the server is lite.
    controlling: bool,
    tie_breaker: u64,
    checks: Vec<Check>,
    /// Nominated by the server before we knew of our role.
    early_nomination: Option<SocketAddr>,
    transactions: u32,
    began: Timestamp,
    selected: Option<SocketAddr>,
    last_answer: Timestamp,
    failed: bool,
}

impl IceAgent {
    /// `tie_breaker` is random: it also makes transaction ids unlike those of other agents.
    pub fn new(local: &IceCredentials, tie_breaker: u64) -> Self {
        Self {
            local_ufrag: local.ufrag.clone(),
            local_key: IntegrityKey::new(local.pwd.as_bytes()),
            remote: None,
            controlling: true,
            tie_breaker,
            checks: Vec::new(),
            early_nomination: None,
            transactions: 0,
            began: Timestamp::NEVER,
            selected: None,
            last_answer: Timestamp::ZERO,
            failed: false,
        }
    }

    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    pub fn local_ufrag(&self) -> &str {
        &self.local_ufrag
    }

    /// Credentials of the server's description. Checks begin.
    pub fn set_remote(
        &mut self,
        now: Timestamp,
        remote: &IceCredentials,
        controlling: bool,
    ) -> Option<IceEvent> {
        if self.remote.is_some() {
            return None;
        }
        self.remote = Some(Remote {
            username: format!("{}:{}", remote.ufrag, self.local_ufrag),
            key: IntegrityKey::new(remote.pwd.as_bytes()),
        });
        self.controlling = controlling;
        self.began = now;
        for check in &mut self.checks {
            check.next_at = now;
        }
        let early = self.early_nomination.take().filter(|_| !controlling);
        early.and_then(|remote| self.select(now, remote))
    }

    pub fn add_candidate(&mut self, now: Timestamp, remote: SocketAddr) {
        let known = self.checks.iter().any(|check| check.remote == remote);
        // The first pair nominated stays: answers from elsewhere would pass for its consent.
        if known || self.selected.is_some() || self.checks.len() >= CANDIDATES_MAX {
            return;
        }
        self.checks.push(Check {
            remote,
            transaction_id: TransactionId([0; 12]),
            interval: CHECK_INTERVAL,
            next_at: if self.remote.is_some() {
                now
            } else {
                Timestamp::NEVER
            },
            sent_at: None,
            answered: false,
            nominating: false,
        });
    }

    pub fn next_timeout(&self) -> Timestamp {
        if self.failed || self.remote.is_none() {
            return Timestamp::NEVER;
        }
        let checks = self.checks.iter().map(|check| check.next_at);
        let next = checks.min().unwrap_or(Timestamp::NEVER);
        next.min(self.deadline())
    }

    fn deadline(&self) -> Timestamp {
        match self.selected {
            Some(_) => self.last_answer + CONSENT_TIMEOUT,
            None => self.began + CHECKING_TIMEOUT,
        }
    }

    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut dyn Outlet) -> Option<IceEvent> {
        if self.failed || self.remote.is_none() {
            return None;
        }
        if now >= self.deadline() {
            self.failed = true;
            return Some(IceEvent::Failed);
        }
        for index in 0..self.checks.len() {
            if self.checks[index].next_at <= now {
                self.send_check(now, index, out);
            }
        }
        None
    }

    fn send_check(&mut self, now: Timestamp, index: usize, out: &mut dyn Outlet) {
        let Some(remote) = &self.remote else {
            return;
        };
        self.transactions = self.transactions.wrapping_add(1);
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.tie_breaker.to_be_bytes());
        id[8..].copy_from_slice(&self.transactions.to_be_bytes());
        let check = &mut self.checks[index];
        check.transaction_id = TransactionId(id);
        check.sent_at = Some(now);
        let is_selected = self.selected == Some(check.remote);
        // RFC 8445 §8.1.1: regular nomination, of the pair whose check succeeded first.
        check.nominating = self.controlling && check.answered;
        let role = if self.controlling {
            IceRole::Controlling(self.tie_breaker)
        } else {
            IceRole::Controlled(self.tie_breaker)
        };
        let request = BindingRequest {
            transaction_id: check.transaction_id,
            username: &remote.username,
            priority: PRIORITY,
            role,
            use_candidate: check.nominating,
        };
        check.next_at = if is_selected {
            now + CONSENT_INTERVAL
        } else {
            now + check.interval
        };
        check.interval = (check.interval * 2).min(CHECK_INTERVAL_MAX);
        let mut message = [0; MESSAGE_LEN_MAX];
        if let Some(len) = write_binding_request(&mut message, &request, &remote.key) {
            out.send(check.remote, &message[..len]);
        }
    }

    /// Takes a STUN message from `from`.
    pub fn receive(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut dyn Outlet,
    ) -> Result<Option<IceEvent>, DropReason> {
        let view = StunView::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        if view.method() != METHOD_BINDING {
            return Err(DropReason::StunUnexpected);
        }
        match view.class() {
            StunClass::Request => self.receive_request(now, from, &view, out),
            StunClass::Success => self.receive_success(now, from, &view, out),
            StunClass::Error | StunClass::Indication => Err(DropReason::StunUnexpected),
        }
    }

    fn receive_request(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        view: &StunView<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Option<IceEvent>, DropReason> {
        if !view.verify_integrity(&self.local_key) {
            return Err(DropReason::StunIntegrity);
        }
        let mut message = [0; MESSAGE_LEN_MAX];
        let id = view.transaction_id();
        if let Some(len) = write_binding_success(&mut message, id, from, &self.local_key) {
            out.send(from, &message[..len]);
        }
        // RFC 8445 §7.3.1.3: a check from an address we did not know adds it.
        self.add_candidate(now, from);
        if self.remote.is_none() && view.use_candidate() {
            // The server was faster than its description on its way through our threads, and will
            // not nominate again.
            self.early_nomination = Some(from);
        }
        if self.controlling {
            return Ok(None);
        }
        if !view.use_candidate() {
            self.trigger_check(now, from, out);
            return Ok(None);
        }
        // RFC 8445 §7.3.1.5: the controlling side has nominated this pair.
        Ok(self.select(now, from))
    }

    /// RFC 8445 §7.3.1.4: the server's check asks for one of ours. A server may wait for it before it
    /// nominates, and until its next round of checks if it does not come.
    fn trigger_check(&mut self, now: Timestamp, from: SocketAddr, out: &mut dyn Outlet) {
        let due = |check: &Check| {
            let paced = |sent_at| now.since(sent_at) >= TRIGGERED_INTERVAL;
            check.remote == from && check.sent_at.is_none_or(paced)
        };
        if self.selected.is_none()
            && let Some(index) = self.checks.iter().position(due)
        {
            self.send_check(now, index, out);
        }
    }

    fn receive_success(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        view: &StunView<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Option<IceEvent>, DropReason> {
        let remote = self.remote.as_ref().ok_or(DropReason::StunUnexpected)?;
        if !view.verify_integrity(&remote.key) {
            return Err(DropReason::StunIntegrity);
        }
        let id = view.transaction_id();
        let answered = self
            .checks
            .iter()
            .position(|check| check.remote == from && check.transaction_id == id);
        let index = answered.ok_or(DropReason::StunUnexpected)?;
        self.last_answer = now;
        let check = &mut self.checks[index];
        check.answered = true;
        if check.nominating || self.selected.is_some() {
            return Ok(self.select(now, from));
        }
        if self.controlling {
            self.send_check(now, index, out);
        }
        Ok(None)
    }

    /// The first pair nominated stays; the other candidates are checked no more.
    fn select(&mut self, now: Timestamp, remote: SocketAddr) -> Option<IceEvent> {
        if self.selected.is_some() {
            return None;
        }
        self.selected = Some(remote);
        self.last_answer = now;
        self.checks.retain(|check| check.remote == remote);
        for check in &mut self.checks {
            check.next_at = now + CONSENT_INTERVAL;
        }
        Some(IceEvent::Selected(remote))
    }
}

#[cfg(test)]
mod tests;
