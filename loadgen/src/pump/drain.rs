//! Receiving alone: what a media thread's receiving is compared with.

use std::time::Instant;

use crossbeam_channel::Receiver;
use millrace_netio::NetIo;
use tokio::sync::mpsc::UnboundedSender;

use super::thread::{DRAIN_MAX, PARK_MAX};
use super::wait::wait;
use super::{Command, PumpConfig, Sample};
use crate::measure::Meter;

/// Until the command to stop.
pub(super) fn run(
    config: &PumpConfig,
    mut io: Box<dyn NetIo>,
    commands: &Receiver<Command>,
    samples: &UnboundedSender<Sample>,
) {
    let mut meter = Meter::default();
    loop {
        let (rx, _) = io.split();
        let mut found = 0;
        while found < DRAIN_MAX && rx.receive().is_some() {
            found += 1;
        }
        meter.counters.received += found as u64;
        for command in commands.try_iter() {
            match command {
                Command::Stop => return,
                Command::Sample => {
                    let sample = Sample {
                        thread: config.index,
                        meter: meter.take(),
                        net: io.counters(),
                        peers: 0,
                        cpu: millrace_netio::thread_cpu_time(),
                        at: config.epoch.timestamp(Instant::now()),
                    };
                    // Nobody listens any more when the run is over.
                    let _ = samples.send(sample);
                }
                // It has no clients.
                _ => {}
            }
        }
        wait(io.as_mut(), PARK_MAX, found > 0, config.receive_interval);
    }
}
