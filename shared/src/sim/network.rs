//! One direction of the network between two hosts: what becomes of each datagram.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::random::Prng;
use crate::time::Timestamp;

/// Per datagram of IPv4 and UDP, for what a rate limit counts.
const HEADER_LEN: usize = 28;

/// Loss in bursts (Gilbert 1960, Elliott 1963): a path is good or bad, and loses while it is bad.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Burst {
    /// From good to bad, by datagram.
    pub enter_ppm: u32,
    /// From bad to good, by datagram: the mean length of a burst is its inverse.
    pub leave_ppm: u32,
    /// Lost while bad.
    pub loss_ppm: u32,
}

/// What a path does. The default one does nothing: it delivers at once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PathConfig {
    pub loss_ppm: u32,
    pub burst: Option<Burst>,
    pub delay: Duration,
    /// Added to the delay, from zero to this; the order stays.
    pub jitter: Duration,
    /// These are held back by up to `reorder_by`, and others overtake them.
    pub reorder_ppm: u32,
    pub reorder_by: Duration,
    pub duplicate_ppm: u32,
    /// Bits a second, headers counted; what waits for its turn fills the queue.
    pub rate_bps: Option<u64>,
    /// Bytes that may wait.
    pub queue_len_max: usize,
    /// Longest UDP payload that passes.
    pub payload_len_max: usize,
}

impl Default for PathConfig {
    fn default() -> Self {
        Self {
            loss_ppm: 0,
            burst: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder_ppm: 0,
            reorder_by: Duration::ZERO,
            duplicate_ppm: 0,
            rate_bps: None,
            queue_len_max: 64 * 1024,
            payload_len_max: usize::MAX,
        }
    }
}

/// Why a datagram did not arrive.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    Chance,
    Burst,
    QueueFull,
    TooLong,
    Blackout,
}

/// When a datagram arrives: never, once or twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    Lost(Loss),
    Arrives(ArrayVec<Timestamp, 2>),
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct PathCounts {
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
}

/// Draws the same number of random values for every datagram, so that the fate of the nth one
/// depends on nothing but the seed and the configuration.
#[derive(Clone, Debug)]
pub struct Path {
    config: PathConfig,
    random: Prng,
    bad: bool,
    /// When the last of the queue has left.
    free_at: Timestamp,
    last_arrival: Timestamp,
    dark_until: Timestamp,
    counts: PathCounts,
}

impl Path {
    pub fn new(config: PathConfig, random: Prng) -> Self {
        Self {
            config,
            random,
            bad: false,
            free_at: Timestamp::ZERO,
            last_arrival: Timestamp::ZERO,
            dark_until: Timestamp::ZERO,
            counts: PathCounts::default(),
        }
    }

    pub fn config(&self) -> &PathConfig {
        &self.config
    }

    /// What is on its way already is not touched.
    pub fn set_config(&mut self, config: PathConfig) {
        self.config = config;
        self.bad = false;
    }

    /// Nothing passes until then.
    pub fn black_out(&mut self, until: Timestamp) {
        self.dark_until = until;
    }

    pub fn counts(&self) -> PathCounts {
        self.counts
    }

    pub fn send(&mut self, now: Timestamp, len: usize) -> Fate {
        let config = self.config;
        self.counts.sent += 1;
        let lost = self.random.chance_ppm(config.loss_ppm);
        let lost_in_burst = self.step_burst();
        let jitter = self.random.duration(config.jitter);
        let reordered = self.random.chance_ppm(config.reorder_ppm);
        let held_back = self.random.duration(config.reorder_by);
        let duplicated = self.random.chance_ppm(config.duplicate_ppm);
        let again_after = self.random.duration(config.delay + config.jitter);

        let loss = if now < self.dark_until {
            Some(Loss::Blackout)
        } else if len > config.payload_len_max {
            Some(Loss::TooLong)
        } else if lost {
            Some(Loss::Chance)
        } else if lost_in_burst {
            Some(Loss::Burst)
        } else {
            None
        };
        let left_at = match loss {
            Some(loss) => Err(loss),
            None => self.queue(now, len),
        };
        let left_at = match left_at {
            Ok(left_at) => left_at,
            Err(loss) => {
                self.counts.lost += 1;
                return Fate::Lost(loss);
            }
        };
        let mut arrivals = ArrayVec::new();
        let mut arrival = (left_at + config.delay + jitter).max(self.last_arrival);
        if reordered {
            self.counts.reordered += 1;
            arrival += held_back;
        } else {
            self.last_arrival = arrival;
        }
        arrivals.push(arrival);
        if duplicated {
            self.counts.duplicated += 1;
            arrivals.push(arrival + again_after);
        }
        Fate::Arrives(arrivals)
    }

    /// Whether the datagram falls into a burst.
    fn step_burst(&mut self) -> bool {
        let burst = self.config.burst.unwrap_or(Burst {
            enter_ppm: 0,
            leave_ppm: 1_000_000,
            loss_ppm: 0,
        });
        let change = if self.bad {
            burst.leave_ppm
        } else {
            burst.enter_ppm
        };
        self.bad ^= self.random.chance_ppm(change);
        self.random.chance_ppm(burst.loss_ppm) && self.bad
    }

