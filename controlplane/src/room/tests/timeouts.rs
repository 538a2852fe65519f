use livekit_protocol as proto;
use millrace_shared::link::{CloseReason, Command, Event};
use proto::leave_request::Action;
use proto::signal_response::Message;

use super::harness::{Node, claims, params, pass};
use crate::room::Settings;

#[tokio::test(start_paused = true)]
async fn who_does_not_connect_in_a_minute_is_removed() {
    let node = Node::start().await;
    let mut alice = node.join("alice").await;
    pass(61).await;
    // An unanswered offer ends it even earlier.
    let leave = alice.wait_leave().await;
    assert_eq!(leave.action(), Action::Reconnect);
    assert_eq!(node.rooms.metrics().participants, 0);

    let mut bob = node.join("bob").await;
    bob.answer_offer(&node).await;
    pass(59).await;
    assert_eq!(node.rooms.metrics().participants, 1);
    pass(2).await;
    let leave = bob.wait_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::JoinFailure);
}

#[tokio::test(start_paused = true)]
async fn an_empty_room_ends_after_its_timeout() {
    let node = Node::with(Settings {
        empty_timeout_s: 30,
        departure_timeout_s: 10,
        ..Settings::default()
    })
    .await;
    let created = proto::CreateRoomRequest {
        name: "r".into(),
        ..Default::default()
    };
    node.rooms.create_room(created).await.unwrap();
    pass(29).await;
    assert_eq!(node.rooms.metrics().rooms, 1);
    pass(2).await;
    assert_eq!(node.rooms.metrics().rooms, 0);

    let alice = node.join("alice").await;
    pass(40).await;
    drop(alice);
    // Alice's unanswered offer ended her session, and the room with it.
    assert_eq!(node.rooms.metrics().rooms, 0);

    let bob = node.join_active("bob").await;
    pass(100).await;
    assert_eq!(node.rooms.metrics().rooms, 1);
    bob.send(proto::signal_request::Message::Leave(Default::default()))
        .await;
    pass(9).await;
    assert_eq!(node.rooms.metrics().rooms, 1);
    pass(2).await;
    assert_eq!(node.rooms.metrics().rooms, 0);
}

#[tokio::test(start_paused = true)]
async fn a_socket_lost_before_media_ends_the_session() {
    let node = Node::start().await;
    let alice = node.join("alice").await;
    drop(alice);
    pass(1).await;
    assert_eq!(node.rooms.metrics().participants, 0);
    assert!(
        node.commands()
            .iter()
            .any(|c| matches!(c, Command::RemoveTransport { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn media_keeps_a_participant_without_socket() {
    let node = Node::start().await;
    let alice = node.join_active("alice").await;
    let transport = alice.transport(true);
    drop(alice);
    pass(60).await;
    assert_eq!(node.rooms.metrics().participants, 1);
    node.event(Event::Disconnected { transport }).await;
    pass(30).await;
    assert_eq!(node.rooms.metrics().participants, 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_transport_asks_for_a_resume_then_ends() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let transport = alice.transport(true);
    node.event(Event::Disconnected { transport }).await;
    pass(4).await;
    let early = alice.drain().await;
    assert!(!early.iter().any(|m| matches!(m, Message::Leave(_))));
    pass(2).await;
    let leave = alice.wait_leave().await;
    assert_eq!(leave.action(), Action::Resume);
    assert!(alice.next().await.is_none());
    assert_eq!(node.rooms.metrics().participants, 1);
    pass(16).await;
    assert_eq!(node.rooms.metrics().participants, 0);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_comes_back_is_left_alone() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let transport = alice.transport(true);
    node.event(Event::Disconnected { transport }).await;
    pass(3).await;
    node.connect(transport).await;
    pass(30).await;
    assert!(
        !alice
            .drain()
            .await
            .iter()
            .any(|m| matches!(m, Message::Leave(_)))
    );
    assert_eq!(node.rooms.metrics().participants, 1);
}

#[tokio::test(start_paused = true)]
async fn a_transport_lost_for_good_asks_to_join_anew() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let closed = Event::Closed {
        transport: alice.transport(true),
        reason: CloseReason::ConsentExpired,
    };
    node.event(closed).await;
    let leave = alice.wait_leave().await;
    assert_eq!(leave.action(), Action::Reconnect);
    assert_eq!(leave.reason(), proto::DisconnectReason::ConnectionTimeout);
    // A client that is quick takes over its identity without a gap.
    assert_eq!(node.rooms.metrics().participants, 1);
    pass(6).await;
    assert_eq!(node.rooms.metrics().participants, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_shard_sends_clients_away() {
    let node = Node::start().await;
    let mut alice = node.join("alice").await;
    let closed = Event::Closed {
        transport: alice.transport(true),
        reason: CloseReason::ShardFull,
    };
    node.event(closed).await;
    let leave = alice.wait_leave().await;
    assert_eq!(leave.action(), Action::Disconnect);
    assert_eq!(leave.reason(), proto::DisconnectReason::JoinFailure);
}

#[tokio::test(start_paused = true)]
async fn shutdown_tells_everybody() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.publish(&node).await;
    node.rooms.shutdown().await;
    let leave = alice.wait_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::ServerShutdown);
    assert_eq!(leave.action(), Action::Disconnect);
    let refused = node.try_join(claims("bob"), params()).await.unwrap_err();
    assert_eq!(refused.status, 503);
    let metrics = node.rooms.metrics();
    assert_eq!(
        (metrics.rooms, metrics.participants, metrics.published_video),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_loses_its_socket() {
    let node = Node::start().await;
    let alice = node.join_active("alice").await;
    for _ in 0..600 {
        let unknown = proto::MuteTrackRequest::default();
        alice
            .send(proto::signal_request::Message::Mute(unknown))
            .await;
    }
    assert_eq!(node.rooms.metrics().signal_overflows, 1);
    // Its media goes on, so it stays.
    assert_eq!(node.rooms.metrics().participants, 1);
}
