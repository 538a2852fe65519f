//! What the kernel tells of a process from outside: processor time by thread, memory, and datagrams
//! that its sockets dropped.

use std::collections::HashSet;
use std::fs;
use std::io;

use crate::report::model::{ServerUsage, ThreadCpu, ThreadRole};

/// Ticks per second in `/proc/*/stat`: what Linux shows to user space on every architecture.
const USER_HZ: f64 = 100.0;

/// By so much the ticks may exceed the threads' sum without a thread having ended.
const THREADS_ENDED_S: f64 = 0.05;

/// What can be had of a process for two small files, however large it is.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Totals {
    pub user_s: f64,
    pub system_s: f64,
    pub rss_bytes: u64,
}

/// One look at a process.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reading {
    pub user_s: f64,
    pub system_s: f64,
    pub rss_bytes: u64,
    pub threads: Vec<ThreadReading>,
    pub socket_drops: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ThreadReading {
    pub tid: u32,
    pub name: String,
    pub cpu_s: f64,
}

impl ThreadReading {
    /// The shard it runs. A shard's executor appends a number of its own, and a second thread of
    /// the same name does its blocking calls: `shard-0-1`.
    pub fn shard(&self) -> Option<u32> {
        let number = self.name.strip_prefix("shard-")?.split('-').next()?;
        number.parse().ok()
    }
}

/// A process under watch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Process {
    pub pid: u32,
}

impl Process {
    pub fn own() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    pub fn totals(self) -> io::Result<Totals> {
        let stat = self.file("stat")?;
        let (user_s, system_s) = cpu_times(&stat).ok_or_else(|| malformed("stat"))?;
        let status = self.file("status")?;
        let rss_bytes = rss_bytes(&status).ok_or_else(|| malformed("status"))?;
        Ok(Totals {
            user_s,
            system_s,
            rss_bytes,
        })
    }

    pub fn read(self) -> io::Result<Reading> {
        let Totals {
            user_s,
            system_s,
            rss_bytes,
        } = self.totals()?;
        Ok(Reading {
            user_s,
            system_s,
            rss_bytes,
            threads: self.threads()?,
            socket_drops: self.socket_drops()?,
        })
    }

    /// Name of its program, which an SFU's answer to a join does not have.
    pub fn name(self) -> Option<String> {
        Some(self.file("comm").ok()?.trim_end().to_owned())
    }

    /// CPUs that it may run on.
    pub fn cpus(self) -> Option<Vec<u32>> {
        let status = self.file("status").ok()?;
        let list = field(&status, "Cpus_allowed_list:")?;
        cpu_list(list)
    }

    /// What its control group grants, in CPUs; `None` without a limit.
    pub fn cpu_quota(self) -> Option<f64> {
        let groups = self.file("cgroup").ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let limit = fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.max")).ok()?;
        let (quota, period) = limit.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    }

    fn file(self, name: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid))
    }

    fn threads(self) -> io::Result<Vec<ThreadReading>> {
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let tid = entry?.file_name().to_string_lossy().parse().ok();
            // A thread may end between being listed and being read.
            threads.extend(tid.and_then(|tid| self.thread(tid)));
        }
        Ok(threads)
    }

    fn thread(self, tid: u32) -> Option<ThreadReading> {
        let name = self.file(&format!("task/{tid}/comm")).ok()?;
        // Nanoseconds on a processor, waiting for one, and slices.
        let times = self.file(&format!("task/{tid}/schedstat")).ok()?;
        let on_cpu: f64 = times.split(' ').next()?.parse().ok()?;
        Some(ThreadReading {
            tid,
            name: name.trim_end().to_owned(),
            cpu_s: on_cpu / 1e9,
        })
    }

    fn socket_drops(self) -> io::Result<u64> {
        let mut inodes = HashSet::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid))? {
            let link = fs::read_link(entry?.path()).unwrap_or_default();
            let link = link.to_string_lossy();
            let inode = link.strip_prefix("socket:[");
            inodes.extend(inode.and_then(|it| it.trim_end_matches(']').parse::<u64>().ok()));
        }
        // Of the process's own network namespace.
        let tables = ["net/udp", "net/udp6"].map(|name| self.file(name).unwrap_or_default());
        Ok(tables.iter().map(|table| drops(table, &inodes)).sum())
    }
}

