//! What a control plane that starts anew takes back: memos of a real room, changed anyhow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use livekit_protocol as proto;
use millrace_controlplane::auth::{Claims, VideoGrant};
use millrace_controlplane::room::{JoinParams, Restored, Rooms, Settings, SignalSession};
use millrace_shared::ids::{MemoKey, ShardId};
use millrace_shared::link::{
    AddTransport, Command, CommandSink, Event, Fingerprint, Hello, LocalAddress, Progress,
    TransportState,
};
use proto::signal_request::Message as Request;
use tokio::sync::mpsc;

use crate::node;

const CHANGES_MAX: usize = 16;
const OFFER: &str =
    include_str!("../../../controlplane/src/negotiate/testdata/chromium-publish-plain-offer.sdp");

#[derive(Arbitrary, Debug)]
enum Change {
    Byte(u8, u16, u8),
    Cut(u8, u16),
    Insert(u8, u16, u8),
    /// It comes under another number.
    Key(u8, u64),
    Drop(u8),
    Twice(u8),
    /// The shard does not know a transport any more, or knows more of it.
    Forget(u8),
    Progress(u8, u8),
}

#[derive(Clone, Default)]
struct Dataplane(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    memos: Vec<(MemoKey, Bytes)>,
    transports: Vec<TransportState>,
}

impl Dataplane {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandSink for Dataplane {
    fn send(&self, _shard: ShardId, command: Command) {
        if let Command::AddTransport(add) = command {
            let AddTransport {
                transport, group, ..
            } = *add;
            self.kept().transports.push(TransportState {
                transport,
                group,
                progress: Progress::Connected,
                pair: None,
                reliable_sequence: 0,
                up: Vec::new(),
                down: Vec::new(),
            });
        }
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, key: MemoKey, memo: Bytes) {
        let memos = &mut self.kept().memos;
        memos.retain(|(known, _)| *known != key);
        memos.push((key, memo));
    }

    fn forget(&self, key: MemoKey) {
        self.kept().memos.retain(|(known, _)| *known != key);
    }
}

fn start(dataplane: &Dataplane, mut restored: Restored) -> (Rooms, mpsc::Sender<Event>) {
    let (events, incoming) = mpsc::channel(16);
    let rooms = Rooms::start(Settings::default(), Arc::new(dataplane.clone()), incoming);
    restored.hellos.push(Hello {
        shard: ShardId(0),
        addresses: vec![LocalAddress {
            ip: [192, 0, 2, 1].into(),
            port: 7882,
        }],
        fingerprint: Fingerprint([7; 32]),
        backend: "none".into(),
    });
    rooms.restore(restored);
    (rooms, events)
}

pub(crate) fn memo(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let mut changes = Vec::new();
    while let Ok(change) = Change::arbitrary(&mut input)
        && !input.is_empty()
        && changes.len() < CHANGES_MAX
    {
        changes.push(change);
    }
    node::runtime().block_on(restore(&changes));
}

async fn restore(changes: &[Change]) {
    let dataplane = Dataplane::default();
    let (rooms, events) = start(&dataplane, Restored::default());
    let mut sids = Vec::new();
    let mut sessions = Vec::new();
    for identity in ["alice", "bob"] {
        let session = rooms.join(claims(identity), JoinParams::default()).await;
        let session = session.expect("the room takes its participants");
        sids.push(session.participant_sid.clone());
        publish(&session).await;
        sessions.push(session);
    }
    // Who has no transport is not taken back. Memos wait for their turn.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let transports: Vec<_> = {
        let kept = dataplane.kept();
        kept.transports.iter().map(|it| it.transport).collect()
    };
    for transport in transports {
        let _ = events.send(Event::Connected { transport }).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!dataplane.kept().transports.is_empty());
    let Kept {
        mut memos,
        mut transports,
    } = std::mem::take(&mut *dataplane.kept());
    assert_eq!(memos.len(), 3, "the room's, alice's and bob's");
    // The control plane is gone; its rooms end with the runtime.
    drop((sessions, events));
    for change in changes {
        apply(change, &mut memos, &mut transports);
    }
    let known = memos.len();
    let (next, _events) = start(
        &dataplane,
        Restored {
            hellos: Vec::new(),
            memos,
            transports: transports.into_iter().map(|it| (ShardId(0), it)).collect(),
        },
    );
    assert!(next.metrics().participants as usize <= known);
    if changes.is_empty() {
        assert_eq!(next.metrics().participants, 2);
    }
    for (identity, sid) in ["alice", "bob"].into_iter().zip(sids) {
        let params = JoinParams {
            reconnect: true,
            participant_sid: sid,
            ..JoinParams::default()
        };
        let _ = next.join(claims(identity), params).await;
    }
    next.shutdown().await;
    rooms.shutdown().await;
}

fn claims(identity: &str) -> Claims {
    Claims {
        sub: identity.into(),
        video: Some(VideoGrant {
            room_join: true,
            room: "lobby".into(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    }
}

/// A track and an offer, so that there is a transport.
async fn publish(session: &SignalSession) {
    let track = proto::AddTrackRequest {
        cid: "camera".into(),
        r#type: proto::TrackType::Video.into(),
        ..Default::default()
    };
    let offer = proto::SessionDescription {
        r#type: "offer".into(),
        sdp: OFFER.into(),
        ..Default::default()
    };
    for message in [Request::AddTrack(track), Request::Offer(offer)] {
        let message = Some(message);
        let request = Box::new(proto::SignalRequest { message });
        let _ = session.requests.send(request).await;
    }
}

fn apply(change: &Change, memos: &mut Vec<(MemoKey, Bytes)>, transports: &mut Vec<TransportState>) {
    let which = |count: usize, n: u8| (count > 0).then(|| usize::from(n) % count);
    let mut edit = |n: u8, edit: &dyn Fn(&mut Vec<u8>)| {
        if let Some(index) = which(memos.len(), n) {
            let mut bytes = memos[index].1.to_vec();
            edit(&mut bytes);
            memos[index].1 = bytes.into();
        }
    };
    match *change {
        Change::Byte(n, at, byte) => edit(n, &|bytes| {
            if let Some(at) = usize::from(at).checked_rem(bytes.len()) {
                bytes[at] = byte;
            }
        }),
        Change::Cut(n, at) => edit(n, &|bytes| bytes.truncate(at.into())),
        Change::Insert(n, at, byte) => edit(n, &|bytes| {
            let at = usize::from(at) % (bytes.len() + 1);
            bytes.insert(at, byte);
        }),
        Change::Key(n, key) => {
            if let Some(index) = which(memos.len(), n) {
                memos[index].0 = MemoKey(key);
            }
        }
        Change::Drop(n) => {
            if let Some(index) = which(memos.len(), n) {
                memos.remove(index);
            }
        }
        Change::Twice(n) => {
            if let Some(index) = which(memos.len(), n) {
                let memo = memos[index].clone();
                memos.push(memo);
            }
        }
        Change::Forget(n) => {
            if let Some(index) = which(transports.len(), n) {
                transports.remove(index);
            }
        }
        Change::Progress(n, progress) => {
            if let Some(index) = which(transports.len(), n) {
                transports[index].progress = match progress % 4 {
                    0 => Progress::New,
                    1 => Progress::Connected,
                    2 => Progress::Silent,
                    3 => Progress::Moving,
                    _ => Progress::Closed,
                };
            }
        }
    }
}
