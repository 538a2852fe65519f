//! Signal requests, in both encodings, and what a room makes of them.

use livekit_protocol as proto;
use millrace_controlplane::auth::{Claims, VideoGrant};
use millrace_controlplane::room::{JoinParams, SignalSession};
use prost::Message as _;
use proto::SignalRequest;

use crate::node::{self, Node};

const REQUESTS_MAX: usize = 32;
/// A request is answered by a few responses; this many mean that they do not end.
const RESPONSES_MAX: usize = 10_000;

/// The first byte says how the session joins, the rest is requests, each behind its length in two
/// bytes.
pub(crate) fn signal(input: &[u8]) {
    let Some((flags, mut rest)) = input.split_first() else {
        return;
    };
    let mut requests = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk()
        && requests.len() < REQUESTS_MAX
    {
        let len = usize::from(u16::from_be_bytes(*len));
        let (message, after) = after.split_at(len.min(after.len()));
        requests.extend(decode(message));
        rest = after;
    }
    if !requests.is_empty() {
        node::runtime().block_on(serve(*flags, requests));
    }
}

/// JSON begins with a brace, which is no request's first byte in protobuf: it would be field 15 of a
/// type that does not exist.
fn decode(message: &[u8]) -> Option<SignalRequest> {
    if message.first() == Some(&b'{') {
        let request: SignalRequest = serde_json::from_slice(message).ok()?;
        if let Ok(text) = serde_json::to_vec(&request) {
            let again: SignalRequest = serde_json::from_slice(&text).expect("it was written");
            assert_same(&again, &request);
        }
        return Some(request);
    }
    let request = SignalRequest::decode(message).ok()?;
    let again = SignalRequest::decode(request.encode_to_vec().as_slice()).expect("it was written");
    assert_same(&again, &request);
    Some(request)
}

/// By their bytes: a float that is no number equals nothing. Maps have no order.
fn assert_same(left: &SignalRequest, right: &SignalRequest) {
    assert_eq!(left.encoded_len(), right.encoded_len());
}

async fn serve(flags: u8, requests: Vec<SignalRequest>) {
    let node = Node::start().await;
    let claims = Claims {
        sub: "alice".into(),
        video: Some(VideoGrant {
            room_join: true,
            room: "lobby".into(),
            room_admin: flags & 2 != 0,
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let v1 = (flags & 1 != 0).then(|| Box::new(proto::JoinRequest::default()));
    let params = JoinParams {
        v1,
        ..JoinParams::default()
    };
    let session = node.rooms.join(claims, params).await;
    let mut session = session.expect("the room takes its first participant");
    for request in requests {
        if !session.requests.send(Box::new(request)).await {
            break;
        }
        drain(&mut session).await;
    }
    drop(session);
    node.rooms.shutdown().await;
}

/// Lets the room work, and takes what it says.
async fn drain(session: &mut SignalSession) {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let mut responses = 0;
    while session.responses.try_recv().is_some() {
        responses += 1;
        assert!(responses < RESPONSES_MAX, "one request, endless responses");
    }
}
