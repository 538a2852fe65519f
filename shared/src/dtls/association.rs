//! One DTLS association over the library's state machine.

use std::fmt;
use std::time::{Duration, Instant};

use dimpl::{Output, SrtpProfile};

use super::identity::{Identity, fingerprint};
use super::record::has_plaintext_alert;
use crate::drop::DropReason;
use crate::limits::{
    DATAGRAM_RECEIVE_LEN_MAX, DATAGRAM_SEND_LEN_MAX, DTLS_OVERHEAD, DTLS_QUEUE_DATAGRAMS_MAX,
    DTLS_REBUILDS_MAX, DTLS_SEND_DATAGRAMS_MAX,
};
use crate::link::Fingerprint;
use crate::srtp::{MasterKey, Profile, split_keying_material};
use crate::time::{Epoch, Timestamp};

/// Largest application data of one datagram.
pub const APPLICATION_DATA_LEN_MAX: usize = DATAGRAM_SEND_LEN_MAX - DTLS_OVERHEAD;

/// From the first datagram to completion. Measured at 30 % loss, 95 of 100 take under 6 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// A ClientHello that is incomplete for so long misses a fragment, or holds a forged one. The
/// client will send all of it again.
const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// The library's way to say "no timer" is a deadline in ten years.
const TIMER_MAX: Duration = Duration::from_secs(86_400);

/// Where polled output is written; one per thread serves all associations.
///
/// The library panics when a peer's certificate does not fit, so this holds the largest one that
/// its receive queue can.
pub struct PollBuffer(Box<[u8]>);

impl PollBuffer {
    pub const LEN: usize = DTLS_QUEUE_DATAGRAMS_MAX * DATAGRAM_RECEIVE_LEN_MAX;

    pub fn new() -> Self {
        Self(vec![0; Self::LEN].into_boxed_slice())
    }
}

impl Default for PollBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PollBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollBuffer").finish_non_exhaustive()
    }
}

const _: () = assert!(PollBuffer::LEN >= DATAGRAM_SEND_LEN_MAX);

