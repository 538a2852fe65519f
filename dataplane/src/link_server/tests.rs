#![expect(clippy::disallowed_methods, reason = "the tests wait for threads")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_shared::ids::{MemoKey, TransportId};
use millrace_shared::link::codec::{FrameBuffer, read_message, write_frame, write_message};
use millrace_shared::link::{
    Command, Fingerprint, Greeting, Hello, LINK_VERSION, Opening, Snapshot, ToControlplane,
    ToDataplane,
};
use tempfile::TempDir;

use super::*;

/// Shards that only note their commands.
#[derive(Default)]
struct Shards(Mutex<Vec<(ShardId, Command)>>);

impl CommandSink for Shards {
    fn send(&self, shard: ShardId, command: Command) {
        self.0.lock().unwrap().push((shard, command));
    }
}

impl Shards {
    fn wait(&self, what: impl Fn(&Command) -> bool) -> Command {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            let found = self
                .0
                .lock()
                .unwrap()
                .iter()
                .find(|(_, c)| what(c))
                .cloned();
            if let Some((_, command)) = found {
                return command;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the command did not come");
    }

    fn wait_snapshot(&self, token: u64) {
        self.wait(|command| *command == Command::Snapshot { token });
    }
}

struct Node {
    shards: Arc<Shards>,
    events: Box<dyn EventSink>,
    _server: LinkServer,
    directory: TempDir,
}

fn node() -> Node {
    let directory = TempDir::new().unwrap();
    let listener = LinkListener::bind(&directory.path().join("link.sock")).unwrap();
    let shards = Arc::new(Shards::default());
    let events = listener.event_sink(ShardId(0));
    events.send(Event::Hello(Box::new(Hello {
        shard: ShardId(0),
        addresses: Vec::new(),
        fingerprint: Fingerprint([1; 32]),
        backend: "fake".into(),
    })));
    let server = listener.serve(Arc::<Shards>::clone(&shards), 1).unwrap();
    Node {
        shards,
        events,
        _server: server,
        directory,
    }
}

impl Node {
    fn path(&self) -> PathBuf {
        self.directory.path().join("link.sock")
    }

    fn connect(&self, restores: bool) -> Peer {
        let mut peer = Peer::new(&self.path());
        peer.open(&greeting(restores).encode());
        peer
    }

    /// What a shard answers.
    fn snapshot(&self, token: u64) {
        self.shards.wait_snapshot(token);
        self.events.send(Event::Snapshot(Box::new(Snapshot {
            token,
            shard: ShardId(0),
            transports: Vec::new(),
            last: true,
        })));
    }
}

fn greeting(restores: bool) -> Opening {
    Opening::Greeting(Greeting {
        build: "test".into(),
        pid: 4711,
        shards: 0,
        token: 0,
        restores,
    })
}

/// A control plane.
struct Peer {
    stream: UnixStream,
    received: FrameBuffer,
}

impl Peer {
    fn new(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Self {
            stream,
            received: FrameBuffer::default(),
        }
    }

    fn open(&mut self, opening: &[u8]) {
        let mut frame = Vec::new();
        write_frame(opening, &mut frame).unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    fn send(&mut self, message: &ToDataplane) {
        let mut frame = Vec::new();
        write_message(message, &mut frame).unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    /// The next frame; none at the end.
    fn frame(&mut self) -> Option<Bytes> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(frame) = self.received.next_frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.received.push(&bytes[..len]),
            }
        }
    }

    fn opening(&mut self) -> Opening {
        Opening::decode(&self.frame().unwrap()).unwrap()
    }

    fn refusal(&mut self) -> String {
        match self.opening() {
            Opening::Refusal(sentence) => sentence,
            Opening::Greeting(greeting) => panic!("accepted: {greeting:?}"),
        }
    }

    fn token(&mut self) -> u64 {
        match self.opening() {
            Opening::Greeting(greeting) => greeting.token,
            Opening::Refusal(sentence) => panic!("refused: {sentence}"),
        }
    }

    fn message(&mut self) -> ToControlplane {
        read_message(&self.frame().unwrap()).unwrap()
    }

    fn remember(&mut self, key: u64, memo: &'static [u8]) {
        self.send(&ToDataplane::Remember {
            key: MemoKey(key),
            memo: Bytes::from_static(memo),
        });
    }

