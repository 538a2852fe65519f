//! Opus packets of somebody who talks: bursts of 20 ms packets, and pauses in which discontinuous
//! transmission sends little.

use std::time::Duration;

use millrace_shared::wire::rtp_ext::AudioLevel;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Stamp;

/// One packet's worth of sound.
pub const PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// Ticks of the 48 kHz clock (RFC 7587 §4.1) in it.
pub const PACKET_TICKS: u32 = 960;

/// Bursts and pauses of conversational speech: means of ITU-T P.59 (1.004 s of talk, 1.587 s of
/// pause for both sides of a dialogue), with longer bursts for those who hold the floor.
const TALK_MEAN: Duration = Duration::from_millis(2500);
const PAUSE_MEAN: Duration = Duration::from_millis(800);
/// Opus repeats its comfort noise every 400 ms (RFC 7587 §3.1.3).
const COMFORT_INTERVAL_PACKETS: u32 = 20;
/// libwebrtc's voice at 32 kbit/s: 80 bytes per packet on average, between these.
const VOICE_LEN_MIN: usize = 50;
const VOICE_LEN_MAX: usize = 110;

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Manner {
    /// Talk and pauses.
    #[default]
    Talking,
    /// No pauses: fifty packets each second.
    Continuous,
}

/// What to send for one interval of 20 ms.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Utterance {
    pub payload_len: usize,
    pub level: AudioLevel,
    /// First packet after a pause (RFC 3551 §4.1): the marker bit.
    pub burst_start: bool,
}

#[derive(Debug)]
pub struct Speech {
    rng: SmallRng,
    manner: Manner,
    talking: bool,
    /// Packets until talk and pause change places.
    remaining: u32,
    since_comfort: u32,
}

impl Speech {
    pub fn new(manner: Manner, seed: u64) -> Self {
        let mut speech = Self {
            rng: SmallRng::seed_from_u64(seed),
            manner,
            talking: false,
            remaining: 0,
            since_comfort: 0,
        };
        // Speakers that begin together would pause together.
        speech.remaining = speech.rng.random_range(0..50);
        speech
    }

    /// The next 20 ms; `None` where nothing is sent.
    pub fn next_packet(&mut self) -> Option<Utterance> {
        let burst_start = self.advance();
        if self.talking {
            return Some(Utterance {
                payload_len: self.rng.random_range(VOICE_LEN_MIN..=VOICE_LEN_MAX),
                level: AudioLevel {
                    below_overload_db: self.rng.random_range(18..40),
                    voice: true,
                },
                burst_start,
            });
        }
        self.since_comfort += 1;
        if self.since_comfort < COMFORT_INTERVAL_PACKETS {
            return None;
        }
        self.since_comfort = 0;
        Some(Utterance {
            // Comfort noise is a byte or two; it must hold the stamp.
            payload_len: 2 + Stamp::LEN,
            level: AudioLevel {
                below_overload_db: 127,
                voice: false,
            },
            burst_start: false,
        })
    }

    /// Whether a burst begins with this packet.
    fn advance(&mut self) -> bool {
        if self.manner == Manner::Continuous {
            return !std::mem::replace(&mut self.talking, true);
        }
        if self.remaining > 0 {
            self.remaining -= 1;
            return false;
        }
        self.talking = !self.talking;
        let mean = if self.talking { TALK_MEAN } else { PAUSE_MEAN };
        self.remaining = self.exponential(mean);
        self.since_comfort = 0;
        self.talking
    }

    /// Packets of a duration drawn from the exponential distribution with this mean.
    fn exponential(&mut self, mean: Duration) -> u32 {
        let uniform: f64 = self.rng.random_range(f64::MIN_POSITIVE..1.0);
        let packets = mean.div_duration_f64(PACKET_INTERVAL) * -uniform.ln();
        packets.clamp(5.0, 500.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(manner: Manner) -> Vec<Option<Utterance>> {
        let mut speech = Speech::new(manner, 1);
        (0..180_000).map(|_| speech.next_packet()).collect()
    }

    #[test]
    fn talk_takes_three_quarters_of_the_time() {
        let hour = hour(Manner::Talking);
        let voiced = hour.iter().flatten().filter(|it| it.level.voice).count();
        let share = voiced as f64 / hour.len() as f64;
        assert!((0.70..0.80).contains(&share), "{share}");
        let bursts = hour.iter().flatten().filter(|it| it.burst_start).count();
        assert!((900..1300).contains(&bursts), "{bursts} bursts");
    }

    #[test]
    fn pauses_carry_comfort_noise_every_400_ms() {
        let mut silent = 0;
        for packet in hour(Manner::Talking) {
            match packet {
                None => silent += 1,
                Some(packet) => {
                    assert!(silent <= 19, "{silent} packets of nothing");
                    if !packet.level.voice {
                        assert_eq!(silent, 19);
                        assert_eq!(packet.payload_len, 2 + Stamp::LEN);
                    }
                    silent = 0;
                }
            }
        }
    }

    #[test]
    fn continuous_speech_is_32_kbit_s() {
        let hour = hour(Manner::Continuous);
        assert!(hour.iter().all(Option::is_some));
        let bytes: usize = hour.iter().flatten().map(|it| it.payload_len).sum();
        let bitrate = bytes as f64 * 8.0 / 3600.0;
        assert!((31_000.0..33_000.0).contains(&bitrate), "{bitrate}");
        assert_eq!(hour.iter().flatten().filter(|it| it.burst_start).count(), 1);
    }
}
