//! SRTP and SRTCP: what was sealed opens once, everything else never does.

use std::collections::HashSet;

use arbitrary::{Arbitrary, Unstructured};
use millrace_shared::srtp::{MasterKey, Profile, SrtpRx, SrtpTx};
use millrace_shared::wire::rtp::{RtpHeader, write_header};
use millrace_shared::{ids, time};

/// Steps of one run.
const STEPS_MAX: usize = 64;
const SOURCES: u8 = 4;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Bytes that nobody sealed.
    Noise { rtcp: bool, bytes: &'a [u8] },
    /// The next packet of a source, delivered. Then again, which must fail.
    Rtp {
        source: u8,
        payload_len: u8,
        skip: u8,
    },
    /// The same of RTCP.
    Rtcp { source: u8, payload_len: u8 },
    /// A sealed packet with one byte changed, or cut.
    Broken {
        rtcp: bool,
        source: u8,
        at: u16,
        xor: u8,
        cut: bool,
    },
}

struct Pair {
    tx: SrtpTx,
    rx: SrtpRx,
    /// Extended sequence number of each source.
    next: [u64; SOURCES as usize],
    heard: [HashSet<u8>; 2],
}

pub(crate) fn srtp(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(choice) = input.choose_index(Profile::ALL.len()) else {
        return;
    };
    let profile = Profile::ALL[choice];
    let key = vec![0x17; profile.key_len()];
    let salt = vec![0x71; profile.salt_len()];
    let master = MasterKey::new(profile, &key, &salt).expect("the lengths are the profile's");
    let mut pair = Pair {
        tx: SrtpTx::new(&master),
        rx: SrtpRx::new(&master),
        next: [65_500, 0, 30_000, 1],
        heard: [HashSet::new(), HashSet::new()],
    };
    for _ in 0..STEPS_MAX {
        let Ok(step) = Step::arbitrary(&mut input) else {
            return;
        };
        pair.step(&step);
        let heard = (pair.heard[0].len(), pair.heard[1].len());
        assert_eq!(pair.rx.ssrcs(), heard, "{step:?} made state");
        if input.is_empty() {
            return;
        }
    }
}

impl Pair {
    fn step(&mut self, step: &Step<'_>) {
        match *step {
            Step::Noise { rtcp, bytes } => {
                self.refuses(rtcp, bytes.to_vec());
            }
            Step::Rtp {
                source,
                payload_len,
                skip,
            } => {
                let source = source % SOURCES;
                self.next[usize::from(source)] += u64::from(skip);
                let sealed = self.sealed_rtp(source, payload_len);
                let opened = self.rx.unprotect_rtp(&mut sealed.clone());
                let opened = opened.expect("a packet that was sealed opens");
                assert_eq!(opened.len + self.rx.profile().rtp_overhead(), sealed.len());
                self.heard[0].insert(source);
                self.refuses(false, sealed);
            }
            Step::Rtcp {
                source,
                payload_len,
            } => {
                let source = source % SOURCES;
                let sealed = self.sealed_rtcp(source, payload_len);
                let opened = self.rx.unprotect_rtcp(&mut sealed.clone());
                opened.expect("a packet that was sealed opens");
                self.heard[1].insert(source);
                self.refuses(true, sealed);
            }
            Step::Broken {
                rtcp,
                source,
                at,
                xor,
                cut,
            } => {
                let source = source % SOURCES;
                let mut sealed = if rtcp {
                    self.sealed_rtcp(source, 20)
                } else {
                    self.sealed_rtp(source, 20)
                };
                let at = usize::from(at) % sealed.len();
                if cut {
                    sealed.truncate(at);
                } else {
                    sealed[at] ^= xor.max(1);
                }
                self.refuses(rtcp, sealed);
            }
        }
    }

    fn refuses(&mut self, rtcp: bool, mut bytes: Vec<u8>) {
        let accepted = if rtcp {
            self.rx.unprotect_rtcp(&mut bytes).is_ok()
        } else {
            self.rx.unprotect_rtp(&mut bytes).is_ok()
        };
        assert!(!accepted, "a forged or repeated packet was accepted");
    }

    fn sealed_rtp(&mut self, source: u8, payload_len: u8) -> Vec<u8> {
        let next = &mut self.next[usize::from(source)];
        *next += 1;
        let header = RtpHeader {
            marker: false,
            pt: ids::Pt(96),
            seq: time::ExtSeq(*next).seq(),
            timestamp: time::RtpTime(7),
            ssrc: ids::Ssrc(u32::from(source)),
        };
        let roc = u32::try_from(*next >> 16).expect("few packets are sent");
        let mut packet = vec![0; 12 + usize::from(payload_len)];
        let header_len = write_header(&mut packet, &header, &[]).expect("there is room");
        let len = packet.len();
        packet.resize(len + self.tx.profile().rtp_overhead(), 0);
        let sealed = self.tx.protect_rtp(&mut packet, header_len, len, roc);
        sealed.expect("there is room for the tag");
        packet
    }

    fn sealed_rtcp(&mut self, source: u8, payload_len: u8) -> Vec<u8> {
        let len = 8 + usize::from(payload_len);
        let mut packet = vec![0; len + self.tx.profile().rtcp_overhead()];
        packet[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, source]);
        let sealed = self.tx.protect_rtcp(&mut packet, len);
        sealed.expect("there is room for the tag");
        packet
    }
}
