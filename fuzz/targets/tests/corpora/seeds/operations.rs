//! Sequences of operations. `arbitrary` reads a variant as the upper part of a 32-bit number, so
//! that any bytes are some sequence; those here have the numbers of real variants in front of
//! random fields.

use crate::mutate::Mutator;

/// Targets that take operations, and how many kinds of them each has.
pub(crate) const TARGETS: [(&str, u32); 10] = [
    ("srtp", 4),
    ("ice", 3),
    ("dtls", 7),
    ("sctp", 9),
    ("sequence", 4),
    ("nack", 5),
    ("store", 1),
    ("slots", 3),
    ("router", 4),
    ("shard", 10),
];

/// The bytes that `arbitrary` reads as the variant at `index` of `count`.
fn variant(index: u32, count: u32) -> [u8; 4] {
    let scaled = (u64::from(index) << 32).div_ceil(u64::from(count));
    u32::try_from(scaled).unwrap_or(u32::MAX).to_le_bytes()
}

pub(crate) fn random(target: &str, variants: u32) -> Vec<Vec<u8>> {
    let seed = target.bytes().fold(0x1234_5678_u64, |seed, byte| {
        seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
    });
    let mut random = Mutator::new(seed);
    (0..12_usize)
        .map(|number| {
            let mut bytes = vec![number as u8];
            for _ in 0..4 + 4 * number {
                let kind = random.below(variants as usize) as u32;
                bytes.extend_from_slice(&variant(kind, variants));
                for _ in 0..random.below(8) {
                    bytes.push(random.byte());
                }
            }
            bytes
        })
        .collect()
}

/// A handshake without a fault, and with a loss or a change in each place.
pub(crate) fn dtls() -> Vec<Vec<u8>> {
    const VARIANTS: u32 = 7;
    let to_server = variant(1, VARIANTS).to_vec();
    let to_client = |lost: u8| [&variant(3, VARIANTS)[..], &[lost]].concat();
    let broken = |at: u8, cut: u8| [&variant(2, VARIANTS)[..], &[at, 0, 0x40, cut]].concat();
    let wait = |tens_ms: u8| [&variant(5, VARIANTS)[..], &[tens_ms]].concat();
    let flight = |step: &[u8]| step.repeat(6);
    let whole = [
        flight(&to_server),
        flight(&to_client(0)),
        flight(&to_server),
        flight(&to_client(0)),
    ]
    .concat();
    vec![
        whole.clone(),
        [flight(&to_client(1)), whole.clone()].concat(),
        [broken(3, 0), wait(120), whole.clone()].concat(),
        [broken(60, 1), wait(120), whole.clone()].concat(),
        [
            flight(&to_server),
            flight(&to_client(1)),
            wait(200),
            whole.clone(),
        ]
        .concat(),
        [to_server.clone(), variant(4, VARIANTS).to_vec(), whole].concat(),
    ]
}

/// Channels opened, used and closed on an established association.
pub(crate) fn sctp() -> Vec<Vec<u8>> {
    const VARIANTS: u32 = 9;
    let step = |index: u32, fields: &[u8]| [&variant(index, VARIANTS)[..], fields].concat();
    let both = [step(0, &[]), step(1, &[])].concat().repeat(4);
    let open = step(5, &[0, 1]);
    let send = |len: u16| {
        let [low, high] = len.to_le_bytes();
        step(6, &[0, 0, low, high])
    };
    let close = step(7, &[0, 0]);
    let established = vec![1];
    vec![
        [
            established.clone(),
            open.clone(),
            both.clone(),
            send(100),
            both.clone(),
        ]
        .concat(),
        [
            established.clone(),
            open.clone(),
            send(60_000),
            both.repeat(3),
        ]
        .concat(),
        [
            established.clone(),
            open.clone(),
            both.clone(),
            close,
            both.repeat(2),
        ]
        .concat(),
        [
            established,
            open,
            step(2, &[4, 0, 1]),
            both.clone(),
            step(8, &[100]),
        ]
        .concat(),
        [vec![0], both].concat(),
    ]
}
