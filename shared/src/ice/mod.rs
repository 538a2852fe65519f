//! ICE lite (RFC 8445 §2.5): we answer checks and send none. Everything here happens after a
//! Binding Request was authenticated with our password, so that no stranger creates state.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::drop::DropReason;
use crate::limits::{CHECKS_REMEMBERED, TUPLES_PER_TRANSPORT_MAX};
use crate::link::IceCredentials;
use crate::time::Timestamp;
use crate::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, StunView, TransactionId, write_binding_request,
    write_binding_success,
};

/// RFC 7675 §5.1: consent ends 30 s after the last authenticated check; as the lite side we see the
/// peer's checks instead of sending our own.
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which LiveKit calls a transport disconnected.
pub const DISCONNECTED_AFTER: Duration = Duration::from_secs(10);

/// Local and remote address of a UDP path.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tuple {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

#[derive(Copy, Clone, Debug)]
struct ValidTuple {
    tuple: Tuple,
    last_check: Timestamp,
    nominated: bool,
}

/// RFC 8445 §5.1.2.1, a peer-reflexive candidate: what it would be worth to a full agent, were we one.
const CHECK_PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;

/// Credentials of ours with the password made ready for HMAC.
#[derive(Debug)]
struct Credentials {
    ufrag: String,
    key: IntegrityKey,
}

impl Credentials {
    fn new(credentials: &IceCredentials) -> Self {
        Self {
            ufrag: credentials.ufrag.clone(),
            key: IntegrityKey::new(credentials.pwd.as_bytes()),
        }
    }
}

/// What an authenticated check changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckOutcome {
    /// Length of the response written to `out`.
    pub response_len: usize,
    /// This tuple was not valid before.
    pub new_tuple: bool,
    /// The selected tuple is now another one.
    pub selected_changed: bool,
    /// A tuple that made room.
    pub evicted: Option<Tuple>,
    /// The ufrag before an ICE restart, which ends as a pair of the new one is nominated.
    pub ended_ufrag: Option<String>,
}

/// Transaction of a check, and who sent it: 30 bytes, as every transport comes to have a full set.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct RememberedCheck {
    id: TransactionId,
    ip: [u8; 16],
    port: u16,
}

impl RememberedCheck {
    fn new(id: TransactionId, remote: SocketAddr) -> Self {
        let ip = match remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            id,
            ip: ip.octets(),
            port: remote.port(),
        }
    }
}

const _: () = assert!(size_of::<RememberedCheck>() <= 30);

/// The lite agent of one transport.
#[derive(Debug)]
pub struct IceLite {
    local: Credentials,
    /// By the peer's description. Not made ready for HMAC: few peers are ever sent a check.
    remote: Option<IceCredentials>,
    /// Before an ICE restart; valid until the new ones nominate a pair (RFC 8445 §2.4: media
    /// continues on the old pair meanwhile).
    previous: Option<Box<Credentials>>,
    /// At most [`TUPLES_PER_TRANSPORT_MAX`]. On the heap, as nearly all have one.
    tuples: Vec<ValidTuple>,
    selected: Option<Tuple>,
    last_check: Option<Timestamp>,
    /// The latest checks, at most [`CHECKS_REMEMBERED`]; the oldest is overwritten.
    checks: Vec<RememberedCheck>,
    checks_next: usize,
}

impl IceLite {
    pub fn new(local: &IceCredentials) -> Self {
        Self {
            local: Credentials::new(local),
            remote: None,
            previous: None,
            tuples: Vec::new(),
            selected: None,
            last_check: None,
            checks: Vec::new(),
            checks_next: 0,
        }
    }

    pub fn local_ufrag(&self) -> &str {
        &self.local.ufrag
    }

