//! The seeds of the corpora, made with our own writers. `UPDATE_CORPUS=1` writes them; without it,
//! they must all be there.

#[cfg(feature = "control")]
mod control;
mod link;
mod operations;
mod payload;
mod wire;

use std::fs;

use crate::folder;

fn keep(target: &str, prefix: &str, inputs: impl IntoIterator<Item = Vec<u8>>) {
    let folder = folder::path().join(target);
    let update = std::env::var_os("UPDATE_CORPUS").is_some();
    for input in inputs {
        let file = folder.join(format!("{prefix}{}", folder::hash(&input)));
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &input).unwrap();
        }
        assert!(file.exists(), "{file:?}: run again with UPDATE_CORPUS=1");
    }
}

#[test]
fn seeds_are_committed() {
    keep("stun", "", wire::stun());
    keep("rtp", "", wire::rtp());
    keep("rtcp", "", wire::rtcp());
    keep("vp8", "", payload::vp8());
    keep("vp9", "", payload::vp9());
    keep("h26x", "", payload::h26x());
    keep("av1", "", payload::av1());
    keep("audio", "", payload::audio());
    keep("data_packet", "", payload::data_packets());
    for (target, variants) in operations::TARGETS {
        keep(target, "", operations::random(target, variants));
    }
    keep("link", "", link::frames());
    keep("dtls", "", operations::dtls());
    keep("sctp", "", operations::sctp());
    keep(
        "canary",
        "",
        [
            b"MR\x01\x04abcd".to_vec(),
            b"MR\x07\x00".to_vec(),
            b"MR".to_vec(),
        ],
    );
    keep("canary", "crash-", [b"MR\x07\x04abc".to_vec()]);
}

#[cfg(feature = "control")]
#[test]
fn seeds_of_the_control_plane_are_committed() {
    keep("sdp", "", control::sdp());
    keep("signal", "", control::signal());
    let memo = operations::random("memo", 8).into_iter();
    keep("memo", "", memo.map(|mut input| input.split_off(1)));
    keep("join", "", control::join());
    keep("jwt", "", control::jwt());
    keep("twirp", "", control::twirp());
    keep("config", "", control::config());
}
