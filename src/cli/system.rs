//! `--check-system`: settings of the kernel that make a server slow or unsafe.

use std::fs;

/// What was looked at, one line each, and whether all of it is well.
pub fn check_system() -> (String, bool) {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_string());
    let findings = [
        overcommit(read("/proc/sys/vm/overcommit_memory").as_deref()),
        backlog(read("/proc/sys/net/core/somaxconn").as_deref()),
        clock(read("/sys/devices/system/clocksource/clocksource0/current_clocksource").as_deref()),
    ];
    let well = findings.iter().all(|finding| finding.well);
    let line = |finding: &Finding| {
        let mark = if finding.well { "OK" } else { "WARNING" };
        format!("[{}] {mark}: {}", finding.about, finding.text)
    };
    (findings.iter().map(line).collect::<Vec<_>>().join("\n"), well)
}

struct Finding {
    about: &'static str,
    well: bool,
    text: String,
}

fn finding(about: &'static str, well: bool, text: impl Into<String>) -> Finding {
    Finding { about, well, text: text.into() }
}

fn overcommit(mode: Option<&str>) -> Finding {
    match mode {
        Some("1") => finding("overcommit", true, "memory is promised freely, as forks need it"),
        Some(mode) => finding(
            "overcommit",
            false,
            format!(
                "vm.overcommit_memory is {mode}: a snapshot's fork may fail when memory is short. \
                 Set it to 1 with: sysctl vm.overcommit_memory=1"
            ),
        ),
        None => finding("overcommit", true, "unknown here"),
    }
}

/// The backlog a server asks for by default.
const BACKLOG: u32 = 511;

fn backlog(most: Option<&str>) -> Finding {
    match most.and_then(|most| most.parse::<u32>().ok()) {
        Some(most) if most < BACKLOG => finding(
            "backlog",
            false,
            format!("net.core.somaxconn is {most}, below the default tcp-backlog of {BACKLOG}"),
        ),
        Some(_) => finding("backlog", true, "the kernel holds as many connections as asked for"),
        None => finding("backlog", true, "unknown here"),
    }
}

fn clock(source: Option<&str>) -> Finding {
    match source {
        Some("xen") => finding("clock", false, "the xen clock is slow; tsc may be better"),
        Some(source) => finding("clock", true, format!("time comes from {source}")),
        None => finding("clock", true, "unknown here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_tell_good_from_bad() {
        assert!(overcommit(Some("1")).well && !overcommit(Some("0")).well);
        assert!(backlog(Some("4096")).well && !backlog(Some("128")).well);
        assert!(clock(Some("tsc")).well && clock(None).well);
    }
}