#[derive(Debug)]
pub enum DtlsOutput<'a> {
    /// To be sent to the peer.
    Datagram(&'a [u8]),
    /// Of the certificate the peer proved to own. The caller compares it with the one of the peer's
    /// description and closes on a mismatch (RFC 5763 §5).
    PeerFingerprint(Fingerprint),
    /// The handshake is complete.
    Connected,
    /// Keys of both directions, of the profile negotiated. To be used after [`Self::Connected`] and
    /// a matching [`Self::PeerFingerprint`]. Does not come when the peer offered no SRTP.
    Keys {
        local: MasterKey,
        remote: MasterKey,
    },
    ApplicationData(&'a [u8]),
    /// The association is over, by our close, the peer's, or the peer's fatal alert.
    Closed,
    /// The handshake did not complete.
    Failed,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Role {
    Client,
    Server,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Handshake,
    Connected,
    /// Our close_notify waits for a poll.
    Closing,
    /// The library object is gone; [`DtlsOutput::Failed`] or [`DtlsOutput::Closed`] waits for a
    /// poll.
    Ending {
        failed: bool,
    },
    Over,
}

/// One association. After every call except [`Self::next_timeout`], poll until `None`.
#[derive(Debug)]
pub struct Dtls {
    identity: Identity,
    epoch: Epoch,
    role: Role,
    state: State,
    /// Gone when over, and with it most of its memory.
    library: Option<dimpl::Dtls>,
    library_timeout: Timestamp,
    /// Time of the last call.
    now: Timestamp,
    /// Of the handshake; set by the first datagram.
    deadline: Timestamp,
    rebuilds: u8,
    /// When this attempt at a handshake received its first datagram.
    attempt_began: Option<Timestamp>,
    /// Whether this attempt has sent anything.
    attempt_answered: bool,
    /// Datagrams of application data since the last poll.
    unpolled: usize,
}

impl Dtls {
    /// The server side, which waits for a ClientHello.
    pub fn new(identity: &Identity, epoch: &Epoch, now: Timestamp) -> Self {
        Self::with_role(identity, epoch, now, Role::Server)
    }

    /// The client side: the first poll gives a ClientHello.
    pub fn new_client(identity: &Identity, epoch: &Epoch, now: Timestamp) -> Self {
        let mut dtls = Self::with_role(identity, epoch, now, Role::Client);
        dtls.deadline = now + HANDSHAKE_TIMEOUT;
        dtls.handle_timeout(now);
        dtls
    }

    fn with_role(identity: &Identity, epoch: &Epoch, now: Timestamp, role: Role) -> Self {
        let mut dtls = Self {
            identity: identity.clone(),
            epoch: *epoch,
            role,
            state: State::Handshake,
            library: None,
            library_timeout: Timestamp::NEVER,
            now,
            deadline: Timestamp::NEVER,
            rebuilds: 0,
            attempt_began: None,
            attempt_answered: false,
            unpolled: 0,
        };
        dtls.begin_attempt();
        dtls
    }

    /// Takes a datagram from the peer. An error says why it was dropped, never that the association
    /// is over: that is an output.
    pub fn receive(&mut self, now: Timestamp, datagram: &[u8]) -> Result<(), DropReason> {
        if datagram.len() > DATAGRAM_RECEIVE_LEN_MAX {
            return Err(DropReason::DatagramLength);
        }
        self.now = now;
        if self.state == State::Handshake {
            self.admit_to_handshake(now, datagram)?;
        }
        let at = self.epoch.instant(now);
        let library = self.library.as_mut().ok_or(DropReason::DtlsUnexpected)?;
        // The library takes its time from here; without it a ClientHello makes it panic.
        let outcome = library
            .handle_timeout(at)
            .and_then(|()| library.handle_packet(datagram));
        if outcome.is_err() {
            let in_handshake = self.state == State::Handshake;
            self.break_off();
            return Err(if in_handshake {
                DropReason::DtlsHandshakeBroken
            } else {
                DropReason::DtlsUnexpected
            });
        }
        Ok(())
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = now;
        if self.state == State::Handshake && now >= self.deadline {
            self.end(State::Ending { failed: true });
            return;
        }
        let at = self.epoch.instant(now);
        let outcome = self.library.as_mut().map(|it| it.handle_timeout(at));
        if let Some(Err(_)) = outcome {
            self.break_off();
        }
    }

    /// When to call [`Self::handle_timeout`]; right after a poll that gave `None`.
    pub fn next_timeout(&self) -> Timestamp {
        match self.state {
            State::Handshake => self.library_timeout.min(self.deadline),
            State::Connected | State::Closing => self.library_timeout,
            State::Ending { .. } | State::Over => Timestamp::NEVER,
        }
    }

    /// Sends application data of at most [`APPLICATION_DATA_LEN_MAX`] bytes.
    pub fn send(&mut self, now: Timestamp, data: &[u8]) -> Result<(), DropReason> {
        self.now = now;
        if data.len() > APPLICATION_DATA_LEN_MAX {
            return Err(DropReason::SendLength);
        }
        if self.state != State::Connected {
            return Err(DropReason::DtlsUnexpected);
        }
        // The library's queue is bounded too, but to fill it is fatal.
        if self.unpolled >= DTLS_SEND_DATAGRAMS_MAX {
            return Err(DropReason::DtlsSendFull);
        }
        let at = self.epoch.instant(now);
        let library = self.library.as_mut().ok_or(DropReason::DtlsUnexpected)?;
        let outcome = library
            .handle_timeout(at)
            .and_then(|()| library.send_application_data(data));
        if outcome.is_err() {
            self.break_off();
            return Err(DropReason::DtlsUnexpected);
        }
        self.unpolled += 1;
        Ok(())
    }

    /// Ends the association, with a close_notify when it was connected.
    pub fn close(&mut self, now: Timestamp) {
        if !matches!(self.state, State::Handshake | State::Connected) {
            return;
        }
        self.now = now;
        self.state = State::Closing;
        let at = self.epoch.instant(now);
        if let Some(library) = &mut self.library {
            // What fails here was over already; the poll says so either way.
            let _ = library.handle_timeout(at).and_then(|()| library.close());
        }
    }

    /// The next output, or `None` when there is nothing to do before [`Self::next_timeout`].
    pub fn poll<'a>(&mut self, buffer: &'a mut PollBuffer) -> Option<DtlsOutput<'a>> {
        if let State::Ending { failed } = self.state {
            self.state = State::Over;
            return Some(if failed {
                DtlsOutput::Failed
            } else {
                DtlsOutput::Closed
            });
        }
        loop {
            // Lengths instead of slices: the library fills the buffer from its beginning.
            let server = self.role == Role::Server;
            let polled = Polled::new(self.library.as_mut()?.poll_output(&mut buffer.0), server);
            match polled {
                Polled::Datagram(len) => {
                    self.attempt_answered = true;
                    return buffer.0.get(..len).map(DtlsOutput::Datagram);
                }
                Polled::CloseNotify => {
                    self.end(State::Over);
                    return Some(DtlsOutput::Closed);
                }
                Polled::Timeout(at) => return self.finish_poll(at),
                // Closed on the peer's fingerprint, the association gives no keys any more, though
                // the library may have them ready.
                _ if self.state == State::Closing => {}
                Polled::ApplicationData(len) => {
                    return buffer.0.get(..len).map(DtlsOutput::ApplicationData);
                }
                Polled::PeerFingerprint(it) => return Some(DtlsOutput::PeerFingerprint(it)),
                Polled::Connected => {
                    self.state = State::Connected;
                    return Some(DtlsOutput::Connected);
                }
                Polled::Keys(local, remote) => return Some(DtlsOutput::Keys { local, remote }),
                Polled::Unusable => {}
            }
        }
    }

    /// What every datagram of a handshake must pass.
    fn admit_to_handshake(&mut self, now: Timestamp, datagram: &[u8]) -> Result<(), DropReason> {
        // An alert of epoch 0 is unauthenticated and would end the attempt.
        if has_plaintext_alert(datagram) {
            return Err(DropReason::DtlsAlertEarly);
        }
        if self.deadline == Timestamp::NEVER {
            self.deadline = now + HANDSHAKE_TIMEOUT;
        }
        let stuck = self
            .attempt_began
            .is_some_and(|began| now.since(began) >= CLIENT_HELLO_TIMEOUT)
            && !self.attempt_answered;
        if stuck && self.role == Role::Server {
            self.begin_attempt();
        }
        self.attempt_began.get_or_insert(now);
        Ok(())
    }

    fn begin_attempt(&mut self) {
        let now = self.epoch.instant(self.now);
        let mut library = self.identity.new_library_object(now);
        library.set_active(self.role == Role::Client);
        self.library = Some(library);
        self.library_timeout = Timestamp::NEVER;
        self.attempt_began = None;
        self.attempt_answered = false;
        self.unpolled = 0;
    }

    /// After an error of the library, whose object is then unusable.
    fn break_off(&mut self) {
        match self.state {
            State::Handshake if self.role == Role::Server && self.rebuilds < DTLS_REBUILDS_MAX => {
                self.rebuilds += 1;
                self.begin_attempt();
            }
            State::Handshake => self.end(State::Ending { failed: true }),
            // After the handshake only the peer itself can cause one: by a fatal alert, or by
            // misbehaviour.
            State::Connected | State::Closing => self.end(State::Ending { failed: false }),
            State::Ending { .. } | State::Over => {}
        }
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.library = None;
    }

    fn finish_poll(&mut self, timeout: Instant) -> Option<DtlsOutput<'static>> {
        self.unpolled = 0;
        let timeout = self.epoch.timestamp(timeout);
        self.library_timeout = if timeout.since(self.now) > TIMER_MAX {
            Timestamp::NEVER
        } else {
            timeout
        };
        if self.state == State::Closing {
            self.end(State::Over);
            return Some(DtlsOutput::Closed);
        }
        None
    }
}

