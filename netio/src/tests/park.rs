//! Waiting, and being woken.

use super::*;

on_both_backends![
    the_doorbell_wakes_a_park,
    no_ring_of_the_doorbell_is_lost,
    a_late_wake_does_not_leave_the_doorbell_unheard,
    park_keeps_its_timeout,
];

fn the_doorbell_wakes_a_park(backend: Backend) {
    let mut node = Node::open(&config(backend));
    node.io.park(Some(Duration::ZERO));
    for _ in 0..3 {
        let doorbell = node.doorbell.clone();
        let ringer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            doorbell.ring();
        });
        let start = Instant::now();
        node.io.park(Some(Duration::from_secs(10)));
        assert!(start.elapsed() >= Duration::from_millis(15));
        assert!(start.elapsed() < Duration::from_secs(5));
        ringer.join().unwrap();
        // Rung while awake: the next park returns at once, the one after it waits.
        node.doorbell.ring();
        let start = Instant::now();
        node.io.park(Some(Duration::from_secs(10)));
        assert!(start.elapsed() < Duration::from_secs(5));
        let start = Instant::now();
        node.io.park(Some(Duration::from_millis(10)));
        node.io.park(Some(Duration::from_millis(10)));
        assert!(start.elapsed() >= Duration::from_millis(9));
    }
}

fn no_ring_of_the_doorbell_is_lost(backend: Backend) {
    const RINGS: u32 = 20_000;
    let mut node = Node::open(&config(backend));
    let doorbell = node.doorbell.clone();
    let (pushed, queue) = std::sync::mpsc::sync_channel::<u32>(1);
    let ringer = thread::spawn(move || {
        for number in 0..RINGS {
            // Waits until the last one is taken, so that every ring matters.
            pushed.send(number).unwrap();
            doorbell.ring();
        }
    });
    let mut taken = 0;
    while taken < RINGS {
        let drained = queue.try_iter().count() as u32;
        taken += drained;
        if taken < RINGS {
            let start = Instant::now();
            node.io.park(Some(Duration::from_secs(20)));
            assert!(start.elapsed() < Duration::from_secs(10), "after {taken}");
        }
    }
    ringer.join().unwrap();
}

/// A ringer may write to the eventfd only after the thread has woken for another reason. Taking
/// note of that within the next park must not leave that park deaf.
fn a_late_wake_does_not_leave_the_doorbell_unheard(backend: Backend) {
    let mut node = Node::open(&config(backend));
    let peer = peer("127.0.0.1");
    let path = node.path_to(&peer);
    node.io.park(Some(Duration::ZERO));
    for _ in 0..3 {
        crate::sys::eventfd_add(node.doorbell.as_fd());
        let (_, tx) = node.io.split();
        assert!(send(tx, &path, &mut TrainHint::default(), 10, 0));
        let doorbell = node.doorbell.clone();
        let (pushed, queue) = std::sync::mpsc::sync_channel(1);
        let ringer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            pushed.send(()).unwrap();
            doorbell.ring();
        });
        let start = Instant::now();
        while queue.try_recv().is_err() {
            node.io.park(Some(Duration::from_secs(5)));
        }
        assert!(start.elapsed() < Duration::from_secs(4));
        ringer.join().unwrap();
    }
}

fn park_keeps_its_timeout(backend: Backend) {
    let mut node = Node::open(&config(backend));
    node.io.park(Some(Duration::ZERO));
    for timeout in [Duration::from_micros(500), Duration::from_millis(20)] {
        let late = (0..20).map(|_| {
            let start = Instant::now();
            node.io.park(Some(timeout));
            let elapsed = start.elapsed();
            assert!(elapsed >= timeout, "{elapsed:?} of {timeout:?}");
            elapsed - timeout
        });
        // The best of several, because others use the machine too.
        let late = late.min().unwrap();
        assert!(
            late < Duration::from_millis(2),
            "{late:?} after {timeout:?}"
        );
    }
}
