use livekit_protocol as proto;
use millrace_shared::ids::ShardId;
use millrace_shared::link::{Command, Event, TransportReport};
use proto::leave_request::Action;
use proto::participant_info::State;
use proto::signal_response::Message;
use tokio::time::Instant;

use super::harness::{
    Client, Node, PUBLISH, answer_to, claims, microphone, next_response, pass, restarted,
    resume_params,
};
use crate::room::Requests;

/// Resumes the client's session over a new socket.
async fn resume(node: &Node, client: &mut Client) -> Vec<Message> {
    let session = node
        .try_join(claims(&client.identity), resume_params(&client.sid))
        .await
        .unwrap();
    client.session = session;
    client.drain().await
}

#[tokio::test(start_paused = true)]
async fn a_resume_tells_what_was_missed() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    alice.publish(&node).await;
    bob.answer_offer(&node).await;
    let carol = node.join_active("carol").await;
    pass(1).await;
    let report = TransportReport {
        transport: alice.transport(false),
        reliable_sequence: 41,
        remb_bps: 0,
    };
    let reports = Event::Reports {
        shard: ShardId(0),
        up: Vec::new(),
        down: Vec::new(),
        transports: vec![report],
    };
    node.event(reports).await;
    carol
        .send(proto::signal_request::Message::Leave(Default::default()))
        .await;
    node.take();

    let messages = resume(&node, &mut alice).await;
    let Message::Reconnect(reconnect) = &messages[0] else {
        panic!("{messages:?}");
    };
    assert_eq!(reconnect.last_message_seq, 41);
    assert_eq!(reconnect.server_info.as_ref().unwrap().version, "1.13.5");
    let Message::Update(departed) = &messages[1] else {
        panic!("{messages:?}");
    };
    assert_eq!(departed.participants[0].identity, "carol");
    assert_eq!(departed.participants[0].state(), State::Disconnected);
    let Message::Update(everybody) = &messages[2] else {
        panic!("{messages:?}");
    };
    let names: Vec<_> = everybody
        .participants
        .iter()
        .map(|p| p.identity.as_str())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    assert!(matches!(messages[3], Message::RoomUpdate(_)));
    let offer = messages.iter().find_map(|message| match message {
        Message::Offer(offer) => Some(offer),
        _ => None,
    });
    let restart = node.take().into_iter().find_map(|command| match command {
        Command::RestartIce { transport, ice } => Some((transport, ice)),
        _ => None,
    });
    let (transport, ice) = restart.unwrap();
    assert_eq!(transport, alice.transport(true));
    assert!(offer.unwrap().sdp.contains(&ice.ufrag));
    assert_eq!(node.rooms.metrics().resumes, 1);
}