impl Reading {
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    /// What a process used since `earlier`.
    pub fn since(&self, earlier: &Self) -> ServerUsage {
        let threads: Vec<_> = self
            .threads
            .iter()
            .map(|thread| ThreadCpu {
                name: thread.name.clone(),
                role: role(thread),
                cpu_s: thread.cpu_s - earlier.thread_cpu_s(thread.tid),
            })
            .collect();
        let (user_s, system_s) = (
            self.user_s - earlier.user_s,
            self.system_s - earlier.system_s,
        );
        // Ticks of 10 ms are coarse for an idle server: the threads' sum is exact, and the ticks say
        // how it divides. Of a process whose threads have ended the ticks know more.
        let exact: f64 = threads.iter().map(|thread| thread.cpu_s).sum();
        let ticks = user_s + system_s;
        let total = if exact + THREADS_ENDED_S < ticks {
            ticks
        } else {
            exact
        };
        let user_share = if ticks > 0.0 { user_s / ticks } else { 0.5 };
        ServerUsage {
            cpu_user_s: total * user_share,
            cpu_system_s: total * (1.0 - user_share),
            threads,
            rss_bytes: self.rss_bytes,
            socket_drops: Some(self.socket_drops.saturating_sub(earlier.socket_drops)),
        }
    }

    fn thread_cpu_s(&self, tid: u32) -> f64 {
        let found = self.threads.iter().find(|thread| thread.tid == tid);
        found.map_or(0.0, |thread| thread.cpu_s)
    }
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/*/{file}"))
}

/// Fields 14 and 15. The second field, a name in parentheses, may hold anything.
fn cpu_times(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? / USER_HZ, next()? / USER_HZ))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let text = field(status, "VmRSS:")?.strip_suffix(" kB")?;
    text.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Ranges and numbers, as `0-3,8`.
fn cpu_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus)
}

/// The last column of the sockets with these inodes.
fn drops(table: &str, inodes: &HashSet<u64>) -> u64 {
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let columns: Vec<_> = row.split_ascii_whitespace().collect();
        let inode = columns.get(9)?.parse().ok()?;
        inodes.contains(&inode).then_some(())?;
        columns.last()?.parse::<u64>().ok()
    })
    .sum()
}

/// By the names that Millrace gives its threads.
fn role(thread: &ThreadReading) -> ThreadRole {
    if let Some(shard) = thread.shard() {
        ThreadRole::Shard(shard)
    } else if thread.name.starts_with("control") {
        ThreadRole::Control
    } else {
        ThreadRole::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_blanks() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_times(stat), Some((2.5, 0.5)));
    }

    #[test]
    fn drops_are_those_of_the_process() {
        let table = "  sl  local_address ...\n  \
            10: 0100007F:1F40 00000000:0000 07 0:0 00:0 0 0 0 777 2 00 5\n  \
            11: 0100007F:1F41 00000000:0000 07 0:0 00:0 0 0 0 778 2 00 9\n";
        assert_eq!(drops(table, &HashSet::from([777])), 5);
    }

    #[test]
    fn shards_are_known_by_the_names_of_their_threads() {
        let shard = |name: &str| {
            let thread = ThreadReading {
                tid: 1,
                name: name.to_owned(),
                cpu_s: 0.0,
            };
            thread.shard()
        };
        assert_eq!((shard("shard-0"), shard("shard-12-3")), (Some(0), Some(12)));
        assert_eq!(
            (shard("shard"), shard("shards-1"), shard("control")),
            (None, None, None)
        );
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("x"), None);
    }

    #[test]
    fn we_can_read_ourselves() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = Process::own().read().unwrap();
        let spun: u64 = (0..3_000_000_u64).map(std::hint::black_box).sum();
        assert!(spun > 0);
        let after = Process::own().read().unwrap();
        let usage = after.since(&before);
        assert!(usage.rss_bytes > 1 << 20);
        assert!(usage.threads.iter().map(|it| it.cpu_s).sum::<f64>() > 0.0);
        assert_eq!(usage.socket_drops, Some(0));
        drop(socket);
    }

    #[test]
    fn a_socket_nobody_reads_drops() {
        let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = Process::own().read().unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2000 {
            sender
                .send_to(&[0; 1400], deaf.local_addr().unwrap())
                .unwrap();
        }
        let usage = Process::own().read().unwrap().since(&before);
        assert!(usage.socket_drops > Some(100), "{:?}", usage.socket_drops);
    }
}
