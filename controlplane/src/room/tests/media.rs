use livekit_protocol as proto;
use millrace_shared::ids::{Pt, Ssrc};
use millrace_shared::link::{Codec, Command, DownTrackConfig, Event, SpeakerLevel, TrackReport};
use proto::signal_response::Message;

use super::harness::{Client, Node, answer_to, camera, claims, params, pass};
use crate::room::JoinParams;

fn down_tracks(commands: &[Command]) -> Vec<DownTrackConfig> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::SetDownTrack { config, .. } => Some((**config).clone()),
            _ => None,
        })
        .collect()
}

/// Alice publishes, Bob subscribes to both of her tracks.
async fn call(node: &Node) -> (Client, Client, (String, String)) {
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let tracks = alice.publish(node).await;
    bob.answer_offer(node).await;
    (alice, bob, tracks)
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_a_published_track() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let (audio, video) = alice.publish(&node).await;
    node.take();
    let offer = bob.wait_offer().await;
    let mut named: Vec<_> = offer.mid_to_track_id.values().cloned().collect();
    named.sort();
    assert_eq!(named, {
        let mut sids = vec![audio.clone(), video.clone()];
        sids.sort();
        sids
    });
    assert!(
        offer
            .sdp
            .contains(&format!("a=msid:{}|{video} {video}", alice.sid))
    );
    assert!(down_tracks(&node.take()).is_empty());

    bob.answer(&offer, &answer_to(&offer.sdp)).await;
    let configs = down_tracks(&node.commands());
    assert_eq!(configs.len(), 2);
    let video_config = configs
        .iter()
        .find(|config| offer.mid_to_track_id[config.mid.as_str()] == video)
        .unwrap();
    assert!(video_config.rtx_ssrc.is_some() && video_config.nack);
    assert!(
        video_config
            .pts
            .iter()
            .any(|map| map.up == Pt(96) && map.down == Pt(96))
    );
    assert!(!video_config.paused);

    let mut told = Vec::new();
    for message in alice.drain().await {
        if let Message::TrackSubscribed(subscribed) = message {
            told.push(subscribed.track_sid);
        }
    }
    told.sort();
    assert_eq!(told.len(), 2);
    let metrics = node.rooms.metrics();
    assert_eq!((metrics.subscribed_audio, metrics.subscribed_video), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_gets_tracks_in_the_first_offer() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.publish(&node).await;
    let mut bob = node.join("bob").await;
    let offer = bob.wait_offer().await;
    assert_eq!(offer.mid_to_track_id.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_offer_is_out_at_a_time() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join("bob").await;
    let first = bob.wait_offer().await;
    node.connect(bob.transport(true)).await;
    alice.publish(&node).await;
    assert!(
        !bob.drain()
            .await
            .iter()
            .any(|m| matches!(m, Message::Offer(_)))
    );
    // Answers to other offers than the last one count for nothing.
    let mut stale = first.clone();
    stale.id += 100;
    bob.answer(&stale, &answer_to(&first.sdp)).await;
    assert!(
        !bob.drain()
            .await
            .iter()
            .any(|m| matches!(m, Message::Offer(_)))
    );
    bob.answer(&first, &answer_to(&first.sdp)).await;
    let second = bob.wait_offer().await;
    assert_eq!(second.id, first.id + 1);
    assert_eq!(second.mid_to_track_id.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn explicit_subscriptions_follow_the_client() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let manual = JoinParams {
        auto_subscribe: false,
        ..params()
    };
    let mut bob = node.join_as(claims("bob"), manual).await;
    bob.answer_offer(&node).await;
    node.connect(bob.transport(true)).await;
    let (audio, _) = alice.publish(&node).await;
    assert!(
        !bob.drain()
            .await
            .iter()
            .any(|m| matches!(m, Message::Offer(_)))
    );

    let wish = |subscribe| {
        proto::signal_request::Message::Subscription(proto::UpdateSubscription {
            track_sids: vec![audio.clone()],
            subscribe,
            ..Default::default()
        })
    };
    bob.send(wish(true)).await;
    let offer = bob.answer_offer(&node).await;
    assert_eq!(offer.mid_to_track_id.values().collect::<Vec<_>>(), [&audio]);
    node.take();
    bob.send(wish(false)).await;
    assert!(matches!(node.take()[..], [Command::RemoveDownTrack { .. }]));
    assert!(bob.wait_offer().await.mid_to_track_id.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wish_may_come_before_the_track_or_in_vain() {
    let node = Node::start().await;
    let mut bob = node.join_active("bob").await;
    let wish = proto::UpdateSubscription {
        track_sids: vec!["TR_never".into()],
        subscribe: true,
        ..Default::default()
    };
    bob.send(proto::signal_request::Message::Subscription(wish))
        .await;
    pass(59).await;
    let early = bob.drain().await;
    assert!(
        !early
            .iter()
            .any(|m| matches!(m, Message::SubscriptionResponse(_)))
    );
    pass(2).await;
    let response = bob
        .wait(|message| match message {
            Message::SubscriptionResponse(response) => Some(response),
            _ => None,
        })
        .await;
    assert_eq!(response.track_sid, "TR_never");
    assert_eq!(response.err(), proto::SubscriptionError::SeTrackNotfound);
}

#[tokio::test(start_paused = true)]
async fn a_codec_that_the_subscriber_lacks_is_told() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let video = alice.publish_request(camera()).await;
    alice.offer(&node, super::harness::PUBLISH).await;
    node.connect(alice.transport(false)).await;
    let offer = bob.wait_offer().await;
    let refused = answer_to(&offer.sdp).replace("m=video 9", "m=video 0");
    bob.answer(&offer, &refused).await;
    let response = bob
        .wait(|message| match message {
            Message::SubscriptionResponse(response) => Some(response),
            _ => None,
        })
        .await;
    assert_eq!(response.track_sid, video);
    assert_eq!(response.err(), proto::SubscriptionError::SeCodecUnsupported);
    assert!(down_tracks(&node.commands()).is_empty());
    assert_eq!(node.rooms.metrics().subscribed_video, 0);
}

#[tokio::test(start_paused = true)]
async fn settings_choose_the_layer() {
    let node = Node::start().await;
    let (_alice, bob, (_, video)) = call(&node).await;
    let settings = |change: fn(&mut proto::UpdateTrackSettings)| {
        let mut settings = proto::UpdateTrackSettings {
            track_sids: vec![video.clone()],
            quality: proto::VideoQuality::High.into(),
            ..Default::default()
        };
        change(&mut settings);
        proto::signal_request::Message::TrackSetting(settings)
    };
    node.take();
    bob.send(settings(|s| s.quality = proto::VideoQuality::Low.into()))
        .await;
    bob.send(settings(|s| (s.width, s.height) = (640, 360)))
        .await;
    bob.send(settings(|s| s.disabled = true)).await;
    let layers: Vec<_> = node
        .take()
        .into_iter()
        .map(|command| match command {
            Command::SetDownTrackLayer {
                max_layer, paused, ..
            } => (max_layer.spatial, paused),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(layers, [(0, false), (1, false), (2, true)]);
}

#[tokio::test(start_paused = true)]
async fn copies_follow_the_codec_that_really_comes() {
    let node = Node::start().await;
    let (alice, mut bob, (_, video)) = call(&node).await;
    let track = node
        .commands()
        .into_iter()
        .find_map(|command| match command {
            Command::SetUpTrack { config, .. } if config.mid.as_str() == "1" => Some(config),
            _ => None,
        })
        .unwrap();
    let h264 = track
        .codecs
        .iter()
        .find(|up| up.codec == Codec::H264)
        .unwrap();
    let started = |pt| Event::UpTrackStarted {
        transport: alice.transport(false),
        track: track.track,
        spatial: 0,
        ssrc: Ssrc(1),
        pt,
    };
    // The expected one changes nothing.
    node.take();
    node.event(started(track.codecs[0].pt)).await;
    assert!(node.take().is_empty());

    node.event(started(h264.pt)).await;
    bob.wait_update("alice", |info| {
        info.tracks
            .iter()
            .any(|t| t.sid == video && t.mime_type == "video/H264")
    })
    .await;
    bob.answer_offer(&node).await;
    let configs = down_tracks(&node.take());
    assert_eq!(configs.len(), 1);
    assert!(configs[0].pts.iter().all(|map| map.up == h264.pt));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_leaves_takes_its_tracks_along() {
    let node = Node::start().await;
    let (alice, mut bob, _) = call(&node).await;
    node.take();
    alice
        .send(proto::signal_request::Message::Leave(Default::default()))
        .await;
    let commands = node.take();
    let removed = |of: fn(&Command) -> bool| commands.iter().filter(|c| of(c)).count();
    assert_eq!(removed(|c| matches!(c, Command::RemoveDownTrack { .. })), 2);
    assert_eq!(removed(|c| matches!(c, Command::RemoveTransport { .. })), 2);
    assert!(bob.wait_offer().await.mid_to_track_id.is_empty());
    let metrics = node.rooms.metrics();
    assert_eq!((metrics.published_video, metrics.subscribed_video), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn speakers_are_told_to_those_who_hear_them() {
    let node = Node::start().await;
    let (mut alice, mut bob, _) = call(&node).await;
    let mut carol = node.join("carol").await;
    alice.drain().await;
    let audio = node
        .commands()
        .into_iter()
        .find_map(|command| match command {
            Command::SetUpTrack { config, .. } if config.mid.as_str() == "0" => Some(config.track),
            _ => None,
        })
        .unwrap();
    let levels = |level: f32| Event::Speakers {
        group: millrace_shared::ids::GroupId(audio.0 >> 32 << 32),
        levels: vec![SpeakerLevel {
            track: audio,
            level,
            active: level > 0.0,
        }],
    };
    fn heard(message: Message) -> Option<proto::SpeakerInfo> {
        match message {
            Message::SpeakersChanged(mut changed) => changed.speakers.pop(),
            _ => None,
        }
    }
    node.event(levels(0.3)).await;
    for client in [&mut alice, &mut bob, &mut carol] {
        let speaker = client.wait(heard).await;
        assert!(speaker.active && (speaker.level - 0.375).abs() < f32::EPSILON);
    }
    // A change within the same step is not worth a message.
    bob.drain().await;
    node.event(levels(0.32)).await;
    assert!(bob.drain().await.is_empty());
    node.event(levels(0.0)).await;
    let speaker = bob.wait(heard).await;
    assert!(!speaker.active && speaker.sid == alice.sid);
}

#[tokio::test(start_paused = true)]
async fn quality_is_told_when_it_changes() {
    let node = Node::start().await;
    let (_alice, mut bob, _) = call(&node).await;
    let tracks: Vec<_> = node
        .commands()
        .into_iter()
        .filter_map(|command| match command {
            Command::SetUpTrack { config, .. } => Some(config.track),
            _ => None,
        })
        .collect();
    let report = |lost: u64| Event::Reports {
        shard: millrace_shared::ids::ShardId(0),
        up: tracks
            .iter()
            .map(|track| {
                let report = TrackReport {
                    packets: 100,
                    lost,
                    ..Default::default()
                };
                (*track, report)
            })
            .collect(),
        down: Vec::new(),
        transports: Vec::new(),
    };
    fn rated(message: Message) -> Option<Vec<proto::ConnectionQualityInfo>> {
        match message {
            Message::ConnectionQuality(update) => Some(update.updates),
            _ => None,
        }
    }
    node.event(report(0)).await;
    let first = bob.wait(rated).await;
    assert_eq!(first.len(), 2);
    assert!(
        first
            .iter()
            .all(|r| r.quality() == proto::ConnectionQuality::Excellent)
    );
    node.event(report(0)).await;
    assert!(bob.drain().await.is_empty());
    node.event(report(25)).await;
    let worse = bob.wait(rated).await;
    assert_eq!(worse.len(), 1);
    assert_eq!(worse[0].quality(), proto::ConnectionQuality::Poor);
}

fn settings_of(track_sid: String) -> proto::signal_request::Message {
    proto::signal_request::Message::TrackSetting(proto::UpdateTrackSettings {
        track_sids: vec![track_sid],
        ..Default::default()
    })
}

/// Settings for tracks that went meanwhile must not use up the places of those to come.
#[tokio::test(start_paused = true)]
async fn settings_for_tracks_that_are_not_there_are_forgotten() {
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    for i in 0..1024 {
        bob.send(settings_of(format!("TR_gone{i}"))).await;
    }
    bob.send(settings_of("TR_".repeat(1000))).await;
    pass(62).await;
    bob.drain().await;
    alice.drain().await;
    alice.publish(&node).await;
    let offer = bob.answer_offer(&node).await;
    assert!(offer.sdp.contains("m=audio"), "{}", offer.sdp);
}
