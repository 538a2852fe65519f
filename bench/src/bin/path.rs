//! The whole way of a packet through one shard, without the kernel: demux, unprotect, UpTrack,
//! router, DownTracks, protect, into a send arena that nobody reads.
#![forbid(unsafe_code)]

#[path = "../../../dataplane/tests/shard/harness/mod.rs"]
#[allow(dead_code, reason = "the harness serves the scenario tests too")]
#[allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
mod harness;

use std::process::{Command as Process, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use millrace_bench::cpu::thread_cpu_time;
use millrace_bench::discard::DiscardNet;
use millrace_bench::stats::Spread;
use millrace_dataplane::shard::lanes::Lanes;
use millrace_dataplane::shard::{Shard, ShardSetup};
use millrace_dataplane::speakers::SpeakerConfig;
use millrace_shared::dtls::Identity;
use millrace_shared::ice::Tuple;
use millrace_shared::ids::{DownTrackId, ShardId, TrackId, TransportId};
use millrace_shared::link::{AddTransport, Command, Event, EventSink, SetRemote};
use millrace_shared::time::{Epoch, Timestamp, UNIX_EPOCH_SINCE_1900};

use harness::media::{Vp8Encoder, copy, up_ext_ids, video};
use harness::peer::Peer;
use harness::{GROUP, credentials, data_publish, local, remote};

const FRAME_INTERVAL: Duration = Duration::from_millis(33);
const START: Timestamp = Timestamp::from_millis(10_000);

#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
enum Load {
    /// Frames of eight packets of 1,130 bytes.
    Video,
    /// Single packets of 80 bytes.
    Audio,
}

/// CPU time and instructions per forwarded packet of one shard in memory.
#[derive(Parser, Debug)]
struct Arguments {
    #[arg(long, value_enum, default_value = "video")]
    load: Load,
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Frames of a round; 33 ms of the shard's time each.
    #[arg(long, default_value_t = 60)]
    frames: usize,
    /// Rounds; the times are of single rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Counts instructions too, by running itself twice under valgrind (slow), with 100 subscribers.
    #[arg(long)]
    instructions: bool,
}

struct NoEvents;

impl EventSink for NoEvents {
    fn send(&self, _event: Event) {}
}

/// One publisher and its subscribers, connected.
struct Bed {
    shard: Shard,
    net: DiscardNet,
    now: Timestamp,
    peers: Vec<Peer>,
    encoder: Vp8Encoder,
    packets_per_frame: usize,
    frames: usize,
    transport_cc: u16,
}

impl Bed {
    fn new(load: Load, subscribers: usize) -> Self {
        let epoch = Epoch {
            instant: std::time::Instant::now(),
            since_1900: UNIX_EPOCH_SINCE_1900 + Duration::from_secs(1_700_000_000),
        };
        let identity = || Identity::generate().expect("a certificate of our own");
        let setup = ShardSetup {
            id: ShardId(0),
            epoch,
            identity: identity(),
            events: Box::new(NoEvents),
            speakers: SpeakerConfig::default(),
            seed: 1,
            lanes: Lanes::alone(),
            one_port: false,
        };
        let mut encoder = Vp8Encoder::new(5_000, "m1", None);
        let (payload_len, packets_per_frame) = match load {
            Load::Video => (1_130, 8),
            Load::Audio => (80, 1),
        };
        encoder.payload_len = payload_len;
        let mut bed = Self {
            shard: Shard::new(setup, START),
            net: DiscardNet::default(),
            now: START,
            peers: Vec::new(),
            encoder,
            packets_per_frame,
            frames: 0,
            transport_cc: 0,
        };
        let client = identity();
        for index in 0..=subscribers {
            bed.join(index, &client, epoch);
        }
        bed.net.discard();
        bed
    }

    fn tick(&mut self, commands: Vec<Command>) {
        let mut commands = commands.into_iter();
        self.shard.tick(self.now, &mut self.net, &mut commands);
    }

    fn join(&mut self, index: usize, client: &Identity, epoch: Epoch) {
        let transport = TransportId(index as u64);
        let ice = credentials(&format!("0-{index}"));
        let track = TrackId(1);
        let add = Command::AddTransport(Box::new(AddTransport {
            transport,
            group: GROUP,
            label: String::new(),
            ice: ice.clone(),
            data_publish: data_publish("", false),
            data_receive: false,
            open_data_channels: false,
        }));
        let set_remote = Command::SetRemote(Box::new(SetRemote {
            transport,
            ice: credentials("peer"),
            fingerprint: client.fingerprint(),
            receive_ext_ids: up_ext_ids(),
        }));
        let media = if index == 0 {
            Command::SetUpTrack {
                transport,
                config: Box::new(video(track, "m1", 1)),
            }
        } else {
            let ssrc = u32::try_from(10_000 + 10 * index).unwrap_or(u32::MAX);
            Command::SetDownTrack {
                transport,
                config: Box::new(copy(DownTrackId(index as u64), track, ssrc)),
            }
        };
        self.tick(vec![add, set_remote, media]);
        let tuple = Tuple {
            local: local(),
            remote: remote(index),
        };
        let mut peer = Peer::new(transport, tuple, ice, client.clone(), epoch);
        self.net.receive_next(tuple, peer.check(true));
        self.tick(Vec::new());
        peer.start_dtls(self.now);
        let mut said = Vec::new();
        while peer.srtp.is_none() || !said.is_empty() {
            self.now += Duration::from_micros(10);
            peer.poll(self.now, &mut said);
            for datagram in said.drain(..) {
                self.net.receive_next(tuple, datagram);
            }
            self.tick(Vec::new());
            for (to, datagram) in self.net.take_sent() {
                assert_eq!(to.remote, tuple.remote, "an answer to somebody else");
                peer.receive(self.now, &datagram);
            }
        }
        self.peers.push(peer);
    }

    /// Puts a frame into the network, protected.
    fn send_frame(&mut self) {
        self.now += FRAME_INTERVAL;
        let key = self.frames == 0;
        self.frames += 1;
        let plain = self
            .encoder
            .frame(key, self.packets_per_frame, &mut self.transport_cc);
        let publisher = &mut self.peers[0];
        for packet in &plain {
            let bytes = publisher.protect(packet);
            self.net.receive_next(publisher.tuple, bytes);
        }
    }

    /// CPU time and number of packets forwarded while `frames` frames pass.
    fn round(&mut self, frames: usize) -> (Duration, u64) {
        let forwarded = self.shard.metrics().rtp_forwarded;
        let mut spent = Duration::ZERO;
        for _ in 0..frames {
            self.send_frame();
            let begun = thread_cpu_time();
            self.tick(Vec::new());
            spent += thread_cpu_time().saturating_sub(begun);
        }
        (spent, self.shard.metrics().rtp_forwarded - forwarded)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut bed = Bed::new(arguments.load, arguments.subscribers);
    let _warm_up = bed.round(2);
    let mut nanos = Vec::new();
    let mut forwarded_all = 0;
    for _ in 0..arguments.rounds {
        let (spent, forwarded) = bed.round(arguments.frames);
        let expected = (arguments.frames * arguments.subscribers * bed.packets_per_frame) as u64;
        if forwarded != expected {
            eprintln!("path: {forwarded} packets forwarded, {expected} expected");
            return ExitCode::FAILURE;
        }
        forwarded_all += forwarded;
        nanos.push(spent.as_nanos() as f64 / forwarded as f64);
    }
    println!(
        "path {:?}: 1 publisher, {} subscribers, {forwarded_all} packets forwarded, CPU per packet {} ns",
        arguments.load,
        arguments.subscribers,
        Spread::of(&nanos),
    );
    if arguments.instructions {
        return match instructions(arguments.load) {
            Ok(count) => {
                println!(
                    "path {:?}: {count:.0} instructions per forwarded packet",
                    arguments.load
                );
                ExitCode::SUCCESS
            }
            Err(sentence) => {
                eprintln!("path: {sentence}");
                ExitCode::FAILURE
            }
        };
    }
    ExitCode::SUCCESS
}

/// The difference of a long and a short run, so that joining counts for nothing.
fn instructions(load: Load) -> Result<f64, String> {
    const SUBSCRIBERS: usize = 100;
    let run = |frames: usize| -> Result<f64, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let load = format!("{load:?}").to_lowercase();
        let output = Process::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(this)
            .args(["--load", &load, "--rounds", "1"])
            .args(["--subscribers", &SUBSCRIBERS.to_string()])
            .args(["--frames", &frames.to_string()])
            .output()
            .map_err(|error| format!("valgrind does not start ({error}): install it"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains("Collected :"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .ok_or_else(|| format!("valgrind counted nothing: {said}"))
    };
    let packets = match load {
        Load::Video => 8,
        Load::Audio => 1,
    };
    let (short, long) = (20, 100);
    let counted = run(long)? - run(short)?;
    Ok(counted / ((long - short) * packets * SUBSCRIBERS) as f64)
}
