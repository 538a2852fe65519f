use millrace_shared::ice::{IceLite, Tuple};

use super::*;

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: ufrag.repeat(6),
    }
}

fn addr(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

const CLIENT: &str = "aaaa";
const SERVER: &str = "bbbb";

fn agent(candidates: &[u16]) -> IceAgent {
    let mut agent = IceAgent::new(&credentials(CLIENT), 7);
    for port in candidates {
        agent.add_candidate(Timestamp::ZERO, addr(*port));
    }
    agent.set_remote(Timestamp::ZERO, &credentials(SERVER), true);
    agent
}

/// Lets a lite server on `port` answer what the agent sent to it.
fn exchange(
    agent: &mut IceAgent,
    server: &mut IceLite,
    port: u16,
    now: Timestamp,
) -> Option<IceEvent> {
    let mut sent = Vec::new();
    agent.handle_timeout(now, &mut sent);
    let mut event = None;
    while let Some((to, mut request)) = sent.pop() {
        if to != addr(port) {
            continue;
        }
        let tuple = Tuple {
            local: to,
            remote: addr(1),
        };
        let mut response = [0; 200];
        let view = StunView::parse(&request).unwrap();
        let outcome = server.receive(now, tuple, &view, &mut response);
        let len = outcome.unwrap().response_len;
        request.clear();
        let received = agent.receive(now, to, &response[..len], &mut sent);
        event = event.or(received.unwrap());
    }
    event
}

#[test]
fn the_candidate_that_answers_is_nominated() {
    let mut agent = agent(&[100, 200]);
    let mut server = IceLite::new(&credentials(SERVER));
    let event = exchange(&mut agent, &mut server, 200, Timestamp::ZERO);
    assert_eq!(event, Some(IceEvent::Selected(addr(200))));
    assert_eq!(agent.selected(), Some(addr(200)));
    assert_eq!(server.selected().unwrap().local, addr(200));
    assert_eq!(agent.next_timeout(), Timestamp::ZERO + CONSENT_INTERVAL);
}

#[test]
fn a_candidate_behind_the_nomination_is_not_checked() {
    let mut agent = agent(&[200]);
    let mut server = IceLite::new(&credentials(SERVER));
    exchange(&mut agent, &mut server, 200, Timestamp::ZERO);
    agent.add_candidate(Timestamp::ZERO, addr(300));
    assert_eq!(agent.next_timeout(), Timestamp::ZERO + CONSENT_INTERVAL);
}

#[test]
fn consent_ends_without_answers() {
    let mut agent = agent(&[200]);
    let mut server = IceLite::new(&credentials(SERVER));
    exchange(&mut agent, &mut server, 200, Timestamp::ZERO);
    let mut sent = Vec::new();
    let before = Timestamp::from_millis(29_999);
    assert_eq!(agent.handle_timeout(before, &mut sent), None);
    assert_eq!(sent.len(), 1);
    let after = Timestamp::from_millis(30_001);
    assert_eq!(
        agent.handle_timeout(after, &mut sent),
        Some(IceEvent::Failed)
    );
    assert_eq!(agent.next_timeout(), Timestamp::NEVER);
}

#[test]
fn an_answer_with_another_password_does_not_count() {
    let mut agent = agent(&[200]);
    let mut sent = Vec::new();
    agent.handle_timeout(Timestamp::ZERO, &mut sent);
    let request = StunView::parse(&sent[0].1).unwrap();
    let mut response = [0; 200];
    let key = IntegrityKey::new(b"wrong");
    let id = request.transaction_id();
    let len = write_binding_success(&mut response, id, addr(1), &key).unwrap();
    assert_eq!(
        agent.receive(
            Timestamp::ZERO,
            addr(200),
            &response[..len],
            &mut Vec::new()
        ),
        Err(DropReason::StunIntegrity)
    );
    assert_eq!(agent.selected(), None);
}

#[test]
fn a_nomination_before_the_description_counts() {
    let mut agent = IceAgent::new(&credentials(CLIENT), 7);
    let key = IntegrityKey::new(credentials(CLIENT).pwd.as_bytes());
    let binding = BindingRequest {
        transaction_id: TransactionId([1; 12]),
        username: "aaaa:bbbb",
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: true,
    };
    let mut request = [0; 200];
    let len = write_binding_request(&mut request, &binding, &key).unwrap();
    let now = Timestamp::ZERO;
    let event = agent.receive(now, addr(9), &request[..len], &mut Vec::new());
    assert_eq!(event, Ok(None));
    let event = agent.set_remote(now, &credentials(SERVER), false);
    assert_eq!(event, Some(IceEvent::Selected(addr(9))));
}

#[test]
fn a_controlled_agent_waits_for_the_nomination() {
    let mut agent = IceAgent::new(&credentials(CLIENT), 7);
    agent.set_remote(Timestamp::ZERO, &credentials(SERVER), false);
    let mut request = [0; 200];
    let key = IntegrityKey::new(credentials(CLIENT).pwd.as_bytes());
    let binding = |use_candidate| BindingRequest {
        transaction_id: TransactionId([1; 12]),
        username: "aaaa:bbbb",
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate,
    };
    let mut sent = Vec::new();
    for (nominates, expected) in [(false, None), (true, Some(IceEvent::Selected(addr(9))))] {
        let len = write_binding_request(&mut request, &binding(nominates), &key).unwrap();
        let event = agent.receive(Timestamp::ZERO, addr(9), &request[..len], &mut sent);
        assert_eq!(event, Ok(expected));
    }
    // An answer and a check of ours for the first, an answer for the second.
    let classes = sent
        .iter()
        .map(|(_, it)| StunView::parse(it).unwrap().class());
    let classes: Vec<_> = classes.collect();
    assert_eq!(
        classes,
        [StunClass::Success, StunClass::Request, StunClass::Success]
    );
}
