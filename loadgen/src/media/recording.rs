//! Recorded media, sent again and again: VP8 in IVF, Opus in Ogg (RFC 3533, RFC 7845), H.264 in an
//! Annex B byte stream.

use std::time::Duration;

use thiserror::Error;

use super::packetize::VideoCodec;

/// What an Annex B stream does not say.
const H264_FRAME_RATE: u32 = 30;
const H264_SIZE: (u16, u16) = (1280, 720);

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    #[error("neither IVF, nor Ogg, nor an Annex B stream of H.264")]
    Format,
    #[error("the IVF file holds {0} and not VP8")]
    Codec(String),
    #[error("the file ends in the middle of a frame, or before the first")]
    Truncated,
}

/// A frame, or a packet of sound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedFrame {
    pub key: bool,
    pub duration: Duration,
    /// NAL units of H.264 without start codes; of others the frame alone.
    pub units: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// `None`: Opus.
    pub video: Option<VideoCodec>,
    pub size: (u16, u16),
    pub frames: Vec<RecordedFrame>,
}

impl Recording {
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordingError> {
        let recording = match bytes {
            [b'D', b'K', b'I', b'F', ..] => ivf(bytes)?,
            [b'O', b'g', b'g', b'S', ..] => ogg(bytes)?,
            [0, 0, 1, ..] | [0, 0, 0, 1, ..] => annex_b(bytes),
            _ => return Err(RecordingError::Format),
        };
        if recording.frames.is_empty() {
            return Err(RecordingError::Truncated);
        }
        Ok(recording)
    }

    pub fn bitrate_bps(&self) -> u32 {
        let units = self.frames.iter().flat_map(|frame| &frame.units);
        let bits = units.map(Vec::len).sum::<usize>() as f64 * 8.0;
        let duration: Duration = self.frames.iter().map(|frame| frame.duration).sum();
        (bits / duration.as_secs_f64().max(1e-3)) as u32
    }
}

fn u16_le(bytes: &[u8], at: usize) -> Result<u16, RecordingError> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found
        .map(|it| u16::from_le_bytes(*it))
        .ok_or(RecordingError::Truncated)
}

fn u32_le(bytes: &[u8], at: usize) -> Result<u32, RecordingError> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found
        .map(|it| u32::from_le_bytes(*it))
        .ok_or(RecordingError::Truncated)
}

fn ivf(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let codec = bytes.get(8..12).ok_or(RecordingError::Truncated)?;
    if codec != b"VP80" {
        return Err(RecordingError::Codec(
            String::from_utf8_lossy(codec).into_owned(),
        ));
    }
    let size = (u16_le(bytes, 12)?, u16_le(bytes, 14)?);
    let (rate, scale) = (u32_le(bytes, 16)?.max(1), u32_le(bytes, 20)?.max(1));
    let duration = Duration::from_secs_f64(f64::from(scale) / f64::from(rate));
    let mut at = usize::from(u16_le(bytes, 6)?);
    let mut frames = Vec::new();
    while at < bytes.len() {
        let len = u32_le(bytes, at)? as usize;
        // Length and time stamp come before each frame.
        let frame = bytes.get(at + 12..at + 12 + len);
        let frame = frame.ok_or(RecordingError::Truncated)?;
        frames.push(RecordedFrame {
            // RFC 6386 §9.1.
            key: frame.first().is_some_and(|tag| tag & 1 == 0),
            duration,
            units: vec![frame.to_vec()],
        });
        at += 12 + len;
    }
    Ok(Recording {
        video: Some(VideoCodec::Vp8),
        size,
        frames,
    })
}

fn ogg(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // RFC 3533 §6: the page's header, its table of segments, and these.
        let page = bytes.get(at..).unwrap_or_default();
        let count = usize::from(*page.get(26).ok_or(RecordingError::Truncated)?);
        let table = page.get(27..27 + count).ok_or(RecordingError::Truncated)?;
        let mut body = 27 + count;
        for segment in table {
            let end = body + usize::from(*segment);
            packet.extend_from_slice(page.get(body..end).ok_or(RecordingError::Truncated)?);
            body = end;
            // A segment of 255 bytes is continued.
            if *segment < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        at += body;
    }
    // RFC 7845 §3: two packets of headers come first.
    let sound = packets.into_iter().skip(2).filter(|it| !it.is_empty());
    let frames = sound.map(|packet| RecordedFrame {
        key: true,
        duration: opus_duration(&packet),
        units: vec![packet],
    });
    Ok(Recording {
        video: None,
        size: (0, 0),
        frames: frames.collect(),
    })
}

