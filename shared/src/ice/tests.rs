use super::*;
use crate::wire::stun::{BindingRequest, IceRole, TransactionId, write_binding_request};

const LOCAL: &str = "0abcdefg";
const PWD: &str = "a password of 24 letters";

fn credentials(ufrag: &str, pwd: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.into(),
        pwd: pwd.into(),
    }
}

fn tuple(port: u16) -> Tuple {
    Tuple {
        local: ([127, 0, 0, 1], 7882).into(),
        remote: ([127, 0, 0, 2], port).into(),
    }
}

/// Each with a transaction id of its own.
fn check(ufrag: &str, pwd: &str, use_candidate: bool) -> Vec<u8> {
    std::thread_local! {
        static TRANSACTIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    let number = TRANSACTIONS.get() + 1;
    TRANSACTIONS.set(number);
    let mut id = [0; 12];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let mut out = [0u8; 256];
    let username = format!("{ufrag}:peer");
    let request = BindingRequest {
        transaction_id: TransactionId(id),
        username: &username,
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate,
    };
    let len =
        write_binding_request(&mut out, &request, &IntegrityKey::new(pwd.as_bytes())).unwrap();
    out[..len].to_vec()
}

fn receive(
    agent: &mut IceLite,
    at_ms: u64,
    port: u16,
    request: &[u8],
) -> Result<CheckOutcome, DropReason> {
    let view = StunView::parse(request).unwrap();
    agent.receive(
        Timestamp::from_millis(at_ms),
        tuple(port),
        &view,
        &mut [0u8; 256],
    )
}

fn agent() -> IceLite {
    IceLite::new(&credentials(LOCAL, PWD))
}

#[test]
fn an_unauthenticated_check_changes_nothing() {
    let mut agent = agent();
    let forged = check(LOCAL, "another password", true);
    assert_eq!(
        receive(&mut agent, 1, 1000, &forged),
        Err(DropReason::StunIntegrity)
    );
    let stranger = check("0zzzzzzz", PWD, true);
    assert_eq!(
        receive(&mut agent, 1, 1000, &stranger),
        Err(DropReason::StunUsername)
    );
    assert_eq!(agent.selected(), None);
    assert_eq!(agent.tuples().count(), 0);
}

#[test]
fn the_first_valid_tuple_is_used_until_one_is_nominated() {
    let mut agent = agent();
    let outcome = receive(&mut agent, 1, 1000, &check(LOCAL, PWD, false)).unwrap();
    assert!(outcome.new_tuple && outcome.selected_changed);
    let outcome = receive(&mut agent, 2, 2000, &check(LOCAL, PWD, false)).unwrap();
    assert!(outcome.new_tuple && !outcome.selected_changed);
    assert_eq!(agent.selected(), Some(tuple(1000)));
    receive(&mut agent, 3, 2000, &check(LOCAL, PWD, true)).unwrap();
    assert_eq!(agent.selected(), Some(tuple(2000)));
}

#[test]
fn media_from_a_tuple_with_the_later_check_selects_it() {
    let mut agent = agent();
    receive(&mut agent, 1, 1000, &check(LOCAL, PWD, true)).unwrap();
    assert!(!agent.follow(tuple(1000)));
    assert!(!agent.follow(tuple(2000)), "nobody checked that one");
    receive(&mut agent, 2, 2000, &check(LOCAL, PWD, false)).unwrap();
    receive(&mut agent, 2, 1000, &check(LOCAL, PWD, true)).unwrap();
    assert!(!agent.follow(tuple(2000)), "checks of both are as late");
    receive(&mut agent, 3, 2000, &check(LOCAL, PWD, false)).unwrap();
    assert_eq!(agent.selected(), Some(tuple(1000)));
    assert!(agent.follow(tuple(2000)));
    assert_eq!(agent.selected(), Some(tuple(2000)));
    assert!(!agent.follow(tuple(1000)), "late media of before");
    receive(&mut agent, 4, 1000, &check(LOCAL, PWD, true)).unwrap();
    assert_eq!(agent.selected(), Some(tuple(1000)));
}

#[test]
fn the_answer_to_our_check_counts_if_the_peer_wrote_it() {
    let mut agent = agent();
    receive(&mut agent, 1, 1000, &check(LOCAL, PWD, true)).unwrap();
    let mut out = [0u8; 256];
    let id = TransactionId([3; 12]);
    assert_eq!(agent.write_check(id, &mut out), None, "not described yet");
    agent.set_remote(&credentials("peer", "the peer's password"));
    let len = agent.write_check(id, &mut out).unwrap();
    let request = StunView::parse(&out[..len]).unwrap();
    assert_eq!(request.username(), Some("peer:0abcdefg"));
    let answer_by = |password: &str| {
        let mut out = [0u8; 256];
        let key = IntegrityKey::new(password.as_bytes());
        let len = write_binding_success(&mut out, id, tuple(1).local, &key).unwrap();
        out[..len].to_vec()
    };
    let mut receive_answer = |bytes: &[u8]| {
        let at = Timestamp::from_millis(2);
        agent.receive_answer(at, tuple(2000), &StunView::parse(bytes).unwrap())
    };
    let forged = receive_answer(&answer_by("another password"));
    assert_eq!(forged, Err(DropReason::StunIntegrity));
    let outcome = receive_answer(&answer_by("the peer's password")).unwrap();
    assert!(outcome.new_tuple && outcome.selected_changed);
    assert_eq!(agent.selected(), Some(tuple(2000)));
}

#[test]
fn a_selected_tuple_without_checks_for_10_s_loses_to_one_that_has_them() {
    let mut agent = agent();
    receive(&mut agent, 0, 1000, &check(LOCAL, PWD, true)).unwrap();
    receive(&mut agent, 9_999, 2000, &check(LOCAL, PWD, false)).unwrap();
    assert_eq!(agent.selected(), Some(tuple(1000)));
    receive(&mut agent, 10_000, 2000, &check(LOCAL, PWD, false)).unwrap();
    assert_eq!(agent.selected(), Some(tuple(2000)));
}

#[test]
fn a_captured_check_does_not_move_the_media() {
    let mut agent = agent();
    let first = check(LOCAL, PWD, true);
    receive(&mut agent, 1, 1000, &first).unwrap();
    for _ in 0..CHECKS_REMEMBERED - 1 {
        receive(&mut agent, 2, 1000, &check(LOCAL, PWD, true)).unwrap();
    }
    let copied = receive(&mut agent, 3, 2000, &first);
    assert_eq!(copied, Err(DropReason::StunReplay));
    assert_eq!(agent.selected(), Some(tuple(1000)));
    assert_eq!(agent.tuples().count(), 1);
    // Its sender may repeat it.
    receive(&mut agent, 4, 1000, &first).unwrap();
    // And go elsewhere with another.
    receive(&mut agent, 5, 2000, &check(LOCAL, PWD, true)).unwrap();
    assert_eq!(agent.selected(), Some(tuple(2000)));
}

#[test]
fn a_restart_keeps_the_old_pair_until_a_new_one_is_nominated() {
    let mut agent = agent();
    receive(&mut agent, 1, 1000, &check(LOCAL, PWD, true)).unwrap();
    assert_eq!(
        agent.restart(&credentials("0new4567", "new password")),
        None
    );
    assert_eq!(agent.selected(), Some(tuple(1000)));
    receive(&mut agent, 2, 1000, &check(LOCAL, PWD, true)).unwrap();

    let outcome = receive(
        &mut agent,
        3,
        3000,
        &check("0new4567", "new password", true),
    )
    .unwrap();
    assert_eq!(outcome.ended_ufrag.as_deref(), Some(LOCAL));
    assert_eq!(agent.selected(), Some(tuple(3000)));
    let late = check(LOCAL, PWD, true);
    assert_eq!(
        receive(&mut agent, 4, 1000, &late),
        Err(DropReason::StunUsername)
    );
}

#[test]
fn a_second_restart_ends_the_first_ones_ufrag() {
    let mut agent = agent();
    agent.restart(&credentials("0second2", "b"));
    assert_eq!(
        agent.restart(&credentials("0third33", "c")).as_deref(),
        Some(LOCAL)
    );
    assert_eq!(agent.restart(&credentials("0third33", "c")), None);
    assert_eq!(agent.ufrags().collect::<Vec<_>>(), ["0third33", "0second2"]);
}

#[test]
fn the_oldest_unselected_tuple_makes_room() {
    let mut agent = agent();
    receive(&mut agent, 1, 1, &check(LOCAL, PWD, true)).unwrap();
    let others = u16::try_from(TUPLES_PER_TRANSPORT_MAX).unwrap();
    for port in 2..=others {
        receive(&mut agent, u64::from(port), port, &check(LOCAL, PWD, false)).unwrap();
    }
    let outcome = receive(&mut agent, 100, 99, &check(LOCAL, PWD, false)).unwrap();
    assert_eq!(outcome.evicted, Some(tuple(2)));
    assert_eq!(agent.selected(), Some(tuple(1)));
    assert_eq!(agent.tuples().count(), TUPLES_PER_TRANSPORT_MAX);
}

#[test]
fn consent_expires_after_30_s_and_the_next_best_tuple_takes_over() {
    let mut agent = agent();
    receive(&mut agent, 0, 1, &check(LOCAL, PWD, true)).unwrap();
    receive(&mut agent, 20_000, 2, &check(LOCAL, PWD, false)).unwrap();
    assert_eq!(agent.next_expiry(), Timestamp::from_millis(30_000));
    assert_eq!(agent.expire(Timestamp::from_millis(29_999)), None);
    assert_eq!(agent.expire(Timestamp::from_millis(30_000)), Some(tuple(1)));
    assert_eq!(agent.selected(), Some(tuple(2)));
    assert_eq!(agent.expire(Timestamp::from_millis(50_000)), Some(tuple(2)));
    assert_eq!(agent.selected(), None);
    assert_eq!(agent.next_expiry(), Timestamp::NEVER);
}
