use livekit_protocol as proto;
use millrace_shared::link::Command;
use proto::signal_response::Message;

use super::harness::{Client, Node, SINGLE, claims, description, params};
use crate::room::JoinParams;

pub(super) fn single() -> JoinParams {
    JoinParams {
        v1: Some(Box::new(proto::JoinRequest {
            client_info: Some(params().client_info),
            connection_settings: Some(proto::ConnectionSettings {
                auto_subscribe: true,
                ..Default::default()
            }),
            publisher_offer: Some(description("offer", SINGLE, 7)),
            ..Default::default()
        })),
        ..JoinParams::default()
    }
}

pub(super) async fn answer_of(client: &mut Client) -> proto::SessionDescription {
    client
        .wait(|message| match message {
            Message::Answer(answer) => Some(answer),
            _ => None,
        })
        .await
}

async fn requirement_of(client: &mut Client) -> (u32, u32) {
    client
        .wait(|message| match message {
            Message::MediaSectionsRequirement(required) => {
                Some((required.num_audios, required.num_videos))
            }
            _ => None,
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn the_offer_of_the_join_is_answered_with_the_tracks_that_are_there() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let (audio, video) = alice.publish(&node).await;
    node.take();
    let mut bob = node.join_as(claims("bob"), single()).await;
    assert!(!bob.join.as_ref().unwrap().subscriber_primary);
    let answer = answer_of(&mut bob).await;
    assert_eq!(answer.id, 7);
    assert_eq!(answer.mid_to_track_id["0"], audio);
    assert_eq!(answer.mid_to_track_id["3"], video);
    let commands = node.take();
    let add = commands
        .iter()
        .find_map(|command| match command {
            Command::AddTransport(add) => Some(add),
            _ => None,
        })
        .unwrap();
    assert!(add.data_receive && add.data_publish.allowed && !add.open_data_channels);
    let downs = commands
        .iter()
        .filter(|c| matches!(c, Command::SetDownTrack { .. }))
        .count();
    assert_eq!(downs, 2);

    node.connect(bob.transport(false)).await;
    for _ in 0..2 {
        alice
            .wait(|message| matches!(message, Message::TrackSubscribed(_)).then_some(()))
            .await;
    }
    let active = proto::participant_info::State::Active;
    let info = alice
        .wait_update("bob", |info| info.state() == active)
        .await;
    assert!(!info.is_publisher);
}

#[tokio::test(start_paused = true)]
async fn a_new_track_makes_the_client_offer_again() {
    let node = Node::start().await;
    let mut bob = node.join_as(claims("bob"), single()).await;
    assert!(answer_of(&mut bob).await.mid_to_track_id.is_empty());
    node.connect(bob.transport(false)).await;
    let mut alice = node.join_active("alice").await;
    let (_, video) = alice.publish(&node).await;
    // There are free m-lines: only an offer is lacking.
    assert_eq!(requirement_of(&mut bob).await, (0, 0));
    bob.offer(&node, SINGLE).await;
    let answer = answer_of(&mut bob).await;
    assert_eq!(answer.mid_to_track_id.len(), 2);
    assert_eq!(answer.mid_to_track_id["3"], video);
}

#[tokio::test(start_paused = true)]
async fn m_lines_are_asked_for_when_they_run_short() {
    let node = Node::start().await;
    for name in ["a", "b", "c", "d"] {
        let mut publisher = node.join_active(name).await;
        publisher.publish(&node).await;
        // Kept: its session shall go on.
        std::mem::forget(publisher);
    }
    let mut bob = node.join_as(claims("bob"), single()).await;
    assert_eq!(answer_of(&mut bob).await.mid_to_track_id.len(), 6);
    assert_eq!(requirement_of(&mut bob).await, (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unsubscribed_track_frees_its_m_line() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let (audio, video) = alice.publish(&node).await;
    let mut bob = node.join_as(claims("bob"), single()).await;
    answer_of(&mut bob).await;
    let unsubscribe = proto::UpdateSubscription {
        track_sids: vec![video],
        subscribe: false,
        ..Default::default()
    };
    bob.send(proto::signal_request::Message::Subscription(unsubscribe))
        .await;
    assert_eq!(requirement_of(&mut bob).await, (0, 0));
    bob.offer(&node, SINGLE).await;
    let answer = answer_of(&mut bob).await;
    assert_eq!(answer.mid_to_track_id.len(), 1);
    assert_eq!(answer.mid_to_track_id["0"], audio);
}
