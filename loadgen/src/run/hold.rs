//! Holding one load and measuring it.

use std::time::{Duration, Instant};

use millrace_shared::time::Timestamp;
use tokio::time::{sleep, timeout};

use super::crowd::JoinLog;
use super::{Run, RunError};
use crate::measure::Meter;
use crate::pump::Sample;
use crate::report::model::{
    self, Delivered, Freezes, GeneratorUsage, Integrity, Joins, Offered, Phase, Step,
};
use crate::watch::{Process, Reading};

/// Beyond the time that joins are spread over, for those still on their way.
const JOIN_GRACE: Duration = Duration::from_secs(16);
/// A media thread answers within a few milliseconds, or has ended.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);
/// A media thread this busy leaves packets waiting.
const THREAD_FULL: f64 = 0.90;
/// Share of packets sent late beyond which the load was not what was asked for.
const LATE_SHARE_MAX: f64 = 0.01;

/// One load to hold.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Hold {
    pub size: u32,
    pub duration: Duration,
    pub phase: Phase,
    pub share_of_knee: Option<f64>,
}

/// What is shown while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub joined: u32,
    pub wanted: u32,
    pub elapsed_s: f64,
    pub duration_s: f64,
    /// Of the last second; nothing while joining.
    pub second: Option<Second>,
}

#[derive(Copy, Clone, Debug, Default)]
pub struct Second {
    pub sent_per_s: f64,
    pub received_per_s: f64,
    pub received_bps: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub lost: u64,
}

/// Everything taken at one moment.
#[derive(Debug)]
struct Snapshot {
    at: Instant,
    meter: Meter,
    own: Reading,
    server: Option<Reading>,
}

impl Run {
    /// Brings the load to a size, holds it, and adds a step to the results.
    pub async fn hold(
        &mut self,
        hold: Hold,
        show: &mut dyn FnMut(&Live),
    ) -> Result<&Step, RunError> {
        let joined_in = self.join(hold, show).await;
        // Without metrics there are no shards to tell of.
        let metrics_before = self.metrics.read().await.unwrap_or_default();
        let before = self.snapshot().await?;
        let mut whole = Meter::default();
        let mut series = Vec::new();
        let mut last = None::<Reading>;
        let mut passed = 0.0;
        let mut end = before.at;
        let (mut own, mut server) = (before.own.clone(), before.server.clone());
        while end.duration_since(before.at) < hold.duration && !self.is_interrupted() {
            let left = hold.duration.saturating_sub(end.duration_since(before.at));
            self.pass_time(left.min(SECOND), hold.size, &mut passed)
                .await;
            let now = self.snapshot().await?;
            let sample = self.sample(end, &now, last.as_ref().or(before.server.as_ref()));
            show(&self.live(hold, before.at, &sample, &now.meter));
            series.push(sample);
            whole.add(&now.meter);
            (end, own) = (now.at, now.own);
            last.clone_from(&now.server);
            server = now.server;
        }
        let metrics = self.metrics.read().await.unwrap_or_default();
        let log = self.crowd.take_log();
        let step = Step {
            phase: hold.phase,
            size: hold.size,
            share_of_knee: hold.share_of_knee,
            started_s: before.at.duration_since(self.began).as_secs_f64(),
            measured_s: end.duration_since(before.at).as_secs_f64(),
            usage: server
                .zip(before.server)
                .map(|(now, then)| now.since(&then)),
            shards: metrics.since(&metrics_before),
            generator: generator_usage(&own, &before.own, end - before.at, &whole),
            joins: Joins {
                attempted: log.attempted,
                failed: log.failed + log.broken,
                spread_s: joined_in.as_secs_f64(),
                series: log.series(),
                latency: log.latency.clone(),
            },
            series,
            ..self.step(&whole)
        };
        self.results.steps.push(step);
        self.check_presence(&log)?;
        Ok(&self.results.steps[self.results.steps.len() - 1])
    }

