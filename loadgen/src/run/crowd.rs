//! The clients of a run, who come and go as it asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use millrace_shared::link::Fingerprint;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::rooms::{Census, Rooms};
use super::sampling::Sampling;
use crate::client::{Client, ClientError, ClientSpec, Server, TrackSpec};
use crate::pump::{Command, PumpHandle};
use crate::report::latency::Latency;
use crate::report::model::JoinSample;
use crate::scenario::{Churn, Participant};
use crate::stream::publisher::Audience;

/// A server that does not answer a goodbye is not waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Kinds of errors that are told apart in notes.
const ERRORS_KEPT: usize = 5;

/// How joins went.
#[derive(Clone, Debug, Default)]
pub(super) struct JoinLog {
    pub(super) attempted: u32,
    pub(super) joined: u32,
    pub(super) failed: u32,
    /// Clients whose session broke after they had joined.
    pub(super) broken: u32,
    pub(super) latency: Latency,
    /// Ends of joins by the second of the run.
    seconds: BTreeMap<u32, Ends>,
    errors: HashMap<String, u32>,
}

#[derive(Copy, Clone, Debug, Default)]
struct Ends {
    joined: u32,
    failed: u32,
}

impl JoinLog {
    fn join(&mut self, second: u32, connected: Duration) {
        self.joined += 1;
        self.seconds.entry(second).or_default().joined += 1;
        let ns = u64::try_from(connected.as_nanos()).unwrap_or(u64::MAX);
        self.latency.record_ns(ns);
    }

    fn fail(&mut self, second: u32, error: &ClientError) {
        self.failed += 1;
        self.seconds.entry(second).or_default().failed += 1;
        self.note(error);
    }

    fn break_off(&mut self, second: u32, error: &ClientError) {
        self.broken += 1;
        self.seconds.entry(second).or_default().failed += 1;
        self.note(error);
    }

    pub(super) fn series(&self) -> Vec<JoinSample> {
        let seconds = self.seconds.iter();
        let sample = |(second, ends): (&u32, &Ends)| JoinSample {
            at_s: f64::from(*second),
            length_s: 1.0,
            joined: ends.joined,
            failed: ends.failed,
        };
        seconds.map(sample).collect()
    }

    fn note(&mut self, error: &ClientError) {
        let text = error.to_string();
        if self.errors.contains_key(&text) || self.errors.len() < ERRORS_KEPT {
            *self.errors.entry(text).or_default() += 1;
        }
    }
}

/// What all clients of a run share.
#[derive(Debug)]
struct Shared {
    server: Server,
    fingerprint: Fingerprint,
    /// When the run did.
    began: Instant,
    rooms: Mutex<Rooms>,
    log: Mutex<JoinLog>,
    /// What the server said of itself to the first who joined.
    server_info: OnceLock<proto::ServerInfo>,
}

impl Shared {
    // A client that panicked has left both as they were.
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, JoinLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole seconds since the run's start.
    fn second(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
struct Member {
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Crowd {
    shared: Arc<Shared>,
    pumps: Vec<PumpHandle>,
    sampling: Sampling,
    /// Falls as more subscribe, and never rises: a client that has not decrypted for a while does
    /// not know its roll-over counters.
    rank_max: u32,
    members: HashMap<(String, String), Member>,
    /// Those that pass through; they leave by themselves.
    passers: Vec<Member>,
    clients: u32,
    subscribers: u32,
    tracks: u32,
    /// Tells the names of this run from those of others.
    run: u16,
}

impl Crowd {
    pub(super) fn new(
        server: Server,
        pumps: Vec<PumpHandle>,
        fingerprint: Fingerprint,
        sampling: Sampling,
        began: Instant,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                server,
                fingerprint,
                began,
                rooms: Mutex::default(),
                log: Mutex::default(),
                server_info: OnceLock::new(),
            }),
            pumps,
            sampling,
            rank_max: u32::MAX,
            members: HashMap::new(),
            passers: Vec::new(),
            clients: 0,
            subscribers: 0,
            tracks: 0,
            run: rand::random(),
        }
    }

    pub(super) fn census(&self) -> Census {
        self.shared.rooms().census()
    }

    /// How joins went since the last call.
    pub(super) fn take_log(&self) -> JoinLog {
        let mut log = self.shared.log();
        let errors = log.errors.clone();
        let taken = std::mem::take(&mut *log);
        log.errors = errors;
        taken
    }

    /// Who joined and who failed since [`Self::take_log`].
    pub(super) fn progress(&self) -> (u32, u32) {
        let log = self.shared.log();
        (log.joined, log.failed)
    }

    /// What the server said of itself, if anybody joined.
    pub(super) fn server_info(&self) -> Option<&proto::ServerInfo> {
        self.shared.server_info.get()
    }

    /// What went wrong, most frequent first, a sentence each.
    pub(super) fn errors(&self) -> Vec<String> {
        let log = self.shared.log();
        let mut errors: Vec<_> = log.errors.iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        errors
            .into_iter()
            .map(|(error, count)| format!("{count} clients: {error}"))
            .collect()
    }

