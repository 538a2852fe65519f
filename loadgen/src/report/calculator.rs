//! What a mix of rooms asks of a machine.
//!
//! `calculator.js` has the same formulas for the page, where the reader changes the mix.

use super::projection::{CONTROL_SHARE_MAX, Costs};
use serde::Serialize;

/// The formulas as the page runs them.
pub(super) const SCRIPT: &str = include_str!("calculator.js");

/// Share of a machine's memory a plan may use: the kernel's socket buffers need the rest.
const MEMORY_SHARE_MAX: f64 = 0.8;

/// What the control plane is granted of a machine with one CPU, where it shares the shard's.
const CONTROL_CPUS_MIN: f64 = 0.2;

/// What tracks of each kind are taken to send. Opus at 24 kbit/s in 20 ms packets, and a 720p
/// camera at 30 frames per second, were measured with livestreams and calls through an SFU; a
/// tile is the layer a participant of a call with nine tiles gets.
pub const TRAFFIC: Traffic = Traffic {
    voice: Rate {
        pps: 50.0,
        bytes: 79.0,
    },
    tile: Rate {
        pps: 60.0,
        bytes: 1_030.0,
    },
    stream: Rate {
        pps: 178.0,
        bytes: 1_130.0,
    },
    voices_per_meeting: 2.0,
    // IPv4 and UDP.
    header_bytes: 28.0,
};

/// Packets of one track to one subscriber.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Rate {
    pub pps: f64,
    /// Mean UDP payload.
    pub bytes: f64,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Traffic {
    pub voice: Rate,
    pub tile: Rate,
    pub stream: Rate,
    /// How many speak at once in a meeting.
    pub voices_per_meeting: f64,
    pub header_bytes: f64,
}

/// Rooms of three kinds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Mix {
    pub audio: AudioRooms,
    pub meeting: Meetings,
    pub livestream: Livestreams,
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct AudioRooms {
    pub rooms: f64,
    pub size: f64,
    /// How many speak at once.
    pub speakers: f64,
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Meetings {
    pub rooms: f64,
    pub size: f64,
    /// Cameras each participant shows at once.
    pub tiles: f64,
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Livestreams {
    pub rooms: f64,
    pub viewers: f64,
}

/// The machine a plan is for.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct MachineSize {
    pub vcpus: f64,
    pub memory_bytes: f64,
    pub link_bps: f64,
}

/// The costs the formulas read, as the page gets them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Prices {
    pub has_shards: bool,
    /// Rooms do not span shards, so that the biggest must fit one.
    pub is_room_on_one_shard: bool,
    pub shard_us_per_packet: f64,
    pub shard_share: f64,
    pub control_us_per_subscriber: f64,
    pub control_share_max: f64,
    pub control_cpus_min: f64,
    pub rss_idle_bytes: f64,
    pub bytes_per_subscriber: f64,
    pub memory_share_max: f64,
}

/// What a mix asks for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    pub participants: f64,
    pub packets_per_s: f64,
    /// On the wire, headers included.
    pub bits_per_s: f64,
    /// Of the room that forwards most.
    pub biggest_room_pps: f64,
    pub shard_cpus: f64,
    pub control_cpus: f64,
    pub memory_bytes: f64,
}

/// The same as shares of what a machine may give; one is full.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shares {
    pub shard: f64,
    pub room: f64,
    pub control: f64,
    pub memory: f64,
    pub link: f64,
    pub worst: f64,
}

impl Prices {
    pub fn of(costs: &Costs) -> Prices {
        Prices {
            has_shards: costs.has_shards,
            is_room_on_one_shard: costs.has_shards && !costs.has_lanes,
            shard_us_per_packet: costs.shard_us_per_packet,
            shard_share: costs.shard_share,
            control_us_per_subscriber: costs.control_us_per_subscriber,
            control_share_max: CONTROL_SHARE_MAX,
            control_cpus_min: CONTROL_CPUS_MIN,
            rss_idle_bytes: costs.rss_idle_bytes,
            bytes_per_subscriber: costs.bytes_per_subscriber.unwrap_or(0.0),
            memory_share_max: MEMORY_SHARE_MAX,
        }
    }
}

