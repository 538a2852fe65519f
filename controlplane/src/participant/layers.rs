//! Qualities of the protocol as spatial layers of a track, and the other way.
//!
//! A track that publishes two qualities has layers 0 and 1 whichever the two are: layers count
//! what exists.

use livekit_protocol as proto;
use proto::VideoQuality;

/// Names of simulcast encodings from small to large, as clients use them.
pub(crate) const RIDS_DEFAULT: [&str; 3] = ["q", "h", "f"];

/// A layer this much smaller than what was asked for still does: pixels asked for are often
/// rounded up by a scaled window (LiveKit uses the same).
const SIZE_TOLERANCE: f64 = 0.9;

/// The layers that `info` says its codec `mime` has, else those of the track.
#[expect(deprecated, reason = "old clients describe layers on the track only")]
pub(crate) fn of_mime<'a>(info: &'a proto::TrackInfo, mime: &str) -> &'a [proto::VideoLayer] {
    info.codecs
        .iter()
        .find(|codec| codec.mime_type.eq_ignore_ascii_case(mime))
        .map(|codec| codec.layers.as_slice())
        .filter(|layers| !layers.is_empty())
        .unwrap_or(&info.layers)
}

/// The spatial layer of `quality`; `None` for OFF.
pub(crate) fn spatial(layers: &[proto::VideoLayer], quality: VideoQuality) -> Option<u8> {
    if quality == VideoQuality::Off {
        return None;
    }
    let mut present = [false; 3];
    for layer in layers {
        match layer.quality() {
            VideoQuality::Low => present[0] = true,
            VideoQuality::Medium => present[1] = true,
            VideoQuality::High => present[2] = true,
            VideoQuality::Off => {}
        }
    }
    let spatial = match (present, quality) {
        ([_, _, _], VideoQuality::Low) => 0,
        // Not described: as clients number them by default.
        ([false, false, false], VideoQuality::Medium) => 1,
        ([false, false, false], _) => 2,
        ([false, true, true], VideoQuality::Medium) => 0,
        ([true, true, _] | [true, _, true], VideoQuality::Medium) => 1,
        ([true, true, true], _) => 2,
        ([true, true, false] | [true, false, true] | [false, true, true], _) => 1,
        // Only one quality: it may be any.
        (_, _) => 0,
    };
    Some(spatial)
}

/// Writes spatial layer and rid into each of `layers`. `rids` are those of the offer, in its
/// order; without any the default names are told, as LiveKit does.
pub(crate) fn name(layers: &mut [proto::VideoLayer], rids: &[String]) {
    let described = layers.to_vec();
    for layer in layers {
        let Some(spatial) = spatial(&described, layer.quality()) else {
            continue;
        };
        layer.spatial_layer = i32::from(spatial);
        layer.rid = match rids.get(usize::from(spatial)) {
            Some(rid) => rid.clone(),
            None if rids.is_empty() => RIDS_DEFAULT[usize::from(spatial)].to_owned(),
            None => String::new(),
        };
    }
}

/// The spatial layer that fills `width` x `height` without waste: the smallest that is large
/// enough.
pub(crate) fn spatial_for_size(info: &proto::TrackInfo, mime: &str, width: u32, height: u32) -> u8 {
    let layers = of_mime(info, mime);
    let highest = spatial(layers, VideoQuality::High).unwrap_or(2);
    if info.height == 0 {
        return highest;
    }
    let mut sizes: Vec<u32> = layers.iter().map(|layer| layer.height).collect();
    // Without described layers: what clients publish by default, by the shorter side.
    let (requested, sizes) = if sizes.first().is_none_or(|size| *size == 0) {
        let portrait = info.width < info.height;
        let original = if portrait { info.width } else { info.height };
        let requested = if portrait { width } else { height };
        (requested, vec![180, 360, original])
    } else {
        sizes.sort_unstable();
        (height, sizes)
    };
    let needed = f64::from(requested) * SIZE_TOLERANCE;
    let index = sizes
        .iter()
        .enumerate()
        .position(|(i, size)| {
            f64::from(*size) >= needed.floor() && sizes.get(i + 1).is_some_and(|next| next != size)
        })
        .unwrap_or(sizes.len().saturating_sub(1));
    u8::try_from(index).unwrap_or(2).min(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(quality: VideoQuality, width: u32, height: u32) -> proto::VideoLayer {
        proto::VideoLayer {
            quality: quality.into(),
            width,
            height,
            ..Default::default()
        }
    }

    fn simulcast() -> proto::TrackInfo {
        proto::TrackInfo {
            width: 1280,
            height: 720,
            codecs: vec![proto::SimulcastCodecInfo {
                mime_type: "video/VP8".into(),
                layers: vec![
                    layer(VideoQuality::Low, 320, 180),
                    layer(VideoQuality::Medium, 640, 360),
                    layer(VideoQuality::High, 1280, 720),
                ],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn qualities_map_to_the_layers_that_exist() {
        use VideoQuality::{High, Low, Medium, Off};
        let all = [layer(Low, 0, 0), layer(Medium, 0, 0), layer(High, 0, 0)];
        assert_eq!(
            [Low, Medium, High, Off].map(|q| spatial(&all, q)),
            [Some(0), Some(1), Some(2), None]
        );
        let two = [layer(Low, 0, 0), layer(High, 0, 0)];
        assert_eq!(
            [Low, Medium, High].map(|q| spatial(&two, q)),
            [Some(0), Some(1), Some(1)]
        );
        let upper = [layer(Medium, 0, 0), layer(High, 0, 0)];
        assert_eq!(
            [Low, Medium, High].map(|q| spatial(&upper, q)),
            [Some(0), Some(0), Some(1)]
        );
        let one = [layer(High, 0, 0)];
        assert_eq!(spatial(&one, High), Some(0));
        assert_eq!(spatial(&[], High), Some(2));
    }

    #[test]
    fn size_picks_the_smallest_layer_that_fills_it() {
        let info = simulcast();
        let pick = |width, height| spatial_for_size(&info, "video/VP8", width, height);
        assert_eq!(pick(160, 90), 0);
        assert_eq!(pick(320, 180), 0);
        // A tenth more is tolerated.
        assert_eq!(pick(355, 200), 0);
        assert_eq!(pick(640, 360), 1);
        assert_eq!(pick(800, 450), 2);
        assert_eq!(pick(4000, 4000), 2);
    }

    #[test]
    fn layers_get_their_rids() {
        let mut info = simulcast();
        name(&mut info.codecs[0].layers, &[]);
        let rids: Vec<_> = info.codecs[0]
            .layers
            .iter()
            .map(|l| l.rid.as_str())
            .collect();
        assert_eq!(rids, ["q", "h", "f"]);
    }
}
