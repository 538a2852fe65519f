//! Selector and rewriter against a naive model, under everything a network and a subscriber do.

mod model;
mod source;

use millrace_shared::link::{Layer, MediaKind};
use millrace_shared::time::{ExtSeq, RtpTime, SeqNo};
use proptest::prelude::*;

use self::model::{Before, Model};
use self::source::{Content, FRAME_MS, Network, Publisher, Random};
use super::forwarder::Forwarder;
use super::rewriter::Rewriter;
use super::segments::SEGMENTS_VIDEO_MAX;
use super::vp8::Vp8Start;
use crate::packet::LayerClocks;

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    pictures: u64,
    network: Network,
    /// Chance per thousand pictures of each change by the subscriber or of the live layers.
    changes: u64,
    clocks_known: bool,
    /// As few segments as in earnest: what they forget is dropped, and never wrong.
    bounded: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let network = (
        0..300_u64,
        0..=1_000_u64,
        0..300_u64,
        0..200_u64,
        0..300_u64,
    )
        .prop_map(|(loss, recovered, reorder, duplicate, padding)| Network {
            loss,
            recovered,
            reorder,
            duplicate,
            padding,
        });
    let flags = (any::<bool>(), any::<bool>());
    (any::<u64>(), 1..250_u64, network, 0..150_u64, flags).prop_map(
        |(seed, pictures, network, changes, (clocks_known, bounded))| Case {
            seed,
            pictures,
            network,
            changes,
            clocks_known,
            bounded,
        },
    )
}

struct Subscriber {
    forwarder: Forwarder,
    model: Model,
    clocks: LayerClocks,
    max: Layer,
    paused: bool,
}

impl Subscriber {
    fn new(random: &mut Random, clocks: LayerClocks, case: &Case) -> Self {
        let seq = SeqNo(random.below(0x1_0000) as u16);
        let start = Vp8Start {
            picture_id: random.below(0x8000) as u16,
            tl0_pic_idx: random.below(256) as u8,
            key_idx: random.below(32) as u8,
        };
        let rtp_time = RtpTime(random.below(u64::from(u32::MAX)) as u32);
        let segments_max = if case.bounded {
            SEGMENTS_VIDEO_MAX
        } else {
            10_000
        };
        let rewriter = Rewriter::new(seq, rtp_time, start, segments_max);
        let before = Before {
            out: ExtSeq::first(seq).0 - 1,
            picture: u64::from(start.picture_id) + 0x7fff,
            tl0: start.tl0_pic_idx.wrapping_sub(1),
            key: start.key_idx.wrapping_sub(1) & 0x1f,
        };
        let max = Layer::BEST;
        let mut forwarder = Forwarder::new(MediaKind::Video, max, false, rewriter);
        forwarder.selector.set_live_layers(0b111);
        Self {
            forwarder,
            model: Model::new(before, case.clocks_known, !case.bounded),
            clocks,
            max,
            paused: false,
        }
    }

    fn change(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => self.max.spatial = random.below(3) as u8,
            1 => self.max.temporal = random.below(3) as u8,
            2 => self.paused = !self.paused,
            _ => {
                let live = random.below(8) as u8;
                self.forwarder.selector.set_live_layers(live);
            }
        }
        self.forwarder.set_layer(self.max, self.paused);
        if self.paused {
            self.model.pause();
        }
    }

    fn receive(&mut self, arrival: &source::Arrival) {
        let before = self.forwarder.selector.temporal_max();
        match arrival.content {
            Content::Padding { spatial, seq } => {
                self.forwarder.skip(spatial, seq);
                self.model.padding(spatial, seq, before);
            }
            Content::Media(meta) => {
                let wanted = self.forwarder.selector.wanted_keyframe();
                let forwarded = self.forwarder.forward(&meta, &self.clocks);
                let rewritten = forwarded.map(|forwarded| forwarded.rewritten);
                let after = self.forwarder.selector.temporal_max();
                self.model
                    .media(arrival, &meta, rewritten, (before, after), wanted);
            }
        }
    }

    /// What was sent lately can be sent again, the same.
    fn check_retransmission(&self) {
        for sent in self.model.sent.values().rev().take(20) {
            let seq = sent.rewritten.seq.seq();
            let source = self.forwarder.rewriter.source(seq);
            if source.is_none() && self.model.may_forget(sent) {
                continue;
            }
            let found = source.map(|source| (source.spatial, source.seq));
            assert_eq!(found, Some((sent.meta.spatial, sent.meta.seq)));
            let again =
                source.and_then(|source| self.forwarder.rewriter.again(&sent.meta, &source));
            let short = sent.meta.vp8.unwrap().picture_id.is_some_and(|id| !id.long);
            if again.is_some() || !short {
                assert_eq!(again, Some(sent.rewritten));
            }
        }
    }
}

fn run(case: &Case) -> usize {
    let mut random = Random::new(case.seed);
    let mut publisher = Publisher::new(&mut random, case.network);
    let clocks = publisher.clocks(case.clocks_known);
    let mut subscriber = Subscriber::new(&mut random, clocks, case);
    for picture in 0..case.pictures {
        let now_ms = picture * FRAME_MS;
        if random.permille(case.changes) {
            subscriber.change(&mut random);
        }
        // Keyframes come on request, some of them late, and now and then unasked.
        let wanted = subscriber.forwarder.selector.wanted_keyframe();
        let keyframe = wanted
            .filter(|_| random.permille(400))
            .or_else(|| random.permille(20).then(|| random.below(3) as u8));
        publisher.capture(&mut random, now_ms, keyframe);
        for arrival in publisher.arrivals(now_ms) {
            subscriber.receive(&arrival);
        }
        subscriber.check_retransmission();
    }
    subscriber.model.check_order();
    subscriber.model.sent.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn copy_is_continuous_whatever_happens(case in cases()) {
        run(&case);
    }
}

/// The model sees traffic at all, with everything on.
#[test]
fn the_model_is_not_vacuous() {
    let case = Case {
        seed: 7,
        pictures: 2_000,
        network: Network {
            loss: 50,
            recovered: 700,
            reorder: 50,
            duplicate: 50,
            padding: 100,
        },
        changes: 30,
        clocks_known: true,
        bounded: true,
    };
    let sent = run(&case);
    assert!(sent > 1_000, "only {sent} packets were sent");
}
