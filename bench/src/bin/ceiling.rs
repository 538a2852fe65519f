//! What this machine can do at most: for each of 1,000 subscribers copy a packet, rewrite its
//! header, seal it with a key of its own, and send trains, to a reader on the other CPU.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use arrayvec::ArrayVec;
use clap::{Parser, Subcommand, ValueEnum};
use millrace_bench::bed::Bed;
use millrace_bench::cpu::thread_cpu_time;
use millrace_bench::stats::Spread;
use millrace_netio::{Backend, Config as NetConfig, Doorbell, NetIo, TrainHint};
use millrace_shared::ice::Tuple;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, setsockopt, sockopt,
};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const SUBSCRIBERS: u32 = 1_000;
const PORT: u16 = 5_004;
const HEADER_LEN: usize = 28;
const TAG_LEN: usize = 16;
/// Trains of one call.
const BATCH: usize = 32;
const ROUNDS: usize = 5;

/// The raw limit of this machine, per packet of one thread.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Bytes of a UDP payload.
    #[arg(long, value_delimiter = ',', default_values_t = [140, 1200])]
    sizes: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16])]
    trains: Vec<usize>,
    /// Ways to send.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["raw", "ring", "mmsg"])]
    calls: Vec<Call>,
    /// The reader sleeps until something arrives, which the sender pays for by waking it.
    #[arg(long)]
    sleepy: bool,
    /// Packets of a round; there are five rounds.
    #[arg(long, default_value_t = 200_000)]
    packets: usize,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// Sends, inside of a namespace.
    #[command(hide = true)]
    Send {
        call: Call,
        size: usize,
        train: usize,
        packets: usize,
    },
    /// Reads whatever comes.
    #[command(hide = true)]
    Drain {
        #[arg(long)]
        sleepy: bool,
    },
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
enum Call {
    /// sendmmsg and nothing around it.
    Raw,
    /// netio over io_uring.
    Ring,
    /// netio over sendmmsg.
    Mmsg,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        None => measure(&arguments),
        Some(Part::Drain { sleepy }) => drain(sleepy),
        Some(Part::Send {
            call,
            size,
            train,
            packets,
        }) => send(call, size, train, packets),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("ceiling: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let bed = Bed::make()?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let this = this.to_str().ok_or("a path that is no text")?;
    let mut reader = Bed::command(&bed.client_namespace, 1, this)
        .arg("drain")
        .args(arguments.sleepy.then_some("--sleepy"))
        .spawn()
        .map_err(|error| error.to_string())?;
    println!("CPU ns per packet, median of {ROUNDS} (min-max); trains cut by the kernel");
    let done = cells(arguments, &bed, this);
    // It reads for ever.
    let _ = reader.kill();
    let _ = reader.wait();
    done
}

fn cells(arguments: &Arguments, bed: &Bed, this: &str) -> Result<(), String> {
    for size in &arguments.sizes {
        for train in &arguments.trains {
            for call in &arguments.calls {
                let before = bed.datagrams_arrived()?;
                let name = format!("{call:?}").to_lowercase();
                let output = Bed::command(&bed.server_namespace, 0, this)
                    .args(["send", &name, &size.to_string(), &train.to_string()])
                    .arg(arguments.packets.to_string())
                    .stderr(Stdio::inherit())
                    .output()
                    .map_err(|error| error.to_string())?;
                if !output.status.success() {
                    return Err(format!("the sender ended with {}", output.status));
                }
                let arrived = bed.datagrams_arrived()? - before;
                let sent = (arguments.packets * (ROUNDS + 1)) as f64;
                println!(
                    "{size:>5} B, train {train:>2}, {name:>4}: {}  ({:.1} % arrived as single datagrams)",
                    String::from_utf8_lossy(&output.stdout).trim(),
                    100.0 * arrived as f64 / sent
                );
            }
        }
    }
    Ok(())
}

fn drain(sleepy: bool) -> Result<(), String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).map_err(|it| it.to_string())?;
    setsockopt(&socket, sockopt::RcvBuf, &(16 << 20)).map_err(|error| error.to_string())?;
    socket
        .set_nonblocking(!sleepy)
        .map_err(|it| it.to_string())?;
    let mut buffer = [0; 2_048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// One subscriber's stream.
struct Stream {
    key: LessSafeKey,
    address: SocketAddr,
    seq: u64,
}

impl Stream {
    fn new(n: u32) -> Self {
        let mut key = [7; 16];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let key = UnboundKey::new(&AES_128_GCM, &key).expect("a key of 16 bytes");
        Self {
            key: LessSafeKey::new(key),
            address: SocketAddr::new(Bed::client_address(n), PORT),
            seq: 0,
        }
    }

    /// What forwarding does to a packet at the least (RFC 3550 §5.1, RFC 7714).
    fn write(&mut self, template: &[u8], out: &mut [u8]) {
        self.seq += 1;
        let plain_len = out.len() - TAG_LEN;
        let (plain, tag) = out.split_at_mut(plain_len);
        plain.copy_from_slice(&template[..plain_len]);
        plain[2..4].copy_from_slice(&self.seq.to_be_bytes()[6..]);
        plain[4..8].copy_from_slice(&(self.seq as u32).to_be_bytes());
        plain[8..12].copy_from_slice(&(self.seq as u32 ^ 0x5555).to_be_bytes());
        plain[18..20].copy_from_slice(&self.seq.to_be_bytes()[6..]);
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.seq.to_be_bytes());
        let (header, payload) = plain.split_at_mut(HEADER_LEN);
        let sealed = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&*header),
            payload,
        );
        tag.copy_from_slice(sealed.expect("short enough").as_ref());
    }
}

