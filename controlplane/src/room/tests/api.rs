use livekit_protocol as proto;
use millrace_shared::link::Command;
use prost::Message as _;
use proto::signal_response::Message;

use super::harness::{Node, pass};
use crate::room::{ApiCode, Settings};

fn named(identity: &str) -> proto::RoomParticipantIdentity {
    proto::RoomParticipantIdentity {
        room: "r".into(),
        identity: identity.into(),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn rooms_are_created_listed_and_deleted() {
    let node = Node::start().await;
    let request = proto::CreateRoomRequest {
        name: "r".into(),
        empty_timeout: 60,
        max_participants: 5,
        metadata: "m".into(),
        ..Default::default()
    };
    let room = node.rooms.create_room(request.clone()).await.unwrap();
    assert_eq!((room.empty_timeout, room.max_participants), (60, 5));
    // Again: the same room, with what the request changes.
    let again = proto::CreateRoomRequest {
        max_participants: 6,
        metadata: String::new(),
        ..request
    };
    let same = node.rooms.create_room(again).await.unwrap();
    assert_eq!(
        (same.sid.as_str(), same.max_participants),
        (room.sid.as_str(), 6)
    );
    assert_eq!(same.metadata, "m");

    let list = |names: &[&str]| proto::ListRoomsRequest {
        names: names.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        node.rooms.list_rooms(list(&[])).await.unwrap().rooms.len(),
        1
    );
    assert_eq!(
        node.rooms
            .list_rooms(list(&["x"]))
            .await
            .unwrap()
            .rooms
            .len(),
        0
    );

    let mut alice = node.join_active("alice").await;
    let delete = proto::DeleteRoomRequest { room: "r".into() };
    node.rooms.delete_room(delete.clone()).await.unwrap();
    let leave = alice.wait_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::RoomDeleted);
    let error = node.rooms.delete_room(delete).await.unwrap_err();
    assert_eq!(error.code, ApiCode::NotFound);
    assert_eq!(error.msg, "requested room does not exist");
    let error = node
        .rooms
        .create_room(Default::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, ApiCode::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn participants_are_listed_and_removed() {
    let node = Node::start().await;
    let nobody = proto::ListParticipantsRequest { room: "r".into() };
    let list = node.rooms.list_participants(nobody.clone()).await.unwrap();
    assert!(list.participants.is_empty());
    let error = node
        .rooms
        .get_participant(named("alice"))
        .await
        .unwrap_err();
    assert_eq!(error.msg, "participant does not exist");

    let mut alice = node.join_active("alice").await;
    let list = node.rooms.list_participants(nobody).await.unwrap();
    assert_eq!(list.participants[0].identity, "alice");
    node.rooms.remove_participant(named("alice")).await.unwrap();
    let leave = alice.wait_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::ParticipantRemoved);
    assert!(node.rooms.remove_participant(named("alice")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn tracks_are_muted_but_unmuted_only_where_allowed() {
    for enable_remote_unmute in [false, true] {
        let node = Node::with(Settings {
            enable_remote_unmute,
            ..Settings::default()
        })
        .await;
        let mut alice = node.join_active("alice").await;
        let (audio, _) = alice.publish(&node).await;
        let request = |muted| proto::MuteRoomTrackRequest {
            room: "r".into(),
            identity: "alice".into(),
            track_sid: audio.clone(),
            muted,
        };
        let response = node
            .rooms
            .mute_published_track(request(true))
            .await
            .unwrap();
        assert!(response.track.unwrap().muted);
        let mute = alice
            .wait(|message| match message {
                Message::Mute(mute) => Some(mute),
                _ => None,
            })
            .await;
        assert!(mute.muted && mute.sid == audio);
        let unmuted = node.rooms.mute_published_track(request(false)).await;
        match unmuted {
            Ok(response) => assert!(enable_remote_unmute && !response.track.unwrap().muted),
            Err(error) => {
                assert_eq!(error.code, ApiCode::FailedPrecondition);
                assert!(!enable_remote_unmute);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn data_goes_to_the_group_by_identity() {
    let node = Node::start().await;
    let alice = node.join_active("alice").await;
    node.take();
    let request = proto::SendDataRequest {
        room: "r".into(),
        data: b"hi".to_vec(),
        kind: proto::data_packet::Kind::Lossy.into(),
        #[expect(deprecated, reason = "old SDKs name sessions")]
        destination_sids: vec![alice.sid.clone()],
        topic: Some("t".into()),
        ..Default::default()
    };
    node.rooms.send_data(request.clone()).await.unwrap();
    let commands = node.take();
    let [Command::SendData(sent)] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert!(!sent.reliable);
    let packet = proto::DataPacket::decode(sent.packet.clone()).unwrap();
    assert_eq!(packet.destination_identities, ["alice"]);
    let Some(proto::data_packet::Value::User(user)) = packet.value else {
        panic!("no user packet");
    };
    assert_eq!(
        (user.payload.as_slice(), user.topic.as_deref()),
        (&b"hi"[..], Some("t"))
    );

    let mut gone = request.clone();
    #[expect(deprecated, reason = "old SDKs name sessions")]
    {
        gone.destination_sids = vec!["PA_gone".into()];
    }
    node.rooms.send_data(gone).await.unwrap();
    assert!(node.take().is_empty());
    let mut odd = request;
    odd.nonce = vec![1; 3];
    let error = node.rooms.send_data(odd).await.unwrap_err();
    assert_eq!(error.code, ApiCode::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn room_metadata_reaches_everybody() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let request = proto::UpdateRoomMetadataRequest {
        room: "r".into(),
        metadata: "news".into(),
    };
    let room = node.rooms.update_room_metadata(request).await.unwrap();
    assert_eq!(room.metadata, "news");
    alice
        .wait(|message| match message {
            Message::RoomUpdate(update) => (update.room?.metadata == "news").then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_changed_from_outside() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let (audio, video) = alice.publish(&node).await;
    bob.answer_offer(&node).await;
    let request = proto::UpdateSubscriptionsRequest {
        room: "r".into(),
        identity: "bob".into(),
        track_sids: vec![audio],
        participant_tracks: vec![proto::ParticipantTracks {
            participant_sid: alice.sid.clone(),
            track_sids: vec![video],
        }],
        subscribe: false,
    };
    node.rooms.update_subscriptions(request).await.unwrap();
    pass(1).await;
    let metrics = node.rooms.metrics();
    assert_eq!((metrics.subscribed_audio, metrics.subscribed_video), (0, 0));
}
