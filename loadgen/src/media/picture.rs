//! Frames of a video encoder: how long each is and which are key frames.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Stamp;

/// How much longer a key frame is than a delta frame, from recordings of libwebrtc's VP8 at 30
/// frames a second; 5 to 12 with the content.
const KEY_FRAME_RATIO: f64 = 8.0;
/// Spread of the logarithm of delta frame lengths.
const DELTA_SPREAD: f64 = 0.35;
/// Fraction of a key frame's excess that is saved on each frame after it, as rate control does.
const REPAYMENT: f64 = 0.05;
/// A slide change: half the picture is new.
const SLIDE_RATIO: f64 = 4.0;

/// What is filmed.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Content {
    #[default]
    Camera,
    /// Still for seconds, then all new.
    Screen,
}

/// One encoding of a video track.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Encoding {
    pub width: u16,
    pub height: u16,
    pub bitrate_bps: u32,
    pub frame_rate: u32,
    pub content: Content,
}

impl Encoding {
    pub fn frame_interval(&self) -> Duration {
        Duration::from_secs(1) / self.frame_rate.max(1)
    }

    fn mean_len(&self) -> f64 {
        f64::from(self.bitrate_bps) / 8.0 / f64::from(self.frame_rate.max(1))
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub key: bool,
    pub len: usize,
}

/// An encoder that is asked for a frame per interval.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    rng: SmallRng,
    key_due: bool,
    /// Bytes sent beyond the bitrate, to be saved on later frames.
    debt: f64,
}

impl Encoder {
    pub fn new(encoding: Encoding, seed: u64) -> Self {
        Self {
            encoding,
            rng: SmallRng::seed_from_u64(seed),
            key_due: true,
            debt: 0.0,
        }
    }

    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// The next frame will be a key frame.
    pub fn request_key_frame(&mut self) {
        self.key_due = true;
    }

    pub fn next_frame(&mut self) -> Frame {
        let mean = self.encoding.mean_len();
        let key = std::mem::take(&mut self.key_due);
        let wanted = if key {
            mean * KEY_FRAME_RATIO
        } else {
            let plain = match self.encoding.content {
                Content::Camera => mean,
                Content::Screen => self.screen_len(mean),
            };
            (plain * self.lognormal() - self.debt * REPAYMENT).max(mean * 0.1)
        };
        self.debt += wanted - mean;
        // A frame holds its own headers and a stamp.
        let len = (wanted as usize).max(2 * Stamp::LEN);
        Frame { key, len }
    }

    fn screen_len(&mut self, mean: f64) -> f64 {
        // A new slide every 5 s or so; between them little more than a cursor moves.
        let per_frame = 0.2 / f64::from(self.encoding.frame_rate.max(1));
        if self.rng.random_bool(per_frame.min(1.0)) {
            mean * SLIDE_RATIO
        } else {
            mean * 0.8
        }
    }

    /// Lengths of delta frames are skewed: many short ones, few long ones. The mean is 1.
    fn lognormal(&mut self) -> f64 {
        // The sum of twelve uniform numbers is near enough to the normal distribution.
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        (normal * DELTA_SPREAD - DELTA_SPREAD * DELTA_SPREAD / 2.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: Encoding = Encoding {
        width: 1280,
        height: 720,
        bitrate_bps: 1_700_000,
        frame_rate: 30,
        content: Content::Camera,
    };

    #[test]
    fn the_bitrate_is_held() {
        for content in [Content::Camera, Content::Screen] {
            let mut encoder = Encoder::new(Encoding { content, ..CAMERA }, 1);
            let mut bytes = 0;
            for frame in 0..3000 {
                if frame % 300 == 0 {
                    encoder.request_key_frame();
                }
                bytes += encoder.next_frame().len;
            }
            let bitrate = bytes as f64 * 8.0 / 100.0;
            assert!((1_500_000.0..1_900_000.0).contains(&bitrate), "{bitrate}");
        }
    }

    #[test]
    fn key_frames_come_first_and_when_asked_for() {
        let mut encoder = Encoder::new(CAMERA, 1);
        let keys: Vec<_> = (0..10)
            .map(|frame| {
                if frame == 5 {
                    encoder.request_key_frame();
                }
                encoder.next_frame()
            })
            .collect();
        let places: Vec<_> = (0..10).filter(|at| keys[*at].key).collect();
        assert_eq!(places, [0, 5]);
        assert!(keys[0].len > 5 * keys[1].len);
    }
}
