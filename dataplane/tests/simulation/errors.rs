//! Every oracle fails when there is something to fail for.

use crate::node::Layout;
use crate::plan::{Plan, Weather};
use crate::tamper::{Fault, Tamper};
use crate::verdict::Oracle;
use crate::world::World;

/// The first ones have losses on both ways, three layers, and audio.
const SEEDS: [u64; 10] = [2, 41, 11, 5, 7, 9, 13, 19, 22, 40];

/// Each error, and the rule that it breaks first of all.
const ERRORS: [(Fault, Oracle); 24] = [
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
