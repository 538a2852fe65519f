//! What is counted and timed. Each media thread has one [`Meter`] and hands its contents on twice a
//! second; sums of them are the result.

use std::time::Duration;

use crate::report::latency::Latency;
use crate::report::model::{FrameLen, LayerBytes};

/// Encodings told apart in bitrates: audio, and the simulcast layers.
pub const LAYERS: usize = 4;
/// What [`LAYERS`] counts, by index: LiveKit's names of encodings. Video that has only one is `q`.
pub const LAYER_NAMES: [&str; LAYERS] = ["audio", "q", "h", "f"];

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of packets and events.
        #[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            /// Payload bytes received by sampled clients, by encoding.
            pub layer_bytes: [u64; LAYERS],
        }

        impl Counters {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                for (ours, theirs) in self.layer_bytes.iter_mut().zip(other.layer_bytes) {
                    *ours += theirs;
                }
            }

            /// Names and values, for reports.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// RTP packets handed to the kernel, without retransmissions.
    sent,
    sent_bytes,
    /// Packets sent times those who are to get them, and their bytes.
    offered,
    offered_bytes,
    /// Retransmissions sent.
    retransmitted,
    /// Datagrams of RTP received, of all clients.
    received,
    received_bytes,
    /// Of these, those of sampled clients: decrypted, checked and timed, if they are no repairs.
    sampled,
    /// Numbers that were passed over when a later packet came.
    missing,
    /// Missing ones that came after all, by themselves: reordered.
    reordered,
    /// Missing ones that came as retransmissions.
    recovered,
    /// Packets that came again: replays by SRTP, or by their number.
    duplicated,
    /// Packets that SRTP refused: forged, or damaged on their way.
    forged,
    /// Authentic packets whose content is not what the publisher sent.
    corrupted,
    /// Authentic packets without our stamp: silence or padding the server made.
    unstamped,
    /// Packets that a server left out without a gap in its numbers.
    skipped,
    /// Packets of padding, which servers send to probe.
    padding,
    /// Packets too late, of an unknown stream, or before their keys.
    strayed,
    /// Video frames received whole, or at least their last packet.
    frames,
    key_frames,
    freezes,
    freeze_ms,
    /// Streams that froze for the first time.
    frozen,
    nacks_sent,
    plis_sent,
    nacks_received,
    plis_received,
    reports_received,
    feedback_received,
    /// Datagrams that the kernel did not take.
    send_failed,
    /// Packets that were due, and left late by more than a frame.
    late_sent,
    /// Datagrams that the impairment of a client dropped.
    impaired,
}

impl Counters {
    /// What sampled clients got of each encoding.
    pub fn layers(&self) -> Vec<LayerBytes> {
        let layers = LAYER_NAMES.iter().zip(self.layer_bytes);
        layers
            .map(|(name, bytes)| LayerBytes {
                name: (*name).to_owned(),
                bytes,
            })
            .collect()
    }

    /// Packets missing for good, or not yet come.
    pub fn lost(&self) -> u64 {
        self.missing.saturating_sub(self.reordered + self.recovered)
    }

    /// Lost packets in proportion to those expected.
    pub fn loss_ratio(&self) -> f64 {
        let expected = self.received + self.lost();
        if expected == 0 {
            return 0.0;
        }
        self.lost() as f64 / expected as f64
    }
}

/// How many frames had so many packets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrameLens {
    /// By the number of packets.
    counts: Vec<u64>,
}

impl FrameLens {
    /// Longer frames count as this long: more than a megabyte.
    const PACKETS_MAX: usize = 1024;

    pub fn record(&mut self, packets: usize) {
        let packets = packets.min(Self::PACKETS_MAX);
        if self.counts.len() <= packets {
            self.counts.resize(packets + 1, 0);
        }
        self.counts[packets] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours += theirs;
        }
    }

    /// Lengths that occurred, ascending. Frames without packets were not sent.
    pub fn lens(&self) -> Vec<FrameLen> {
        let counts = (0..).zip(self.counts.iter().copied()).skip(1);
        let lens = counts.map(|(packets, count)| FrameLen { packets, count });
        lens.filter(|len| len.count > 0).collect()
    }
}

/// Counters with latencies.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    pub counters: Counters,
    /// Of what publishers sent.
    pub frames: FrameLens,
    /// Forwarding latency of audio and of video.
    pub audio: Latency,
    pub video: Latency,
    /// The longest freeze.
    pub freeze_ms_max: u64,
}

impl Meter {
    pub fn record_latency(&mut self, audio: bool, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let histogram = if audio {
            &mut self.audio
        } else {
            &mut self.video
        };
        histogram.record_ns(ns);
    }

    pub fn record_freeze(&mut self, freeze: Duration) {
        let ms = u64::try_from(freeze.as_millis()).unwrap_or(u64::MAX);
        self.counters.freezes += 1;
        self.counters.freeze_ms += ms;
        self.freeze_ms_max = self.freeze_ms_max.max(ms);
    }

    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.frames.add(&other.frames);
        self.audio.add(&other.audio);
        self.video.add(&other.video);
        self.freeze_ms_max = self.freeze_ms_max.max(other.freeze_ms_max);
    }

    /// Both kinds together.
    pub fn latency(&self) -> Latency {
        let mut both = self.audio.clone();
        both.add(&self.video);
        both
    }

    /// What was collected, leaving an empty meter.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_what_never_came() {
        let counters = Counters {
            received: 995,
            missing: 10,
            reordered: 2,
            recovered: 3,
            ..Counters::default()
        };
        assert_eq!(counters.lost(), 5);
        assert!((counters.loss_ratio() - 0.005).abs() < 1e-9);
    }

    #[test]
    fn frames_are_counted_by_their_packets() {
        let mut frames = FrameLens::default();
        for packets in [0, 1, 6, 6, 5_000] {
            frames.record(packets);
        }
        let mut sum = FrameLens::default();
        sum.record(6);
        sum.add(&frames);
        let lens: Vec<_> = sum.lens().iter().map(|it| (it.packets, it.count)).collect();
        assert_eq!(lens, [(1, 1), (6, 3), (1024, 1)]);
    }

    #[test]
    fn meters_add_up() {
        let mut sum = Meter::default();
        let mut part = Meter::default();
        part.counters.sent = 3;
        part.counters.layer_bytes[2] = 7;
        part.record_latency(true, Duration::from_micros(100));
        part.record_latency(false, Duration::from_millis(5));
        sum.add(&part);
        sum.add(&part.take());
        assert_eq!(sum.counters.sent, 6);
        assert_eq!(sum.counters.layer_bytes[2], 14);
        assert_eq!(sum.latency().count(), 4);
        assert_eq!(sum.audio.percentile_ns(50.0).unwrap() / 2000, 50);
        assert!(part.latency().is_empty());
    }
}
