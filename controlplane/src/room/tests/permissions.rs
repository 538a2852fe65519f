use livekit_protocol as proto;
use millrace_shared::link::Command;
use proto::request_response::Reason;
use proto::signal_response::Message;

use super::harness::{Node, claims_with, params};
use crate::room::Settings;

fn only(identity: &str) -> proto::signal_request::Message {
    proto::signal_request::Message::SubscriptionPermission(proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![proto::TrackPermission {
            participant_identity: identity.into(),
            all_tracks: true,
            ..Default::default()
        }],
    })
}

fn permission_of(message: Message) -> Option<proto::SubscriptionPermissionUpdate> {
    match message {
        Message::SubscriptionPermissionUpdate(update) => Some(update),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_chooses_its_subscribers() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    alice.send(only("carol")).await;
    alice.publish(&node).await;
    let denied = bob.wait(permission_of).await;
    assert!(!denied.allowed && denied.participant_sid == alice.sid);
    assert!(
        !bob.drain()
            .await
            .iter()
            .any(|m| matches!(m, Message::Offer(_)))
    );

    alice.send(only("bob")).await;
    let granted = bob.wait(permission_of).await;
    assert!(granted.allowed);
    bob.answer_offer(&node).await;
    assert_eq!(node.rooms.metrics().subscribed_video, 1);
    node.take();

    alice.send(only("carol")).await;
    let removed = node
        .take()
        .iter()
        .filter(|command| matches!(command, Command::RemoveDownTrack { .. }))
        .count();
    assert_eq!(removed, 2);
    assert_eq!(node.rooms.metrics().subscribed_video, 0);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_subscribe_gets_nothing_until_it_may() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.publish(&node).await;
    let deaf = claims_with("bob", |grant| grant.can_subscribe = Some(false));
    let mut bob = node.join_as(deaf, params()).await;
    assert!(!bob.join.as_ref().unwrap().subscriber_primary);
    bob.offer(&node, super::harness::PUBLISH).await;
    node.connect(bob.transport(false)).await;
    assert!(
        !bob.drain()
            .await
            .iter()
            .any(|m| matches!(m, Message::Offer(_)))
    );

    let update = proto::UpdateParticipantRequest {
        room: "r".into(),
        identity: "bob".into(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            can_publish_data: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    node.rooms.update_participant(update).await.unwrap();
    let offer = bob.wait_offer().await;
    assert_eq!(offer.mid_to_track_id.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_permission_unpublishes() {
    let node = Node::with(Settings {
        token_signer: std::sync::Arc::new(|claims| {
            let grant = claims.video.as_ref().unwrap();
            format!("publishes: {}", grant.publishes())
        }),
        ..Settings::default()
    })
    .await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let (_, video) = alice.publish(&node).await;
    alice.drain().await;
    node.take();
    let update = proto::UpdateParticipantRequest {
        room: "r".into(),
        identity: "alice".into(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            can_publish_sources: vec![proto::TrackSource::Microphone.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let info = node.rooms.update_participant(update).await.unwrap();
    assert_eq!(info.tracks.len(), 1);
    let unpublished = alice
        .wait(|message| match message {
            Message::TrackUnpublished(unpublished) => Some(unpublished.track_sid),
            _ => None,
        })
        .await;
    assert_eq!(unpublished, video);
    let token = alice
        .wait(|message| match message {
            Message::RefreshToken(token) => Some(token),
            _ => None,
        })
        .await;
    assert_eq!(token, "publishes: true");
    let commands = node.take();
    assert!(commands.iter().any(|command| matches!(
        command,
        Command::SetDataPublish { data_publish, .. } if !data_publish.allowed
    )));
    assert!(
        commands
            .iter()
            .any(|c| matches!(c, Command::RemoveUpTrack { .. }))
    );
    bob.wait_update("alice", |info| info.tracks.len() == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn own_metadata_changes_within_right_and_limit() {
    let node = Node::with(Settings {
        max_metadata_size: 10,
        ..Settings::default()
    })
    .await;
    let allowed = claims_with("alice", |grant| grant.can_update_own_metadata = Some(true));
    let mut alice = node.join_as(allowed, params()).await;
    let mut bob = node.join_active("bob").await;
    let update = |metadata: &str, request_id| {
        proto::signal_request::Message::UpdateMetadata(proto::UpdateParticipantMetadata {
            metadata: metadata.into(),
            name: "Alice".into(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            request_id,
        })
    };
    fn response(message: Message) -> Option<proto::RequestResponse> {
        match message {
            Message::RequestResponse(response) => Some(response),
            _ => None,
        }
    }
    alice.send(update("hello", 1)).await;
    let ok = alice.wait(response).await;
    assert_eq!((ok.request_id, ok.reason()), (1, Reason::Ok));
    let info = bob
        .wait_update("alice", |info| info.metadata == "hello")
        .await;
    assert_eq!(
        (info.name.as_str(), info.attributes["k"].as_str()),
        ("Alice", "v")
    );

    alice.send(update("far too long", 2)).await;
    assert_eq!(alice.wait(response).await.reason(), Reason::LimitExceeded);
    bob.send(update("x", 3)).await;
    assert_eq!(bob.wait(response).await.reason(), Reason::NotAllowed);
}
