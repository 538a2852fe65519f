use millrace_shared::link::IceCredentials;
use millrace_shared::time::RtpTime;
use millrace_shared::wire::rtp::{RtpHeader, write_header};
use millrace_shared::{ids::Pt, time::SeqNo};

use super::*;

const OFFER: &str =
    include_str!("../../../../controlplane/src/negotiate/testdata/subscriber-offer.sdp");

/// Sends nothing.
struct Nowhere;

impl Transmit for Nowhere {
    fn reserve(&mut self, _: &Tuple, _: &mut TrainHint, _: usize) -> Option<&mut [u8]> {
        None
    }
}

/// The last flight of a handshake may be lost, and the server sends media as soon as it has its half.
#[test]
fn media_before_the_keys_leaves_nothing_due() {
    let epoch = crate::pump::epoch();
    let identity = Identity::generate().unwrap();
    let (events, _told) = tokio::sync::mpsc::unbounded_channel();
    let new = NewPeer {
        id: PeerId(1),
        local: ([127, 0, 0, 1], 5000).into(),
        ice: IceCredentials {
            ufrag: "ours".into(),
            pwd: "a password of enough characters".into(),
        },
        sample_rank: None,
        impairment: None,
        seed: 1,
        established: None,
        events,
    };
    let mut peer = Peer::new(new, &identity, &epoch);
    let offer = Description::parse(OFFER).unwrap();
    peer.receiver.set_map(StreamMap::of(&offer));
    let header = RtpHeader {
        marker: true,
        pt: Pt(111),
        seq: SeqNo(1),
        timestamp: RtpTime(0),
        ssrc: Ssrc(2),
    };
    let mut datagram = [0; 200];
    write_header(&mut datagram, &header, &[]).unwrap();
    let (mut meter, mut buffer) = (Meter::default(), PollBuffer::new());
    let mut around = Surroundings {
        now: Timestamp::from_millis(100),
        epoch: &epoch,
        meter: &mut meter,
        buffer: &mut buffer,
        tx: &mut Nowhere,
    };
    let remote = ([127, 0, 0, 1], 7882).into();
    let next = peer.receive(remote, &mut datagram, &mut around);
    assert_eq!(next, Timestamp::NEVER);
    assert_eq!((meter.counters.received, meter.counters.strayed), (1, 1));
}
