//! Every oracle fails when there is something to fail for.

use millrace_shared::link::Codec;

use crate::node::Layout;
use crate::plan::{Plan, Weather};
use crate::tamper::{Fault, Tamper};
use crate::verdict::Oracle;
use crate::world::{Outcome, World};

/// The first ones have losses on both ways, three layers, and audio.
const SEEDS: [u64; 10] = [2, 41, 11, 5, 7, 9, 13, 19, 22, 40];

/// Each error, and the rule that it breaks first of all.
const ERRORS: [(Fault, Oracle); 26] = [
    (Fault::RepeatNumber, Oracle::Sequence),
    (Fault::SkipNumber, Oracle::Sequence),
    (Fault::WrongOriginal, Oracle::Retransmission),
    (Fault::RepeatRetransmission, Oracle::Sequence),
    (Fault::WrongPeer, Oracle::Stranger),
    (Fault::TimeBack, Oracle::MediaTime),
    (Fault::TimeJump, Oracle::MediaTime),
    (Fault::PictureIdBack, Oracle::PictureId),
    (Fault::PayloadByte, Oracle::Content),
    (Fault::DropFrames, Oracle::Completeness),
    (Fault::DropKeyStart, Oracle::Dependency),
    (Fault::ReportCount, Oracle::Report),
    (Fault::ReportTime, Oracle::Report),
    (Fault::FeedbackAhead, Oracle::Feedback),
    (Fault::TooLong, Oracle::Length),
    (Fault::RepeatTransportCc, Oracle::Feedback),
    (Fault::DropReports, Oracle::Report),
    (Fault::DropRetransmissions, Oracle::Repair),
    (Fault::DropNacks, Oracle::Repair),
    (Fault::WrongHome, Oracle::Placement),
    (Fault::PassOn, Oracle::Placement),
    (Fault::Leak, Oracle::Memory),
    (Fault::Freeze, Oracle::Gap),
    (Fault::LoseInCalm, Oracle::Recovery),
    (Fault::AllTemporalLayers, Oracle::Layer),
    (Fault::AllSpatialLayers, Oracle::Layer),
];

#[test]
fn every_error_of_a_shard_is_noticed() {
    for (fault, oracle) in ERRORS {
        let noticed = SEEDS.iter().any(|seed| {
            let plan = Plan::draw(*seed, Weather::Foul);
            let layout = match oracle {
                Oracle::Placement => Layout::one_port(2),
                _ => Layout::ports(1),
            };
            let outcome = World::new(&plan, layout, Tamper::new(fault)).run();
            outcome.verdict.of(oracle) > 0
        });
        assert!(noticed, "{oracle:?} does not notice {fault:?}");
    }
}

/// Seeds with H.264 and RED, with H.265, with VP9, and with AV1.
const OTHER_SEEDS: [u64; 6] = [2, 5, 8, 14, 20, 41];
const H265_SEEDS: [u64; 6] = [11, 23, 35, 47, 59, 71];
const VP9_SEEDS: [u64; 6] = [6, 12, 18, 24, 30, 36];
const AV1_SEEDS: [u64; 6] = [9, 21, 33, 45, 57, 69];

