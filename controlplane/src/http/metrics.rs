//! Counters in Prometheus' text form. Names that LiveKit's server has are its names.

mod shards;

use std::fmt;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_shared::drop::DropCounts;
use millrace_shared::link::ShardMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Site;
use super::refusals::Limit;
use crate::room::RoomMetrics;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn scrape(State(site): State<Site>, headers: HeaderMap) -> Response {
    if !is_authorized(&site, &headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"metrics\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "Unauthorized").into_response();
    }
    let mut registry = Registry::with_labels(
        [
            ("node_id".into(), site.settings.node_id.clone().into()),
            ("node_type".into(), "SERVER".into()),
        ]
        .into_iter(),
    );
    registry.register_collector(Box::new(Reading {
        rooms: site.rooms.metrics(),
        sockets: site.sockets.count() as u64,
        refusals: Limit::ALL.map(|limit| (limit, site.sockets.refusals(limit))),
    }));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn is_authorized(site: &Site, headers: &HeaderMap) -> bool {
    let prometheus = &site.settings.prometheus;
    if prometheus.username.is_empty() {
        return true;
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .unwrap_or_default();
    let expected = format!("{}:{}", prometheus.username, prometheus.password.0);
    is_equal(&given, expected.as_bytes())
}

/// Takes the same time wherever the two differ.
fn is_equal(given: &[u8], expected: &[u8]) -> bool {
    let differing = given
        .iter()
        .zip(expected)
        .fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == expected.len() && differing == 0
}

/// All counters at one moment.
#[derive(Debug)]
struct Reading {
    rooms: RoomMetrics,
    sockets: u64,
    refusals: [(Limit, u64); Limit::ALL.len()],
}

type Labels = &'static [(&'static str, &'static str)];

const NONE: Labels = &[];
const IN: Labels = &[("direction", "incoming")];
const OUT: Labels = &[("direction", "outgoing")];
const AUDIO: Labels = &[("kind", "AUDIO")];
const VIDEO: Labels = &[("kind", "VIDEO")];
const SIGNAL_CONNECTED: Labels = &[("state", "signal_connected"), ("warp", "")];
const SIGNAL_FAILED: Labels = &[("state", "signal_failed"), ("warp", "")];
const RTC_CONNECTED: Labels = &[("state", "rtc_connected"), ("warp", "")];

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let total = self
            .rooms
            .shards
            .values()
            .fold(ShardMetrics::default(), shards::add);
        self.encode_rooms(out)?;
        encode_packets(out, &total)?;
        encode_drops(out, &total.drops)?;
        shards::encode(&self.rooms.shards, out)?;
        self.encode_backends(out)
    }
}

impl Reading {
    fn encode_rooms(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rooms = &self.rooms;
        // To clients we name the LiveKit that we are compatible with.
        gauge(
            out,
            "millrace_build",
            "Which Millrace this is",
            &[([("version", env!("CARGO_PKG_VERSION"))], 1)],
        )?;
        gauge(
            out,
            "livekit_room_total",
            "Open rooms",
            &[(NONE, rooms.rooms)],
        )?;
        gauge(
            out,
            "livekit_participant_total",
            "Participants in rooms",
            &[(NONE, rooms.participants)],
        )?;
        gauge(
            out,
            "livekit_track_published_total",
            "Published tracks",
            &[
                (AUDIO, rooms.published_audio),
                (VIDEO, rooms.published_video),
            ],
        )?;
        gauge(
            out,
            "livekit_track_subscribed_total",
            "Subscriptions to tracks",
            &[
                (AUDIO, rooms.subscribed_audio),
                (VIDEO, rooms.subscribed_video),
            ],
        )?;
        counter(
            out,
            "livekit_participant_join",
            "Joins by how far they came",
            &[
                (SIGNAL_CONNECTED, rooms.joins),
                (SIGNAL_FAILED, rooms.joins_refused),
                (RTC_CONNECTED, rooms.connected),
            ],
        )?;
        for (name, help, value) in [
            ("millrace_rooms_created", "Rooms made", rooms.rooms_created),
            ("millrace_resumes", "Sessions resumed", rooms.resumes),
            (
                "millrace_signal_overflows",
                "Clients given up because they did not read",
                rooms.signal_overflows,
            ),
            (
                "millrace_reports_dropped",
                "Reports of the data plane dropped because a room was behind",
                rooms.reports_dropped,
            ),
        ] {
            counter(out, name, help, &[(NONE, value)])?;
        }
        self.encode_sockets(out)
    }

