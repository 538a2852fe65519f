//! For the simulated node alone. DTLS draws its own random numbers, so one seed would not be one
//! run with it.

use millrace_shared::ids::TransportId;
use millrace_shared::link::Fingerprint;
use millrace_shared::srtp::MasterKey;

use super::Shard;

impl Shard {
    /// Gives a transport keys as if a handshake had exported them, and the certificate of
    /// `fingerprint`. As after a handshake they count once a description names that fingerprint.
    /// False if there is no such transport.
    pub fn key_transport(
        &mut self,
        transport: TransportId,
        fingerprint: Fingerprint,
        local: &MasterKey,
        remote: &MasterKey,
    ) -> bool {
        let slot = self.transport_ids.get(&transport);
        let Some(transport) = slot.and_then(|slot| self.transports.get_mut(*slot)) else {
            return false;
        };
        transport.security.set_keys(local, remote);
        transport.security.present(fingerprint);
        transport.security.complete();
        true
    }
}
