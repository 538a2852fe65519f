//! Why packets come late while no processor is full, as far as readings show.
//!
//! The generator sees how long packets take end to end, the server how long they stay with it. If
//! the latter is most of the former the wait is within the server, else outside. Within, a room's
//! size is the usual reason: a shard copies one packet to all before it takes the next, so that the
//! packets of one frame wait for each other.

use super::forwarding::Quantile;
use super::model::{FrameLen, Offered, Step};

/// The percentile that is judged, as the SLO's.
const SHARE: f64 = 0.99;
/// From this part of the end-to-end latency on, the server's own is most of it.
const WITHIN_MIN: f64 = 0.5;
/// What a frame takes explains a latency up to so many times longer or shorter. Buckets are 1.4
/// wide, the cost of a copy is a mean, and a publisher spreads a frame over some milliseconds.
const BURST_FACTOR_MAX: f64 = 2.0;

/// What a shard has to do for packets that come at one go.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Burst {
    /// The place in its frame that 99 of 100 packets do not exceed.
    pub packets: u32,
    /// Copies of each packet on the shard that makes most of them.
    pub copies: f64,
    /// CPU of that shard for a copy, everything included.
    pub copy_ns: f64,
}

/// What speaks for one cause or another.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Evidence {
    pub end_to_end_ns: f64,
    /// By the server's own account.
    pub own: Option<Quantile>,
    pub burst: Option<Burst>,
    pub shard_cpu: Option<f64>,
    /// Copies made on other shards than the publisher's are not in the server's account.
    pub crosses_lanes: bool,
}

/// Where packets wait.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// For packets of the same frame before them, and for being copied to all themselves.
    Bursts,
    /// Within the server, for something else.
    Within,
    Outside,
    /// Readings do not tell.
    Unknown,
}

impl Burst {
    pub fn of(step: &Step) -> Option<Burst> {
        let shard = step.shards.iter().max_by_key(|it| it.rtp_forwarded)?;
        let packets_in = shard.rtp_received + shard.lane_packets.unwrap_or(0);
        if shard.rtp_forwarded == 0 || packets_in == 0 {
            return None;
        }
        let copies = shard.rtp_forwarded as f64;
        Some(Burst {
            packets: step.offered.frame_place(SHARE)?,
            copies: copies / packets_in as f64,
            copy_ns: 1e9 * shard.cpu_s? / copies,
        })
    }

    /// How long the last of these packets waits for its last copy.
    pub fn takes_ns(&self) -> f64 {
        f64::from(self.packets) * self.copies * self.copy_ns
    }
}

impl Evidence {
    /// None if nothing arrived.
    pub fn of(step: &Step) -> Option<Evidence> {
        Some(Evidence {
            end_to_end_ns: step.latency.percentile_ns(100.0 * SHARE)? as f64,
            own: step.forwarding_quantile(SHARE),
            burst: Burst::of(step),
            shard_cpu: step.busiest_shard_cpu(),
            crosses_lanes: step.shards.iter().any(|it| it.lane_packets > Some(0)),
        })
    }

    pub fn cause(&self) -> Cause {
        let Some(own) = self.own else {
            return Cause::Unknown;
        };
        if own.estimate_ns < WITHIN_MIN * self.end_to_end_ns {
            // What the other shards did with their copies is not known.
            return if self.crosses_lanes || own.up_to_ns.is_none() {
                Cause::Unknown
            } else {
                Cause::Outside
            };
        }
        let is_explained = self.burst.is_some_and(|burst| {
            let factor = burst.takes_ns() / own.estimate_ns;
            (1.0 / BURST_FACTOR_MAX..=BURST_FACTOR_MAX).contains(&factor)
        });
        if is_explained {
            Cause::Bursts
        } else {
            Cause::Within
        }
    }
}