/// The client knows that who left before it was last heard is gone; and an identity that came back since
/// would seem to leave again.
#[tokio::test(start_paused = true)]
async fn who_left_before_the_last_ping_is_not_told_again() {
    for socket_is_closed in [false, true] {
        let node = Node::start().await;
        let mut alice = node.join_active("alice").await;
        let bob = node.join_active("bob").await;
        bob.send(proto::signal_request::Message::Leave(Default::default()))
            .await;
        pass(1).await;
        // The socket answered a ping.
        alice.session.responses.note_heard(Instant::now());
        if socket_is_closed {
            alice.session.requests = Requests::to_nobody();
            pass(1).await;
        }
        let messages = resume(&node, &mut alice).await;
        let Message::Update(update) = &messages[1] else {
            panic!("{messages:?}");
        };
        let identities: Vec<_> = update.participants.iter().map(|it| &it.identity).collect();
        assert_eq!(identities, ["alice"], "closed: {socket_is_closed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_restarts_ice_on_its_own_connection() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.publish(&node).await;
    resume(&node, &mut alice).await;
    node.take();
    alice.offer(&node, &restarted(PUBLISH)).await;
    let commands = node.take();
    let Some(Command::RestartIce { transport, ice }) = commands.first() else {
        panic!("{commands:?}");
    };
    assert_eq!(*transport, alice.transport(false));
    assert!(matches!(&commands[1], Command::SetRemote(remote) if remote.ice.ufrag == "nEwU"));
    let answer = alice
        .wait(|message| match message {
            Message::Answer(answer) => Some(answer),
            _ => None,
        })
        .await;
    assert!(answer.sdp.contains(&ice.ufrag));
    // The tracks are the same as before.
    let removed = commands
        .iter()
        .any(|c| matches!(c, Command::RemoveUpTrack { .. }));
    assert!(!removed);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_is_to_join_anew() {
    let node = Node::start().await;
    let mut session = node
        .try_join(claims("alice"), resume_params("PA_x"))
        .await
        .unwrap();
    let first = next_response(&mut session).await.unwrap();
    let Message::Leave(leave) = first else {
        panic!("{first:?}");
    };
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
    assert_eq!(leave.action(), Action::Reconnect);
    assert!(next_response(&mut session).await.is_none());
    assert_eq!(node.rooms.metrics().rooms, 0);

    // Another session of the same identity is unknown as well.
    let _alice = node.join_active("alice").await;
    let mut session = node
        .try_join(claims("alice"), resume_params("PA_x"))
        .await
        .unwrap();
    let first = next_response(&mut session).await.unwrap();
    assert!(matches!(first, Message::Leave(_)));
    assert_eq!(node.rooms.metrics().participants, 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_client_is_told_in_its_words() {
    let node = Node::start().await;
    let mut old = resume_params("PA_x");
    old.client_info.protocol = 12;
    let mut session = node.try_join(claims("alice"), old).await.unwrap();
    let first = next_response(&mut session).await.unwrap();
    assert!(matches!(first, Message::Leave(leave) if leave.can_reconnect));
}

#[tokio::test(start_paused = true)]
async fn a_track_we_do_not_know_ends_in_a_new_session() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let sid = alice.publish_request(microphone()).await;
    resume(&node, &mut alice).await;
    let state = |sid: &str| {
        proto::signal_request::Message::SyncState(proto::SyncState {
            publish_tracks: vec![proto::TrackPublishedResponse {
                cid: "c".into(),
                track: Some(proto::TrackInfo {
                    sid: sid.into(),
                    ..Default::default()
                }),
            }],
            datachannel_receive_states: vec![proto::DataChannelReceiveState {
                publisher_sid: "PA_b".into(),
                last_seq: 5,
            }],
            ..Default::default()
        })
    };
    node.take();
    alice.send(state(&sid)).await;
    assert!(node.take().iter().any(|command| matches!(
        command,
        Command::ReplayData { last_sequences, .. } if last_sequences[0] == ("PA_b".into(), 5)
    )));
    alice.send(state("TR_unknown")).await;
    assert_eq!(alice.wait_leave().await.action(), Action::Reconnect);
    assert_eq!(node.rooms.metrics().participants, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_restart_ends_in_a_new_session() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    resume(&node, &mut alice).await;
    let mut bob = node.join_active("bob").await;
    bob.publish(&node).await;
    let before = alice.drain().await;
    assert!(!before.iter().any(|m| matches!(m, Message::Offer(_))));
    // The restart's offer was read away by `resume`: its answer is still expected.
    pass(16).await;
    assert_eq!(alice.wait_leave().await.action(), Action::Reconnect);
}

#[tokio::test(start_paused = true)]
async fn requests_of_the_old_socket_are_ignored() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let old = std::mem::replace(&mut alice.session.requests, Requests::to_nobody());
    let messages = resume(&node, &mut alice).await;
    let offer = messages.into_iter().find_map(|message| match message {
        Message::Offer(offer) => Some(offer),
        _ => None,
    });
    let offer = offer.unwrap();
    alice.answer(&offer, &answer_to(&offer.sdp)).await;
    let leave = Box::new(proto::SignalRequest {
        message: Some(proto::signal_request::Message::Leave(Default::default())),
    });
    let _ = old.send(leave).await;
    drop(old);
    pass(30).await;
    assert_eq!(node.rooms.metrics().participants, 1);
}

#[tokio::test(start_paused = true)]
async fn simulated_failures_strike_the_next_resume() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let scenario = proto::SimulateScenario {
        scenario: Some(
            proto::simulate_scenario::Scenario::DisconnectSignalOnResumeNoMessages(true),
        ),
    };
    alice
        .send(proto::signal_request::Message::Simulate(scenario))
        .await;
    for _ in 0..3 {
        let mut session = node
            .try_join(claims("alice"), resume_params(&alice.sid))
            .await
            .unwrap();
        assert!(next_response(&mut session).await.is_none());
    }
    let messages = resume(&node, &mut alice).await;
    assert!(matches!(messages[0], Message::Reconnect(_)));
}