    /// Everything sent before has been taken.
    fn settle(&mut self, node: &Node, transport: u64) {
        let transport = TransportId(transport);
        self.send(&ToDataplane::Command {
            shard: ShardId(0),
            command: Command::RemoveTransport { transport },
        });
        node.shards
            .wait(|command| *command == Command::RemoveTransport { transport });
    }
}

#[test]
fn a_control_plane_gets_hello_and_snapshot_before_anything_else() {
    let node = node();
    let mut peer = node.connect(true);
    let token = peer.token();
    node.shards.wait_snapshot(token);
    // Of before the snapshot: it is contained in it.
    let early = Event::Connected {
        transport: TransportId(1),
    };
    node.events.send(early);
    node.snapshot(token);
    let late = Event::Connected {
        transport: TransportId(2),
    };
    node.events.send(late.clone());
    assert!(matches!(
        peer.message(),
        ToControlplane::Event(Event::Hello(_))
    ));
    assert!(matches!(
        peer.message(),
        ToControlplane::Event(Event::Snapshot(part)) if part.last
    ));
    assert_eq!(peer.message(), ToControlplane::Event(late));
}

#[test]
fn memos_outlive_who_made_them() {
    let node = node();
    let mut first = node.connect(true);
    first.token();
    first.remember(1, b"room");
    first.remember(2, b"alice");
    first.remember(2, b"alice, older");
    first.remember(3, b"bob");
    first.send(&ToDataplane::Forget { key: MemoKey(3) });
    first.settle(&node, 7);
    drop(first);
    let mut second = node.connect(true);
    second.token();
    for (key, memo) in [(1, b"room".as_slice()), (2, b"alice, older")] {
        let memo = Bytes::from_static(memo);
        let key = MemoKey(key);
        assert_eq!(second.message(), ToControlplane::Memo { key, memo });
    }
    assert!(matches!(second.message(), ToControlplane::Event(_)));
    drop(second);
    // One that does not restore has no use for them, nor has who comes after it.
    for restores in [false, true] {
        let mut peer = node.connect(restores);
        peer.token();
        assert!(matches!(peer.message(), ToControlplane::Event(_)));
    }
}

#[test]
fn a_second_control_plane_is_refused_while_the_first_lives() {
    let node = node();
    let mut first = node.connect(true);
    first.token();
    let sentence = node.connect(true).refusal();
    assert!(sentence.contains("process 4711"), "{sentence}");
    first.settle(&node, 7);
    drop(first);
    node.connect(true).token();
}

#[test]
fn another_version_is_refused_with_a_sentence() {
    let node = node();
    let mut peer = Peer::new(&node.path());
    let mut opening = greeting(true).encode();
    opening[8..12].copy_from_slice(&(LINK_VERSION + 1).to_le_bytes());
    peer.open(&opening);
    let sentence = peer.refusal();
    assert!(sentence.contains("same release"), "{sentence}");
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let node = node();
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0xff; 64],
        &[3, 0, 0, 0, 1],
    ] {
        let mut peer = Peer::new(&node.path());
        peer.stream.write_all(garbage).unwrap();
        peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(peer.frame(), None);
    }
    let mut peer = node.connect(true);
    let token = peer.token();
    node.snapshot(token);
    peer.stream.write_all(&[5, 0, 0, 0, 9, 9, 9, 9, 9]).unwrap();
    while peer.frame().is_some() {}
    node.connect(true).token();
}

#[test]
fn a_shard_is_not_ended_over_the_socket() {
    let node = node();
    let mut peer = node.connect(true);
    peer.token();
    peer.send(&ToDataplane::Command {
        shard: ShardId(0),
        command: Command::Shutdown,
    });
    while peer.frame().is_some() {}
    let commands = node.shards.0.lock().unwrap();
    assert!(!commands.iter().any(|(_, c)| *c == Command::Shutdown));
}

#[test]
fn the_socket_is_its_users_alone_and_not_taken_twice() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("deeper/link.sock");
    let first = LinkListener::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = LinkListener::bind(&path).unwrap_err();
    assert!(matches!(taken, BindError::InUse(_)), "{taken}");
    drop(first);
    assert!(!path.exists());

    // What a killed process leaves behind: the file, and nobody behind it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = LinkListener::bind(&path).unwrap();
    drop(second);

    std::fs::write(&path, "a file").unwrap();
    let error = LinkListener::bind(&path).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
}
