//! The node's certificate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dimpl::crypto::{CryptoProvider, aws_lc_rs};
use dimpl::{Config, DtlsCertificate};
use ring::digest;

use super::signing::SIGNING_KEYS;
use crate::limits::{DTLS_DATAGRAM_LEN_MAX, DTLS_QUEUE_DATAGRAMS_MAX, DTLS_SEND_DATAGRAMS_MAX};
use crate::link::Fingerprint;

/// First retransmission. Browsers start at 50 ms, so ours only repairs what theirs cannot; with a
/// 1 s timer handshakes at 30 % loss take twice as long at the median.
const FLIGHT_RTO: Duration = Duration::from_millis(250);
/// Doubling from [`FLIGHT_RTO`], these outlast the handshake's deadline.
const FLIGHT_RETRIES: usize = 8;
/// Datagrams the library may hold: a poll's application data, and a handshake flight.
const QUEUE_TX_DATAGRAMS: usize = DTLS_SEND_DATAGRAMS_MAX + 16;

/// Certificate and key of this node, made once at start and shared by all its associations.
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    #[error("no DTLS certificate could be made")]
    Certificate,
    #[error("the DTLS library refused its configuration")]
    Config,
}

impl Identity {
    /// A new self-signed ECDSA P-256 certificate. Its serial number is random, because Firefox
    /// refuses a second certificate with the same issuer and serial. It is valid for a year from
    /// now by the system's clock, which WebRTC peers do not check.
    pub fn generate() -> Result<Self, IdentityError> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|_| IdentityError::Certificate)?;
        let provider = CryptoProvider {
            key_provider: &SIGNING_KEYS,
            ..aws_lc_rs::default_provider()
        };
        let config = Config::builder()
            .with_crypto_provider(provider)
            // ICE has validated the tuple; a cookie would only cost a round trip.
            .use_server_cookie(false)
            .require_client_certificate(true)
            .mtu(DTLS_DATAGRAM_LEN_MAX)
            .max_queue_rx(DTLS_QUEUE_DATAGRAMS_MAX)
            .max_queue_tx(QUEUE_TX_DATAGRAMS)
            .flight_start_rto(FLIGHT_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .build()
            .map_err(|_| IdentityError::Config)?;
        let fingerprint = fingerprint(&certificate.certificate);
        Ok(Self {
            shared: Arc::new(Shared {
                config: Arc::new(config),
                certificate,
                fingerprint,
            }),
        })
    }

    /// What our descriptions name (RFC 8122 §5).
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.fingerprint
    }

    /// An identity whose certificate carries `len` bytes that do not belong there.
    #[cfg(test)]
    pub(super) fn with_junk(&self, len: usize) -> Self {
        let mut certificate = self.shared.certificate.clone();
        certificate
            .certificate
            .resize(certificate.certificate.len() + len, 0);
        Self {
            shared: Arc::new(Shared {
                config: Arc::clone(&self.shared.config),
                fingerprint: fingerprint(&certificate.certificate),
                certificate,
            }),
        }
    }

    pub(super) fn new_library_object(&self, now: std::time::Instant) -> dimpl::Dtls {
        let config = Arc::clone(&self.shared.config);
        dimpl::Dtls::new_12(config, self.shared.certificate.clone(), now)
    }
}

impl fmt::Debug for Identity {
    // The private key never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.shared.fingerprint)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate in DER.
pub(super) fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    Fingerprint(bytes)
}