    /// When the datagram has left a link of limited rate.
    fn queue(&mut self, now: Timestamp, len: usize) -> Result<Timestamp, Loss> {
        let Some(rate_bps) = self.config.rate_bps else {
            return Ok(now);
        };
        let begin = self.free_at.max(now);
        let waiting_bits = begin.since(now).as_nanos() * u128::from(rate_bps) / 1_000_000_000;
        let wire_len = len + HEADER_LEN;
        if waiting_bits / 8 + wire_len as u128 > self.config.queue_len_max as u128 {
            return Err(Loss::QueueFull);
        }
        let takes_ns = wire_len as u64 * 8 * 1_000_000_000 / rate_bps.max(1);
        self.free_at = begin + Duration::from_nanos(takes_ns);
        Ok(self.free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn path(config: PathConfig) -> Path {
        Path::new(config, Prng::new(3))
    }

    fn arrivals(fate: &Fate) -> Vec<Timestamp> {
        match fate {
            Fate::Lost(_) => Vec::new(),
            Fate::Arrives(at) => at.to_vec(),
        }
    }

    #[test]
    fn the_default_path_delivers_at_once() {
        let mut path = path(PathConfig::default());
        assert_eq!(arrivals(&path.send(AT(5), 1_200)), [AT(5)]);
    }

    #[test]
    fn loss_duplication_and_jitter_are_as_configured() {
        let mut path = path(PathConfig {
            loss_ppm: 100_000,
            duplicate_ppm: 50_000,
            delay: MS(20),
            jitter: MS(10),
            ..PathConfig::default()
        });
        let mut last = Timestamp::ZERO;
        for n in 0..20_000 {
            if let Some(first) = arrivals(&path.send(AT(n), 100)).first() {
                assert!(*first >= last, "jitter keeps the order");
                assert!((20..=30).contains(&first.since(AT(n)).as_millis()));
                last = *first;
            }
        }
        let counts = path.counts();
        assert!((1_850..2_150).contains(&counts.lost), "{counts:?}");
        assert!((800..1_000).contains(&counts.duplicated), "{counts:?}");
    }

    #[test]
    fn bursts_have_their_length() {
        let mut path = path(PathConfig {
            burst: Some(Burst {
                enter_ppm: 10_000,
                leave_ppm: 100_000,
                loss_ppm: 1_000_000,
            }),
            ..PathConfig::default()
        });
        let lost: Vec<bool> = (0..100_000)
            .map(|_| path.send(AT(0), 100) == Fate::Lost(Loss::Burst))
            .collect();
        let total = lost.iter().filter(|lost| **lost).count();
        let bursts = lost
            .windows(2)
            .filter(|pair| pair == &[false, true])
            .count();
        assert!((8..12).contains(&(total / bursts)), "{total} in {bursts}");
    }

    #[test]
    fn reordered_ones_are_overtaken() {
        let mut path = path(PathConfig {
            delay: MS(10),
            reorder_ppm: 200_000,
            reorder_by: MS(8),
            ..PathConfig::default()
        });
        let times: Vec<Timestamp> = (0..100)
            .flat_map(|n| arrivals(&path.send(AT(n), 100)))
            .collect();
        assert!(times.windows(2).any(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn a_slow_link_queues_then_drops() {
        let mut path = path(PathConfig {
            rate_bps: Some(8_000_000),
            queue_len_max: 3_000,
            ..PathConfig::default()
        });
        let fates: Vec<Fate> = (0..4).map(|_| path.send(AT(0), 972)).collect();
        assert_eq!(arrivals(&fates[0]), [AT(1)]);
        assert_eq!(arrivals(&fates[2]), [AT(3)]);
        assert_eq!(fates[3], Fate::Lost(Loss::QueueFull));
        assert_eq!(arrivals(&path.send(AT(2), 972)), [AT(4)]);
    }

    #[test]
    fn nothing_passes_a_blackout_or_a_small_mtu() {
        let mut path = path(PathConfig {
            payload_len_max: 1_200,
            ..PathConfig::default()
        });
        path.black_out(AT(10));
        assert_eq!(path.send(AT(9), 100), Fate::Lost(Loss::Blackout));
        assert_eq!(path.send(AT(10), 1_201), Fate::Lost(Loss::TooLong));
        assert_eq!(arrivals(&path.send(AT(10), 1_200)), [AT(10)]);
    }

    #[test]
    fn the_nth_datagram_does_not_depend_on_lengths_and_times() {
        let config = PathConfig {
            loss_ppm: 300_000,
            duplicate_ppm: 300_000,
            ..PathConfig::default()
        };
        let (mut one, mut other) = (path(config), path(config));
        for n in 0..100 {
            let count = |fate: Fate| arrivals(&fate).len();
            assert_eq!(
                count(one.send(AT(n), 100)),
                count(other.send(AT(7 * n), 900))
            );
        }
    }
}
