//! A control plane ends without a word, and another one takes its rooms back.

use std::collections::{BTreeMap, BTreeSet};

use livekit_protocol as proto;
use millrace_shared::ids::{DownTrackId, Pt, ShardId, Ssrc, TransportId};
use millrace_shared::link::{Command, Progress, TransportState, UpTrackState};
use proto::leave_request::Action;
use proto::participant_info::State;
use proto::signal_response::Message;

use super::harness::{
    Client, Node, PUBLISH, claims, hello, next_response, params, pass, restarted, resume_params,
};
use crate::room::Restored;

/// The transports that these commands made, with their tracks, all connected.
fn states(commands: &[Command]) -> BTreeMap<TransportId, TransportState> {
    let mut states = BTreeMap::new();
    for command in commands {
        match command {
            Command::AddTransport(add) => {
                let state = TransportState {
                    transport: add.transport,
                    group: add.group,
                    progress: Progress::Connected,
                    pair: None,
                    reliable_sequence: 0,
                    up: Vec::new(),
                    down: Vec::new(),
                };
                states.insert(add.transport, state);
            }
            Command::RemoveTransport { transport } => {
                states.remove(transport);
            }
            Command::SetUpTrack { transport, config } => {
                let up = UpTrackState {
                    track: config.track,
                    started: config.codecs.first().map(|codec| codec.pt),
                };
                let state = states.get_mut(transport).unwrap();
                state.up.retain(|known| known.track != config.track);
                state.up.push(up);
            }
            Command::SetDownTrack { transport, config } => {
                let state = states.get_mut(transport).unwrap();
                state.down.retain(|known| *known != config.down);
                state.down.push(config.down);
            }
            Command::RemoveDownTrack { transport, down } => {
                let state = states.get_mut(transport).unwrap();
                state.down.retain(|known| known != down);
            }
            _ => {}
        }
    }
    states
}

/// The control plane after `node`, which is killed.
fn successor(node: &Node, states: BTreeMap<TransportId, TransportState>) -> Node {
    let next = Node::alone();
    next.rooms.restore(Restored {
        hellos: vec![hello()],
        memos: node.memos(),
        transports: states
            .into_values()
            .map(|state| (ShardId(0), state))
            .collect(),
    });
    next
}

async fn started() -> Node {
    let node = Node::alone();
    node.rooms.restore(Restored {
        hellos: vec![hello()],
        ..Restored::default()
    });
    node
}

async fn resume(node: &Node, client: &mut Client) -> Vec<Message> {
    let session = node
        .try_join(claims(&client.identity), resume_params(&client.sid))
        .await
        .unwrap();
    client.session = session;
    client.drain().await
}

fn offer(messages: &[Message]) -> proto::SessionDescription {
    let found = messages.iter().find_map(|message| match message {
        Message::Offer(offer) => Some(offer.clone()),
        _ => None,
    });
    found.unwrap()
}

fn tracks(messages: &[Message], identity: &str) -> Vec<String> {
    let mut infos = messages.iter().filter_map(|message| match message {
        Message::Update(update) => update.participants.iter().find(|p| p.identity == identity),
        _ => None,
    });
    let info = infos.next_back().unwrap();
    info.tracks.iter().map(|track| track.sid.clone()).collect()
}

/// A room in which alice publishes and bob watches.
async fn call() -> (Node, Client, Client, (String, String)) {
    let node = started().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    let published = alice.publish(&node).await;
    bob.answer_offer(&node).await;
    (node, alice, bob, published)
}

