use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const START: ExtSeq = ExtSeq(0x1_0000 + 100);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn asks_after_the_tolerance_and_then_ever_more_slowly() {
    let mut register = NackRegister::default();
    assert_eq!(
        register.note_gap(ms(0), START, 2, Duration::ZERO),
        Repair::Requested
    );
    let mut asked_at = Vec::new();
    while register.next_timeout() != Timestamp::NEVER {
        let now = register.next_timeout();
        if !register.due(now).is_empty() {
            asked_at.push(now.as_millis());
        }
    }
    assert_eq!(asked_at[..4], [10, 135, 291, 486]);
    assert!(asked_at.len() <= usize::from(TRIES_MAX));
    assert!(*asked_at.last().unwrap() < 2_000);
    assert_eq!(register.abandoned(), 2);
}

#[test]
fn reordered_packet_is_never_asked_for() {
    let mut register = NackRegister::default();
    let _ = register.note_gap(ms(0), START, 1, Duration::ZERO);
    register.note_received(ms(3), ExtSeq(START.0 - 1), false);
    assert_eq!(register.next_timeout(), Timestamp::NEVER);
    assert!(register.due(ms(1_000)).is_empty());
}

#[test]
fn a_hole_too_large_wants_a_key_frame() {
    let mut register = NackRegister::default();
    let count = NACK_PACKETS_MAX as u64;
    assert_eq!(
        register.note_gap(ms(0), START, count + 1, Duration::ZERO),
        Repair::Hopeless
    );
    assert_eq!(register.next_timeout(), Timestamp::NEVER);
    // The same in pieces: the oldest make room.
    let newest = ExtSeq(START.0 + 1 + count);
    assert_eq!(
        register.note_gap(ms(0), newest, count, Duration::ZERO),
        Repair::Requested
    );
    let newest = ExtSeq(newest.0 + 4);
    assert_eq!(
        register.note_gap(ms(0), newest, 3, Duration::ZERO),
        Repair::Hopeless
    );
    assert_eq!(register.missing.len(), NACK_PACKETS_MAX);
    assert_eq!(register.missing.capacity(), NACK_PACKETS_MAX);
}

fn until_nothing_is_due(register: &mut NackRegister) -> Timestamp {
    let mut now = Timestamp::ZERO;
    while register.next_timeout() != Timestamp::NEVER {
        now = register.next_timeout();
        let _ = register.due(now);
    }
    now
}

#[test]
fn what_is_given_up_breaks_the_stream_and_soon_after_a_silence() {
    for (silence_ms, given_up_ms) in [(499, 1_500..=2_400), (500, 530..=540)] {
        let mut register = NackRegister::default();
        let silence = Duration::from_millis(silence_ms);
        let _ = register.note_gap(ms(0), START, 3, silence);
        assert!(register.take_broken().is_none());
        let at_ms = until_nothing_is_due(&mut register).as_millis();
        assert!(given_up_ms.contains(&at_ms), "{silence_ms}: {at_ms}");
        assert_eq!(register.abandoned(), 3);
        assert_eq!(register.take_broken(), Some(ExtSeq(START.0 - 1)));
        assert!(register.take_broken().is_none());
    }
}

// A publisher 300 ms away, whose distance no retransmission has told yet.
#[test]
fn an_answer_from_far_away_is_waited_for_after_a_silence() {
    let mut register = NackRegister::default();
    let _ = register.note_gap(ms(0), START, 1, SILENCE);
    let far = Duration::from_millis(300);
    let asked_at = register.next_timeout();
    while register.next_timeout() < asked_at + far {
        let now = register.next_timeout();
        let _ = register.due(now);
    }
    register.note_received(asked_at + far, ExtSeq(START.0 - 1), true);
    assert!(register.take_broken().is_none());
    assert_eq!(register.abandoned(), 0);
}

#[test]
fn what_lies_before_a_key_frame_breaks_nothing() {
    let mut register = NackRegister::default();
    let _ = register.note_gap(ms(0), START, 3, SILENCE);
    register.note_keyframe(START);
    until_nothing_is_due(&mut register);
    assert!(register.take_broken().is_none());
}

