use std::path::Path;

use millrace_shared::ids::TransportId;
use millrace_shared::link::{Fingerprint, Hello, LINK_VERSION, Snapshot};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::*;
use crate::room::Settings;

const TOKEN: u64 = 5;

/// A data plane as a test wants it.
struct Dataplane {
    listener: UnixListener,
}

struct Session {
    stream: UnixStream,
    received: FrameBuffer,
}

impl Dataplane {
    fn bind(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        Self {
            listener: UnixListener::bind(path).unwrap(),
        }
    }

    /// The next control plane and what it said first.
    async fn accept(&self) -> (Session, Greeting) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut session = Session {
            stream,
            received: FrameBuffer::default(),
        };
        let opening = session.frame().await;
        match Opening::decode(&opening).unwrap() {
            Opening::Greeting(greeting) => (session, greeting),
            Opening::Refusal(sentence) => panic!("{sentence}"),
        }
    }
}

impl Session {
    async fn frame(&mut self) -> Bytes {
        next_frame(&mut self.stream, &mut self.received)
            .await
            .unwrap()
    }

    async fn message(&mut self) -> ToDataplane {
        read_message(&self.frame().await).unwrap()
    }

    async fn open(&mut self, opening: &[u8]) {
        let mut frame = Vec::new();
        write_frame(opening, &mut frame).unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn send(&mut self, event: Event) {
        let mut frame = Vec::new();
        write_message(&ToControlplane::Event(event), &mut frame).unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Everything that a data plane with one empty shard says first.
    async fn welcome(&mut self) {
        self.open(&greeting().encode()).await;
        self.send(Event::Hello(Box::new(Hello {
            shard: ShardId(0),
            addresses: Vec::new(),
            fingerprint: Fingerprint([1; 32]),
            backend: "fake".into(),
        })))
        .await;
        self.send(Event::Snapshot(Box::new(Snapshot {
            token: TOKEN,
            shard: ShardId(0),
            transports: Vec::new(),
            last: true,
        })))
        .await;
    }
}

fn greeting() -> Opening {
    Opening::Greeting(Greeting {
        build: "test".into(),
        pid: 1,
        shards: 1,
        token: TOKEN,
        restores: false,
    })
}

struct Control {
    commands: LinkCommands,
    rooms: Rooms,
    task: tokio::task::JoinHandle<LinkError>,
}

fn control(path: &Path) -> Control {
    let (events_in, events) = mpsc::channel(64);
    let (commands, link) = open(path.to_owned(), events_in);
    let rooms = Rooms::start(Settings::default(), Arc::new(commands.clone()), events);
    let task = tokio::spawn(link.run(rooms.clone()));
    Control {
        commands,
        rooms,
        task,
    }
}

fn remove(transport: u64) -> Command {
    let transport = TransportId(transport);
    Command::RemoveTransport { transport }
}

async fn until_unready(rooms: &Rooms) {
    while rooms.is_ready() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn commands_and_memos_arrive_in_their_order() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("link.sock");
    let dataplane = Dataplane::bind(&path);
    let control = control(&path);
    let (mut session, greeting) = dataplane.accept().await;
    assert!(greeting.restores);
    assert!(!control.rooms.is_ready());
    session.welcome().await;
    control.rooms.ready().await;
    let (shard, key) = (ShardId(0), MemoKey(4));
    let memo = Bytes::from_static(b"memo");
    control.commands.send(shard, remove(1));
    control.commands.remember(key, memo.clone());
    control.commands.forget(key);
    control.commands.send(shard, remove(2));
    control.commands.flush().await;
    for expected in [
        ToDataplane::Command {
            shard,
            command: remove(1),
        },
        ToDataplane::Remember { key, memo },
        ToDataplane::Forget { key },
        ToDataplane::Command {
            shard,
            command: remove(2),
        },
    ] {
        assert_eq!(session.message().await, expected);
    }
}

#[tokio::test]
async fn a_data_plane_may_come_later_and_come_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("link.sock");
    let control = control(&path);
    sleep(Duration::from_millis(20)).await;
    let dataplane = Dataplane::bind(&path);
    let (mut session, _) = dataplane.accept().await;
    session.welcome().await;
    control.rooms.ready().await;

    drop(session);
    drop(dataplane);
    until_unready(&control.rooms).await;
    // Meant for the one that died: the next one must not get it.
    control.commands.send(ShardId(0), remove(1));
    let dataplane = Dataplane::bind(&path);
    let (mut session, greeting) = dataplane.accept().await;
    assert!(!greeting.restores, "its clients were told to join anew");
    session.welcome().await;
    control.rooms.ready().await;
    control.commands.send(ShardId(0), remove(2));
    assert_eq!(
        session.message().await,
        ToDataplane::Command {
            shard: ShardId(0),
            command: remove(2),
        }
    );
}

#[tokio::test]
async fn garbage_counts_as_the_end_of_the_data_plane() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("link.sock");
    let dataplane = Dataplane::bind(&path);
    let control = control(&path);
    let (mut session, _) = dataplane.accept().await;
    session.welcome().await;
    control.rooms.ready().await;
    session.stream.write_all(&[0xff; 64]).await.unwrap();
    until_unready(&control.rooms).await;
    let (mut session, _) = dataplane.accept().await;
    session.welcome().await;
    control.rooms.ready().await;
}

#[tokio::test]
async fn a_refusal_and_another_version_end_it_with_a_sentence() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("link.sock");
    let dataplane = Dataplane::bind(&path);
    let refused = control(&path);
    let (mut session, _) = dataplane.accept().await;
    session
        .open(&Opening::Refusal("another one is connected".into()).encode())
        .await;
    let error = refused.task.await.unwrap().to_string();
    assert!(error.contains("another one is connected"), "{error}");

    let mismatched = control(&path);
    let (mut session, _) = dataplane.accept().await;
    let mut opening = greeting().encode();
    opening[8..12].copy_from_slice(&(LINK_VERSION + 1).to_le_bytes());
    session.open(&opening).await;
    let error = mismatched.task.await.unwrap().to_string();
    assert!(error.contains("same release"), "{error}");
}
