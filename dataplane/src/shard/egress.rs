//! The way out: one packet to every route of its track, written once per subscriber, straight into
//! netio's send arena.

use millrace_netio::{TrainHint, Transmit};
use millrace_shared::drop::DropReason;
use millrace_shared::ice::Tuple;
use millrace_shared::limits::DATAGRAM_RECEIVE_LEN_MAX;
use millrace_shared::link::{Event, EventSink, ShardMetrics};
use millrace_shared::time::{Epoch, ExtSeq, Timestamp};
use millrace_shared::wire::rtp::pad;
use millrace_shared::wire::rtp_ext;

use super::DownEntry;
use super::timers::{Reason, Timers};
use crate::downtrack::{Outgoing, TransportExts};
use crate::packet::{LayerClocks, Packet};
use crate::router::Route;
use crate::slots::Slots;
use crate::transport::Transport;

/// What forwarding touches beside the packet, borrowed apart from the UpTrack that holds it.
pub(super) struct Fan<'a> {
    pub(super) routes: &'a [Route],
    pub(super) down_tracks: &'a mut Slots<DownEntry>,
    pub(super) transports: &'a mut Slots<Box<Transport>>,
    pub(super) timers: &'a mut Timers,
    pub(super) metrics: &'a mut ShardMetrics,
    pub(super) epoch: &'a Epoch,
    pub(super) events: &'a dyn EventSink,
}

/// Forwards `packet` along every route. Returns the spatial layers (bit n: layer n) of which a
/// subscriber needs a key frame.
pub(super) fn forward(
    now: Timestamp,
    packet: &Packet<'_>,
    clocks: &LayerClocks,
    live_layers: u8,
    fan: &mut Fan<'_>,
    tx: &mut dyn Transmit,
) -> u8 {
    let send_time = rtp_ext::write_abs_send_time(fan.epoch.ntp(now));
    let mut keyframes_wanted = 0u8;
    for route in fan.routes {
        let Some(entry) = fan.down_tracks.get_mut(route.down_track) else {
            continue;
        };
        let Some(transport) = fan.transports.get_mut(entry.transport) else {
            continue;
        };
        if !transport.security.established() {
            continue;
        }
        entry.track.set_live_layers(live_layers);
        if let Some(outgoing) = entry.track.forward(now, packet, clocks) {
            let sent = send_rtp(transport, packet, &outgoing, send_time, tx, fan.metrics);
            if sent && !entry.started {
                entry.started = true;
                let event = Event::DownTrackStarted {
                    transport: transport.id,
                    down: entry.track.id(),
                };
                fan.events.send(event);
            }
        }
        if let Some(spatial) = entry.track.keyframe_due(now) {
            keyframes_wanted |= 1u8 << spatial.min(7);
        }
        let at = entry.track.next_timeout();
        fan.timers
            .arm(&mut entry.armed, at, Reason::DownTrack(route.down_track));
    }
    keyframes_wanted
}

/// A sequence number of the publisher that carried no media closes up for every subscriber.
pub(super) fn skip(routes: &[Route], down_tracks: &mut Slots<DownEntry>, spatial: u8, seq: ExtSeq) {
    for route in routes {
        if let Some(entry) = down_tracks.get_mut(route.down_track) {
            entry.track.skip(spatial, seq);
        }
    }
}

/// A train takes packets of one length, and encoders cut a frame into packets whose lengths differ by
/// a byte: long ones are padded to a multiple of this (RFC 3550 §5.1), which costs 0.3 % of them.
const LEN_STEP: usize = 8;
/// Shorter ones mostly are a frame each.
const PADDED_LEN_MIN: usize = 400;
/// No packet becomes too long for its path by our padding.
const PADDED_LEN_MAX: usize = 1_200;

fn padding_len(len: usize) -> u8 {
    let padded = len.next_multiple_of(LEN_STEP);
    if (PADDED_LEN_MIN..=PADDED_LEN_MAX).contains(&padded) {
        (padded - len) as u8
    } else {
        0
    }
}

/// Writes and protects one RTP packet in the send arena. False when it was dropped (and counted).
pub(super) fn send_rtp(
    transport: &mut Transport,
    packet: &Packet<'_>,
    outgoing: &Outgoing,
    send_time: [u8; 3],
    tx: &mut dyn Transmit,
    metrics: &mut ShardMetrics,
) -> bool {
    let Some(tuple) = transport.ice.selected() else {
        return false;
    };
    let Some(srtp) = transport.security.tx() else {
        return false;
    };
    let unpadded_len = outgoing.len(packet);
    let padding_len = padding_len(unpadded_len);
    let plain_len = unpadded_len + usize::from(padding_len);
    let len = plain_len + srtp.profile().rtp_overhead();
    if len > DATAGRAM_RECEIVE_LEN_MAX {
        metrics.drops.count(DropReason::SendLength);
        return false;
    }
    let Some(buffer) = tx.reserve(&tuple, &mut transport.train, len) else {
        metrics.drops.count(DropReason::SendFull);
        return false;
    };
    let exts = TransportExts {
        transport_cc: Some(transport.transport_cc_next),
        abs_send_time: Some(send_time),
    };
    let header_len = outgoing.write(packet, &exts, buffer);
    pad(buffer, unpadded_len, padding_len);
    if let Err(reason) = srtp.protect_rtp(buffer, header_len, plain_len, outgoing.roc()) {
        // Unreachable while the length reserved is the length needed. The slot leaves as it is,
        // and no key protects it: it must not hold plain text.
        debug_assert!(
            false,
            "protect refused a packet of its own length: {reason:?}"
        );
        buffer.fill(0);
        metrics.drops.count(reason);
        return false;
    }
    if outgoing.transport_cc() {
        transport.transport_cc_next = transport.transport_cc_next.wrapping_add(1);
    }
    metrics.rtp_forwarded += 1;
    true
}

/// Protects `plain` as SRTCP and sends it. `plain` is one compound packet.
pub(super) fn send_rtcp(
    transport: &mut Transport,
    plain: &[u8],
    tx: &mut dyn Transmit,
    metrics: &mut ShardMetrics,
) {
    let Some(tuple) = transport.ice.selected() else {
        return;
    };
    let Some(srtp) = transport.security.tx() else {
        return;
    };
    let len = plain.len() + srtp.profile().rtcp_overhead();
    match tx.reserve(&tuple, &mut transport.train, len) {
        Some(buffer) => {
            buffer[..plain.len()].copy_from_slice(plain);
            if let Err(reason) = srtp.protect_rtcp(buffer, plain.len()) {
                debug_assert!(
                    false,
                    "protect refused a packet of its own length: {reason:?}"
                );
                buffer.fill(0);
                metrics.drops.count(reason);
            }
        }
        None => metrics.drops.count(DropReason::SendFull),
    }
}

/// Sends a datagram that needs no protection of ours (STUN, DTLS).
pub(super) fn send_datagram(
    train: &mut TrainHint,
    tuple: Tuple,
    datagram: &[u8],
    tx: &mut dyn Transmit,
    metrics: &mut ShardMetrics,
) {
    match tx.reserve(&tuple, train, datagram.len()) {
        Some(buffer) => buffer.copy_from_slice(datagram),
        None => metrics.drops.count(DropReason::SendFull),
    }
}