fn send(call: Call, size: usize, train: usize, packets: usize) -> Result<(), String> {
    let mut streams: Vec<Stream> = (0..SUBSCRIBERS).map(Stream::new).collect();
    let template = vec![0x80; size];
    let mut nanos = Vec::new();
    match call {
        Call::Raw => {
            let mut raw = Raw::new(size, train)?;
            for _ in 0..=ROUNDS {
                nanos.push(round(packets, train, |at| {
                    raw.send(&mut streams, at, &template)
                })?);
            }
        }
        Call::Ring | Call::Mmsg => {
            let (mut net, local) = open(call, train)?;
            for _ in 0..=ROUNDS {
                nanos.push(round(packets, train, |at| {
                    let batch = &mut streams[at..at + BATCH];
                    through_netio(net.as_mut(), local, batch, train, size, &template)
                })?);
            }
        }
    }
    // The first round touches everything for the first time.
    println!("{}", Spread::of(&nanos[1..]));
    Ok(())
}

/// CPU time per packet of sending batches of [`BATCH`] trains; `send` gets the first subscriber.
fn round(
    packets: usize,
    train: usize,
    mut send: impl FnMut(usize) -> Result<(), String>,
) -> Result<f64, String> {
    let begun = thread_cpu_time();
    let mut sent = 0;
    let mut at = 0;
    while sent < packets {
        send(at)?;
        sent += BATCH * train;
        at = (at + BATCH) % (SUBSCRIBERS as usize - BATCH);
    }
    let spent = thread_cpu_time().saturating_sub(begun);
    Ok(spent.as_nanos() as f64 / sent as f64)
}

struct Raw {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    bytes: Vec<u8>,
    size: usize,
    train: usize,
}

impl Raw {
    fn new(size: usize, train: usize) -> Result<Self, String> {
        let socket = UdpSocket::bind((Bed::server_address(), 0)).map_err(|it| it.to_string())?;
        setsockopt(&socket, sockopt::SndBuf, &(16 << 20)).map_err(|error| error.to_string())?;
        Ok(Self {
            socket,
            headers: MultiHeaders::preallocate(BATCH, (train > 1).then(|| nix::cmsg_space!(u16))),
            bytes: vec![0; BATCH * train * size],
            size,
            train,
        })
    }

    fn send(&mut self, streams: &mut [Stream], at: usize, template: &[u8]) -> Result<(), String> {
        let train_len = self.train * self.size;
        let mut addresses: ArrayVec<Option<SockaddrIn>, BATCH> = ArrayVec::new();
        for (stream, train) in streams[at..at + BATCH]
            .iter_mut()
            .zip(self.bytes.chunks_mut(train_len))
        {
            for packet in train.chunks_mut(self.size) {
                stream.write(template, packet);
            }
            let IpAddr::V4(ip) = stream.address.ip() else {
                return Err("an address that is not IPv4".to_owned());
            };
            addresses.push(Some(SockaddrIn::from(SocketAddrV4::new(ip, PORT))));
        }
        let slices: ArrayVec<[IoSlice<'_>; 1], BATCH> = self
            .bytes
            .chunks(train_len)
            .map(|train| [IoSlice::new(train)])
            .collect();
        let segment_len = u16::try_from(self.size).map_err(|error| error.to_string())?;
        let segments = [ControlMessage::UdpGsoSegments(&segment_len)];
        let control = if self.train > 1 { &segments[..] } else { &[] };
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            slices.iter(),
            &addresses,
            control,
            MsgFlags::empty(),
        )
        .map_err(|error| format!("sendmmsg: {error}"))?;
        match sent.count() {
            BATCH => Ok(()),
            sent => Err(format!("{sent} of {BATCH} trains were sent")),
        }
    }
}

/// The network and the address it sends from.
fn open(call: Call, train: usize) -> Result<(Box<dyn NetIo>, SocketAddr), String> {
    let backend = if call == Call::Ring {
        Backend::Ring
    } else {
        Backend::Mmsg
    };
    let config = NetConfig {
        backend,
        bind: vec![SocketAddr::new(Bed::server_address(), 0)],
        train_packets_max: train,
        train_len: train * 1_500,
        ..NetConfig::default()
    };
    let doorbell = Doorbell::new().map_err(|error| error.to_string())?;
    let (net, facts) =
        millrace_netio::open(&config, &doorbell).map_err(|error| error.to_string())?;
    Ok((net, facts.bound[0]))
}

fn through_netio(
    net: &mut dyn NetIo,
    local: SocketAddr,
    streams: &mut [Stream],
    train: usize,
    size: usize,
    template: &[u8],
) -> Result<(), String> {
    let (_, tx) = net.split();
    for stream in streams {
        let path = Tuple {
            local,
            remote: stream.address,
        };
        let mut hint = TrainHint::default();
        for _ in 0..train {
            let buffer = tx
                .reserve(&path, &mut hint, size)
                .ok_or("the send arena is full")?;
            stream.write(template, buffer);
        }
    }
    net.submit();
    // Takes back what the kernel has sent.
    net.park(Some(Duration::ZERO));
    Ok(())
}