    /// Makes these the members: others leave, those missing begin to join, `rate` a second. Some
    /// `passers` will be there at a time beside them. Returns when the last of them begins, and how
    /// many they are.
    pub(super) fn resize(
        &mut self,
        wanted: &[Participant],
        passers: u32,
        rate: f64,
    ) -> (Instant, u32) {
        let subscribers = wanted.iter().filter(|it| it.subscribe).count();
        self.sample(passers.saturating_add(u32::try_from(subscribers).unwrap_or(u32::MAX)));
        let key = |it: &Participant| (it.room.clone(), it.identity.clone());
        let names: std::collections::HashSet<_> = wanted.iter().map(key).collect();
        self.members.retain(|name, member| {
            if !names.contains(name) {
                // It leaves in its own time.
                let _ = member.leave.send(true);
            }
            names.contains(name)
        });
        let mut begin = Instant::now();
        let mut count = 0;
        for participant in wanted {
            let name = key(participant);
            if self.members.contains_key(&name) {
                continue;
            }
            let member = self.admit(participant, begin, None);
            self.members.insert(name, member);
            begin += Duration::from_secs_f64(1.0 / rate.max(0.1));
            count += 1;
        }
        (begin, count)
    }

    /// Says how many will subscribe, so that those sampled are a share of them.
    fn sample(&mut self, subscribers: u32) {
        self.rank_max = self.rank_max.min(self.sampling.rank_max(subscribers));
        for pump in &self.pumps {
            pump.send(Command::SampleUpTo(self.rank_max));
        }
    }

    /// One more that passes through.
    pub(super) fn pass(&mut self, room: &str, churn: &Churn) {
        let participant = churn.role.participant(room, self.clients);
        let member = self.admit(&participant, Instant::now(), Some(churn.stay));
        self.passers.retain(|passer| !passer.task.is_finished());
        self.passers.push(member);
    }

    fn admit(
        &mut self,
        participant: &Participant,
        begin: Instant,
        stay: Option<Duration>,
    ) -> Member {
        let spec = self.spec(participant);
        let pump = self.pumps[self.clients as usize % self.pumps.len()].clone();
        self.clients += 1;
        let (leave, left) = watch::channel(false);
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            sleep_until(begin.into()).await;
            take_part(&shared, spec, pump, left, stay).await;
        });
        Member { leave, task }
    }

    fn spec(&mut self, participant: &Participant) -> ClientSpec {
        let tracks = participant.media.iter().map(|medium| {
            self.tracks += 1;
            TrackSpec {
                number: self.tracks,
                source: medium.source.clone(),
                screen: medium.screen,
                audience: Audience::default(),
            }
        });
        let tracks = tracks.collect();
        let sample_rank = participant.subscribe.then(|| {
            self.subscribers += 1;
            Sampling::rank(self.subscribers)
        });
        // Servers remember rooms and identities for a while, and what went wrong with them.
        let run = self.run;
        ClientSpec {
            room: format!("{}-{run:04x}", participant.room),
            identity: format!("{}-{run:04x}", participant.identity),
            tracks,
            subscribe: participant.subscribe,
            may_publish: participant.may_publish,
            layout: participant.layout,
            sample_rank,
            impairment: participant.impairment,
        }
    }

    /// Everybody leaves.
    pub(super) async fn dismiss(&mut self) {
        let members = self.members.drain().map(|(_, member)| member);
        let all: Vec<_> = members.chain(self.passers.drain(..)).collect();
        for member in &all {
            // One that has gone already needs no asking.
            let _ = member.leave.send(true);
        }
        for member in all {
            // A task that panicked has said so.
            let _ = member.task.await;
        }
    }
}

async fn take_part(
    shared: &Shared,
    spec: ClientSpec,
    pump: PumpHandle,
    mut leave: watch::Receiver<bool>,
    stay: Option<Duration>,
) {
    shared.log().attempted += 1;
    let (room, identity) = (spec.room.clone(), spec.identity.clone());
    let listens = spec.subscribe.then_some(spec.layout);
    let tracks = spec.tracks.clone();
    let joined = tokio::select! {
        joined = Client::join(&shared.server, spec, pump, shared.fingerprint) => joined,
        _ = leave.wait_for(|leave| *leave) => return,
    };
    let mut client = match joined {
        Ok(client) => client,
        Err(error) => {
            shared.log().fail(shared.second(), &error);
            return;
        }
    };
    shared
        .server_info
        .get_or_init(|| client.server_info().clone());
    let connected = client.times().connected.unwrap_or_default();
    shared.log().join(shared.second(), connected);
    shared.rooms().enter(&room, &identity, &tracks, listens);
    let stay = stay.unwrap_or(Duration::MAX);
    let broken = tokio::select! {
        error = client.run() => Some(error),
        _ = leave.wait_for(|leave| *leave) => None,
        () = tokio::time::sleep(stay) => None,
    };
    shared.rooms().leave(&room, &identity);
    if let Some(error) = broken {
        shared.log().break_off(shared.second(), &error);
        return;
    }
    // A server that is slow to say goodbye has been told all the same.
    let _ = timeout(LEAVE_TIMEOUT, client.leave()).await;
}
