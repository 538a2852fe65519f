//! Real handshakes over bad networks.

use std::time::Duration;

use millrace_shared::ids::{DownTrackId, Ssrc, TrackId};
use millrace_shared::link::Command;

use crate::call::{Call, transport};
use crate::media::{Vp8Encoder, copy, video};
use crate::node::Layout;
use crate::plan::START;

const CLIENTS: usize = 6;
const TRACK: TrackId = TrackId(1);
/// DTLS repeats a flight after 100 to 250 ms, doubling; eight times a tenth is lost seldom.
const CONNECTED_WITHIN: Duration = Duration::from_secs(20);

/// Ten frames, each a key frame: one of them arrives whole, whatever is lost.
fn media(call: &mut Call) {
    let config = Box::new(video(TRACK, "v", 1));
    let publish = Command::SetUpTrack {
        transport: transport(0),
        config,
    };
    call.command(0, publish);
    for client in 1..CLIENTS {
        let (down, ssrc) = (DownTrackId(client as u64), 10_000 + 10 * client as u32);
        let config = Box::new(copy(down, TRACK, ssrc));
        let subscribe = Command::SetDownTrack {
            transport: transport(client),
            config,
        };
        call.command(client, subscribe);
    }
    let (mut encoder, mut number) = (Vp8Encoder::new(5_000, "v", None), 0);
    for _ in 0..10 {
        call.run_for(Duration::from_millis(100));
        for packet in encoder.frame(true, 3, &mut number) {
            let bytes = call.clients[0].protect(&packet);
            call.send(0, bytes);
        }
    }
    call.run_for(Duration::from_secs(1));
}

#[test]
fn handshakes_complete_over_bad_networks_and_media_follows() {
    let layouts = [Layout::ports(1), Layout::ports(2), Layout::one_port(3)];
    for (seed, layout) in (1..).zip(layouts) {
        let mut call = Call::new(seed, layout, CLIENTS, false);
        let end = START + CONNECTED_WITHIN;
        call.run_until(end, |call| {
            call.connected.len() == CLIENTS && call.clients.iter().all(|it| it.srtp.is_some())
        });
        assert_eq!(
            call.connected.len(),
            CLIENTS,
            "seed {seed}: {:?}",
            call.connected
        );
        media(&mut call);
        for client in 1..CLIENTS {
            let peer = &call.clients[client];
            let ssrc = Ssrc(10_000 + 10 * client as u32);
            let got = peer.rtp.iter().filter(|got| got.view().ssrc == ssrc);
            assert!(got.count() >= 10, "seed {seed}: client {client}");
            let replays = |it: &&String| !it.contains("Replay") && !it.starts_with("dtls");
            let broken: Vec<_> = peer.broken.iter().filter(replays).collect();
            assert!(
                broken.is_empty(),
                "seed {seed}: client {client}: {broken:?}"
            );
        }
    }
}
