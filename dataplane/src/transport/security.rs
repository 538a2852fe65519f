//! DTLS and the SRTP keys it yields. Keys count only once the handshake is complete and the
//! certificate is the one the peer's description named (RFC 8827 §6.5, RFC 5763 §5).

use millrace_shared::drop::DropReason;
use millrace_shared::dtls::{Dtls, Identity};
use millrace_shared::link::Fingerprint;
use millrace_shared::srtp::{MasterKey, SrtpRx, SrtpTx};
use millrace_shared::time::{Epoch, Timestamp};

/// What became of the fingerprint check.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// The handshake is not done, or the description has not come.
    Waiting,
    /// Now trusted; said once.
    Established,
    Mismatch,
}

#[derive(Debug, Default)]
pub struct Security {
    pub dtls: Option<Box<Dtls>>,
    /// By the peer's description.
    expected: Option<Fingerprint>,
    /// By the peer's certificate.
    presented: Option<Fingerprint>,
    handshake_done: bool,
    srtp: Option<(SrtpTx, SrtpRx)>,
    established: bool,
}

impl Security {
    pub fn expect(&mut self, fingerprint: Fingerprint) {
        self.expected = Some(fingerprint);
    }

    pub fn present(&mut self, fingerprint: Fingerprint) {
        self.presented = Some(fingerprint);
    }

    pub fn complete(&mut self) {
        self.handshake_done = true;
    }

    /// Our side of DTLS, made when the first record of a validated tuple arrives: we are the
    /// server, so that we choose the SRTP profile.
    pub fn dtls_or_new(&mut self, identity: &Identity, epoch: &Epoch, now: Timestamp) -> &mut Dtls {
        self.dtls
            .get_or_insert_with(|| Box::new(Dtls::new(identity, epoch, now)))
    }

    /// Keys of the finished handshake; unusable until [`Security::settle`] says established.
    pub fn set_keys(&mut self, local: &MasterKey, remote: &MasterKey) {
        self.srtp = Some((SrtpTx::new(local), SrtpRx::new(remote)));
    }

    /// Compares the certificate with the description once both are there.
    pub fn settle(&mut self) -> Trust {
        match (self.presented, self.expected) {
            (Some(presented), Some(expected)) if presented != expected => Trust::Mismatch,
            (Some(_), Some(_)) if self.handshake_done && self.srtp.is_some() => {
                if self.established {
                    return Trust::Waiting;
                }
                self.established = true;
                Trust::Established
            }
            _ => Trust::Waiting,
        }
    }

    /// The keys are given up: nothing is sent or accepted under them any more.
    pub fn revoke(&mut self) {
        self.srtp = None;
        self.established = false;
    }

    pub fn established(&self) -> bool {
        self.established
    }

    pub fn tx(&mut self) -> Option<&mut SrtpTx> {
        let established = self.established;
        self.srtp.as_mut().filter(|_| established).map(|(tx, _)| tx)
    }

    /// The keys of [`Security::rx`], to look without taking.
    pub fn rx_ref(&self) -> Option<&SrtpRx> {
        self.srtp
            .as_ref()
            .filter(|_| self.established)
            .map(|(_, rx)| rx)
    }

    pub fn rx(&mut self) -> Result<&mut SrtpRx, DropReason> {
        let established = self.established;
        self.srtp
            .as_mut()
            .filter(|_| established)
            .map(|(_, rx)| rx)
            .ok_or(DropReason::SrtpNoKeys)
    }
}