/// What the library gave, without borrowing the buffer it wrote to.
enum Polled {
    Datagram(usize),
    ApplicationData(usize),
    PeerFingerprint(Fingerprint),
    Connected,
    Keys(MasterKey, MasterKey),
    CloseNotify,
    Timeout(Instant),
    Unusable,
}

impl Polled {
    fn new(output: Output<'_>, we_are_server: bool) -> Self {
        match output {
            Output::Packet(datagram) => Self::Datagram(datagram.len()),
            Output::ApplicationData(plain) => Self::ApplicationData(plain.len()),
            Output::PeerCert(certificate) => Self::PeerFingerprint(fingerprint(certificate)),
            Output::Connected => Self::Connected,
            Output::KeyingMaterial(material, profile) => {
                let keys = srtp_profile(profile)
                    .and_then(|it| split_keying_material(it, &material, we_are_server));
                keys.map_or(Self::Unusable, |(local, remote)| Self::Keys(local, remote))
            }
            Output::CloseNotify => Self::CloseNotify,
            Output::Timeout(at) => Self::Timeout(at),
            // Of the outputs of this version only BufferTooSmall is left, which a PollBuffer's size
            // rules out.
            _ => Self::Unusable,
        }
    }
}

fn srtp_profile(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        _ => None,
    }
}
