//! Messages of the link as frames, and without.

use millrace_shared::link::codec::{write_frame, write_message};
use millrace_shared::link::samples::{to_controlplane, to_dataplane};
use millrace_shared::link::{Greeting, Opening};

/// Each as a frame in pieces of some bytes, and each alone.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = vec![9];
        write(&mut frame);
        frames.push([&[9], &frame[5..]].concat());
        frames.push(frame);
    };
    for message in to_dataplane() {
        add(&|out| write_message(&message, out).unwrap());
    }
    for message in to_controlplane() {
        add(&|out| write_message(&message, out).unwrap());
    }
    let greeting = Opening::Greeting(Greeting {
        build: "0.1.0".into(),
        pid: 7,
        shards: 2,
        token: 9,
        restores: true,
    });
    add(&|out| write_frame(&greeting.encode(), out).unwrap());
    add(&|out| write_frame(&Opening::Refusal("no".into()).encode(), out).unwrap());
    frames
}
