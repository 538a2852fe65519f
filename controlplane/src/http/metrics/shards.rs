//! What shards count, one by one and summed up.

use std::collections::BTreeMap;
use std::fmt;

use millrace_shared::drop::DropReason;
use millrace_shared::ids::ShardId;
use millrace_shared::link::ShardMetrics;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{NoLabelSet, counter, gauge};

type Value = fn(&ShardMetrics) -> u64;
/// Name, help, value.
type Family = (&'static str, &'static str, Value);

#[rustfmt::skip]
const GAUGES: [Family; 4] = [
    ("millrace_shard_transports", "Transports", |m| m.transports),
    ("millrace_shard_up_tracks", "Tracks received", |m| m.up_tracks),
    ("millrace_shard_down_tracks", "Tracks sent", |m| m.down_tracks),
    ("millrace_shard_mirrors", "Tracks of other shards with subscribers here", |m| m.mirrors),
];

#[rustfmt::skip]
const COUNTERS: [Family; 26] = [
    ("millrace_shard_ticks", "Passes of the loop", |m| m.ticks),
    ("millrace_shard_rtp_received", "RTP packets received", |m| m.rtp_received),
    ("millrace_shard_rtp_forwarded", "Copies of RTP packets sent", |m| m.rtp_forwarded),
    ("millrace_shard_datagrams_received", "Datagrams received", |m| m.datagrams_received),
    ("millrace_shard_datagrams_sent", "Datagrams sent", |m| m.datagrams_sent),
    ("millrace_shard_trains", "Messages that datagrams left in: trains, and single ones", |m| m.trains),
    ("millrace_shard_sends", "Calls that sent datagrams", |m| m.sends),
    ("millrace_shard_syscalls", "System calls of the network", |m| m.syscalls),
    ("millrace_shard_wakes", "Returns from a wait", |m| m.wakes),
    ("millrace_shard_receive_starved", "Times no receive buffer was free", |m| m.receive_starved),
    ("millrace_shard_receive_errors", "Errors of sockets while receiving", |m| m.receive_errors),
    ("millrace_shard_gso_refused", "Trains sent singly", |m| m.gso_refused),
    ("millrace_shard_adopted", "Transports taken over from other shards", |m| m.transports_adopted),
    ("millrace_shard_datagrams_passed", "Datagrams passed to other shards", |m| m.datagrams_passed),
    ("millrace_shard_checks_passed", "Connectivity checks passed to other shards", |m| m.checks_passed),
    ("millrace_shard_strays_passed", "Packets of unknown addresses that the other shards were asked about", |m| m.strays_passed),
    ("millrace_shard_answers_passed", "Answers from unknown addresses passed to the other shards", |m| m.answers_passed),
    ("millrace_lane_packets_sent", "Packets sent to other shards", |m| m.lane_packets_sent),
    ("millrace_lane_packets_received", "Packets received from other shards", |m| m.lane_packets_received),
    ("millrace_lane_packets_lost", "Packets that found a lane full", |m| m.lane_packets_lost),
    ("millrace_lane_messages_sent", "Messages sent to other shards", |m| m.lane_messages_sent),
    ("millrace_lane_messages_received", "Messages received from other shards", |m| m.lane_messages_received),
    ("millrace_lane_messages_delayed", "Messages that found a lane full and waited", |m| m.lane_messages_delayed),
    ("millrace_lane_messages_lost", "Messages that found a lane full and were lost", |m| m.lane_messages_lost),
    ("millrace_shard_events_skipped", "Events left out for a control plane that was behind, and said again later", |m| m.events_skipped),
    ("millrace_shard_events_lost", "Events that a control plane too far behind never got", |m| m.events_lost),
];

#[rustfmt::skip]
const SEND_ERRORS: [(&str, Value); 5] = [
    ("full", |m| m.send_full),
    ("too_long", |m| m.send_too_long),
    ("unreachable", |m| m.send_unreachable),
    ("denied", |m| m.send_denied),
    ("other", |m| m.send_other),
];

pub(super) fn encode(
    shards: &BTreeMap<ShardId, ShardMetrics>,
    out: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let family = |value: Value| -> Vec<_> {
        shards
            .iter()
            .map(|(shard, metrics)| ([("shard", shard.to_string())], value(metrics)))
            .collect()
    };
    for (name, help, value) in GAUGES {
        gauge(out, name, help, &family(value))?;
    }
    for (name, help, value) in COUNTERS {
        counter(out, name, help, &family(value))?;
    }
    encode_times(shards, out)?;
    let refused: Vec<_> = shards
        .iter()
        .flat_map(|(shard, metrics)| {
            SEND_ERRORS.map(|(reason, value)| {
                let labels = [("shard", shard.to_string()), ("reason", reason.to_owned())];
                (labels, value(metrics))
            })
        })
        .collect();
    counter(
        out,
        "millrace_shard_send_errors",
        "Datagrams that the kernel refused",
        &refused,
    )
}