/// RFC 6716 §3.1 and §3.2: length of a frame by its configuration, and how many there are.
fn opus_duration(packet: &[u8]) -> Duration {
    let toc = packet.first().copied().unwrap_or_default();
    let configuration = usize::from(toc >> 3);
    let frame_us = match configuration {
        0..12 => [10_000, 20_000, 40_000, 60_000][configuration % 4],
        12..16 => [10_000, 20_000][configuration % 2],
        _ => [2_500, 5_000, 10_000, 20_000][configuration % 4],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).copied().unwrap_or(1) & 0x3f).max(1),
    };
    Duration::from_micros(frame_us * frames)
}

fn annex_b(bytes: &[u8]) -> Recording {
    const SLICE: u8 = 1;
    const IDR: u8 = 5;
    let mut frames: Vec<RecordedFrame> = Vec::new();
    // Whether the last access unit has a slice already.
    let mut has_slice = true;
    for unit in units(bytes) {
        let kind = unit.first().map_or(0, |first| first & 0x1f);
        let slice = (SLICE..=IDR).contains(&kind);
        // ITU-T H.264 §7.4.1.2.3: after a slice, parameter sets or the first slice of another
        // picture begin an access unit. first_mb_in_slice of 0 is a single set bit.
        let first_of_picture = unit.get(1).is_some_and(|byte| byte & 0x80 != 0);
        if has_slice && (!slice || first_of_picture) || frames.is_empty() {
            frames.push(RecordedFrame {
                key: false,
                duration: Duration::from_secs(1) / H264_FRAME_RATE,
                units: Vec::new(),
            });
            has_slice = false;
        }
        has_slice |= slice;
        if let Some(frame) = frames.last_mut() {
            frame.key |= kind == IDR;
            frame.units.push(unit.to_vec());
        }
    }
    Recording {
        video: Some(VideoCodec::H264),
        size: H264_SIZE,
        frames,
    }
}

/// What lies between start codes (ITU-T H.264 §B.1).
fn units(bytes: &[u8]) -> Vec<&[u8]> {
    let codes = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, it)| *it == [0, 0, 1]);
    let starts: Vec<_> = codes.map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| {
            let unit = &bytes[start + 3..end];
            // A fourth zero belongs to the next start code; zeros may trail a unit anyhow.
            let len = unit.iter().rposition(|byte| *byte != 0)? + 1;
            Some(&unit[..len])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ivf_files() {
        let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
        file.extend_from_slice(&[
            0x40, 1, 0xb4, 0, 30, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        ]);
        for frame in [&[0x10, 1, 2][..], &[0x11, 3]] {
            file.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            file.extend_from_slice(&[0; 8]);
            file.extend_from_slice(frame);
        }
        let recording = Recording::parse(&file).unwrap();
        assert_eq!(recording.size, (320, 180));
        let keys: Vec<_> = recording.frames.iter().map(|it| it.key).collect();
        assert_eq!(keys, [true, false]);
        assert_eq!(recording.frames[1].units, [vec![0x11, 3]]);
        assert!(Recording::parse(&file[..file.len() - 1]).is_err());
    }

    #[test]
    fn ogg_files() {
        let page = |segments: &[u8], body: &[u8]| {
            let mut page = b"OggS".to_vec();
            page.extend_from_slice(&[0; 22]);
            page.push(segments.len() as u8);
            page.extend_from_slice(segments);
            page.extend_from_slice(body);
            page
        };
        let mut file = page(&[4], b"Head");
        file.extend(page(&[4], b"Tags"));
        // A packet over two pages, and a short one.
        file.extend(page(&[255], &[0x48; 255]));
        file.extend(page(&[2, 3], &[0x48, 0x48, 0x49, 1, 2]));
        let recording = Recording::parse(&file).unwrap();
        let lens: Vec<_> = recording
            .frames
            .iter()
            .map(|it| it.units[0].len())
            .collect();
        assert_eq!(lens, [257, 3]);
        let ms: Vec<_> = recording
            .frames
            .iter()
            .map(|it| it.duration.as_millis())
            .collect();
        assert_eq!(ms, [20, 40]);
    }

    #[test]
    fn annex_b_streams() {
        let stream = [
            &[0, 0, 0, 1, 0x67, 1, 2][..],
            &[0, 0, 0, 1, 0x68, 3],
            &[0, 0, 1, 0x65, 0x88, 4],
            &[0, 0, 1, 0x65, 0x40, 4],
            &[0, 0, 0, 1, 0x41, 0x9a, 5],
        ]
        .concat();
        let recording = Recording::parse(&stream).unwrap();
        assert_eq!(recording.frames.len(), 2);
        assert_eq!(recording.frames[0].units.len(), 4);
        assert!(recording.frames[0].key && !recording.frames[1].key);
        assert_eq!(recording.frames[0].units[1], [0x68, 3]);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(
            Recording::parse(b"RIFF...."),
            Err(RecordingError::Format)
        ));
    }
}