impl Load {
    pub fn of(mix: &Mix, prices: &Prices, traffic: &Traffic) -> Load {
        let others = |size: f64| (size - 1.0).max(0.0);
        let Traffic {
            voice,
            tile,
            stream,
            ..
        } = traffic;
        let speakers = mix.audio.speakers.min(mix.audio.size);
        let audio_pps = speakers * others(mix.audio.size) * voice.pps;
        let tiles = mix.meeting.tiles.min(others(mix.meeting.size));
        let voices = traffic.voices_per_meeting.min(others(mix.meeting.size));
        let meeting_tile_pps = mix.meeting.size * tiles * tile.pps;
        let meeting_voice_pps = mix.meeting.size * voices * voice.pps;
        let stream_pps = mix.livestream.viewers * stream.pps;
        let stream_voice_pps = mix.livestream.viewers * voice.pps;

        let packets_per_s = mix.audio.rooms * audio_pps
            + mix.meeting.rooms * (meeting_tile_pps + meeting_voice_pps)
            + mix.livestream.rooms * (stream_pps + stream_voice_pps);
        let voice_pps = mix.audio.rooms * audio_pps
            + mix.meeting.rooms * meeting_voice_pps
            + mix.livestream.rooms * stream_voice_pps;
        let bytes_per_s = voice_pps * voice.bytes
            + mix.meeting.rooms * meeting_tile_pps * tile.bytes
            + mix.livestream.rooms * stream_pps * stream.bytes;
        let participants = mix.audio.rooms * mix.audio.size
            + mix.meeting.rooms * mix.meeting.size
            + mix.livestream.rooms * (mix.livestream.viewers + 1.0);
        let biggest_room_pps = [
            (mix.audio.rooms, audio_pps),
            (mix.meeting.rooms, meeting_tile_pps + meeting_voice_pps),
            (mix.livestream.rooms, stream_pps + stream_voice_pps),
        ]
        .into_iter()
        .filter(|(rooms, _)| *rooms > 0.0)
        .map(|(_, pps)| pps)
        .fold(0.0, f64::max);
        Load {
            participants,
            packets_per_s,
            bits_per_s: 8.0 * (bytes_per_s + packets_per_s * traffic.header_bytes),
            biggest_room_pps,
            shard_cpus: packets_per_s * prices.shard_us_per_packet / 1e6,
            control_cpus: participants * prices.control_us_per_subscriber / 1e6,
            memory_bytes: prices.rss_idle_bytes + participants * prices.bytes_per_subscriber,
        }
    }

