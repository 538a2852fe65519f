//! Who speaks: audio levels of published tracks, smoothed and ranked as LiveKit does it, so that
//! its clients see the speaking indicators they are used to.

use std::time::Duration;

use millrace_shared::ids::TrackId;
use millrace_shared::link::SpeakerLevel;
use millrace_shared::time::{RtpTime, Timestamp};

/// How levels become speakers; LiveKit's configuration keys and defaults.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SpeakerConfig {
    /// Weakest level that counts as speech, in -dBov: 0 is loudest, 127 silence.
    pub active_level: u8,
    /// Share of an interval that must be speech, in percent.
    pub min_percentile: u8,
    pub update_interval_ms: u32,
    /// Intervals that a level is averaged over. 0 = not.
    pub smooth_intervals: u32,
}

impl Default for SpeakerConfig {
    fn default() -> Self {
        Self {
            active_level: 35,
            min_percentile: 40,
            update_interval_ms: 400,
            smooth_intervals: 2,
        }
    }
}

impl SpeakerConfig {
    const fn update_interval(&self) -> Duration {
        Duration::from_millis(self.update_interval_ms as u64)
    }

    const fn active_ms_min(&self) -> u32 {
        self.min_percentile as u32 * self.update_interval_ms / 100
    }

    /// Weight of the newest interval in a moving average of the same centre of mass as a plain
    /// average over `smooth_intervals`.
    fn smooth_factor(&self) -> f64 {
        match self.smooth_intervals {
            0 => 1.0,
            intervals => 2.0 / f64::from(intervals + 1),
        }
    }
}

/// Level of one audio track.
#[derive(Clone, Debug)]
pub struct SpeakerMeter {
    config: SpeakerConfig,
    clock_rate_hz: u32,
    smoothed: f64,
    loudest: u8,
    active_ms: u32,
    observed_ms: u32,
    newest_rtp_time: Option<RtpTime>,
    last_at: Timestamp,
}

const SILENCE: u8 = 127;

impl SpeakerMeter {
    pub fn new(config: SpeakerConfig, clock_rate_hz: u32) -> Self {
        Self {
            config,
            clock_rate_hz: clock_rate_hz.max(1),
            smoothed: 0.0,
            loudest: SILENCE,
            active_ms: 0,
            observed_ms: 0,
            newest_rtp_time: None,
            last_at: Timestamp::ZERO,
        }
    }

    /// Takes the level of a packet (RFC 6464 §3, without the voice bit). It stands for the media
    /// time since the packet before; an older packet says nothing any more.
    pub fn observe(&mut self, now: Timestamp, level: u8, rtp_time: RtpTime) {
        let newest = *self.newest_rtp_time.get_or_insert(rtp_time);
        let Ok(ticks) = u64::try_from(rtp_time.distance(newest)) else {
            return;
        };
        self.newest_rtp_time = Some(rtp_time);
        self.last_at = now;
        // The first packet after a pause does not stand for all of it, or it would count as louder
        // than full scale. A DTX comfort noise packet, one in 400 ms, does.
        let duration_ms = (ticks * 1_000 / u64::from(self.clock_rate_hz))
            .min(u64::from(self.config.update_interval_ms)) as u32;
        self.observed_ms += duration_ms;
        if level <= self.config.active_level {
            self.active_ms += duration_ms;
            self.loudest = self.loudest.min(level);
        }
        if self.observed_ms >= self.config.update_interval_ms {
            let smoothed = self.interval_level();
            self.begin_interval(smoothed);
        }
    }

    /// 0.0 silent ..= 1.0 loudest, and whether that is speech. Silence after two intervals
    /// without a packet.
    pub fn level(&mut self, now: Timestamp) -> (f64, bool) {
        if self.is_idle(now) {
            self.begin_interval(0.0);
        }
        let threshold = linear(f64::from(self.config.active_level));
        (self.smoothed.min(1.0), self.smoothed >= threshold)
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        now.since(self.last_at) >= self.config.update_interval() * 2
    }

