//! Facts of this machine, for reports.

use std::fs;

use crate::report::model::{Machine, Nic};

/// What can be read without privileges; the rest stays empty.
pub fn facts() -> Machine {
    let cpuinfo = read("/proc/cpuinfo");
    let meminfo = read("/proc/meminfo");
    let flags = cpuinfo_field(&cpuinfo, "flags").unwrap_or_default();
    let virtualised = flags.split(' ').any(|flag| flag == "hypervisor");
    Machine {
        cpu_model: cpuinfo_field(&cpuinfo, "model name")
            .unwrap_or_default()
            .to_owned(),
        vcpus: u32::try_from(cpuinfo.matches("\nprocessor").count() + 1).unwrap_or(1),
        threads_per_core: threads_per_core(&cpuinfo),
        memory_bytes: memory_bytes(&meminfo).unwrap_or(0),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        hypervisor: virtualised.then(|| {
            let vendor = read("/sys/class/dmi/id/sys_vendor").trim().to_owned();
            if vendor.is_empty() {
                "unnamed".to_owned()
            } else {
                vendor
            }
        }),
        nics: nics(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn cpuinfo_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))
        .map(str::trim)
}

fn threads_per_core(cpuinfo: &str) -> Option<u32> {
    let siblings: u32 = cpuinfo_field(cpuinfo, "siblings")?.parse().ok()?;
    let cores: u32 = cpuinfo_field(cpuinfo, "cpu cores")?.parse().ok()?;
    siblings.checked_div(cores)
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kb: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kb * 1024)
}

fn nics() -> Vec<Nic> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut nics: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of = |file: &str| read(&format!("/sys/class/net/{name}/{file}"));
            let driver = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok();
            Nic {
                driver: driver
                    .and_then(|path| path.file_name().map(|it| it.to_string_lossy().into_owned())),
                mtu: of("mtu").trim().parse().unwrap_or(0),
                // Virtual ones say -1.
                speed_mbps: of("speed").trim().parse().ok(),
                udp_segmentation: None,
                udp_gro: None,
                tx_checksum: None,
                name,
            }
        })
        .collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuinfo_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast\nsiblings\t: 4\ncpu cores\t: 2\n";
        assert_eq!(cpuinfo_field(cpuinfo, "model name"), Some("Fast"));
        assert_eq!(threads_per_core(cpuinfo), Some(2));
    }

    #[test]
    fn this_machine_has_facts() {
        let machine = facts();
        assert!(machine.vcpus >= 1);
        assert!(machine.memory_bytes > 1 << 20);
        assert!(machine.nics.iter().any(|nic| nic.name == "lo"));
    }
}