    /// Ufrags under which checks still arrive.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        self.locals().map(|local| local.ufrag.as_str())
    }

    /// Starts an ICE restart with new credentials. Returns the ufrag that ends at once, when an
    /// earlier restart had not completed.
    pub fn restart(&mut self, local: &IceCredentials) -> Option<String> {
        if self.local.ufrag == local.ufrag {
            return None;
        }
        let replaced = std::mem::replace(&mut self.local, Credentials::new(local));
        self.previous
            .replace(Box::new(replaced))
            .map(|credentials| credentials.ufrag)
    }

    /// The pair that packets are sent on: nominated by the peer, or the first valid one before, or
    /// the one to which its media has moved since.
    pub fn selected(&self) -> Option<Tuple> {
        self.selected
    }

    /// When the peer was last heard; `None` before its first check.
    pub fn last_check(&self) -> Option<Timestamp> {
        self.last_check
    }

    pub fn tuples(&self) -> impl Iterator<Item = Tuple> + '_ {
        self.tuples.iter().map(|valid| valid.tuple)
    }

    /// Whether a Binding Request is for one of our ufrags and made with its password. Changes
    /// nothing.
    pub fn authentic(&self, request: &StunView<'_>) -> Result<(), DropReason> {
        self.authenticate(request).map(|_| ())
    }

    fn locals(&self) -> impl Iterator<Item = &Credentials> {
        std::iter::once(&self.local).chain(self.previous.as_deref())
    }

    fn authenticate(&self, request: &StunView<'_>) -> Result<&Credentials, DropReason> {
        let ufrag = request
            .username()
            .and_then(local_part)
            .ok_or(DropReason::StunUsername)?;
        let credentials = self
            .locals()
            .find(|credentials| credentials.ufrag == ufrag)
            .ok_or(DropReason::StunUsername)?;
        if !request.verify_integrity(&credentials.key) {
            return Err(DropReason::StunIntegrity);
        }
        Ok(credentials)
    }

    /// Takes a Binding Request for one of our ufrags and writes the response into `out`.
    ///
    /// RFC 8445 §7.3: only after MESSAGE-INTEGRITY holds does the request count.
    pub fn receive(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        request: &StunView<'_>,
        out: &mut [u8],
    ) -> Result<CheckOutcome, DropReason> {
        let current = self.authenticate(request)?.ufrag == self.local.ufrag;
        if !self.note_check(request.transaction_id(), tuple.remote) {
            return Err(DropReason::StunReplay);
        }
        let credentials = if current {
            &self.local
        } else {
            self.previous.as_deref().ok_or(DropReason::StunUsername)?
        };
        let response_len = write_binding_success(
            out,
            request.transaction_id(),
            tuple.remote,
            &credentials.key,
        )
        .ok_or(DropReason::StunMalformed)?;

        self.last_check = Some(now);
        let mut outcome = CheckOutcome {
            response_len,
            ..CheckOutcome::default()
        };
        self.note_valid(now, tuple, &mut outcome);
        if request.use_candidate() {
            self.nominate(tuple, &mut outcome);
            if current {
                outcome.ended_ufrag = self.previous.take().map(|previous| previous.ufrag);
            }
        } else if self.selected_is_abandoned(now) {
            self.nominate(tuple, &mut outcome);
        }
        Ok(outcome)
    }

    /// Authentic media came on `tuple`. Where its check is the later one, the peer has left the
    /// selected tuple: returns true, and that one is selected.
    ///
    /// RFC 8445 §8.1.1 leaves it to the peer to nominate again. Firefox does not when its NAT
    /// chooses another port: its checks of consent (RFC 7675 §5.1) come from there without
    /// USE-CANDIDATE, and everything we sent would go to nobody for 30 s.
    pub fn follow(&mut self, tuple: Tuple) -> bool {
        if self.selected == Some(tuple) {
            return false;
        }
        let last_check = self.last_check_of(Some(tuple));
        if last_check <= self.last_check_of(self.selected) {
            return false;
        }
        let mut outcome = CheckOutcome::default();
        self.nominate(tuple, &mut outcome);
        outcome.selected_changed
    }

    pub fn set_remote(&mut self, remote: &IceCredentials) {
        self.remote = Some(remote.clone());
    }

    /// Writes a check of ours (RFC 8445 §7.2.2); `None` before the peer's description came.
    ///
    /// RFC 8445 §2.5 has a lite agent send none. This one deviates for a tuple on which authentic
    /// media came before any check: the answer validates it up to 6 s before the peer's own checks
    /// come round. Every full agent answers a check of the pair it uses (§7.3).
    pub fn write_check(&self, transaction_id: TransactionId, out: &mut [u8]) -> Option<usize> {
        let remote = self.remote.as_ref()?;
        let request = BindingRequest {
            transaction_id,
            username: &format!("{}:{}", remote.ufrag, self.local.ufrag),
            priority: CHECK_PRIORITY,
            role: IceRole::Controlled(0),
            use_candidate: false,
        };
        write_binding_request(out, &request, &IntegrityKey::new(remote.pwd.as_bytes()))
    }

    /// Takes the answer to a check of ours, which came on the tuple that was checked. RFC 8445
    /// §7.2.5.3.2: the tuple is valid; it is selected too, since media showed that the peer uses it.
    pub fn receive_answer(
        &mut self,
        now: Timestamp,
        tuple: Tuple,
        answer: &StunView<'_>,
    ) -> Result<CheckOutcome, DropReason> {
        let remote = self.remote.as_ref().ok_or(DropReason::StunUnexpected)?;
        if !answer.verify_integrity(&IntegrityKey::new(remote.pwd.as_bytes())) {
            return Err(DropReason::StunIntegrity);
        }
        self.last_check = Some(now);
        let mut outcome = CheckOutcome::default();
        self.note_valid(now, tuple, &mut outcome);
        self.nominate(tuple, &mut outcome);
        Ok(outcome)
    }

    fn last_check_of(&self, tuple: Option<Tuple>) -> Option<Timestamp> {
        self.tuples
            .iter()
            .find(|valid| Some(valid.tuple) == tuple)
            .map(|valid| valid.last_check)
    }

    /// No pair was chosen, or the peer checks others and not the one it chose: one that sends data
    /// alone has no media to follow.
    fn selected_is_abandoned(&self, now: Timestamp) -> bool {
        self.last_check_of(self.selected)
            .is_none_or(|last_check| now.since(last_check) >= DISCONNECTED_AFTER)
    }

    /// RFC 8489 §6.2.1: a retransmission has its request's id, and comes from where that came. The
    /// same id from elsewhere was captured on its way and would lead our media there. False for such
    /// a copy, as far as we remember.
    fn note_check(&mut self, id: TransactionId, remote: SocketAddr) -> bool {
        let check = RememberedCheck::new(id, remote);
        if let Some(first) = self.checks.iter().find(|seen| seen.id == id) {
            return *first == check;
        }
        if self.checks.len() >= CHECKS_REMEMBERED {
            if let Some(oldest) = self.checks.get_mut(self.checks_next) {
                *oldest = check;
            }
            self.checks_next = (self.checks_next + 1) % CHECKS_REMEMBERED;
        } else {
            self.checks.push(check);
        }
        true
    }

    fn note_valid(&mut self, now: Timestamp, tuple: Tuple, outcome: &mut CheckOutcome) {
        if let Some(valid) = self.tuples.iter_mut().find(|valid| valid.tuple == tuple) {
            valid.last_check = now;
            return;
        }
        if self.tuples.len() >= TUPLES_PER_TRANSPORT_MAX {
            outcome.evicted = self.evict_oldest();
        }
        // Nearly all transports have one.
        self.tuples.reserve_exact(1);
        self.tuples.push(ValidTuple {
            tuple,
            last_check: now,
            nominated: false,
        });
        outcome.new_tuple = true;
    }

    /// The least recently checked tuple makes room; never the selected one.
    fn evict_oldest(&mut self) -> Option<Tuple> {
        let selected = self.selected;
        let (index, _) = self
            .tuples
            .iter()
            .enumerate()
            .filter(|(_, valid)| Some(valid.tuple) != selected)
            .min_by_key(|(_, valid)| valid.last_check)?;
        Some(self.tuples.remove(index).tuple)
    }

    /// The latest nomination wins. A full agent facing a lite one sets USE-CANDIDATE only on the
    /// pair it has selected, and again on another when it roams (RFC 8445 §8.1.1).
    fn nominate(&mut self, tuple: Tuple, outcome: &mut CheckOutcome) {
        for valid in &mut self.tuples {
            valid.nominated = valid.tuple == tuple;
        }
        if self.selected != Some(tuple) {
            self.selected = Some(tuple);
            outcome.selected_changed = true;
        }
    }

    /// Removes a tuple without a check for the consent time; returns it. Call until `None`.
    pub fn expire(&mut self, now: Timestamp) -> Option<Tuple> {
        let index = self
            .tuples
            .iter()
            .position(|valid| now.since(valid.last_check) >= CONSENT_TIMEOUT)?;
        let expired = self.tuples.remove(index).tuple;
        if self.selected == Some(expired) {
            self.selected = self
                .tuples
                .iter()
                .max_by_key(|valid| (valid.nominated, valid.last_check))
                .map(|valid| valid.tuple);
        }
        Some(expired)
    }

    /// When the next tuple may expire.
    pub fn next_expiry(&self) -> Timestamp {
        self.tuples
            .iter()
            .map(|valid| valid.last_check + CONSENT_TIMEOUT)
            .min()
            .unwrap_or(Timestamp::NEVER)
    }
}

/// RFC 8445 §7.2.2: USERNAME is the receiver's ufrag, a colon, the sender's ufrag.
pub fn local_part(username: &str) -> Option<&str> {
    username.split_once(':').map(|(local, _)| local)
}

#[cfg(test)]
mod tests;