/// What copies of them are judged by.
const ERRORS_OF_CODECS: [(Codec, Fault, Oracle); 52] = [
    (Codec::H264, Fault::RepeatNumber, Oracle::Sequence),
    (Codec::H264, Fault::SkipNumber, Oracle::Sequence),
    (Codec::H264, Fault::WrongOriginal, Oracle::Retransmission),
    (Codec::H264, Fault::TimeBack, Oracle::MediaTime),
    (Codec::H264, Fault::TimeJump, Oracle::MediaTime),
    (Codec::H264, Fault::PayloadByte, Oracle::Content),
    (Codec::H264, Fault::DropFrames, Oracle::Completeness),
    (Codec::H264, Fault::DropKeyStart, Oracle::Dependency),
    (Codec::H264, Fault::Freeze, Oracle::Gap),
    (Codec::H264, Fault::LoseInCalm, Oracle::Recovery),
    (Codec::H265, Fault::RepeatNumber, Oracle::Sequence),
    (Codec::H265, Fault::SkipNumber, Oracle::Sequence),
    (Codec::H265, Fault::WrongOriginal, Oracle::Retransmission),
    (Codec::H265, Fault::TimeBack, Oracle::MediaTime),
    (Codec::H265, Fault::TimeJump, Oracle::MediaTime),
    (Codec::H265, Fault::PayloadByte, Oracle::Content),
    (Codec::H265, Fault::DropFrames, Oracle::Completeness),
    (Codec::H265, Fault::DropKeyStart, Oracle::Dependency),
    (Codec::H265, Fault::Freeze, Oracle::Gap),
    (Codec::H265, Fault::LoseInCalm, Oracle::Recovery),
    (Codec::Red, Fault::RepeatNumber, Oracle::Sequence),
    (Codec::Red, Fault::TimeBack, Oracle::MediaTime),
    (Codec::Red, Fault::PayloadByte, Oracle::Content),
    (Codec::Red, Fault::RedBlock, Oracle::Content),
    (Codec::Vp9, Fault::RepeatNumber, Oracle::Sequence),
    (Codec::Vp9, Fault::SkipNumber, Oracle::Sequence),
    (Codec::Vp9, Fault::WrongOriginal, Oracle::Retransmission),
    (Codec::Vp9, Fault::TimeBack, Oracle::MediaTime),
    (Codec::Vp9, Fault::TimeJump, Oracle::MediaTime),
    (Codec::Vp9, Fault::PictureIdBack, Oracle::PictureId),
    (Codec::Vp9, Fault::BaseIndexBack, Oracle::PictureId),
    (Codec::Vp9, Fault::PayloadByte, Oracle::Content),
    (Codec::Vp9, Fault::LayerIndices, Oracle::Content),
    (Codec::Vp9, Fault::DropFrames, Oracle::Completeness),
    (Codec::Vp9, Fault::DropKeyStart, Oracle::Dependency),
    (Codec::Vp9, Fault::DropMiddleLayer, Oracle::Dependency),
    (Codec::Vp9, Fault::Freeze, Oracle::Gap),
    (Codec::Vp9, Fault::LoseInCalm, Oracle::Recovery),
    (Codec::Vp9, Fault::AllTemporalLayers, Oracle::Layer),
    (Codec::Vp9, Fault::AllSpatialLayers, Oracle::Layer),
    (Codec::Av1, Fault::RepeatNumber, Oracle::Sequence),
    (Codec::Av1, Fault::SkipNumber, Oracle::Sequence),
    (Codec::Av1, Fault::WrongOriginal, Oracle::Retransmission),
    (Codec::Av1, Fault::TimeBack, Oracle::MediaTime),
    (Codec::Av1, Fault::TimeJump, Oracle::MediaTime),
    (Codec::Av1, Fault::PayloadByte, Oracle::Content),
    (Codec::Av1, Fault::FrameNumberBack, Oracle::Content),
    (Codec::Av1, Fault::DropFrames, Oracle::Completeness),
    (Codec::Av1, Fault::DropKeyStart, Oracle::Dependency),
    (Codec::Av1, Fault::Freeze, Oracle::Gap),
    (Codec::Av1, Fault::LoseInCalm, Oracle::Recovery),
    (Codec::Av1, Fault::AllSpatialLayers, Oracle::Layer),
];

/// Whether a rule was broken by what was sent of a track of this codec.
fn breaks(outcome: &Outcome, codec: Codec, oracle: Oracle) -> bool {
    let copies = outcome.ledger.copies.iter();
    let copies = copies.filter(|copy| copy.codec == codec);
    let copies: Vec<_> = copies.map(|copy| copy.down.to_string()).collect();
    let mut violations = outcome.verdict.violations().iter();
    violations.any(|it| {
        // `copy 7: ...`
        let copy = it.text.split([' ', ':']).nth(1);
        it.oracle == oracle && copies.iter().any(|down| copy == Some(down))
    })
}

#[test]
fn every_error_with_another_codec_is_noticed() {
    for (codec, fault, oracle) in ERRORS_OF_CODECS {
        let seeds = match codec {
            Codec::H265 => H265_SEEDS,
            Codec::Vp9 => VP9_SEEDS,
            Codec::Av1 => AV1_SEEDS,
            _ => OTHER_SEEDS,
        };
        let noticed = seeds.iter().any(|seed| {
            let plan = Plan::draw(*seed, Weather::Foul);
            let outcome = World::new(&plan, Layout::ports(1), Tamper::new(fault)).run();
            breaks(&outcome, codec, oracle)
        });
        assert!(noticed, "{oracle:?} does not notice {fault:?} of {codec:?}");
    }
}
