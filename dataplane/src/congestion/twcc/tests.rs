use std::collections::{BTreeMap, BTreeSet};

use millrace_shared::wire::rtcp::{RtcpCompound, RtcpPacket, TransportFeedback};
use proptest::prelude::*;

use super::*;

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A feedback packet as its receiver parses it.
struct Told {
    base_seq: SeqNo,
    reference_time: u32,
    feedback_count: u8,
    /// Number, and arrival in ticks of 250 us.
    statuses: Vec<(SeqNo, Option<i64>)>,
}

/// Writes the next feedback packet as the transport does, and reads it as its peer.
fn feedback(recorder: &mut TransportCcRecorder, now: Timestamp) -> Option<Told> {
    let mut bytes = [0; FEEDBACK_LEN_MAX];
    let mut writer = RtcpWriter::new(&mut bytes);
    if !recorder.write_feedback(now, Ssrc(1), Ssrc(2), &mut writer) {
        return None;
    }
    let packet = RtcpCompound::parse(writer.written())
        .next()
        .unwrap()
        .unwrap();
    let RtcpPacket::TransportFeedback(TransportFeedback::TransportCc(feedback)) = packet else {
        panic!("not transport-wide feedback: {packet:?}");
    };
    let reference = i64::from(feedback.head.reference_time) * 256;
    let statuses = feedback.statuses();
    Some(Told {
        base_seq: feedback.head.base_seq,
        reference_time: feedback.head.reference_time,
        feedback_count: feedback.head.feedback_count,
        statuses: statuses
            .map(|status| (status.seq, status.arrival_us.map(|us| reference + us / 250)))
            .collect(),
    })
}

#[test]
fn tells_arrivals_and_holes() {
    let mut recorder = TransportCcRecorder::default();
    recorder.record(ms(1_000), SeqNo(65_534), 100);
    recorder.record(ms(1_003), SeqNo(65_535), 100);
    recorder.record(ms(1_010), SeqNo(1), 100);
    // A duplicate changes nothing.
    recorder.record(ms(1_020), SeqNo(1), 100);

    assert_eq!(recorder.next_timeout(), ms(1_050));
    assert!(feedback(&mut recorder, ms(1_049)).is_none());
    let told = feedback(&mut recorder, ms(1_050)).unwrap();

    assert_eq!(told.base_seq, SeqNo(65_534));
    // 1000 ms = 15 * 64 ms + 40 ms.
    assert_eq!(told.reference_time, 15);
    let ticks: Vec<_> = told.statuses.iter().map(|(_, ticks)| *ticks).collect();
    assert_eq!(ticks, [Some(4_000), Some(4_012), None, Some(4_040)]);
    assert!(feedback(&mut recorder, ms(1_050)).is_none());
    assert_eq!(recorder.next_timeout(), Timestamp::NEVER);
}

#[test]
fn a_late_packet_is_told_after_all() {
    let mut recorder = TransportCcRecorder::default();
    recorder.record(ms(0), SeqNo(10), 100);
    recorder.record(ms(10), SeqNo(12), 100);
    assert_eq!(feedback(&mut recorder, ms(50)).unwrap().feedback_count, 0);
    recorder.record(ms(60), SeqNo(13), 100);
    recorder.record(ms(61), SeqNo(11), 100);
    let told = feedback(&mut recorder, ms(200)).unwrap();
    assert_eq!(told.feedback_count, 1);
    assert_eq!(told.base_seq, SeqNo(11));
    let ticks: Vec<_> = told.statuses.iter().map(|(_, ticks)| *ticks).collect();
    assert_eq!(ticks, [Some(61 * 4), Some(10 * 4), Some(60 * 4)]);
}

#[test]
fn a_burst_takes_several_packets() {
    let mut recorder = TransportCcRecorder::default();
    for seq in 0..1_000 {
        recorder.record(ms(0), SeqNo(seq), 1200);
    }
    let mut lens = Vec::new();
    while let Some(told) = feedback(&mut recorder, ms(50)) {
        lens.push(told.statuses.len());
    }
    assert_eq!(lens, [RECEIVED_MAX, RECEIVED_MAX, 1_000 - 2 * RECEIVED_MAX]);
}

#[test]
fn arrivals_too_far_apart_take_a_new_reference() {
    let mut recorder = TransportCcRecorder::default();
    recorder.record(ms(0), SeqNo(0), 100);
    recorder.record(ms(10_000), SeqNo(1), 100);
    let first = feedback(&mut recorder, ms(10_000)).unwrap();
    let second = feedback(&mut recorder, ms(10_000)).unwrap();
    assert_eq!(first.statuses, [(SeqNo(0), Some(0))]);
    assert_eq!(second.statuses, [(SeqNo(1), Some(40_000))]);
}

#[test]
fn the_interval_follows_the_bitrate() {
    // Bytes every 10 ms, and milliseconds between feedback packets once the start is over.
    for (len, interval_ms) in [(10, 250), (100, 140), (1_000, 60)] {
        let mut recorder = TransportCcRecorder::default();
        let mut told_at = Vec::new();
        for i in 0..500_u16 {
            let now = ms(u64::from(i) * 10);
            recorder.record(now, SeqNo(i), len);
            if feedback(&mut recorder, now).is_some() {
                told_at.push(now);
            }
        }
        let last = told_at.last_chunk::<2>().unwrap();
        let passed_ms = last[1].since(last[0]).as_millis();
        assert!(passed_ms.abs_diff(interval_ms) <= 20, "{len}: {passed_ms}");
    }
}

proptest! {
    /// Whatever is lost, reordered or repeated: each arrival within the window is told, once it is
    /// told it stays the same, and nothing is told that did not arrive.
    #[test]
    fn tells_what_arrived_and_nothing_else(
        start in any::<u16>(),
        steps in prop::collection::vec((0_u64..30, -20_i64..6), 1..400),
    ) {
        let mut recorder = TransportCcRecorder::default();
        let base = 0x1_0000 + u64::from(start);
        let (mut now, mut newest) = (ms(500), base);
        recorder.record(now, SeqNo(start), 500);
        let mut arrivals: BTreeMap<u64, i64> = BTreeMap::from([(base, 2_000)]);
        let mut known: BTreeMap<u64, i64> = BTreeMap::new();
        let mut missing = BTreeSet::new();
        let mut told_to = base;
        for (pause_ms, step) in steps {
            now += Duration::from_millis(pause_ms);
            let seq = newest.saturating_add_signed(step).max(base);
            newest = newest.max(seq);
            recorder.record(now, ExtSeq(seq).seq(), 500);
            arrivals.entry(seq).or_insert((now.as_micros() / 250) as i64);
            while let Some(told) = feedback(&mut recorder, now) {
                for (seq, ticks) in told.statuses {
                    let seq = ExtSeq(newest).extend(seq).0;
                    told_to = told_to.max(seq);
                    match ticks {
                        Some(ticks) => {
                            prop_assert_eq!(*known.entry(seq).or_insert(ticks), ticks);
                        }
                        None => {
                            missing.insert(seq);
                        }
                    }
                }
            }
        }
        let end = recorder.next_timeout();
        if end != Timestamp::NEVER {
            while let Some(told) = feedback(&mut recorder, end) {
                for (seq, ticks) in told.statuses {
                    if let Some(ticks) = ticks {
                        known.insert(ExtSeq(newest).extend(seq).0, ticks);
                    }
                }
            }
        }
        prop_assert_eq!(&known, &arrivals);
        for seq in (base..told_to).filter(|seq| !arrivals.contains_key(seq)) {
            prop_assert!(missing.contains(&seq), "{} is not told", seq);
        }
    }
}
