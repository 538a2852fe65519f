//! What the generator itself costs: a stream of packets is fed in turns to a thread that only
//! receives, to a media thread with clients that keep their answers to themselves, and to one whose
//! clients send them. What the second takes beyond the first is the price of a packet received; a
//! datagram sent is one of another kind, and the third tells its price.

mod source;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use millrace_shared::dtls::{Identity, IdentityError};
use millrace_shared::link::IceCredentials;
use millrace_shared::srtp::{MasterKey, Profile};
use rand::RngCore as _;
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::pump::{
    Command, Established, NewPeer, PeerId, Pump, PumpConfig, PumpError, Sample, Source, epoch,
};
use crate::report::model::{OwnCost, Results};
use crate::stream::receiver::StreamMap;
use crate::transport::Keys;

use source::{Fan, PacketSource};

/// What is fed to the generator.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Traffic {
    pub subscribers: u32,
    /// Subscribers of which every packet is decrypted, checked and timed.
    pub sampled: u32,
    /// Streams to each.
    pub streams: u32,
    pub audio: bool,
    /// Of a whole packet, protected.
    pub packet_len: usize,
    /// To all subscribers together.
    pub packets_per_s: f64,
    /// Packets that come to a subscriber at once.
    pub train: u32,
}

impl Traffic {
    /// As in the busiest step of a run that was not the generator's own limit. `None` if nothing was
    /// received.
    pub fn of(results: &Results) -> Option<Self> {
        let steps = results.steps.iter().filter(|it| it.is_conclusive());
        let step = steps.max_by_key(|step| step.delivered.packets)?;
        let (packets, seconds) = (step.delivered.packets, step.measured_s);
        let subscribers = step.offered.subscribers.clamp(1, SUBSCRIBERS_MAX);
        let streams = step.offered.tracks_subscribed / step.offered.subscribers.max(1);
        let sampled = step.delivered.packets_timed as f64 / packets.max(1) as f64;
        (packets > 0 && seconds > 0.0).then(|| Self {
            subscribers,
            sampled: (sampled * f64::from(subscribers)).round() as u32,
            streams: streams.clamp(1, 16),
            audio: results.scenario.codecs == ["Opus"],
            packet_len: usize::try_from(step.delivered.bytes / packets).unwrap_or(1200),
            packets_per_s: packets as f64 / seconds,
            train: 2,
        })
    }
}