    fn interval_level(&self) -> f64 {
        if self.active_ms < self.config.active_ms_min() || self.active_ms == 0 {
            return 0.0;
        }
        // Louder by how much of the interval was speech, in dB; less than all of it lowers it.
        let share = f64::from(self.active_ms) / f64::from(self.config.update_interval_ms.max(1));
        let adjusted = f64::from(self.loudest) - 20.0 * share.log10();
        self.smoothed + (linear(adjusted) - self.smoothed) * self.config.smooth_factor()
    }

    fn begin_interval(&mut self, smoothed: f64) {
        self.smoothed = smoothed;
        self.loudest = SILENCE;
        self.active_ms = 0;
        self.observed_ms = 0;
    }
}

/// -dBov to a share of full scale.
fn linear(level: f64) -> f64 {
    10_f64.powf(-level / 20.0)
}

/// Steps between silent and loudest that are worth an update.
const LEVEL_STEPS: f64 = 8.0;

/// The audio tracks of one group, and who of them was last said to speak.
#[derive(Debug)]
pub struct SpeakerGroup {
    config: SpeakerConfig,
    /// Ascending by track.
    members: Vec<Member>,
    next_at: Timestamp,
}

#[derive(Debug)]
struct Member {
    track: TrackId,
    meter: SpeakerMeter,
    /// As last told; 0.0 is silent.
    told: f32,
}

impl SpeakerGroup {
    pub fn new(config: SpeakerConfig) -> Self {
        Self {
            config,
            members: Vec::new(),
            next_at: Timestamp::NEVER,
        }
    }

    /// Adds an audio track; one that it has already stays as it is.
    pub fn add(&mut self, track: TrackId, clock_rate_hz: u32) {
        if let Err(index) = self.index(track) {
            let meter = SpeakerMeter::new(self.config, clock_rate_hz);
            self.members.insert(
                index,
                Member {
                    track,
                    meter,
                    told: 0.0,
                },
            );
        }
    }

