//! The task of one room: its state and its loop.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use livekit_protocol as proto;
use millrace_shared::ids::{DownTrackId, GroupId, ShardId, TrackId, TransportId};
use millrace_shared::link::Command;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::broadcast::{Departed, QueuedUpdate};
use super::memo::MemoBook;
use super::message::RoomMessage;
use super::participants::Participants;
use super::quality::QualityBoard;
use super::registry::Shared;
use super::resume::SimulatedResumes;
use super::settings::Settings;
use super::speakers::SpeakerBoard;
use super::timer::{Timer, Timers};
use super::{routing, sid};
use crate::participant::signal::Overflow;
use crate::participant::transport::Transport;
use crate::participant::{CloseReason, Participant, ParticipantId};

/// Messages handled before deadlines and negotiations get their turn. What they changed goes into
/// one offer.
const BATCH_MAX: usize = 64;
/// Random bytes that mark frames which the server puts into an encrypted stream.
const TRAILER_LEN: usize = 16;

#[derive(Debug)]
pub(crate) struct Room {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<Settings>,
    pub(super) mailbox: mpsc::WeakSender<RoomMessage>,
    pub(super) index: u32,
    pub(super) shard: ShardId,
    pub(super) group: GroupId,
    /// Last number given to an id.
    last_number: u32,

    pub(super) sid: String,
    pub(super) name: String,
    pub(super) empty_timeout_s: u32,
    pub(super) departure_timeout_s: u32,
    pub(super) max_participants: u32,
    pub(super) metadata: String,
    pub(super) created_at: SystemTime,
    pub(super) created: Instant,
    /// When the last one left, unless somebody is there or nobody ever was.
    pub(super) left: Option<Instant>,
    pub(super) trailer: Vec<u8>,

    pub(super) participants: Participants,
    pub(super) identities: HashMap<String, ParticipantId>,
    pub(super) sids: HashMap<String, ParticipantId>,
    pub(super) transports: HashMap<TransportId, ParticipantId>,
    pub(super) track_owners: HashMap<TrackId, ParticipantId>,
    /// Announced tracks.
    pub(super) track_sids: HashMap<String, TrackId>,
    pub(super) down_tracks: HashMap<DownTrackId, (ParticipantId, String)>,

    pub(super) timers: Timers,
    /// Whose connections are to be negotiated at the end of the batch.
    pub(super) to_negotiate: BTreeSet<ParticipantId>,
    pub(super) overflow: Overflow,
    pub(super) queued_updates: IndexMap<String, QueuedUpdate>,
    pub(super) updates_timer_set: bool,
    pub(super) room_update_timer_set: bool,
    pub(super) departed: VecDeque<Departed>,
    pub(super) speakers: SpeakerBoard,
    pub(super) quality: QualityBoard,
    pub(super) simulated: SimulatedResumes,
    pub(super) memos: MemoBook,
    pub(super) closed: bool,
}

impl Room {
    pub(super) fn new(
        shared: Arc<Shared>,
        index: u32,
        shard: ShardId,
        mailbox: mpsc::WeakSender<RoomMessage>,
        request: &proto::CreateRoomRequest,
    ) -> Self {
        let mut room = Self::blank(shared, index, shard, mailbox, &request.name);
        room.configure(request);
        room.shared.counters.room_created();
        room.watch_emptiness();
        tracing::info!(room = room.name, room_sid = room.sid, "room created");
        room
    }

