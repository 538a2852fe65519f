//! All rooms of the node: makes them, finds them, and brings them what concerns them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use livekit_protocol as proto;
use millrace_shared::ids::ShardId;
use millrace_shared::link::{CommandSink, Event, ShardMetrics};
use tokio::sync::{mpsc, oneshot};

use super::actor::Room;
use super::admission;
use super::error::{ApiError, JoinError};
use super::message::{ApiCall, Join, JoinParams, MAILBOX_MAX, Reply, RoomMessage, SignalSession};
use super::metrics::{Counters, RoomMetrics};
use super::routing;
use super::settings::Settings;
use crate::auth::Claims;
use crate::dataplane_client::DataplaneClient;
use crate::participant::CloseReason;

/// A room may end between its look-up and the message; then it is made anew.
const ATTEMPTS_MAX: usize = 3;

/// The rooms of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub(super) shared: Arc<Shared>,
}

/// What rooms and their callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) dataplane: DataplaneClient,
    pub(crate) counters: Counters,
    /// Never locked across an await.
    directory: Mutex<Directory>,
    shards: Mutex<BTreeMap<ShardId, ShardMetrics>>,
    shutting_down: AtomicBool,
}

#[derive(Debug, Default)]
struct Directory {
    by_name: HashMap<String, u32>,
    by_index: HashMap<u32, Entry>,
    last_index: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    mailbox: mpsc::Sender<RoomMessage>,
    shard: ShardId,
}

impl Directory {
    fn insert(
        &mut self,
        index: u32,
        name: &str,
        mailbox: mpsc::Sender<RoomMessage>,
        shard: ShardId,
    ) {
        self.by_name.insert(name.to_owned(), index);
        self.by_index.insert(index, Entry { mailbox, shard });
    }
}

impl Rooms {
    /// Starts the task that brings the data plane's events to the rooms.
    pub fn start(
        settings: Settings,
        commands: Arc<dyn CommandSink>,
        events: mpsc::Receiver<Event>,
    ) -> Self {
        let shared = Arc::new(Shared {
            settings: Arc::new(settings),
            dataplane: DataplaneClient::new(commands),
            counters: Counters::default(),
            directory: Mutex::default(),
            shards: Mutex::default(),
            shutting_down: AtomicBool::new(false),
        });
        tokio::spawn(routing::run(Arc::clone(&shared), events));
        Self { shared }
    }

    /// Waits until the shards have said hello.
    pub async fn ready(&self) {
        self.shared
            .dataplane
            .ready(self.shared.shards_needed())
            .await;
    }

    /// Whether there is a data plane to bring participants to.
    pub fn is_ready(&self) -> bool {
        self.shared.dataplane.shard_count() >= self.shared.shards_needed()
    }

    /// The data plane is gone, and all media with it: every client is told to join anew, and those
    /// that try are refused until shards say hello again.
    pub(crate) async fn dataplane_lost(&self) {
        self.shared.dataplane.lost();
        self.shared.close_all(CloseReason::DataplaneLost).await;
    }

    /// Lets go of every room without ending it: its memos are written, its clients lose their
    /// sockets and will resume with the control plane that comes after this one.
    pub async fn detach(&self) {
        self.shared.shutting_down.store(true, Ordering::Relaxed);
        for mailbox in self.shared.mailboxes() {
            let (reply, done) = oneshot::channel();
            if mailbox.send(RoomMessage::Detach(reply)).await.is_ok() {
                let _ = done.await;
            }
        }
    }

    /// The checks of a join, without joining.
    pub async fn validate(&self, claims: &Claims, params: &JoinParams) -> Result<(), JoinError> {
        self.admit(claims.clone(), params.clone()).map(|_| ())
    }

    pub async fn join(
        &self,
        claims: Claims,
        params: JoinParams,
    ) -> Result<SignalSession, JoinError> {
        let admitted = self.admit(claims, params)?;
        // Sessions that are still to be taken back must not pass for unknown.
        if !self.is_ready() {
            return Err(JoinError::new(503, "the data plane is not connected"));
        }
        for _ in 0..ATTEMPTS_MAX {
            if admitted.params.reconnect && !self.shared.exists(&admitted.room) {
                return Ok(admission::refuse_resume(&admitted.params.client_info));
            }
            let request = admitted.create_request();
            let mailbox = self
                .shared
                .room_or_new(&request)
                .ok_or_else(|| JoinError::new(503, "no shard is ready"))?;
            let (reply, result) = oneshot::channel();
            let join = Join {
                claims: admitted.claims.clone(),
                params: admitted.params.clone(),
                reply,
            };
            if mailbox
                .send(RoomMessage::Join(Box::new(join)))
                .await
                .is_ok()
                && let Ok(result) = result.await
            {
                return result;
            }
        }
        Err(JoinError::new(503, "the room is closing"))
    }

    fn admit(&self, claims: Claims, params: JoinParams) -> Result<admission::Admitted, JoinError> {
        if self.shared.shutting_down.load(Ordering::Relaxed) {
            return Err(JoinError::new(503, "the server is shutting down"));
        }
        let admitted = admission::admit(&self.shared.settings, claims, params)?;
        if !self.shared.settings.auto_create
            && !admitted.may_create()
            && !self.shared.exists(&admitted.room)
        {
            return Err(JoinError::room_not_found());
        }
        Ok(admitted)
    }

    /// Every client leaves with the reason SERVER_SHUTDOWN; new ones are refused.
    pub async fn shutdown(&self) {
        self.shared.shutting_down.store(true, Ordering::Relaxed);
        self.shared.close_all(CloseReason::ServerShutdown).await;
    }