    /// Nobody there measures nothing.
    fn check_presence(&self, log: &JoinLog) -> Result<(), RunError> {
        if log.joined == 0 && log.attempted > 0 && log.failed == log.attempted {
            let errors = self.crowd.errors();
            return Err(RunError::NobodyJoined(errors.join("; ")));
        }
        Ok(())
    }

    /// Brings the load to a size and lets it settle. Returns how long the joins took all together.
    async fn join(&mut self, hold: Hold, show: &mut dyn FnMut(&Live)) -> Duration {
        let began = Instant::now();
        let people = self.config.scenario.participants(hold.size);
        let passers = self.config.scenario.passers(hold.size);
        let rate = self.config.joins_per_s;
        let (last, count) = self.crowd.resize(&people, passers, rate);
        let deadline = last + JOIN_GRACE;
        while Instant::now() < deadline && !self.is_interrupted() {
            sleep(POLL).await;
            let (joined, failed) = self.crowd.progress();
            show(&Live {
                joined,
                wanted: count,
                ..Live::default()
            });
            if joined + failed >= count {
                break;
            }
        }
        let took = began.elapsed();
        if !self.is_interrupted() {
            sleep(self.config.settle).await;
        }
        took
    }

    /// Waits, and lets people pass through if the scenario has such.
    async fn pass_time(&mut self, time: Duration, size: u32, passed: &mut f64) {
        let until = Instant::now() + time;
        let churn = self.config.scenario.churn.clone();
        let room = self.config.scenario.churn_room();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_interrupted() {
                return;
            }
            let Some(churn) = &churn else {
                let mut interrupted = self.interrupted.clone();
                // Either the time is over or the run is.
                let _ = timeout(left, interrupted.wait_for(|it| *it)).await;
                return;
            };
            let rate = churn.joins_per_s * f64::from(size.max(1));
            sleep(Duration::from_secs_f64(1.0 / rate).min(left)).await;
            *passed += 1.0;
            self.crowd.pass(&room, churn);
        }
    }

    /// What all media threads measured since the last time, and readings of the processes.
    async fn snapshot(&mut self) -> Result<Snapshot, RunError> {
        for pump in &self.pumps {
            pump.handle().send(crate::pump::Command::Sample);
        }
        let mut meter = Meter::default();
        let mut at = Timestamp::ZERO;
        for _ in 0..self.pumps.len() {
            let sample: Option<Sample> = timeout(SAMPLE_TIMEOUT, self.samples.recv())
                .await
                .ok()
                .flatten();
            let sample = sample.ok_or(crate::pump::PumpError::Ended)?;
            meter.add(&sample.meter);
            at = at.max(sample.at);
        }
        Ok(Snapshot {
            at: self.epoch.instant(at),
            meter,
            own: Process::own().read().unwrap_or_default(),
            server: match self.config.pid {
                Some(pid) => Some(
                    Process { pid }
                        .read()
                        .map_err(|source| RunError::Watch { pid, source })?,
                ),
                None => None,
            },
        })
    }

    fn sample(&self, begin: Instant, now: &Snapshot, then: Option<&Reading>) -> model::Sample {
        let length_s = now.at.duration_since(begin).as_secs_f64();
        let counters = &now.meter.counters;
        let usage = now
            .server
            .as_ref()
            .zip(then)
            .map(|(now, then)| now.since(then));
        model::Sample {
            at_s: begin.duration_since(self.began).as_secs_f64(),
            length_s,
            subscribers: self.crowd.census().subscribers,
            offered_bytes: counters.offered_bytes,
            delivered_bytes: counters.received_bytes,
            delivered_packets: counters.received,
            lost: counters.lost(),
            latency: now.meter.latency(),
            shard_cpu: usage.map_or(Vec::new(), |usage| {
                let shards = usage.shard_cpu_s().into_values();
                shards.map(|cpu_s| cpu_s / length_s.max(1e-3)).collect()
            }),
        }
    }

    fn live(&self, hold: Hold, begin: Instant, sample: &model::Sample, meter: &Meter) -> Live {
        let per_s = |count: u64| count as f64 / sample.length_s.max(1e-3);
        let ms = |percentile| {
            let ns = sample.latency.percentile_ns(percentile);
            ns.unwrap_or(0) as f64 / 1e6
        };
        let (joined, _) = self.crowd.progress();
        Live {
            joined,
            wanted: joined,
            elapsed_s: begin.elapsed().as_secs_f64(),
            duration_s: hold.duration.as_secs_f64(),
            second: Some(Second {
                sent_per_s: per_s(meter.counters.sent),
                received_per_s: per_s(meter.counters.received),
                received_bps: per_s(meter.counters.received_bytes) * 8.0,
                p50_ms: ms(50.0),
                p99_ms: ms(99.0),
                lost: sample.lost,
            }),
        }
    }

    fn step(&self, whole: &Meter) -> Step {
        let census = self.crowd.census();
        let counters = &whole.counters;
        Step {
            offered: Offered {
                rooms: census.rooms,
                publishers: census.publishers,
                subscribers: census.subscribers,
                tracks_published: census.tracks_published,
                tracks_subscribed: census.tracks_subscribed,
                packets_in: counters.sent,
                bytes_in: counters.sent_bytes,
                packets_out: counters.offered,
                bytes_out: counters.offered_bytes,
                frames: whole.frames.lens(),
            },
            delivered: Delivered {
                packets: counters.received,
                bytes: counters.received_bytes,
                packets_timed: counters.sampled,
                layers: counters.layers(),
            },
            latency: whole.latency(),
            integrity: Integrity {
                expected: (counters.received + counters.lost())
                    .saturating_sub(counters.duplicated + counters.forged),
                lost: counters.lost(),
                duplicated: counters.duplicated,
                reordered: counters.reordered,
                corrupted: counters.corrupted,
                forged: counters.forged,
                retransmitted: counters.recovered,
            },
            freezes: Freezes {
                count: counters.freezes,
                total_ms: counters.freeze_ms,
                longest_ms: whole.freeze_ms_max,
                subscribers: u32::try_from(counters.frozen).unwrap_or(u32::MAX),
            },
            ..Step::default()
        }
    }
}

