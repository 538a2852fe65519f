//! Sequence window, NACK register and packet store as sequences of operations, each against a
//! model that keeps everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use arrayvec::ArrayVec;
use millrace_dataplane::packet::{Packet, PacketMeta};
use millrace_dataplane::uptrack::nack::{
    LIFETIME_MAX, NackRegister, REORDER_TOLERANCE, Repair, SILENCE, TRIES_AFTER_SILENCE_MAX,
    TRIES_MAX,
};
use millrace_dataplane::uptrack::sequence::{Order, SequenceWindow};
use millrace_dataplane::uptrack::store::{AGE_MAX, PacketStore};
use millrace_shared::ids::Pt;
use millrace_shared::limits::{
    NACK_PACKETS_MAX, RECEIVE_WINDOW_PACKETS, STORE_BYTES_AUDIO, STORE_BYTES_VIDEO,
    STORE_PACKETS_AUDIO, STORE_PACKETS_VIDEO,
};
use millrace_shared::link::{ExtKind, MediaKind};
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo, Timestamp};

const STEPS_MAX: usize = 1_000;

#[derive(Arbitrary, Debug)]
enum Arrival {
    Near(i8),
    Far(u16),
    Repair(u16),
    Rebase,
}

/// Numbers in any order: each is accepted once, what is missing is counted right.
pub(crate) fn sequence(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut window = SequenceWindow::default();
    let mut accepted = BTreeSet::new();
    let mut last = SeqNo(65_530);
    for _ in 0..STEPS_MAX {
        let Ok(arrival) = Arrival::arbitrary(&mut input) else {
            return;
        };
        let highest = window.highest();
        let result = match arrival {
            Arrival::Near(step) => {
                last = SeqNo(last.0.wrapping_add_signed(step.into()));
                window.accept(last)
            }
            Arrival::Far(seq) => {
                last = SeqNo(seq);
                window.accept(last)
            }
            Arrival::Repair(back) => {
                let before = window.highest();
                let seq = highest.unwrap_or_default().seq().0.wrapping_sub(back);
                let result = window.accept_repair(SeqNo(seq));
                assert!(before.is_some() || result.is_err());
                result
            }
            Arrival::Rebase => {
                window.rebase();
                continue;
            }
        };
        if let Ok(found) = result {
            assert!(accepted.insert(found.seq), "{found:?} came twice");
            match found.order {
                Order::Newest { missing } => {
                    let highest = highest.expect("there is one before the newest");
                    assert_eq!(found.seq.0, highest.0 + missing + 1);
                }
                Order::Late => assert!(highest.is_some_and(|highest| found.seq < highest)),
                Order::First | Order::Restart => {
                    assert!(accepted.range(ExtSeq(found.seq.0 + 1)..).next().is_none());
                }
            }
            assert!(window.highest() >= Some(found.seq));
        }
        if input.is_empty() {
            return;
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Loss {
    /// The next packet after so many that did not come.
    Gap(u16),
    /// One of the missing arrives.
    Fill {
        index: u16,
        rtx: bool,
    },
    /// Something arrives that is not missing.
    Stray(u16),
    Wait {
        ms: u8,
    },
    Clear,
}

pub(crate) fn nack(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut register = NackRegister::default();
    let mut model = Model::new();
    let mut now = Timestamp::from_millis(1_000);
    let mut newest = ExtSeq::first(SeqNo(65_000));
    for _ in 0..STEPS_MAX {
        let Ok(step) = Loss::arbitrary(&mut input) else {
            return;
        };
        match step {
            Loss::Gap(number) => {
                let count = u64::from(number % 600);
                let silence = Duration::from_millis(u64::from(number / 64));
                newest.0 += count + 1;
                // More than the model: when exactly it gives a packet up is its own affair.
                let held = register.missing_count();
                let repair = register.note_gap(now, newest, count, silence);
                note_gap(&mut model, now, newest.0, count, silence);
                let fits = held as u64 + count <= NACK_PACKETS_MAX as u64;
                assert_eq!(repair == Repair::Requested, fits || count == 0);
            }
            Loss::Fill { index, rtx } if !model.is_empty() => {
                let at = usize::from(index) % model.len();
                let seq = model.keys().nth(at).copied().unwrap_or_default();
                model.remove(&seq);
                register.note_received(now, ExtSeq(seq), rtx);
            }
            Loss::Fill { .. } => {}
            Loss::Stray(seq) => {
                let seq = newest.0 + u64::from(seq);
                register.note_received(now, ExtSeq(seq), true);
            }
            Loss::Wait { ms } => now += Duration::from_millis(ms.into()),
            Loss::Clear => {
                register.clear();
                model.clear();
            }
        }
        ask(&mut register, &mut model, now, newest);
        if input.is_empty() {
            return;
        }
    }
}

/// Sequence number -> missing since, times asked for, times it may be.
type Model = BTreeMap<u64, (Timestamp, u8, u8)>;

fn note_gap(model: &mut Model, now: Timestamp, newest: u64, count: u64, silence: Duration) {
    let tries_max = if silence < SILENCE {
        TRIES_MAX
    } else {
        TRIES_AFTER_SILENCE_MAX
    };
    if count > NACK_PACKETS_MAX as u64 {
        model.clear();
        return;
    }
    model.extend((newest - count..newest).map(|seq| (seq, (now, 0, tries_max))));
    while model.len() > NACK_PACKETS_MAX {
        model.pop_first();
    }
}

/// Takes everything due, and compares what was asked for with what is missing.
fn ask(register: &mut NackRegister, model: &mut Model, now: Timestamp, newest: ExtSeq) {
    loop {
        let batch = register.due(now);
        if batch.is_empty() {
            break;
        }
        for seq in batch {
            let seq = newest.extend(seq).0;
            let Some((_, tries, tries_max)) = model.get_mut(&seq) else {
                panic!("{seq} is not missing");
            };
            *tries += 1;
            assert!(tries <= tries_max, "{seq} was asked for too often");
        }
    }
    model.retain(|seq, (since, tries, tries_max)| {
        let late = now.since(*since) >= LIFETIME_MAX;
        let far = seq + RECEIVE_WINDOW_PACKETS as u64 <= newest.0;
        let due = now.since(*since) >= REORDER_TOLERANCE;
        assert!(*tries > 0 || !due || late || far, "{seq} was not asked for");
        !late && !far && tries < tries_max
    });
    assert!(register.missing_count() <= NACK_PACKETS_MAX);
    assert!(register.next_timeout() > now);
}

#[derive(Arbitrary, Debug)]
struct Insert {
    step: i8,
    len: u16,
    wait_ms: u8,
    ext: Option<u8>,
}

pub(crate) fn store(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let video = input.arbitrary().unwrap_or_default();
    let (kind, packets_max, bytes_max) = if video {
        (MediaKind::Video, STORE_PACKETS_VIDEO, STORE_BYTES_VIDEO)
    } else {
        (MediaKind::Audio, STORE_PACKETS_AUDIO, STORE_BYTES_AUDIO)
    };
    let packets_max = packets_max as u64;
    let mut store = PacketStore::new(kind);
    let mut model: BTreeMap<u64, (Timestamp, Vec<u8>)> = BTreeMap::new();
    let mut now = Timestamp::from_millis(1);
    let mut newest = 70_000_u64;
    for _ in 0..STEPS_MAX {
        let Ok(insert) = Insert::arbitrary(&mut input) else {
            return;
        };
        now += Duration::from_millis(insert.wait_ms.into());
        let seq = newest.saturating_add_signed(insert.step.into());
        // Longer than a datagram is among them: it is not kept.
        let payload = vec![(seq ^ now.as_millis()) as u8; usize::from(insert.len % 1_600)];
        let ext = insert.ext.map(|len| vec![0x33; usize::from(len)]);
        store.insert(&packet(seq, now, &payload, ext.as_deref()));
        let len = payload.len() + ext.map_or(0, |ext| ext.len() + 2);
        if len <= 1_500 && seq + packets_max > newest {
            newest = newest.max(seq);
            model.insert(seq, (now, payload));
        }
        model.retain(|seq, _| seq + packets_max > newest);
        compare(&store, &model, now, newest);
        assert!(store.memory_len() <= bytes_max + 64 * 1024);
        if input.is_empty() {
            return;
        }
    }
}

fn compare(
    store: &PacketStore,
    model: &BTreeMap<u64, (Timestamp, Vec<u8>)>,
    now: Timestamp,
    newest: u64,
) {
    for seq in newest.saturating_sub(140)..=newest + 2 {
        match (store.packet(ExtSeq(seq)), model.get(&seq)) {
            (Some(stored), Some((at, payload))) => {
                assert_eq!((stored.payload, stored.meta.arrival), (&payload[..], *at));
            }
            (None, Some((at, _))) => assert!(now.since(*at) >= AGE_MAX, "{seq} is gone too early"),
            (Some(_), None) => panic!("{seq} was never stored"),
            (None, None) => {}
        }
    }
}

fn packet<'a>(seq: u64, at: Timestamp, payload: &'a [u8], ext: Option<&'a [u8]>) -> Packet<'a> {
    let mut exts = ArrayVec::new();
    if let Some(ext) = ext {
        exts.push((ExtKind::DependencyDescriptor, ext));
    }
    Packet {
        meta: PacketMeta {
            arrival: at,
            seq: ExtSeq(seq),
            rtp_time: RtpTime(0),
            spatial: 0,
            temporal: 0,
            pt: Pt(96),
            marker: false,
            keyframe_start: false,
            late: false,
            vp8: None,
        },
        exts,
        payload,
    }
}