    fn encode_sockets(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let refusals = self
            .refusals
            .map(|(limit, count)| ([("limit", limit.as_str())], count));
        counter(
            out,
            "millrace_refusals",
            "Peers held back or refused by a limit of the HTTP side",
            &refusals,
        )?;
        gauge(
            out,
            "millrace_signal_sockets",
            "Open signaling sockets",
            &[(NONE, self.sockets)],
        )
    }

    fn encode_backends(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let backends = self.rooms.backends.iter();
        let values: Vec<_> = backends
            .map(|(shard, backend)| {
                let (name, reason) = backend.split_once(": ").unwrap_or((backend, ""));
                let labels = [
                    ("shard", shard.to_string()),
                    ("backend", name.to_owned()),
                    ("reason", reason.to_owned()),
                ];
                (labels, 1)
            })
            .collect();
        let help = "How packets reach the kernel, and why so";
        gauge(out, "millrace_shard_backend", help, &values)
    }
}

fn encode_packets(out: &mut DescriptorEncoder<'_>, total: &ShardMetrics) -> fmt::Result {
    const IN_INITIAL: Labels = &[("direction", "incoming"), ("transmission", "initial")];
    const IN_AGAIN: Labels = &[("direction", "incoming"), ("transmission", "retransmit")];
    const OUT_INITIAL: Labels = &[("direction", "outgoing"), ("transmission", "initial")];
    const OUT_AGAIN: Labels = &[("direction", "outgoing"), ("transmission", "retransmit")];
    counter(
        out,
        "livekit_packet",
        "RTP packets",
        &[
            (IN_INITIAL, total.rtp_received),
            (IN_AGAIN, total.rtx_received),
            (OUT_INITIAL, total.rtp_forwarded),
            (OUT_AGAIN, total.rtx_sent),
        ],
    )?;
    // LiveKit's name lacks the suffix that OpenMetrics gives to counters.
    untyped(
        out,
        "livekit_packet_bytes",
        "UDP payload, whatever its kind",
        &[
            (IN_INITIAL, total.bytes_received),
            (OUT_INITIAL, total.bytes_sent),
        ],
    )?;
    counter(
        out,
        "livekit_nack",
        "NACK messages",
        &[(IN, total.nacks_received), (OUT, total.nacks_sent)],
    )?;
    counter(
        out,
        "livekit_pli",
        "Key frame requests",
        &[(IN, total.plis_received), (OUT, total.plis_sent)],
    )?;
    counter(
        out,
        "millrace_data",
        "Data packets",
        &[(IN, total.data_received), (OUT, total.data_sent)],
    )
}

fn encode_drops(out: &mut DescriptorEncoder<'_>, drops: &DropCounts) -> fmt::Result {
    for (reason, count) in drops.iter() {
        let name = format!("millrace_drop_{}", reason.as_str());
        counter(
            out,
            &name,
            "Packets that stopped, by reason",
            &[(NONE, count)],
        )?;
    }
    Ok(())
}

/// Writes one counter with a value for each label set; the suffix `_total` is added.
fn counter<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(L, u64)],
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        metric
            .encode_family(labels)?
            .encode_counter::<NoLabelSet, u64, u64>(value, None)?;
    }
    Ok(())
}

fn gauge<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(L, u64)],
) -> fmt::Result {
    write_plain(out, name, help, values, MetricType::Gauge)
}

fn untyped<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(L, u64)],
) -> fmt::Result {
    write_plain(out, name, help, values, MetricType::Unknown)
}

fn write_plain<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(L, u64)],
    metric_type: MetricType,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, metric_type)?;
    for (labels, value) in values {
        metric.encode_family(labels)?.encode_gauge(value)?;
    }
    Ok(())
}