fn generator_usage(
    now: &Reading,
    then: &Reading,
    window: Duration,
    whole: &Meter,
) -> GeneratorUsage {
    let usage = now.since(then);
    let busiest = usage
        .threads
        .iter()
        .filter(|thread| thread.name.starts_with("media-"))
        .map(|thread| thread.cpu_s / window.as_secs_f64().max(1e-3))
        .fold(0.0, f64::max);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let drops = usage.socket_drops.unwrap_or(0);
    GeneratorUsage {
        cpu_s: now.cpu_s() - then.cpu_s(),
        cpus: u32::try_from(cpus).unwrap_or(1),
        socket_drops: drops,
        limited_by: limit(drops, busiest, whole),
    }
}

/// Why a result says more of us than of the server.
fn limit(drops: u64, busiest: f64, whole: &Meter) -> Option<String> {
    let counters = &whole.counters;
    if drops > 0 {
        return Some(format!("its own sockets dropped {drops} datagrams"));
    }
    if busiest > THREAD_FULL {
        let percent = busiest * 100.0;
        return Some(format!(
            "a media thread used {percent:.0} % of its processor"
        ));
    }
    if counters.send_failed > 0 {
        let failed = counters.send_failed;
        return Some(format!("{failed} packets could not be sent"));
    }
    let late = counters.late_sent as f64 / counters.sent.max(1) as f64;
    (late > LATE_SHARE_MAX).then(|| format!("{:.1} % of packets were sent late", late * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_notices_its_own_limits() {
        let mut meter = Meter::default();
        meter.counters.sent = 1000;
        assert_eq!(limit(0, 0.5, &meter), None);
        assert!(limit(3, 0.5, &meter).unwrap().contains("dropped 3"));
        assert!(limit(0, 0.97, &meter).unwrap().contains("97 %"));
        meter.counters.late_sent = 20;
        assert!(limit(0, 0.5, &meter).unwrap().contains("2.0 %"));
    }
}
