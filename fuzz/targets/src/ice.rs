//! The ICE-lite agent under checks of all kinds, against a list of who proved to be the peer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use millrace_shared::ice::{IceLite, Tuple};
use millrace_shared::limits::TUPLES_PER_TRANSPORT_MAX;
use millrace_shared::link::IceCredentials;
use millrace_shared::time::Timestamp;
use millrace_shared::wire::stun::{
    BindingRequest, IceRole, IntegrityKey, StunView, TransactionId, write_binding_request,
};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Check {
        from: u8,
        use_candidate: bool,
        controlled: bool,
        /// Which of the credentials so far, if any of them.
        generation: u8,
        forged: bool,
        user: &'a str,
    },
    Restart,
    Wait {
        seconds: u8,
    },
}

pub(crate) fn ice(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut now = Timestamp::from_millis(1_000);
    let mut generation = 0_u8;
    let mut agent = IceLite::new(&credentials(generation));
    let mut proven = Vec::new();
    while let Ok(step) = Step::arbitrary(&mut input) {
        match step {
            Step::Check { from, .. } => {
                let before: Vec<_> = agent.tuples().collect();
                let selected = agent.selected();
                let accepted = check(&mut agent, now, &step);
                if accepted {
                    proven.push(tuple(from));
                } else {
                    assert!(agent.tuples().eq(before), "an unproven check made state");
                    assert_eq!(agent.selected(), selected);
                }
            }
            Step::Restart => {
                generation = generation.wrapping_add(1);
                let _ = agent.restart(&credentials(generation));
                assert!(agent.ufrags().count() <= 2);
            }
            Step::Wait { seconds } => {
                now += Duration::from_secs(seconds.into());
                while agent.expire(now).is_some() {}
                assert!(agent.next_expiry() > now);
            }
        }
        assert!(agent.tuples().count() <= TUPLES_PER_TRANSPORT_MAX);
        assert!(agent.tuples().all(|tuple| proven.contains(&tuple)));
        let selected = agent.selected();
        assert_eq!(selected.is_some(), agent.tuples().next().is_some());
        assert!(selected.is_none_or(|tuple| agent.tuples().any(|it| it == tuple)));
        if input.is_empty() {
            return;
        }
    }
}

/// Whether the agent took the check, which it must exactly if it was signed with a password that
/// belongs to its user name.
fn check(agent: &mut IceLite, now: Timestamp, step: &Step<'_>) -> bool {
    let Step::Check {
        from,
        use_candidate,
        controlled,
        generation,
        forged,
        user,
    } = *step
    else {
        return false;
    };
    let known = credentials(generation);
    let username = if user.is_empty() {
        format!("{}:peer", known.ufrag)
    } else {
        user.to_owned()
    };
    let role = if controlled {
        IceRole::Controlled(1)
    } else {
        IceRole::Controlling(1)
    };
    let request = BindingRequest {
        transaction_id: TransactionId([from; 12]),
        username: &username,
        priority: 1,
        role,
        use_candidate,
    };
    let password = if forged { "forged" } else { &known.pwd };
    let key = IntegrityKey::new(password.as_bytes());
    let mut datagram = [0; 1_024];
    let Some(len) = write_binding_request(&mut datagram, &request, &key) else {
        return false;
    };
    let Ok(view) = StunView::parse(&datagram[..len]) else {
        assert!(username.len() > 508, "our own check is refused");
        return false;
    };
    let named = username.split_once(':').map(|(ufrag, _)| ufrag);
    let expected = !forged
        && named == Some(known.ufrag.as_str())
        && agent.ufrags().any(|ufrag| ufrag == known.ufrag);
    let mut out = [0; 256];
    let outcome = agent.receive(now, tuple(from), &view, &mut out);
    assert_eq!(outcome.is_ok(), expected, "{outcome:?} for {step:?}");
    let Ok(outcome) = outcome else {
        return false;
    };
    let answer = StunView::parse(&out[..outcome.response_len]).expect("our answer is well-formed");
    assert!(answer.verify_integrity(&key));
    assert_eq!(answer.xor_mapped_address(), Some(tuple(from).remote));
    true
}

fn credentials(generation: u8) -> IceCredentials {
    IceCredentials {
        ufrag: format!("0{generation}"),
        pwd: format!("password number {generation}"),
    }
}

fn tuple(from: u8) -> Tuple {
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7882);
    let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, from)), 4_000);
    Tuple { local, remote }
}