    /// As the settings have it, without anybody.
    pub(super) fn blank(
        shared: Arc<Shared>,
        index: u32,
        shard: ShardId,
        mailbox: mpsc::WeakSender<RoomMessage>,
        name: &str,
    ) -> Self {
        let settings = Arc::clone(&shared.settings);
        let mut trailer = vec![0; TRAILER_LEN];
        rand::rng().fill(trailer.as_mut_slice());
        Self {
            mailbox,
            index,
            shard,
            group: GroupId(routing::id(index, 0)),
            last_number: 0,
            sid: sid::room(),
            name: name.to_owned(),
            empty_timeout_s: settings.empty_timeout_s,
            departure_timeout_s: settings.departure_timeout_s,
            max_participants: settings.max_participants,
            metadata: String::new(),
            created_at: SystemTime::now(),
            created: Instant::now(),
            left: None,
            trailer,
            participants: Participants::default(),
            identities: HashMap::new(),
            sids: HashMap::new(),
            transports: HashMap::new(),
            track_owners: HashMap::new(),
            track_sids: HashMap::new(),
            down_tracks: HashMap::new(),
            timers: Timers::default(),
            to_negotiate: BTreeSet::new(),
            overflow: Overflow::default(),
            queued_updates: IndexMap::new(),
            updates_timer_set: false,
            room_update_timer_set: false,
            departed: VecDeque::new(),
            speakers: SpeakerBoard::default(),
            quality: QualityBoard::default(),
            simulated: SimulatedResumes::default(),
            memos: MemoBook::default(),
            closed: false,
            settings,
            shared,
        }
    }

