use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::participant_info::State;
use proto::signal_response::Message;

use super::harness::{Node, claims, claims_with, params};
use crate::room::{JoinParams, Settings};

#[tokio::test(start_paused = true)]
async fn the_join_response_is_complete() {
    let node = Node::start().await;
    let alice = node.join("alice").await;
    let join = alice.join.unwrap();
    let room = join.room.unwrap();
    assert!(room.sid.starts_with("RM_") && room.name == "r");
    assert_eq!((room.empty_timeout, room.departure_timeout), (300, 20));
    assert_eq!(room.num_participants, 1);
    assert!(room.creation_time > 0 && !room.enabled_codecs.is_empty());
    let participant = join.participant.unwrap();
    assert!(participant.sid.starts_with("PA_") && participant.sid == alice.sid);
    assert_eq!(participant.identity, "alice");
    assert!(participant.permission.unwrap().can_publish);
    assert!(join.subscriber_primary && join.fast_publish);
    assert_eq!((join.ping_interval, join.ping_timeout), (2, 6));
    let server = join.server_info.unwrap();
    assert_eq!((server.version.as_str(), server.protocol), ("1.13.5", 17));
    assert_eq!(join.server_version, "1.13.5");
    assert_eq!(join.enabled_publish_codecs[0].mime, "video/VP8");
    assert_eq!(join.enabled_publish_codecs[1].mime, "video/H264");
    assert!(!join.sif_trailer.is_empty());
    assert!(join.other_participants.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_offer_brings_data_channels() {
    let node = Node::start().await;
    let mut alice = node.join("alice").await;
    let offer = alice.wait_offer().await;
    assert!(offer.id > 0);
    assert!(offer.sdp.contains("webrtc-datachannel"));
    assert!(offer.sdp.contains("192.0.2.1 7882"));
    assert!(alice.transport(true).0 >> 32 == 1);
}

#[tokio::test(start_paused = true)]
async fn participants_see_each_other_come_and_go() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let others = bob.join.take().unwrap().other_participants;
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].identity, "alice");
    assert_eq!(others[0].state(), State::Active);

    let joined = alice
        .wait_update("bob", |info| info.state() == State::Active)
        .await;
    bob.send(proto::signal_request::Message::Leave(proto::LeaveRequest {
        reason: proto::DisconnectReason::ClientInitiated.into(),
        ..Default::default()
    }))
    .await;
    let left = alice
        .wait_update("bob", |info| info.state() == State::Disconnected)
        .await;
    assert!(left.version > joined.version);
    assert_eq!(
        left.disconnect_reason(),
        proto::DisconnectReason::ClientInitiated
    );
    assert_eq!(node.rooms.metrics().participants, 1);
}

#[tokio::test(start_paused = true)]
async fn who_joins_sees_what_the_others_have_become() {
    let node = Node::start().await;
    let allowed = claims_with("alice", |grant| grant.can_update_own_metadata = Some(true));
    let alice = node.join_as(allowed, params()).await;
    let names = |join: Option<proto::JoinResponse>| -> Vec<_> {
        let others = join.unwrap().other_participants.into_iter();
        others.map(|info| (info.identity, info.name)).collect()
    };
    let alice_named = |name: &str| ("alice".to_owned(), name.to_owned());
    let bob = node.join("bob").await;
    assert_eq!(names(bob.join), [alice_named("")]);
    let update = proto::UpdateParticipantMetadata {
        name: "Alice".into(),
        ..Default::default()
    };
    alice
        .send(proto::signal_request::Message::UpdateMetadata(update))
        .await;
    let carol = node.join("carol").await;
    let seen = names(carol.join);
    assert_eq!(seen, [alice_named("Alice"), ("bob".into(), String::new())]);
}

#[tokio::test(start_paused = true)]
async fn hidden_participants_stay_unseen() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.drain().await;
    let hidden = claims_with("spy", |grant| grant.hidden = true);
    let mut spy = node.join_as(hidden, params()).await;
    spy.answer_offer(&node).await;
    node.connect(spy.transport(true)).await;
    super::harness::pass(10).await;
    let about_spy = alice.drain().await.into_iter().any(|message| {
        matches!(message, Message::Update(update)
            if update.participants.iter().any(|info| info.identity == "spy"))
    });
    assert!(!about_spy);
    let bob = node.join("bob").await;
    let others = bob.join.unwrap().other_participants;
    assert!(others.iter().all(|info| info.identity != "spy"));
}

#[tokio::test(start_paused = true)]
async fn an_identity_has_one_session() {
    let node = Node::start().await;
    let mut older = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    bob.drain().await;
    let newer = node.join_active("alice").await;
    let leave = older.wait_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), Action::Disconnect);
    assert!(older.next().await.is_none());
    assert_ne!(older.sid, newer.sid);
    // Bob's client tells the sessions apart by itself: it hears of no departure.
    super::harness::pass(5).await;
    let mut news = Vec::new();
    for message in bob.drain().await {
        if let Message::Update(update) = message {
            news.extend(update.participants);
        }
    }
    assert!(news.iter().any(|info| info.sid == newer.sid));
    assert!(news.iter().all(|info| info.state() != State::Disconnected));
    assert_eq!(node.rooms.metrics().participants, 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_room_refuses() {
    let node = Node::with(Settings {
        max_participants: 1,
        ..Settings::default()
    })
    .await;
    let _alice = node.join("alice").await;
    let error = node.try_join(claims("bob"), params()).await.unwrap_err();
    assert_eq!(error.status, 503);
    // Agents do not count, and an identity may take its own place.
    let agent = claims_with("agent", |grant| grant.agent = true);
    assert!(node.try_join(agent, params()).await.is_ok());
    assert!(node.try_join(claims("alice"), params()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn rooms_are_made_only_by_those_who_may() {
    let node = Node::with(Settings {
        auto_create: false,
        ..Settings::default()
    })
    .await;
    let error = node
        .rooms
        .validate(&claims("alice"), &params())
        .await
        .unwrap_err();
    assert_eq!(error.status, 404);
    assert_eq!(error.message, "requested room does not exist");
    let creator = claims_with("bob", |grant| grant.room_create = true);
    let _bob = node.try_join(creator, params()).await.unwrap();
    assert!(
        node.rooms
            .validate(&claims("alice"), &params())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_comes_at_once_and_says_what_is() {
    let settings = Settings {
        token_signer: std::sync::Arc::new(|claims| {
            let room = &claims.video.as_ref().unwrap().room;
            format!("{}@{room}", claims.sub)
        }),
        ..Settings::default()
    };
    let node = Node::with(settings).await;
    let anywhere = claims_with("alice", |grant| grant.room = String::new());
    let named = JoinParams {
        room: "r2".into(),
        ..params()
    };
    let mut alice = node.join_as(anywhere, named).await;
    let token = alice
        .wait(|message| match message {
            Message::RefreshToken(token) => Some(token),
            _ => None,
        })
        .await;
    assert_eq!(token, "alice@r2");
}
