//! Payloads of each codec, and data packets.

use millrace_shared::payload::PictureId;
use millrace_shared::payload::data_packet::{
    DataKind, UserPacket, write_stamp, write_user_packet, write_user_stamp,
};
use millrace_shared::payload::vp8::{Vp8Descriptor, Vp8Temporal, write_descriptor};

pub(crate) fn vp8() -> Vec<Vec<u8>> {
    let temporal = Some(Vp8Temporal {
        id: 2,
        layer_sync: true,
    });
    let plain = Vp8Descriptor {
        partition_start: true,
        ..Vp8Descriptor::default()
    };
    let id = |value, long| Some(PictureId { value, long });
    let full = Vp8Descriptor {
        picture_id: id(0x7ffe, true),
        tl0_pic_idx: Some(255),
        temporal,
        key_idx: Some(31),
        ..plain
    };
    [
        plain,
        full,
        Vp8Descriptor {
            picture_id: id(100, false),
            ..full
        },
        Vp8Descriptor {
            picture_id: None,
            key_idx: None,
            ..full
        },
        Vp8Descriptor {
            tl0_pic_idx: None,
            temporal: None,
            partition: 5,
            partition_start: false,
            non_reference: true,
            ..full
        },
    ]
    .iter()
    .flat_map(|descriptor| {
        let mut out = vec![0; 8];
        let len = write_descriptor(&mut out, descriptor).unwrap();
        out.truncate(len);
        let key = [0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];
        let delta = [0x31, 0x02, 0x00];
        [[&out[..], &key].concat(), [&out[..], &delta].concat(), out]
    })
    .collect()
}

pub(crate) fn vp9() -> Vec<Vec<u8>> {
    vec![
        // Picture id of 15 bits, layers, TL0PICIDX, not flexible.
        vec![0xac, 0x80, 0x01, 0x00, 0x05, 0x82, 0x49],
        // Flexible, with two references.
        vec![0xf8, 0xff, 0xff, 0x42, 0x03, 0x04, 0x11],
        // A scalability structure of three layers with their sizes and a picture group.
        vec![
            0xaa, 0x80, 0x01, 0x00, 0x05, 0x58, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68,
            0x05, 0x00, 0x02, 0xd0, 0x02, 0x04, 0x08, 0x01, 0x55,
        ],
        vec![0x08, 0x00],
        vec![0x8d, 0x7f, 0x00],
        vec![0x28, 0x00, 0x01],
    ]
}

pub(crate) fn h26x() -> Vec<Vec<u8>> {
    vec![
        vec![0x67, 0x42, 0x00, 0x1f],
        vec![0x65, 0x88, 0x84],
        vec![0x78, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 0, 3, 0x68, 0xce, 0x3c],
        vec![0x78, 0, 1, 0x06, 0, 2, 0x65, 0x88],
        vec![0x7c, 0x85, 0x88],
        vec![0x7c, 0x45, 0x88],
        // H.265: a parameter set, an aggregate of three, the start of a fragmented IDR picture.
        vec![0x40, 0x01, 0x0c, 0x01],
        vec![
            0x60, 0x01, 0, 3, 0x40, 0x01, 0x0c, 0, 3, 0x42, 0x01, 0x01, 0, 2, 0x44, 0x01,
        ],
        vec![0x62, 0x01, 0x93, 0xaf],
        vec![0x26, 0x01, 0xaf, 0x08],
    ]
}

pub(crate) fn av1() -> Vec<Vec<u8>> {
    vec![
        vec![0x18, 0x0a, 0x0b, 0x00, 0x00, 0x00],
        vec![0x68, 0x0a],
        vec![0x90, 0x32],
        vec![0x83, 0x12, 0x34],
        vec![0xc0, 0x00, 0x01, 0x80, 0x00, 0x02, 0x04, 0xec, 0x20],
        vec![0x40, 0x00, 0x02, 0x40, 0x80],
        // A structure of three spatial and three temporal layers, as Chromium sends it.
        vec![
            0x80, 0x00, 0x01, 0x80, 0x01, 0x1e, 0xa8, 0x51, 0x41, 0x01, 0x0c, 0x13, 0xfc, 0x0b,
            0x3c,
        ],
    ]
}

pub(crate) fn audio() -> Vec<Vec<u8>> {
    vec![
        vec![0xf8, 0xff, 0xfe],
        vec![0x78, 0x80, 0x12, 0x34],
        vec![0x79, 1, 2, 3],
        vec![0x7b, 0x83, 10, 11],
        vec![0x78],
        // RED with the two frames before, and with none.
        vec![
            0xef, 0x0f, 0x00, 0x03, 0xef, 0x07, 0x80, 0x04, 0x6f, 1, 2, 3, 4, 5, 6, 7, 0x78, 0x80,
        ],
        vec![0x6f, 0x78, 0x80, 0x12],
    ]
}

pub(crate) fn data_packets() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (kind, destinations, sequence, topic) in [
        (DataKind::Reliable, [].as_slice(), 1, None),
        (DataKind::Lossy, &["bob"], 0, Some("chat")),
        (DataKind::Reliable, &["bob", "carol"], 70_000, Some("")),
    ] {
        let packet = UserPacket {
            kind,
            destination_identities: destinations,
            sequence,
            topic,
            payload: b"hello",
        };
        let mut out = vec![0; 256];
        let len = write_user_packet(&mut out, &packet).unwrap();
        let stamp = write_stamp(&mut out[len..], "mallory", "PA_m").unwrap();
        seeds.push(out[..len].to_vec());
        seeds.push(out[..len + stamp].to_vec());
        let user = write_user_stamp(&mut out[len..], "mallory", "PA_m").unwrap();
        seeds.push(out[..len + user].to_vec());
    }
    // Destinations inside of the user packet, and a chat message.
    seeds.push(vec![
        0x12, 9, 0x1a, 2, b'P', b'A', 0x32, 3, b'b', b'o', b'b',
    ]);
    seeds.push(vec![
        0x4a, 4, 0x0a, 2, b'h', b'i', 0x2a, 3, b'b', b'o', b'b',
    ]);
    seeds
}