/// Where and how long.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Bed {
    /// Of the threads that receive, and of the one that sends.
    pub cpu: Option<usize>,
    pub source_cpu: Option<usize>,
    pub receive_interval: Duration,
    pub rounds: u32,
    /// How long each of the two is fed in a round.
    pub window: Duration,
}

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OwnCostError {
    #[error(transparent)]
    Pump(#[from] PumpError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the sending thread: {0}")]
    Source(String),
    #[error("{0} packets were lost on their way: give the sender more room, or send less")]
    Lost(u64),
    #[error("no packet arrived")]
    Nothing,
}

/// A media thread answers within a few milliseconds.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(2);
/// After a change of whom to feed.
const SETTLE: Duration = Duration::from_millis(200);
/// More make no difference.
const SUBSCRIBERS_MAX: u32 = 5000;
/// Threads of runs in this process count from 0.
const INDEX_FIRST: usize = 125;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Role {
    Drain,
    Silent,
    Answering,
}

const ROLES: [Role; 3] = [Role::Drain, Role::Silent, Role::Answering];

/// One of those that are compared.
struct Subject {
    role: Role,
    source: Source,
    pump: Pump,
    samples: UnboundedReceiver<Sample>,
    microseconds: Vec<f64>,
    packets: u64,
    answers: u64,
    missing: u64,
}

/// Feeds all in turns and compares.
pub async fn measure(traffic: Traffic, bed: Bed) -> Result<OwnCost, OwnCostError> {
    let identity = Identity::generate()?;
    let epoch = epoch();
    let mut subjects = Vec::new();
    for (index, role) in (INDEX_FIRST..).zip(ROLES) {
        let config = PumpConfig {
            index,
            cpu: bed.cpu,
            source: Source::loopback(index),
            receive_interval: bed.receive_interval,
            epoch,
            identity: identity.clone(),
        };
        subjects.push(Subject::start(role, config)?);
    }
    let keys: Vec<_> = (0..traffic.subscribers).map(|_| keys()).collect();
    let fans = subjects.iter().map(|it| fan(&it.pump, &keys)).collect();
    let source =
        PacketSource::start(traffic, fans, bed.source_cpu, epoch).map_err(OwnCostError::Source)?;
    for subject in &subjects {
        subject.admit(&traffic, &keys, source.address);
    }
    for _ in 0..bed.rounds {
        for (index, subject) in subjects.iter_mut().enumerate() {
            source.feed(index);
            sleep(SETTLE).await;
            subject.round(bed.window).await?;
        }
    }
    source.stop();
    let missing = subjects.iter().map(|it| it.missing).sum();
    if missing > 0 {
        return Err(OwnCostError::Lost(missing));
    }
    let seconds = f64::from(bed.rounds) * bed.window.as_secs_f64();
    let mut cost = OwnCost {
        packet_bytes: traffic.packet_len as f64,
        subscribers: traffic.subscribers,
        sampled: traffic.sampled,
        ..OwnCost::default()
    };
    for subject in subjects {
        subject.pump.stop();
        match subject.role {
            Role::Drain => cost.drain_us = subject.microseconds,
            Role::Silent => cost.received_us = subject.microseconds,
            Role::Answering => {
                cost.whole_us = subject.microseconds;
                cost.packets_per_s = subject.packets as f64 / seconds;
                cost.answers_per_s = subject.answers as f64 / seconds;
            }
        }
    }
    Ok(cost)
}

impl Subject {
    fn start(role: Role, config: PumpConfig) -> Result<Self, OwnCostError> {
        let (tx, samples) = unbounded_channel();
        let source = config.source.clone();
        let pump = match role {
            Role::Drain => Pump::start_drain(config, tx)?,
            Role::Silent | Role::Answering => Pump::start(config, tx)?,
        };
        Ok(Self {
            role,
            source,
            pump,
            samples,
            microseconds: Vec::new(),
            packets: 0,
            answers: 0,
            missing: 0,
        })
    }

    async fn sample(&mut self) -> Result<Sample, OwnCostError> {
        self.pump.handle().send(Command::Sample);
        let sample = timeout(SAMPLE_TIMEOUT, self.samples.recv()).await;
        Ok(sample.ok().flatten().ok_or(PumpError::Ended)?)
    }

    async fn round(&mut self, window: Duration) -> Result<(), OwnCostError> {
        let before = self.sample().await?;
        sleep(window).await;
        let after = self.sample().await?;
        let packets = after.net.receive.datagrams - before.net.receive.datagrams;
        let cpu_s = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        if packets == 0 {
            return Err(OwnCostError::Nothing);
        }
        self.missing += after.meter.counters.missing;
        self.packets += packets;
        self.answers += after.net.send.datagrams - before.net.send.datagrams;
        self.microseconds.push(cpu_s * 1e6 / packets as f64);
        Ok(())
    }

    /// The subscribers, connected; in the order in which [`fan`] took the same addresses. A thread
    /// that only receives forgets them.
    fn admit(&self, traffic: &Traffic, keys: &[MasterKey], remote: SocketAddr) {
        // Nobody is told.
        let (events, _) = unbounded_channel();
        let (Some(port), Source::Network { first, .. }) = (self.pump.ports.first(), &self.source)
        else {
            return;
        };
        for (number, key) in (0_u32..).zip(keys) {
            let ip = Ipv4Addr::from_bits(first.to_bits() + number);
            let ssrcs = source::stream_ssrcs(traffic.streams);
            self.pump.handle().send(Command::Add(Box::new(NewPeer {
                id: PeerId(number),
                local: (ip, *port).into(),
                ice: IceCredentials {
                    ufrag: "none".to_owned(),
                    pwd: "none".to_owned(),
                },
                sample_rank: (number < traffic.sampled).then_some(0),
                impairment: None,
                seed: u64::from(number) << 32,
                established: Some(Box::new(Established {
                    remote,
                    keys: Keys {
                        local: key.clone(),
                        remote: key.clone(),
                    },
                    map: StreamMap::of_streams(traffic.audio, ssrcs),
                    silent: self.role == Role::Silent,
                })),
                events: events.clone(),
            })));
        }
    }
}

fn keys() -> MasterKey {
    let profile = Profile::AeadAes256Gcm;
    let (mut key, mut salt) = ([0; 32], [0; 12]);
    rand::rng().fill_bytes(&mut key);
    rand::rng().fill_bytes(&mut salt);
    match MasterKey::new(profile, &key, &salt) {
        Some(key) => key,
        None => unreachable!("of the profile's lengths"),
    }
}

/// Addresses of a thread's subscribers, with what is sent to them protected by their keys.
fn fan(pump: &Pump, keys: &[MasterKey]) -> Fan {
    let locals = keys
        .iter()
        .map_while(|key| Some((pump.handle().take_local()?, key)));
    Fan::new(locals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_round_tells_receiving_counting_and_answering_apart() {
        let traffic = Traffic {
            subscribers: 4,
            sampled: 2,
            streams: 1,
            audio: false,
            packet_len: 300,
            packets_per_s: 2000.0,
            train: 2,
        };
        let bed = Bed {
            cpu: None,
            source_cpu: None,
            receive_interval: Duration::from_micros(300),
            rounds: 2,
            window: Duration::from_millis(300),
        };
        let cost = measure(traffic, bed).await.unwrap();
        let rounds = [&cost.drain_us, &cost.received_us, &cost.whole_us];
        assert!(rounds.iter().all(|it| it.len() == 2), "{cost:?}");
        // Feedback of four clients ten times a second.
        assert!(cost.answers_per_s > 10.0, "{cost:?}");
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        let mut cost = OwnCost {
            drain_us: vec![1.0, 2.0, 1.5],
            received_us: vec![1.25, 2.25, 1.5],
            whole_us: vec![1.5, 2.5, 2.5],
            ..OwnCost::default()
        };
        assert_eq!(cost.over_drain_us(), [0.0, 0.25, 0.25]);
        assert_eq!(cost.answering_us(), [0.25, 0.25, 1.0]);
        // As older files have it.
        cost.received_us.clear();
        assert_eq!(cost.over_drain_us(), [0.5, 0.5, 1.0]);
        assert!(cost.answering_us().is_empty());
    }
}
