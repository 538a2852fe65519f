//! The attacks, numbered as in `docs/reliability.md`.

mod data;
mod descriptions;
mod floods;
mod handshakes;
mod malformed;
mod media;
mod signaling;
mod stun;
mod tokens;

use crate::arena::{Arena, Finding};
use crate::outcome::Outcome;

/// One attack. It says itself whether what it saw is what is expected; that the node lives and the
/// call does not suffer is looked at for all of them.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) run: fn(&mut Arena) -> Outcome<Finding>,
}

pub(crate) fn all() -> Vec<Attack> {
    let mut all = Vec::new();
    for part in [
        handshakes::ATTACKS,
        media::ATTACKS,
        malformed::ATTACKS,
        floods::ATTACKS,
        stun::ATTACKS,
        tokens::ATTACKS,
        signaling::ATTACKS,
        descriptions::ATTACKS,
        data::ATTACKS,
    ] {
        for attack in part {
            all.push(Attack {
                id: attack.id,
                name: attack.name,
                expected: attack.expected,
                run: attack.run,
            });
        }
    }
    all
}