impl Offered {
    /// The place in its frame, counted from one, that `share` of all packets do not exceed.
    pub fn frame_place(&self, share: f64) -> Option<u32> {
        let packets = |len: &FrameLen, place: u32| u64::from(len.packets.min(place)) * len.count;
        let up_to = |place| -> u64 { self.frames.iter().map(|len| packets(len, place)).sum() };
        let longest = self.frames.iter().map(|len| len.packets).max()?;
        let wanted = share * up_to(longest) as f64;
        (1..=longest).find(|place| up_to(*place) as f64 >= wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Bucket, ShardCounters};
    use super::*;

    /// A second of 30 frames of 6 packets, one of 12, and sound, to 200 on one shard at 3 us a copy;
    /// `own_us` is what most packets take within the server, `end_to_end_us` what they take in all.
    fn late(own_us: f64, end_to_end_us: u64) -> Step {
        let mut step = Step {
            measured_s: 1.0,
            ..Step::default()
        };
        let len = |(packets, count)| FrameLen { packets, count };
        step.offered.frames = [(1, 50), (6, 30), (12, 1)].map(len).to_vec();
        step.latency.record_many_ns(end_to_end_us * 1_000, 1_000);
        let count = |bound_us: f64| if bound_us < own_us { 0 } else { 242 };
        let bucket = |bound_us: Option<f64>| Bucket {
            bound_us,
            count: bound_us.map_or(242, count),
        };
        let bounds = [5_000.0, 7_000.0, 10_000.0].map(Some);
        step.shards = vec![ShardCounters {
            rtp_received: 242,
            rtp_forwarded: 48_400,
            cpu_s: Some(0.145_2),
            forwarding: bounds.into_iter().chain([None]).map(bucket).collect(),
            ..ShardCounters::default()
        }];
        step
    }

    fn cause(step: &Step) -> Cause {
        Evidence::of(step).unwrap().cause()
    }

    #[test]
    fn most_packets_stand_early_in_their_frames() {
        let step = late(7_000.0, 7_000);
        let places = [0.2, 0.5, 0.9, 0.97, 0.99, 1.0];
        let found = places.map(|share| step.offered.frame_place(share).unwrap());
        assert_eq!(found, [1, 3, 6, 6, 10, 12]);
        assert_eq!(Step::default().offered.frame_place(0.5), None);
    }

    #[test]
    fn a_burst_is_packets_times_copies_times_cost() {
        let burst = Burst::of(&late(7_000.0, 7_000)).unwrap();
        assert_eq!((burst.packets, burst.copies), (10, 200.0));
        assert!((burst.copy_ns - 3_000.0).abs() < 1e-6, "{burst:?}");
        assert!((burst.takes_ns() - 6e6).abs() < 1.0, "{burst:?}");
    }

    #[test]
    fn a_wait_as_long_as_a_frame_takes_is_the_frames() {
        assert_eq!(cause(&late(7_000.0, 7_500)), Cause::Bursts);
        // A tenth of the cost: the frame takes 0.6 ms, and something else 7.
        let mut cheap = late(7_000.0, 7_500);
        cheap.shards[0].cpu_s = Some(0.014_52);
        assert_eq!(cause(&cheap), Cause::Within);
        // To ten times as many, a single packet takes that long.
        let mut single = late(7_000.0, 7_500);
        single.offered.frames.truncate(1);
        single.shards[0].rtp_forwarded *= 10;
        single.shards[0].cpu_s = Some(1.452);
        assert_eq!(cause(&single), Cause::Bursts);
    }

    #[test]
    fn what_the_server_does_not_see_is_outside() {
        let step = late(5_000.0, 40_000);
        assert_eq!(cause(&step), Cause::Outside);
        // Another shard may have been slow.
        let mut lanes = step;
        lanes.shards[0].lane_packets = Some(9);
        assert_eq!(cause(&lanes), Cause::Unknown);
    }

    #[test]
    fn without_readings_there_is_no_cause() {
        let mut silent = late(7_000.0, 7_500);
        silent.shards.clear();
        assert_eq!(cause(&silent), Cause::Unknown);
        // Beyond the last bound the server's own share may be anything.
        assert_eq!(cause(&late(20_000.0, 90_000)), Cause::Unknown);
        assert_eq!(Evidence::of(&Step::default()), None);
    }
}
