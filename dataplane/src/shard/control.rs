//! Moves what DTLS and SCTP of a transport have to say, and acts on it.

use std::collections::VecDeque;

use millrace_netio::{TrainHint, Transmit};
use millrace_shared::ice::Tuple;
use millrace_shared::link::{CloseReason, Event, ShardMetrics};
use millrace_shared::time::Timestamp;

use super::Shard;
use super::egress::send_datagram;
use super::timers::Reason;
use crate::slots::Slot;
use crate::transport::channels::ChannelKind;
use crate::transport::{Outlet, Signal};

/// Sends a transport's datagrams on its selected tuple.
struct TupleOutlet<'a> {
    tuple: Option<Tuple>,
    train: TrainHint,
    tx: &'a mut dyn Transmit,
    metrics: &'a mut ShardMetrics,
}

impl Outlet for TupleOutlet<'_> {
    fn send(&mut self, datagram: &[u8]) {
        if let Some(tuple) = self.tuple {
            send_datagram(&mut self.train, tuple, datagram, self.tx, self.metrics);
        }
    }
}

impl Shard {
    /// Moves everything that `slot`, and whoever it sent data to, has to say.
    pub(super) fn pump(&mut self, now: Timestamp, slot: Slot, tx: &mut dyn Transmit) {
        let mut queue = std::mem::take(&mut self.pump_queue);
        queue.push_back(slot);
        self.pump_all(now, &mut queue, tx);
        self.pump_queue = queue;
    }

    /// The queue holds each transport that was given something to say; handling one may add others
    /// (data fans out), never itself without end: every message is taken from a channel once.
    pub(super) fn pump_all(
        &mut self,
        now: Timestamp,
        queue: &mut VecDeque<Slot>,
        tx: &mut dyn Transmit,
    ) {
        while let Some(slot) = queue.pop_front() {
            let Some(transport) = self.transports.get_mut(slot) else {
                continue;
            };
            let mut signals = std::mem::take(&mut self.signals);
            let mut outlet = TupleOutlet {
                tuple: transport.ice.selected(),
                train: transport.train,
                tx,
                metrics: &mut self.metrics,
            };
            transport.pump(
                now,
                &self.epoch,
                &mut self.poll_buffer,
                &mut outlet,
                &mut signals,
            );
            transport.train = outlet.train;
            self.data_buffered.recount(transport);
            for signal in signals.drain(..) {
                self.act_on(now, slot, signal, queue);
            }
            self.signals = signals;
            self.arm_transport(slot);
        }
    }

    fn act_on(&mut self, now: Timestamp, slot: Slot, signal: Signal, queue: &mut VecDeque<Slot>) {
        match signal {
            Signal::Connected => {
                self.half_open.settled(slot);
                let Some(transport) = self.transports.get(slot) else {
                    return;
                };
                self.emit(Event::Connected {
                    transport: transport.id,
                });
                // Subscribed tracks could not be sent until now: they start with a key frame.
                for down in transport.down_tracks.clone() {
                    self.arm_down(now, down);
                }
            }
            Signal::Closed(reason) => self.close(slot, reason),
            Signal::ChannelOpened(ChannelKind::Reliable) => {
                self.replay_since_joined(now, slot);
                queue.push_back(slot);
            }
            Signal::ChannelOpened(ChannelKind::Lossy) => {}
            Signal::Data { kind, payload } => {
                if let Err(reason) = self.receive_data(now, slot, kind, &payload, queue) {
                    self.count(reason);
                }
            }
            Signal::Dropped(reason) => self.count(reason),
        }
    }

    /// The association is finished. The control plane hears of it and removes the transport.
    pub(super) fn close(&mut self, slot: Slot, reason: CloseReason) {
        let Some(transport) = self.transports.get_mut(slot) else {
            return;
        };
        if std::mem::replace(&mut transport.closed, true) {
            return;
        }
        transport.security.revoke();
        self.half_open.settled(slot);
        let transport = transport.id;
        self.emit(Event::Closed { transport, reason });
    }

    pub(super) fn arm_transport(&mut self, slot: Slot) {
        if let Some(transport) = self.transports.get_mut(slot) {
            let at = transport.next_timeout();
            self.timers
                .arm(&mut transport.armed, at, Reason::Transport(slot));
        }
    }
}