/// CPU time and forwarding latency, in seconds as Prometheus wants them.
fn encode_times(
    shards: &BTreeMap<ShardId, ShardMetrics>,
    out: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let help = "CPU time of the shard's thread";
    let mut metric = out.encode_descriptor(
        "millrace_shard_cpu_seconds",
        help,
        None,
        MetricType::Counter,
    )?;
    for (shard, metrics) in shards {
        let value = metrics.cpu.as_secs_f64();
        metric
            .encode_family(&[("shard", shard.to_string())])?
            .encode_counter::<NoLabelSet, f64, u64>(&value, None)?;
    }
    let help = "From a packet's arrival until its last copy was handed to the kernel";
    let name = "millrace_shard_forwarding_seconds";
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (shard, metrics) in shards {
        let latencies = &metrics.forwarding;
        let buckets: Vec<_> = latencies
            .buckets()
            .map(|(bound, count)| (bound.map_or(f64::MAX, |bound| bound.as_secs_f64()), count))
            .collect();
        let (sum, count) = (latencies.sum().as_secs_f64(), latencies.count());
        metric
            .encode_family(&[("shard", shard.to_string())])?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

/// Sum over shards. Every field is named, so that a new one cannot be forgotten.
pub(super) fn add(sum: ShardMetrics, shard: &ShardMetrics) -> ShardMetrics {
    let mut drops = sum.drops;
    for reason in DropReason::ALL {
        drops.add(*reason, shard.drops.of(*reason));
    }
    let mut forwarding = sum.forwarding;
    forwarding.add(&shard.forwarding);
    ShardMetrics {
        drops,
        datagrams_received: sum.datagrams_received + shard.datagrams_received,
        bytes_received: sum.bytes_received + shard.bytes_received,
        datagrams_sent: sum.datagrams_sent + shard.datagrams_sent,
        bytes_sent: sum.bytes_sent + shard.bytes_sent,
        trains: sum.trains + shard.trains,
        sends: sum.sends + shard.sends,
        rtp_received: sum.rtp_received + shard.rtp_received,
        rtp_forwarded: sum.rtp_forwarded + shard.rtp_forwarded,
        rtx_received: sum.rtx_received + shard.rtx_received,
        rtx_sent: sum.rtx_sent + shard.rtx_sent,
        nacks_sent: sum.nacks_sent + shard.nacks_sent,
        nacks_received: sum.nacks_received + shard.nacks_received,
        plis_sent: sum.plis_sent + shard.plis_sent,
        plis_received: sum.plis_received + shard.plis_received,
        data_received: sum.data_received + shard.data_received,
        data_sent: sum.data_sent + shard.data_sent,
        transports: sum.transports + shard.transports,
        up_tracks: sum.up_tracks + shard.up_tracks,
        down_tracks: sum.down_tracks + shard.down_tracks,
        mirrors: sum.mirrors + shard.mirrors,
        lane_packets_sent: sum.lane_packets_sent + shard.lane_packets_sent,
        lane_packets_received: sum.lane_packets_received + shard.lane_packets_received,
        lane_packets_lost: sum.lane_packets_lost + shard.lane_packets_lost,
        lane_messages_sent: sum.lane_messages_sent + shard.lane_messages_sent,
        lane_messages_received: sum.lane_messages_received + shard.lane_messages_received,
        lane_messages_delayed: sum.lane_messages_delayed + shard.lane_messages_delayed,
        lane_messages_lost: sum.lane_messages_lost + shard.lane_messages_lost,
        transports_adopted: sum.transports_adopted + shard.transports_adopted,
        datagrams_passed: sum.datagrams_passed + shard.datagrams_passed,
        checks_passed: sum.checks_passed + shard.checks_passed,
        strays_passed: sum.strays_passed + shard.strays_passed,
        answers_passed: sum.answers_passed + shard.answers_passed,
        receive_starved: sum.receive_starved + shard.receive_starved,
        receive_errors: sum.receive_errors + shard.receive_errors,
        gso_refused: sum.gso_refused + shard.gso_refused,
        send_full: sum.send_full + shard.send_full,
        send_too_long: sum.send_too_long + shard.send_too_long,
        send_unreachable: sum.send_unreachable + shard.send_unreachable,
        send_denied: sum.send_denied + shard.send_denied,
        send_other: sum.send_other + shard.send_other,
        ticks: sum.ticks + shard.ticks,
        syscalls: sum.syscalls + shard.syscalls,
        wakes: sum.wakes + shard.wakes,
        cpu: sum.cpu + shard.cpu,
        forwarding,
        events_skipped: sum.events_skipped + shard.events_skipped,
        events_lost: sum.events_lost + shard.events_lost,
    }
}