    pub fn metrics(&self) -> RoomMetrics {
        let rooms = lock(&self.shared.directory).by_index.len();
        let shards = lock(&self.shared.shards).clone();
        RoomMetrics {
            backends: self.shared.dataplane.backends(),
            ..self.shared.counters.read(rooms, shards)
        }
    }

    /// Makes the room of `request`, or has an existing one take over what the request says.
    pub(crate) async fn create(
        &self,
        request: proto::CreateRoomRequest,
    ) -> Result<proto::Room, ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(mailbox) = self.shared.room_or_new(&request) else {
                break;
            };
            let (reply, result) = oneshot::channel();
            let call = ApiCall::Create(Box::new(request.clone()), reply);
            if mailbox.send(RoomMessage::Api(Box::new(call))).await.is_ok()
                && let Ok(result) = result.await
            {
                return result;
            }
        }
        Err(ApiError::new(
            super::error::ApiCode::Unavailable,
            "no room could be made",
        ))
    }

    /// Asks the room of this name.
    pub(crate) async fn call<T>(
        &self,
        room: &str,
        call: impl FnOnce(Reply<T>) -> ApiCall,
    ) -> Result<T, ApiError> {
        let mailbox = self
            .shared
            .room(room)
            .ok_or_else(ApiError::room_not_found)?;
        let (reply, result) = oneshot::channel();
        mailbox
            .send(RoomMessage::Api(Box::new(call(reply))))
            .await
            .map_err(|_| ApiError::room_not_found())?;
        result.await.map_err(|_| ApiError::room_not_found())?
    }

    pub(crate) async fn close(&self, room: &str, reason: CloseReason) -> Result<(), ApiError> {
        let mailbox = self
            .shared
            .room(room)
            .ok_or_else(ApiError::room_not_found)?;
        let (reply, done) = oneshot::channel();
        mailbox
            .send(RoomMessage::Close(reason, reply))
            .await
            .map_err(|_| ApiError::room_not_found())?;
        // A room that ended meanwhile is closed as well.
        let _ = done.await;
        Ok(())
    }

    pub(crate) fn mailboxes(&self) -> Vec<mpsc::Sender<RoomMessage>> {
        self.shared.mailboxes()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

impl Shared {
    fn shards_needed(&self) -> usize {
        self.settings.shards.max(1)
    }

    async fn close_all(&self, reason: CloseReason) {
        for mailbox in self.mailboxes() {
            let (reply, done) = oneshot::channel();
            if mailbox
                .send(RoomMessage::Close(reason, reply))
                .await
                .is_ok()
            {
                let _ = done.await;
            }
        }
    }

    fn exists(&self, name: &str) -> bool {
        lock(&self.directory).by_name.contains_key(name)
    }

    fn room(&self, name: &str) -> Option<mpsc::Sender<RoomMessage>> {
        let directory = lock(&self.directory);
        let index = directory.by_name.get(name)?;
        Some(directory.by_index.get(index)?.mailbox.clone())
    }

    pub(crate) fn room_by_index(&self, index: u32) -> Option<mpsc::Sender<RoomMessage>> {
        let directory = lock(&self.directory);
        Some(directory.by_index.get(&index)?.mailbox.clone())
    }

    fn mailboxes(&self) -> Vec<mpsc::Sender<RoomMessage>> {
        let directory = lock(&self.directory);
        directory
            .by_index
            .values()
            .map(|entry| entry.mailbox.clone())
            .collect()
    }

    /// The room of this name, made if need be. None while no shard is there.
    fn room_or_new(
        self: &Arc<Self>,
        request: &proto::CreateRoomRequest,
    ) -> Option<mpsc::Sender<RoomMessage>> {
        let mut directory = lock(&self.directory);
        if let Some(index) = directory.by_name.get(&request.name)
            && let Some(entry) = directory.by_index.get(index)
        {
            return Some(entry.mailbox.clone());
        }
        let shard = self.emptiest_shard(&directory)?;
        directory.last_index += 1;
        let index = directory.last_index;
        let (mailbox, messages) = mpsc::channel(MAILBOX_MAX);
        let room = Room::new(Arc::clone(self), index, shard, mailbox.downgrade(), request);
        directory.insert(index, &request.name, mailbox.clone(), shard);
        tokio::spawn(room.run(messages));
        Some(mailbox)
    }

    /// Starts a room whose index and shard are given.
    pub(crate) fn start_room(
        &self,
        index: u32,
        name: &str,
        shard: ShardId,
        make: impl FnOnce(mpsc::WeakSender<RoomMessage>) -> Room,
    ) {
        let (mailbox, messages) = mpsc::channel(MAILBOX_MAX);
        let room = make(mailbox.downgrade());
        lock(&self.directory).insert(index, name, mailbox, shard);
        tokio::spawn(room.run(messages));
    }

    /// Gives no index up to this one any more.
    pub(crate) fn skip_indices(&self, last: u32) {
        let mut directory = lock(&self.directory);
        directory.last_index = directory.last_index.max(last);
    }

    /// The home of a new room: where the fewest rooms are.
    fn emptiest_shard(&self, directory: &Directory) -> Option<ShardId> {
        self.dataplane.shard_ids().into_iter().min_by_key(|shard| {
            let rooms = directory.by_index.values();
            rooms.filter(|entry| entry.shard == *shard).count()
        })
    }

    /// Takes an ended room out. Its name may be another room's already.
    pub(crate) fn remove(&self, name: &str, index: u32) {
        let mut directory = lock(&self.directory);
        directory.by_index.remove(&index);
        if directory.by_name.get(name) == Some(&index) {
            directory.by_name.remove(name);
        }
    }

    pub(crate) fn set_shard_metrics(&self, shard: ShardId, metrics: ShardMetrics) {
        lock(&self.shards).insert(shard, metrics);
    }
}

/// A panic while the lock was held left plain maps behind, which are whole after each statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
