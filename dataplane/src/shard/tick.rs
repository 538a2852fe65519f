//! The loop of a shard: the only place that knows the order of the stages.
//!
//! ```text
//! 1 datagrams   netio -> demux -> transport.unprotect -> uptrack.receive -> router.fanout
//!               -> downtrack.forward -> transport.protect, into netio's send arena
//! 2 lanes       what other shards sent, a bounded number from each
//! 3 commands    of the control plane, a bounded number
//! 4 timers      due
//! 5 submit      everything the tick wrote, as trains; wake the shards that were sent something
//! ```

use std::time::Duration;

use millrace_netio::{NetCounters, NetIo};
use millrace_shared::link::Command;
use millrace_shared::time::Timestamp;

use super::Shard;

/// Datagrams of one tick. Bounds how long a command or a timer waits under overload: 256 packets to
/// 100 subscribers are about 30 ms.
pub(super) const DATAGRAMS_PER_TICK_MAX: usize = 256;
/// Commands of one tick; one that adds a track costs some microseconds.
const COMMANDS_PER_TICK_MAX: usize = 64;
/// When to try again to hand over what a full control lane did not take. The other shard empties it
/// in one tick.
const LANE_RETRY: Duration = Duration::from_millis(1);

/// Copies of a packet from which on its trains wait for the rest of the frame. A frame comes back to
/// back: its first packet alone would take a system call's worth of work for each copy, in which the
/// rest arrives. For a paced one, whose next packet does not come, it is one wake-up in vain.
pub(super) const LINGER_COPIES_MIN: u64 = 64;
/// How long they wait at most.
const LINGER: Duration = Duration::from_micros(200);

impl Shard {
    /// One pass. Returns when the next one is due at the latest.
    pub fn tick(
        &mut self,
        now: Timestamp,
        io: &mut dyn NetIo,
        commands: &mut dyn Iterator<Item = Command>,
    ) -> Timestamp {
        self.metrics.ticks += 1;
        self.resume(now);
        self.berths.begin_tick(now);
        let (rx, tx) = io.split();
        let mut received = 0;
        while received < DATAGRAMS_PER_TICK_MAX
            && let Some(datagram) = rx.receive()
        {
            self.receive(now, datagram, tx);
            received += 1;
        }
        let more = self.receive_lanes(now, tx);
        let mut applied = 0;
        while applied < COMMANDS_PER_TICK_MAX
            && let Some(command) = commands.next()
        {
            self.apply(now, command, tx);
            applied += 1;
        }
        // Each entry once: one that arms itself again for the past must not keep the loop from
        // packets and commands.
        for _ in 0..self.timers.len() {
            let Some((at, reason)) = self.timers.pop_due(now) else {
                break;
            };
            self.handle_timeout(now, at, reason, tx);
        }
        let more = more || received == DATAGRAMS_PER_TICK_MAX || applied == COMMANDS_PER_TICK_MAX;
        self.linger(now, more);
        if !self.is_lingering() {
            io.submit();
        }
        let waits = self.lanes.flush();
        self.note_io(&io.counters());
        if more {
            return now;
        }
        let retry = if waits {
            now + LANE_RETRY
        } else {
            Timestamp::NEVER
        };
        let lingers_until = self.lingers_until.unwrap_or(Timestamp::NEVER);
        self.timers.next().min(retry).min(lingers_until)
    }

    /// What the last tick wrote has not been submitted: the rest of a frame may join it.
    pub fn is_lingering(&self) -> bool {
        self.lingers_until.is_some()
    }

    fn linger(&mut self, now: Timestamp, more: bool) {
        let until = self.lingers_until.unwrap_or(now + LINGER);
        // The last tick has nothing behind it.
        let lingers = self.frame_open && !more && !self.stopping && now < until;
        self.lingers_until = lingers.then_some(until);
    }

    /// Goes on with the tick that lingers, or begins a new one.
    fn resume(&mut self, now: Timestamp) {
        if self.is_lingering() {
            let passed = now.since(self.ticked_at);
            for waited in &mut self.forwarded_waits {
                *waited += passed;
            }
        } else {
            self.forwarded_waits.clear();
            self.frame_open = false;
        }
        self.ticked_at = now;
    }

    /// The tick that began at `began` has handed everything to the kernel.
    pub fn note_handed_over(&mut self, began: Timestamp, now: Timestamp) {
        let held = now.since(began);
        for waited in self.forwarded_waits.drain(..) {
            self.metrics.forwarding.record(waited + held);
        }
    }

    /// CPU time of the shard's thread so far.
    pub fn note_cpu_time(&mut self, cpu: Duration) {
        self.metrics.cpu = cpu;
    }

    fn note_io(&mut self, io: &NetCounters) {
        let metrics = &mut self.metrics;
        metrics.receive_starved = io.receive.starved;
        metrics.receive_errors = io.receive.errors;
        metrics.datagrams_sent = io.send.datagrams;
        metrics.bytes_sent = io.send.bytes;
        metrics.trains = io.send.trains;
        metrics.sends = io.send.submissions;
        metrics.gso_refused = io.send.gso_refused;
        metrics.send_full = io.send.errors.full;
        metrics.send_too_long = io.send.errors.message_size;
        metrics.send_unreachable = io.send.errors.unreachable;
        metrics.send_denied = io.send.errors.denied;
        metrics.send_other = io.send.errors.other;
        metrics.syscalls = io.syscalls;
        metrics.wakes = io.wakes;
    }
}
