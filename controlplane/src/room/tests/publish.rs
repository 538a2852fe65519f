use livekit_protocol as proto;
use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::link::{Codec, Command, Event, UpTrackConfig};
use proto::request_response::Reason;
use proto::signal_response::Message;

use super::harness::{
    AUDIO_CID, Client, Node, PUBLISH, VIDEO_CID, camera, claims_with, microphone, params, pass,
};

fn up_tracks(commands: &[Command]) -> Vec<UpTrackConfig> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::SetUpTrack { config, .. } => Some((**config).clone()),
            _ => None,
        })
        .collect()
}

async fn answer_of(client: &mut Client) -> proto::SessionDescription {
    client
        .wait(|message| match message {
            Message::Answer(answer) => Some(answer),
            _ => None,
        })
        .await
}

async fn response_of(client: &mut Client) -> proto::RequestResponse {
    client
        .wait(|message| match message {
            Message::RequestResponse(response) => Some(response),
            _ => None,
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_simulcast_camera_reaches_the_data_plane_and_the_room() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let audio = alice.publish_request(microphone()).await;
    let video = alice.publish_request(camera()).await;
    assert!(audio.starts_with("TR_AM") && video.starts_with("TR_VC"));
    node.take();
    alice.offer(&node, PUBLISH).await;
    let answer = answer_of(&mut alice).await;
    assert_eq!(answer.id, 1);
    assert!(answer.mid_to_track_id.is_empty());
    assert!(answer.sdp.contains("a=simulcast:recv q;h;f"));

    let commands = node.take();
    assert!(matches!(commands[0], Command::AddTransport(_)));
    assert!(matches!(commands[1], Command::SetRemote(_)));
    let tracks = up_tracks(&commands);
    assert_eq!(tracks.len(), 2);
    let camera = tracks
        .iter()
        .find(|track| track.mid.as_str() == "1")
        .unwrap();
    assert_eq!(camera.encodings.len(), 3);
    assert_eq!(camera.codecs[0].codec, Codec::Vp8);
    assert_eq!(camera.pli_interval_ms, [500, 1000, 1000]);

    // Not before it can be had.
    assert!(
        bob.drain()
            .await
            .iter()
            .all(|m| !matches!(m, Message::Offer(_)))
    );
    node.connect(alice.transport(false)).await;
    let info = bob
        .wait_update("alice", |info| info.tracks.len() == 2)
        .await;
    assert!(info.is_publisher);
    let track = info.tracks.iter().find(|track| track.sid == video).unwrap();
    assert_eq!(
        (track.mime_type.as_str(), track.mid.as_str()),
        ("video/VP8", "1")
    );
    assert_eq!(
        (track.width, track.height, track.name.as_str()),
        (1280, 720, "cam")
    );
    assert_eq!(track.source(), proto::TrackSource::Camera);
    assert_eq!(track.stream, "camera");
    let layers = &track.codecs[0].layers;
    assert_eq!(
        layers.iter().map(|l| l.rid.as_str()).collect::<Vec<_>>(),
        ["q", "h", "f"]
    );
    assert!(track.version.is_some());
    let metrics = node.rooms.metrics();
    assert_eq!((metrics.published_audio, metrics.published_video), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_offer_may_come_before_the_request() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.offer(&node, PUBLISH).await;
    node.connect(alice.transport(false)).await;
    assert!(up_tracks(&node.commands()).is_empty());
    alice.publish_request(camera()).await;
    let tracks = up_tracks(&node.commands());
    assert_eq!(tracks.len(), 1);
    assert_eq!(tracks[0].mid.as_str(), "1");
    let info = alice
        .wait_update("alice", |info| !info.tracks.is_empty())
        .await;
    assert_eq!(info.tracks[0].codecs[0].cid, VIDEO_CID);
}

#[tokio::test(start_paused = true)]
async fn a_first_packet_announces_as_well() {
    let node = Node::start().await;
    let mut pion = params();
    pion.client_info.sdk = proto::client_info::Sdk::Go.into();
    let mut alice = node.join_as(super::harness::claims("alice"), pion).await;
    alice.answer_offer(&node).await;
    node.connect(alice.transport(true)).await;
    let video = alice.publish_request(camera()).await;
    alice.offer(&node, PUBLISH).await;
    let transport = alice.transport(false);
    node.connect(transport).await;
    pass(1).await;
    let listed = |participant: proto::ParticipantInfo| participant.tracks;
    let request = proto::RoomParticipantIdentity {
        room: "r".into(),
        identity: "alice".into(),
        ..Default::default()
    };
    let tracks = listed(node.rooms.get_participant(request.clone()).await.unwrap());
    assert!(tracks.is_empty());
    let started = Event::UpTrackStarted {
        transport,
        track: up_tracks(&node.commands())[0].track,
        spatial: 0,
        ssrc: Ssrc(1),
        pt: Pt(96),
    };
    node.event(started).await;
    let tracks = listed(node.rooms.get_participant(request).await.unwrap());
    assert_eq!(tracks[0].sid, video);
}

#[tokio::test(start_paused = true)]
async fn muting_stops_forwarding_and_is_told() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let (audio, _) = alice.publish(&node).await;
    let mute = proto::MuteTrackRequest {
        sid: audio.clone(),
        muted: true,
    };
    node.take();
    alice.send(proto::signal_request::Message::Mute(mute)).await;
    assert!(matches!(
        node.take()[..],
        [Command::MuteUpTrack { muted: true, .. }]
    ));
    bob.wait_update("alice", |info| {
        info.tracks
            .iter()
            .any(|track| track.sid == audio && track.muted)
    })
    .await;

    let unknown = proto::MuteTrackRequest {
        sid: "TR_none".into(),
        muted: true,
    };
    alice
        .send(proto::signal_request::Message::Mute(unknown))
        .await;
    assert_eq!(response_of(&mut alice).await.reason(), Reason::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_a_new_offer_leaves_out_is_unpublished() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let (audio, video) = alice.publish(&node).await;
    bob.wait_update("alice", |info| info.tracks.len() == 2)
        .await;
    // The video m-line turns inactive.
    let (before, after) = PUBLISH
        .split_once("a=mid:1\r\n")
        .unwrap_or_else(|| PUBLISH.split_once("a=mid:1\n").unwrap());
    let stopped = format!(
        "{before}a=mid:1\r\n{}",
        after.replacen("a=sendonly", "a=inactive", 1)
    );
    node.take();
    alice.offer(&node, &stopped).await;
    let removed = node
        .take()
        .iter()
        .filter(|command| matches!(command, Command::RemoveUpTrack { .. }))
        .count();
    assert_eq!(removed, 1);
    let info = bob
        .wait_update("alice", |info| info.tracks.len() == 1)
        .await;
    assert_eq!(info.tracks[0].sid, audio);

    // The same device again: a new track.
    let again = alice.publish_request(camera()).await;
    assert_ne!(again, video);
    alice.offer(&node, PUBLISH).await;
    bob.wait_update("alice", |info| info.tracks.iter().any(|t| t.sid == again))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_request_for_a_cid_waits_its_turn() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let (first, _) = alice.publish(&node).await;
    alice.add_track(microphone()).await;
    assert_eq!(response_of(&mut alice).await.reason(), Reason::Queued);
    let without_audio = PUBLISH.replacen("a=sendonly", "a=inactive", 1);
    alice.offer(&node, &without_audio).await;
    let second = alice
        .wait(|message| match message {
            Message::TrackPublished(published) => Some(published),
            _ => None,
        })
        .await;
    assert_eq!(second.cid, AUDIO_CID);
    assert_ne!(second.track.unwrap().sid, first);
}

#[tokio::test(start_paused = true)]
async fn only_permitted_sources_are_published() {
    let node = Node::start().await;
    let audio_only = claims_with("alice", |grant| {
        grant.can_publish_sources = vec!["microphone".into()];
    });
    let mut alice = node.join_as(audio_only, params()).await;
    alice.add_track(camera()).await;
    let response = response_of(&mut alice).await;
    assert_eq!(response.reason(), Reason::NotAllowed);
    assert!(matches!(
        response.request,
        Some(proto::request_response::Request::AddTrack(_))
    ));
    alice.publish_request(microphone()).await;
}

#[tokio::test(start_paused = true)]
async fn garbage_for_an_offer_ends_in_a_new_session() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.offer(&node, "v=0\r\nnonsense").await;
    let leave = alice.wait_leave().await;
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_publish_has_a_length() {
    let node = Node::start().await;
    let mut alice = node.join("alice").await;
    alice
        .add_track(proto::AddTrackRequest {
            name: "x".repeat(20_000),
            ..microphone()
        })
        .await;
    let reason = alice
        .wait(|message| match message {
            Message::RequestResponse(response) => Some(response.reason()),
            _ => None,
        })
        .await;
    assert_eq!(reason, Reason::LimitExceeded);
    alice.publish_request(microphone()).await;
}