    /// Forgets a track. Returns its silence, if it was said to speak.
    pub fn remove(&mut self, track: TrackId) -> Option<SpeakerLevel> {
        let member = self.members.remove(self.index(track).ok()?);
        (member.told > 0.0).then_some(SpeakerLevel {
            track,
            level: 0.0,
            active: false,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes the level of a packet, see [`SpeakerMeter::observe`]. `level` may carry the voice bit
    /// as it stands in the header extension.
    pub fn observe(&mut self, now: Timestamp, track: TrackId, level: u8, rtp_time: RtpTime) {
        let Ok(index) = self.index(track) else {
            return;
        };
        self.members[index]
            .meter
            .observe(now, level & 0x7f, rtp_time);
        if self.next_at == Timestamp::NEVER {
            self.next_at = now + self.config.update_interval();
        }
    }

    /// Never while nobody sends audio and nobody is said to speak.
    pub fn next_timeout(&self) -> Timestamp {
        self.next_at
    }

    /// Levels that changed since the last call, loudest first. Empty before the interval is over.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<SpeakerLevel> {
        let mut changes = Vec::new();
        if now < self.next_at {
            return changes;
        }
        self.next_at = Timestamp::NEVER;
        for member in &mut self.members {
            let (level, active) = member.meter.level(now);
            let level = if active { quantise(level) } else { 0.0 };
            if level.to_bits() != member.told.to_bits() {
                member.told = level;
                changes.push(SpeakerLevel {
                    track: member.track,
                    level,
                    active,
                });
            }
            if active || !member.meter.is_idle(now) {
                self.next_at = now + self.config.update_interval();
            }
        }
        changes.sort_by(|a, b| b.level.total_cmp(&a.level));
        changes
    }

    fn index(&self, track: TrackId) -> Result<usize, usize> {
        self.members
            .binary_search_by_key(&track, |member| member.track)
    }
}

/// Small changes of a level are not worth a message to everyone.
fn quantise(level: f64) -> f32 {
    ((level * LEVEL_STEPS).ceil() / LEVEL_STEPS) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: TrackId = TrackId(1);
    const FRAME_MS: u64 = 20;

    /// Sends `frames` packets of 20 ms from `at_ms` on.
    fn speak(group: &mut SpeakerGroup, track: TrackId, at_ms: u64, frames: u64, level: u8) {
        for i in 0..frames {
            let at_ms = at_ms + i * FRAME_MS;
            let now = Timestamp::from_millis(at_ms);
            group.observe(now, track, level, RtpTime((at_ms * 48) as u32));
        }
    }

    fn group() -> SpeakerGroup {
        let mut group = SpeakerGroup::new(SpeakerConfig::default());
        group.add(TRACK, 48_000);
        group.add(TrackId(2), 48_000);
        group
    }

    #[test]
    fn levels_are_those_of_livekit() {
        // One interval at -10 dBov: linear 0.316, of which a moving average over two takes 2/3.
        let mut meter = SpeakerMeter::new(SpeakerConfig::default(), 48_000);
        for i in 0..=20 {
            meter.observe(Timestamp::from_millis(i * 20), 10, RtpTime(i as u32 * 960));
        }
        let (level, active) = meter.level(Timestamp::from_millis(400));
        assert!((level - 0.2108).abs() < 0.001, "{level}");
        assert!(active);

        // Half of the interval: 6 dB less.
        let mut meter = SpeakerMeter::new(SpeakerConfig::default(), 48_000);
        for i in 0..=20 {
            let dbov = if i <= 10 { 10 } else { 127 };
            meter.observe(
                Timestamp::from_millis(i * 20),
                dbov,
                RtpTime(i as u32 * 960),
            );
        }
        let (level, _) = meter.level(Timestamp::from_millis(400));
        assert!((level - 0.1054).abs() < 0.001, "{level}");
    }

    #[test]
    fn a_speaker_begins_and_ends_with_one_message_each() {
        let mut group = group();
        speak(&mut group, TRACK, 1_000, 60, 10);
        let mut changes = Vec::new();
        for _ in 0..20 {
            if group.next_timeout() == Timestamp::NEVER {
                break;
            }
            let now = group.next_timeout().max(Timestamp::from_millis(2_200));
            changes.extend(group.handle_timeout(now));
        }
        let told: Vec<_> = changes
            .iter()
            .map(|level| (level.level, level.active))
            .collect();
        assert_eq!(told, [(0.375, true), (0.0, false)]);
        assert_eq!(group.next_timeout(), Timestamp::NEVER);
    }

    #[test]
    fn loudest_comes_first_and_noise_is_silent() {
        let mut group = group();
        group.add(TrackId(3), 48_000);
        speak(&mut group, TRACK, 0, 30, 25);
        speak(&mut group, TrackId(2), 0, 30, 5);
        speak(&mut group, TrackId(3), 0, 30, 60);
        let tracks: Vec<_> = group.handle_timeout(Timestamp::from_millis(600));
        let tracks: Vec<_> = tracks.iter().map(|level| level.track).collect();
        assert_eq!(tracks, [TrackId(2), TRACK]);
    }

    #[test]
    fn short_noise_is_no_speech_and_a_pause_is_not_loud() {
        let mut group = group();
        speak(&mut group, TRACK, 0, 6, 5);
        speak(&mut group, TRACK, 120, 20, 100);
        assert!(group.handle_timeout(Timestamp::from_millis(520)).is_empty());
        // 10 s later one packet at -30 dBov: as loud as an interval of it, not as 10 s of it.
        speak(&mut group, TRACK, 10_000, 1, 30);
        let changes = group.handle_timeout(Timestamp::from_millis(10_000));
        assert_eq!(changes.len(), 1);
        assert!(changes[0].level <= 0.125);
    }

    #[test]
    fn a_removed_speaker_falls_silent() {
        let mut group = group();
        speak(&mut group, TRACK, 0, 30, 10);
        assert_eq!(group.handle_timeout(Timestamp::from_millis(600)).len(), 1);
        let silence = group.remove(TRACK).unwrap();
        assert_eq!((silence.track, silence.active), (TRACK, false));
        assert!(group.remove(TRACK).is_none());
    }
}