#[test]
fn what_the_stream_would_refuse_is_given_up() {
    let mut register = NackRegister::default();
    let _ = register.note_gap(ms(0), START, 1, Duration::ZERO);
    let newest = ExtSeq(START.0 + RECEIVE_WINDOW_PACKETS as u64);
    let _ = register.note_gap(ms(1), newest, 0, Duration::ZERO);
    assert!(register.due(ms(10)).is_empty());
    assert_eq!(register.abandoned(), 1);
}

#[test]
fn what_exceeds_a_batch_is_due_at_once() {
    let mut register = NackRegister::default();
    let _ = register.note_gap(ms(0), START, 100, Duration::ZERO);
    assert_eq!(register.due(ms(10)).len(), BATCH_MAX);
    assert!(register.next_timeout() <= ms(10));
    assert_eq!(register.due(ms(10)).len(), 100 - BATCH_MAX);
    assert!(register.due(ms(10)).is_empty());
}

#[test]
fn learns_the_rtt_from_retransmissions() {
    let mut register = NackRegister::default();
    for i in 0..40 {
        let now = ms(i * 1_000);
        let newest = ExtSeq(START.0 + i * 2);
        let _ = register.note_gap(now, newest, 1, Duration::ZERO);
        let asked_at = now + REORDER_TOLERANCE;
        assert_eq!(register.due(asked_at).len(), 1);
        let answered_at = asked_at + Duration::from_millis(30);
        register.note_received(answered_at, ExtSeq(newest.0 - 1), true);
    }
    let rtt_ms = register.rtt().as_millis();
    assert!((30..=32).contains(&rtt_ms), "{rtt_ms}");
}

#[derive(Clone, Debug)]
enum Step {
    Gap(u64),
    Fill(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..40).prop_map(Step::Gap),
        any::<usize>().prop_map(Step::Fill),
        (0_u64..120).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Against a set of what is missing: nothing is asked for that is there, everything is
    /// that stays away, in time and not too often, and the register stays within its limit.
    #[test]
    fn agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..200)) {
        let mut register = NackRegister::default();
        // Sequence number -> missing since, requests.
        let mut model: BTreeMap<u64, (Timestamp, u32)> = BTreeMap::new();
        let (mut now, mut newest) = (ms(0), START.0);
        for step in steps {
            match step {
                Step::Gap(count) => {
                    newest += count + 1;
                    let _ = register.note_gap(now, ExtSeq(newest), count, Duration::ZERO);
                    model.extend((newest - count..newest).map(|seq| (seq, (now, 0))));
                    while model.len() > NACK_PACKETS_MAX {
                        model.pop_first();
                    }
                }
                Step::Fill(index) if !model.is_empty() => {
                    let seq = *model.keys().nth(index % model.len()).unwrap();
                    model.remove(&seq);
                    register.note_received(now, ExtSeq(seq), false);
                }
                Step::Fill(_) => {}
                Step::Wait(pause_ms) => now += Duration::from_millis(pause_ms),
            }
            loop {
                let batch = register.due(now);
                if batch.is_empty() {
                    break;
                }
                for seq in batch {
                    let seq = ExtSeq(newest).extend(seq).0;
                    let asked = model.get_mut(&seq);
                    prop_assert!(asked.is_some(), "{} is not missing", seq);
                    asked.unwrap().1 += 1;
                }
            }
            model.retain(|seq, (since, _)| {
                now.since(*since) < LIFETIME_MAX
                    && seq + RECEIVE_WINDOW_PACKETS as u64 > newest
            });
            for (seq, (since, tries)) in &model {
                let due = now.since(*since) >= REORDER_TOLERANCE;
                prop_assert!(*tries > 0 || !due, "{} was not asked for", seq);
                prop_assert!(*tries <= u32::from(TRIES_MAX));
            }
            prop_assert!(register.missing.len() <= NACK_PACKETS_MAX);
            prop_assert!(register.next_timeout() > now);
        }
    }
}
