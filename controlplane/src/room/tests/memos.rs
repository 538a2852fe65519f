//! The layout of memos is that of their version: the next release reads what this one wrote.
//!
//! `memos.bin` holds memos of a room as this version writes them. Where they cannot be read and
//! written again to the same bytes, the layout has changed: raise `MEMO_VERSION`, then run the test
//! with `UPDATE_MEMOS=1`, which takes memos of the new version.

use std::path::Path;

use bytes::Bytes;
use livekit_protocol as proto;
use millrace_shared::ids::MemoKey;
use proto::signal_request::Message as Request;

use super::harness::{Client, Node, PUBLISH, camera, claims, hello, params, pass};
use super::single::{answer_of, single};
use crate::participant::Participant;
use crate::participant::subscribe::{SubscriberPermissions, TrackSet};
use crate::participant::transport::SectionUse;
use crate::room::Restored;
use crate::room::memo::{self, RoomMemo};

const MEMOS: &[u8] = include_bytes!("memos.bin");
const CHANGED: &str = "memos are not laid out as MEMO_VERSION says: raise it, then run this test \
                       with UPDATE_MEMOS=1";

type Memos = Vec<(MemoKey, Bytes)>;

/// Keys count the room's participants from 1.
fn is_room(key: MemoKey) -> bool {
    key.0.trailing_zeros() >= 32
}

fn again(key: MemoKey, bytes: &[u8]) -> Option<Bytes> {
    if is_room(key) {
        memo::decode::<RoomMemo>(bytes).and_then(|it| memo::encode(&it))
    } else {
        memo::participant(bytes).and_then(|it| memo::encode(&it))
    }
}

/// A room with all that its memos tell of: alice publishes for those she lists, bob has two
/// connections and carol one.
async fn room() -> (Node, Vec<Client>) {
    let node = Node::alone();
    node.rooms.restore(Restored {
        hellos: vec![hello()],
        ..Restored::default()
    });
    let mut alice = claims("alice");
    alice.name = "Alice".into();
    alice.metadata = "metadata".into();
    // One alone: they have no order.
    alice.attributes.insert("key".into(), "value".into());
    let mut alice = node.join_as(alice, params()).await;
    alice.answer_offer(&node).await;
    node.connect(alice.transport(true)).await;
    let mut bob = node.join_active("bob").await;
    let (audio, _) = alice.publish(&node).await;
    let listed = |identity: &str, all_tracks, sids: &[&String]| proto::TrackPermission {
        participant_identity: identity.into(),
        all_tracks,
        track_sids: sids.iter().map(|sid| (*sid).clone()).collect(),
        ..Default::default()
    };
    let permission = proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![listed("bob", true, &[]), listed("carol", false, &[&audio])],
    };
    alice
        .send(Request::SubscriptionPermission(permission))
        .await;
    bob.answer_offer(&node).await;
    let settings = proto::UpdateTrackSettings {
        track_sids: vec![audio],
        disabled: true,
        ..Default::default()
    };
    bob.send(Request::TrackSetting(settings)).await;
    let mut carol = node.join_as(claims("carol"), single()).await;
    answer_of(&mut carol).await;
    node.connect(carol.transport(false)).await;
    // Bob's m-lines come before his requests, alice's request before its m-line.
    bob.offer(&node, PUBLISH).await;
    let cid = "screen".into();
    let screen = proto::AddTrackRequest { cid, ..camera() };
    alice.add_track(screen).await;
    // Memos wait for their turn.
    pass(1).await;
    (node, vec![alice, bob, carol])
}

fn update(written: &Memos) {
    let known: Memos = postcard::from_bytes(MEMOS).unwrap_or_default();
    let version = |memos: &Memos| memos.first().map(|(_, memo)| memo[0]);
    let stale = known
        .iter()
        .any(|(key, it)| again(*key, it).as_ref() != Some(it));
    assert!(!stale || version(&known) != version(written), "{CHANGED}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/room/tests/memos.bin");
    std::fs::write(path, postcard::to_allocvec(written).unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_layout_is_that_of_the_version() {
    let (node, _clients) = room().await;
    let written = node.memos();
    for (key, memo) in &written {
        assert_eq!(again(*key, memo).as_ref(), Some(memo));
    }
    if std::env::var_os("UPDATE_MEMOS").is_some() {
        update(&written);
        return;
    }
    let known: Memos = postcard::from_bytes(MEMOS).unwrap();
    let keys = |memos: &Memos| -> Vec<MemoKey> { memos.iter().map(|(key, _)| *key).collect() };
    assert_eq!(keys(&known), keys(&written));
    for (key, memo) in &known {
        assert_eq!(again(*key, memo).as_ref(), Some(memo), "{CHANGED}");
    }
}

/// The memos hold everything that may be in one, so that nothing changes its bytes unnoticed.
#[test]
fn the_memos_are_full() {
    let memos: Memos = postcard::from_bytes(MEMOS).unwrap();
    let participants = memos.iter().filter(|(key, _)| !is_room(*key));
    let all: Vec<Participant> = participants
        .map(|(_, memo)| memo::participant(memo).expect(CHANGED))
        .collect();
    assert_eq!((all.len(), memos.len()), (3, 4));
    let any = |holds: &dyn Fn(&Participant) -> bool| all.iter().any(holds);
    assert!(any(&|it| !it.pending.is_empty()));
    assert!(any(&|it| it.published.len() == 2));
    assert!(any(&|it| it
        .subscriptions
        .values()
        .any(|it| it.down.is_some())));
    assert!(any(&|it| it.subscriber.is_none()) && any(&|it| it.subscriber.is_some()));
    assert!(any(&|it| match &it.permissions {
        SubscriberPermissions::Everybody => false,
        SubscriberPermissions::Listed(sets) => {
            let sets: Vec<_> = sets.values().collect();
            matches!(sets[..], [TrackSet::All, TrackSet::Listed(_)])
        }
    }));
    let section = |wanted: &dyn Fn(&SectionUse) -> bool| {
        any(&|it| it.publisher.sections.values().any(wanted))
    };
    assert!(section(
        &|it| matches!(it, SectionUse::Receive(it) if it.received.is_some())
    ));
    assert!(section(&|it| matches!(it, SectionUse::Send { .. })));
    assert!(section(&|it| matches!(it, SectionUse::Free(_))));
}
