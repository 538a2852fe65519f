//! UDP by io_uring, or by sendmmsg and recvmmsg, behind one small interface; the only unsafe code
//! of the product. It knows datagrams, addresses and trains, and no protocol above UDP.
//!
//! A thread opens its sockets with [`open()`] and then loops: [`NetIo::split`], take what has
//! arrived from [`Receive`] while reserving room for what leaves in [`Transmit`],
//! [`NetIo::submit`], [`NetIo::park`].

#![deny(unsafe_code)]

mod address;
mod batch;
mod buffers;
mod cpu;
mod doorbell;
mod interface;
mod interfaces;
mod memory;
mod mmsg;
mod open;
mod outbox;
mod queue;
mod ring;
mod socket;
mod sys;
mod train;

pub use cpu::{allowed_cpus, pin_to_cpu, ring_allowed, thread_cpu_time};
pub use doorbell::Doorbell;
pub use interface::{
    Datagram, NetCounters, NetIo, Receive, ReceiveCounters, SendCounters, SendErrors, TrainHint,
    Transmit,
};
pub use interfaces::local_addresses;
pub use open::{Backend, BackendFacts, Config, OpenError, ensure_free, open};

#[cfg(test)]
mod tests;