    pub fn shares(&self, machine: &MachineSize, prices: &Prices) -> Shares {
        let (shards, control_cpus) = if prices.has_shards {
            let shards = (machine.vcpus - 1.0).max(1.0);
            (
                shards,
                (machine.vcpus - shards).max(prices.control_cpus_min),
            )
        } else {
            (machine.vcpus, machine.vcpus)
        };
        let shard = self.shard_cpus / (shards * prices.shard_share);
        let room = if prices.is_room_on_one_shard {
            self.biggest_room_pps * prices.shard_us_per_packet / 1e6 / prices.shard_share
        } else {
            0.0
        };
        let control = self.control_cpus / (control_cpus * prices.control_share_max);
        let memory = self.memory_bytes / (machine.memory_bytes * prices.memory_share_max);
        let link = self.bits_per_s / machine.link_bps;
        Shares {
            shard,
            room,
            control,
            memory,
            link,
            worst: [shard, room, control, memory, link]
                .into_iter()
                .fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const PRICES: Prices = Prices {
        has_shards: true,
        is_room_on_one_shard: true,
        shard_us_per_packet: 1.7,
        shard_share: 0.91,
        control_us_per_subscriber: 33.0,
        control_share_max: 0.8,
        control_cpus_min: 0.2,
        rss_idle_bytes: 31e6,
        bytes_per_subscriber: 61_500.0,
        memory_share_max: 0.8,
    };

    fn mix(audio: [f64; 3], meeting: [f64; 3], livestream: [f64; 2]) -> Mix {
        Mix {
            audio: AudioRooms {
                rooms: audio[0],
                size: audio[1],
                speakers: audio[2],
            },
            meeting: Meetings {
                rooms: meeting[0],
                size: meeting[1],
                tiles: meeting[2],
            },
            livestream: Livestreams {
                rooms: livestream[0],
                viewers: livestream[1],
            },
        }
    }

    fn numbers(mix: &Mix, machine: &MachineSize, prices: &Prices) -> Vec<f64> {
        let load = Load::of(mix, prices, &TRAFFIC);
        let shares = load.shares(machine, prices);
        vec![
            load.participants,
            load.packets_per_s,
            load.bits_per_s,
            load.biggest_room_pps,
            load.shard_cpus,
            load.control_cpus,
            load.memory_bytes,
            shares.shard,
            shares.room,
            shares.control,
            shares.memory,
            shares.link,
            shares.worst,
        ]
    }

    #[test]
    fn a_known_mix_asks_for_what_can_be_counted_by_hand() {
        let mix = mix([2.0, 10.0, 3.0], [1.0, 4.0, 9.0], [1.0, 100.0]);
        let load = Load::of(&mix, &PRICES, &TRAFFIC);
        // 2 rooms x 3 speakers x 9 listeners x 50; 4 x (3 tiles x 60 + 2 voices x 50); 100 x 228.
        let expected = 2_700.0 + 1_120.0 + 22_800.0;
        assert!((load.packets_per_s - expected).abs() < 1e-6);
        assert!((load.participants - 125.0).abs() < 1e-9);
        assert!((load.biggest_room_pps - 22_800.0).abs() < 1e-9);
    }

    #[test]
    fn an_empty_mix_asks_for_nothing_but_the_idle_memory() {
        let load = Load::of(&Mix::default(), &PRICES, &TRAFFIC);
        assert!((load.packets_per_s, load.biggest_room_pps) == (0.0, 0.0));
        assert!((load.memory_bytes - 31e6).abs() < 1e-3);
    }

    /// The page must not say anything else than the code.
    #[test]
    fn the_page_computes_the_same_numbers() {
        let machine = |vcpus, memory_bytes, link_bps| MachineSize {
            vcpus,
            memory_bytes,
            link_bps,
        };
        let whole = Prices {
            has_shards: false,
            is_room_on_one_shard: false,
            ..PRICES
        };
        let cases = [
            (
                mix([2.0, 10.0, 3.0], [1.0, 4.0, 9.0], [1.0, 100.0]),
                machine(4.0, 8e9, 1e9),
                PRICES,
            ),
            (
                mix([0.0, 50.0, 3.0], [9.0, 1.0, 9.0], [0.0, 1e4]),
                machine(2.0, 4e9, 1e9),
                PRICES,
            ),
            (
                mix([7.0, 2.0, 9.0], [0.0, 0.0, 0.0], [3.0, 7e3]),
                machine(1.0, 2e9, 1e10),
                PRICES,
            ),
            (
                mix([1.0, 1.0, 1.0], [50.0, 25.0, 25.0], [0.0, 0.0]),
                machine(8.0, 16e9, 1e10),
                whole,
            ),
        ];
        let mut script = String::from(SCRIPT);
        for (mix, machine, prices) in &cases {
            script.push_str(&format!(
                "{{ const p = {}, l = load({}, p, {}), s = shares(l, {}, p);\n\
                 console.log(JSON.stringify([...Object.values(l), ...Object.values(s)])); }}\n",
                json(prices),
                json(mix),
                json(&TRAFFIC),
                json(machine),
            ));
        }
        let Ok(output) = Command::new("node").arg("-e").arg(&script).output() else {
            eprintln!("skipped: node is not installed");
            return;
        };
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<f64>> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), cases.len());
        for ((mix, machine, prices), page) in cases.iter().zip(lines) {
            let own = numbers(mix, machine, prices);
            assert_eq!(own.len(), page.len());
            for (own, page) in own.iter().zip(page) {
                assert!(
                    (own - page).abs() <= 1e-9 * own.abs().max(1.0),
                    "{own} {page}"
                );
            }
        }
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }
}