    /// Takes over what the request says; what it leaves out stays.
    pub(super) fn configure(&mut self, request: &proto::CreateRoomRequest) {
        self.memos.room_changed = true;
        for (value, wanted) in [
            (&mut self.empty_timeout_s, request.empty_timeout),
            (&mut self.departure_timeout_s, request.departure_timeout),
            (&mut self.max_participants, request.max_participants),
        ] {
            if wanted > 0 {
                *value = wanted;
            }
        }
        if !request.metadata.is_empty() {
            self.metadata.clone_from(&request.metadata);
        }
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<RoomMessage>) {
        while !self.closed {
            let deadline = self.timers.next();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.receive(message),
                    None => break,
                },
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() => {}
            }
            for _ in 1..BATCH_MAX {
                if self.closed {
                    break;
                }
                match messages.try_recv() {
                    Ok(message) => self.receive(message),
                    Err(_) => break,
                }
            }
            self.fire_timers();
            self.negotiate_changed();
            self.drop_overflowed();
            if !self.closed {
                self.write_memos();
            }
        }
    }

    fn receive(&mut self, message: RoomMessage) {
        match message {
            RoomMessage::Join(join) => self.join(*join),
            RoomMessage::Request {
                participant,
                connection,
                request,
            } => self.request(participant, connection, *request),
            RoomMessage::SignalClosed {
                participant,
                connection,
            } => self.signal_closed(participant, connection),
            RoomMessage::Event(event) => self.event(event),
            RoomMessage::Reports(reports) => self.reports(&reports),
            RoomMessage::Api(call) => self.api(*call),
            RoomMessage::Detach(reply) => {
                self.detach_from_clients();
                let _ = reply.send(());
            }
            RoomMessage::Close(reason, reply) => {
                self.close(reason);
                // The caller may have gone.
                let _ = reply.send(());
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        while !self.closed
            && let Some(timer) = self.timers.pop_due(now)
        {
            match timer {
                Timer::Empty => self.close_if_empty(now),
                Timer::Updates => self.flush_updates(),
                Timer::RoomUpdate => self.flush_room_update(),
                Timer::Verify(participant) => self.verify(participant),
                Timer::RefreshToken(participant) => self.refresh_token_again(participant),
                Timer::SignalGone(participant, connection) => {
                    self.signal_still_gone(participant, connection);
                }
                Timer::Silent(participant, transport) => self.still_silent(participant, transport),
                Timer::TransportGone(participant, connection) => {
                    self.transport_still_gone(participant, connection);
                }
                Timer::Answer(participant, offer) => self.answer_overdue(participant, offer),
                Timer::NotFound(participant) => self.still_not_found(participant),
                Timer::Memos => self.write_memos_now(),
                Timer::SimulatedSpeech(participant) => self.end_simulated_speech(participant),
            }
        }
    }

    /// Ends the room; everybody leaves.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.closed {
            return;
        }
        self.closed = true;
        // First out of the directory: who joins from now on finds a new room.
        self.shared.remove(&self.name, self.index);
        let everybody: Vec<_> = self.participants.keys().copied().collect();
        for participant in everybody {
            self.remove_silently(participant, reason);
        }
        self.forget_memos();
        tracing::info!(
            room = self.name,
            room_sid = self.sid,
            ?reason,
            "room closed"
        );
    }

    /// Lets the room go on without this process: what is known goes into the memos.
    fn detach_from_clients(&mut self) {
        if self.closed {
            return;
        }
        self.negotiate_changed();
        if self.shared.dataplane.remembers() {
            self.write_memos_now();
        }
        self.closed = true;
        self.shared.remove(&self.name, self.index);
        for participant in self.participants.everybody_mut() {
            participant.signal.close();
        }
    }

    /// Sets the deadline by which an empty room ends.
    pub(super) fn watch_emptiness(&mut self) {
        let at = self.empty_deadline();
        self.timers.set(at, Timer::Empty);
    }

    fn empty_deadline(&self) -> Instant {
        match self.left {
            Some(left) => left + Duration::from_secs(self.departure_timeout_s.into()),
            None => self.created + Duration::from_secs(self.empty_timeout_s.into()),
        }
    }

    fn close_if_empty(&mut self, now: Instant) {
        if self.participants.values().any(|p| !p.is_dependent()) {
            return;
        }
        if self.empty_deadline() <= now {
            self.close(CloseReason::RoomClosed);
        } else {
            // The timeout was changed meanwhile, or another one left later.
            self.watch_emptiness();
        }
    }

    pub(super) fn number(&mut self) -> u32 {
        // A client can have numbers used up, if it offers for half a day without a pause; that must
        // not end the node. Those of four billion ago are free again.
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }

    /// Numbers up to this one have been given already.
    pub(super) fn numbers_used(&mut self, last: u32) {
        self.last_number = self.last_number.max(last);
    }

    pub(super) fn new_id(&mut self) -> u64 {
        let number = self.number();
        routing::id(self.index, number)
    }

    /// To the shard of the transport that it is about.
    pub(super) fn command(&self, command: Command) {
        let placed = command.transport().and_then(|id| self.transport(id));
        let shard = placed.map_or(self.shard, |transport| transport.shard);
        self.shared.dataplane.send(shard, command);
    }

    fn transport(&self, id: TransportId) -> Option<&Transport> {
        let participant = self.participant(*self.transports.get(&id)?)?;
        participant
            .transports()
            .find(|transport| transport.id == id)
    }

    pub(super) fn participant(&self, id: ParticipantId) -> Option<&Participant> {
        self.participants.get(&id)
    }

    pub(super) fn participant_mut(&mut self, id: ParticipantId) -> Option<&mut Participant> {
        self.participants.get_mut(&id)
    }

    pub(super) fn by_identity(&self, identity: &str) -> Option<ParticipantId> {
        self.identities.get(identity).copied()
    }

    pub(super) fn by_sid(&self, sid: &str) -> Option<&Participant> {
        self.participant(*self.sids.get(sid)?)
    }

    pub(super) fn codecs(&self) -> Vec<proto::Codec> {
        self.settings
            .enabled_codecs
            .iter()
            .filter(|mime| !mime.to_ascii_lowercase().ends_with("/rtx"))
            .map(|mime| proto::Codec {
                mime: mime.clone(),
                fmtp_line: String::new(),
            })
            .collect()
    }

    pub(super) fn to_proto(&self) -> proto::Room {
        let created_at = self
            .created_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let count = |counts: fn(&Participant) -> bool| {
            let participants = self.participants.values();
            u32::try_from(participants.filter(|p| counts(p)).count()).unwrap_or(u32::MAX)
        };
        proto::Room {
            sid: self.sid.clone(),
            name: self.name.clone(),
            empty_timeout: self.empty_timeout_s,
            departure_timeout: self.departure_timeout_s,
            max_participants: self.max_participants,
            creation_time: i64::try_from(created_at.as_secs()).unwrap_or(i64::MAX),
            creation_time_ms: i64::try_from(created_at.as_millis()).unwrap_or(i64::MAX),
            enabled_codecs: self.codecs(),
            metadata: self.metadata.clone(),
            num_participants: count(|p| !p.is_dependent()),
            num_publishers: count(|p| p.is_publisher),
            active_recording: self.participants.values().any(Participant::is_recorder),
            ..Default::default()
        }
    }
}
