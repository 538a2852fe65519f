//! Cost follows work: transports that nobody uses cost a tick nothing.

use std::time::Duration;

use bytes::Bytes;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{GroupId, TransportId};
use millrace_shared::link::{AddTransport, Command, DataPublish, IceCredentials, SetRemote};
use millrace_shared::sim::Prng;
use millrace_shared::time::Timestamp;

use crate::io::Inbound;
use crate::node::{FINGERPRINT, Layout, local};
use crate::peer::{Peer, Sent, keys};
use crate::plan::{Plan, START, Weather};
use crate::tamper::{Fault, Tamper};
use crate::world::{Mark, World};

const IDLE: u64 = 10_000;
/// Of virtual time; the two worlds take turns.
const SLICE: Duration = Duration::from_millis(50);
const SLICES: u32 = 80;
/// Median of the slices. The product's promise is 1.1, held in a release build; a debug build
/// shows no more than that nothing is done for each transport.
const RATIO_PERCENT_MAX: u128 = if cfg!(debug_assertions) { 150 } else { 110 };

/// A transport that is connected and then says nothing.
fn add_idle(world: &mut World, number: u64) {
    let transport = TransportId(1_000_000 + number);
    let ice = IceCredentials {
        ufrag: format!("0-idle{number}"),
        pwd: format!("password-of-idle-{number:06}"),
    };
    let add = AddTransport {
        transport,
        group: GroupId(1_000 + number / 10),
        label: format!("idle-{number}"),
        ice: ice.clone(),
        data_publish: DataPublish {
            stamp: Bytes::new(),
            allowed: false,
        },
        data_receive: false,
        open_data_channels: false,
    };
    world.node.command(0, Command::AddTransport(Box::new(add)));
    world.node.tick_now(0, START);
    let (theirs, ours) = keys(&mut Prng::new(number));
    world.node.key_transport(0, transport, &ours, &theirs);
    let remote = SetRemote {
        transport,
        ice: ice.clone(),
        fingerprint: FINGERPRINT,
        receive_ext_ids: crate::media::up_ext_ids(),
    };
    world.node.command(0, Command::SetRemote(Box::new(remote)));
    let port = 1_024 + number as u16;
    let mut peer = Peer::new(([203, 0, 113, 9], port).into(), ice, &theirs);
    let mut out = Vec::new();
    peer.poll(START, &mut out);
    let Some(Sent::Check(bytes)) = out.into_iter().next() else {
        panic!("a peer begins with a check");
    };
    let tuple = Tuple {
        local: local(0, peer.remote),
        remote: peer.remote,
    };
    let mark = Mark::Check;
    world.node.push(0, Inbound { tuple, bytes, mark });
    world.node.tick_now(0, START);
}

fn world() -> World {
    let plan = Plan::draw(4, Weather::Fair);
    World::new(&plan, Layout::ports(1), Tamper::new(Fault::None))
}

#[test]
fn ten_thousand_idle_transports_cost_a_tick_nothing() {
    let (mut empty, mut full) = (world(), world());
    for number in 0..IDLE {
        add_idle(&mut full, number);
    }
    assert_eq!(full.node.counts()[0].tuples as u64, IDLE);
    let (mut ratios, mut until) = (Vec::new(), START + Duration::from_millis(1_500));
    for world in [&mut empty, &mut full] {
        world.run_until(until);
        world.node.take_spent();
    }
    for _ in 0..SLICES {
        until += SLICE;
        let spent = [&mut empty, &mut full].map(|world| spent_until(world, until));
        ratios.push(spent[1].as_nanos() * 100 / spent[0].as_nanos().max(1));
    }
    ratios.sort_unstable();
    let median = ratios[ratios.len() / 2];
    println!("a tick takes {median} % of the time it takes without idle transports");
    assert!(median <= RATIO_PERCENT_MAX, "{median} %: {ratios:?}");
    let of = |world: &World| world.node.metrics()[0].clone();
    assert_eq!(of(&empty).rtp_forwarded, of(&full).rtp_forwarded);
}

fn spent_until(world: &mut World, until: Timestamp) -> Duration {
    world.run_until(until);
    world.node.take_spent()
}