#[tokio::test(start_paused = true)]
async fn sessions_are_resumed_as_they_were() {
    let (node, mut alice, mut bob, (audio, video)) = call().await;
    let before = node.commands();
    let next = successor(&node, states(&before));
    assert_eq!(next.rooms.metrics().participants, 2);
    assert_eq!(next.rooms.metrics().published_video, 1);
    assert_eq!(next.rooms.metrics().subscribed_video, 1);
    let disturbing = next.take().into_iter().find(|command| {
        !matches!(
            command,
            Command::MuteUpTrack { muted: false, .. }
                | Command::SetDataPublish { .. }
                | Command::SetDownTrackLayer { .. }
        )
    });
    assert_eq!(disturbing, None);

    let messages = resume(&next, &mut alice).await;
    assert!(matches!(messages[0], Message::Reconnect(_)), "{messages:?}");
    assert_eq!(tracks(&messages, "alice"), [audio.clone(), video.clone()]);
    alice.offer(&next, &restarted(PUBLISH)).await;
    let commands = next.take();
    let removed = commands.iter().find(|command| {
        matches!(
            command,
            Command::RemoveUpTrack { .. } | Command::RemoveDownTrack { .. }
        )
    });
    assert_eq!(removed, None);

    let messages = resume(&next, &mut bob).await;
    assert_eq!(tracks(&messages, "alice"), [audio.clone(), video.clone()]);
    let again = offer(&messages);
    let mut carried: Vec<_> = again.mid_to_track_id.values().cloned().collect();
    carried.sort();
    let mut expected = vec![audio.clone(), video.clone()];
    expected.sort();
    assert_eq!(carried, expected);
    next.take();
    bob.answer(&again, &super::harness::answer_to(&again.sdp))
        .await;
    let renewed = next.take();
    let changed = renewed
        .iter()
        .find(|command| matches!(command, Command::SetDownTrack { .. }));
    assert_eq!(changed, None, "the copies were negotiated already");

    // Whoever comes now finds a room like any other.
    let mut carol = next.join("carol").await;
    let names: BTreeSet<_> = carol
        .join
        .as_ref()
        .unwrap()
        .other_participants
        .iter()
        .map(|p| p.identity.as_str())
        .collect();
    assert_eq!(names, BTreeSet::from(["alice", "bob"]));
    let offered = carol.answer_offer(&next).await;
    assert_eq!(offered.mid_to_track_id.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_new_has_the_name_of_something_old() {
    let (node, ..) = call().await;
    let before = node.commands();
    let next = successor(&node, states(&before));
    next.join_active("carol").await;
    let (transports, downs, _) = names(&before);
    let (new_transports, new_downs, _) = names(&next.commands());
    assert!(!new_transports.is_empty() && !new_downs.is_empty());
    assert!(transports.is_disjoint(&new_transports));
    assert!(downs.is_disjoint(&new_downs));
}

fn names(commands: &[Command]) -> (BTreeSet<TransportId>, BTreeSet<DownTrackId>, BTreeSet<Ssrc>) {
    let (mut transports, mut downs, mut ssrcs) = Default::default();
    for command in commands {
        match command {
            Command::AddTransport(add) => {
                BTreeSet::insert(&mut transports, add.transport);
            }
            Command::SetDownTrack { config, .. } => {
                BTreeSet::insert(&mut downs, config.down);
                BTreeSet::insert(&mut ssrcs, config.ssrc);
                ssrcs.extend(config.rtx_ssrc);
            }
            _ => {}
        }
    }
    (transports, downs, ssrcs)
}

#[tokio::test(start_paused = true)]
async fn a_new_copy_on_an_old_transport_has_a_fresh_ssrc() {
    let (node, alice, mut bob, _) = call().await;
    let before = node.commands();
    let next = successor(&node, states(&before));
    let messages = resume(&next, &mut bob).await;
    let restart = offer(&messages);
    bob.answer(&restart, &super::harness::answer_to(&restart.sdp))
        .await;
    next.take();
    let mut carol = next.join_active("carol").await;
    carol.publish(&next).await;
    bob.answer_offer(&next).await;
    let (_, _, old) = names(&before);
    let (_, downs, new) = names(&next.commands());
    assert!(!downs.is_empty());
    assert!(old.is_disjoint(&new));
    drop(alice);
}

#[tokio::test(start_paused = true)]
async fn what_no_memo_knows_is_removed() {
    let (node, ..) = call().await;
    let mut states = states(&node.commands());
    let stray = TransportId(77 << 32 | 9);
    let first = states.values().next().unwrap().clone();
    let unknown_copy = DownTrackId(1 << 32 | 9999);
    let changed = states.values_mut().next().unwrap();
    changed.down.push(unknown_copy);
    let owner = changed.transport;
    states.insert(
        stray,
        TransportState {
            transport: stray,
            ..first
        },
    );
    let next = successor(&node, states);
    let commands = next.take();
    let removed = |wanted: &Command| commands.contains(wanted);
    assert!(removed(&Command::RemoveTransport { transport: stray }));
    assert!(removed(&Command::RemoveDownTrack {
        transport: owner,
        down: unknown_copy
    }));
    let transports = commands
        .iter()
        .filter(|c| matches!(c, Command::RemoveTransport { .. }));
    assert_eq!(transports.count(), 1);
    // No later room has the index that the stray's id names.
    let other = next
        .join_as(
            super::harness::claims_with("dave", |video| video.room = "other".into()),
            params(),
        )
        .await;
    assert!(other.transport(true).0 >> 32 > 77);
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_transports_has_left() {
    let (node, alice, mut bob, _) = call().await;
    let mut states = states(&node.commands());
    states.remove(&alice.transport(false)).unwrap();
    let next = successor(&node, states);
    assert_eq!(next.rooms.metrics().participants, 1);
    let commands = next.take();
    // Her other transport, and bob's copies of her tracks.
    assert!(commands.contains(&Command::RemoveTransport {
        transport: alice.transport(true)
    }));
    let copies: BTreeSet<DownTrackId> = commands
        .iter()
        .filter_map(|command| match command {
            Command::RemoveDownTrack { down, .. } => Some(*down),
            _ => None,
        })
        .collect();
    assert_eq!(copies.len(), 2);
    let messages = resume(&next, &mut bob).await;
    let Message::Update(departed) = &messages[1] else {
        panic!("{messages:?}");
    };
    assert_eq!(departed.participants[0].identity, "alice");
    assert_eq!(departed.participants[0].state(), State::Disconnected);
    let mut session = next
        .try_join(claims("alice"), resume_params(&alice.sid))
        .await
        .unwrap();
    let first = next_response(&mut session).await.unwrap();
    assert!(matches!(first, Message::Leave(leave) if leave.action() == Action::Reconnect));
    assert_eq!(next.memos().len(), 2, "the room's and bob's");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_leaves_when_its_media_ends() {
    let (node, alice, ..) = call().await;
    let mut states = states(&node.commands());
    for id in [alice.transport(true), alice.transport(false)] {
        states.get_mut(&id).unwrap().progress = Progress::Silent;
    }
    let next = successor(&node, states);
    assert_eq!(next.rooms.metrics().participants, 2);
    pass(21).await;
    // Bob's media still flows.
    assert_eq!(next.rooms.metrics().participants, 1);
}

#[tokio::test(start_paused = true)]
async fn a_started_track_that_nobody_heard_of_is_announced() {
    let node = started().await;
    let mut alice = node.join_active("alice").await;
    let mut bob = node.join_active("bob").await;
    alice.publish_request(super::harness::microphone()).await;
    alice.offer(&node, PUBLISH).await;
    // She connects and sends while nobody listens.
    let mut states = states(&node.commands());
    let publisher = states.get_mut(&alice.transport(false)).unwrap();
    assert_eq!(publisher.up.len(), 1);
    publisher.up[0].started = Some(Pt(111));
    let next = successor(&node, states);
    let messages = resume(&next, &mut bob).await;
    assert_eq!(tracks(&messages, "alice").len(), 1);
    let offer = offer(&messages);
    assert_eq!(offer.mid_to_track_id.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_before_there_is_a_data_plane() {
    let node = Node::alone();
    assert!(!node.rooms.is_ready());
    let joined = node.try_join(claims("alice"), params()).await;
    assert_eq!(joined.unwrap_err().status, 503);
    let resumed = node.try_join(claims("alice"), resume_params("PA_x")).await;
    assert_eq!(resumed.unwrap_err().status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_lost_data_plane_sends_everybody_back_to_the_start() {
    let (node, mut alice, mut bob, _) = call().await;
    node.rooms.dataplane_lost().await;
    for client in [&mut alice, &mut bob] {
        let leave = client.wait_leave().await;
        assert_eq!(leave.action(), Action::Reconnect);
    }
    assert_eq!(node.rooms.metrics().participants, 0);
    assert!(!node.rooms.is_ready());
    assert!(node.memos().is_empty());
    node.rooms.restore(Restored {
        hellos: vec![hello()],
        ..Restored::default()
    });
    let _back = node.join_active("alice").await;
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_ends_in_order_leaves_its_rooms_behind() {
    let (node, mut alice, ..) = call().await;
    let before = node.commands();
    node.rooms.detach().await;
    assert_eq!(node.commands(), before);
    let said = alice.drain().await;
    assert!(!said.iter().any(|m| matches!(m, Message::Leave(_))));
    assert!(alice.next().await.is_none());
    let next = successor(&node, states(&before));
    let messages = resume(&next, &mut alice).await;
    assert!(matches!(messages[0], Message::Reconnect(_)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_changes_its_shard_meanwhile_is_taken_back() {
    let (node, mut alice, mut bob, _) = call().await;
    let states = states(&node.commands());
    let as_it_goes = |state: &TransportState| TransportState {
        progress: Progress::Moving,
        ..state.clone()
    };
    let next = Node::alone();
    let mut transports = Vec::new();
    for (id, state) in states {
        // Alice's first check for what she publishes on came at this moment; bob's connection had
        // arrived when its shard told.
        transports.push((ShardId(0), as_it_goes(&state)));
        if id != alice.transport(false) {
            transports.push((ShardId(1), state.clone()));
            transports.push((ShardId(0), as_it_goes(&state)));
        }
    }
    next.rooms.restore(Restored {
        hellos: vec![hello()],
        memos: node.memos(),
        transports,
    });
    assert_eq!(next.rooms.metrics().participants, 2);
    for client in [&mut alice, &mut bob] {
        let messages = resume(&next, client).await;
        assert!(matches!(messages[0], Message::Reconnect(_)), "{messages:?}");
    }
    next.connect(alice.transport(false)).await;
    let removed = |command: &Command| matches!(command, Command::RemoveTransport { .. });
    assert!(!next.commands().iter().any(removed));
}

#[tokio::test(start_paused = true)]
async fn memos_that_cannot_be_read_end_their_sessions_only() {
    let (node, _, mut bob, _) = call().await;
    let next = Node::alone();
    let mut memos = node.memos();
    assert_eq!(memos.len(), 3);
    // The room's is first, alice's second.
    memos[1].1 = vec![255, 1, 2].into();
    next.rooms.restore(Restored {
        hellos: vec![hello()],
        memos,
        transports: states(&node.commands())
            .into_values()
            .map(|state| (ShardId(0), state))
            .collect(),
    });
    assert_eq!(next.rooms.metrics().participants, 1);
    let messages = resume(&next, &mut bob).await;
    assert!(matches!(messages[0], Message::Reconnect(_)));
    let removed = next
        .take()
        .into_iter()
        .filter(|c| matches!(c, Command::RemoveTransport { .. }));
    assert_eq!(removed.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_one_process_makes_no_memos() {
    // The harness panics when one comes.
    let node = Node::start().await;
    let mut alice = node.join_active("alice").await;
    alice.publish(&node).await;
}
