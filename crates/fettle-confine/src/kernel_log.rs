//! What the kernel's log says of one process.
//!
//! Owns the reading of `/dev/kmsg`. It must not return lines about other processes: evidence belongs to its actor.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

/// Records that are looked at: more than the kernel's ring holds at its usual sizes.
const RECORDS_MAX: usize = 50_000;
/// Lines that are kept of one process: an out-of-memory kill has about three that name it.
const LINES_MAX: usize = 8;
/// One record never is longer than this (`PRINTK_MESSAGE_MAX` of the kernel with its header).
const RECORD_BYTES: usize = 8 << 10;
/// The inode of the first PID namespace (`PROC_PID_INIT_INO` in the kernel's `proc_ns.h`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Lines of the kernel's log since `since_ms` after boot that name process `pid`, oldest first. Empty where the log may not be read,
/// and in a PID namespace of one's own, where the kernel's numbers are not ours.
#[must_use]
pub fn kernel_lines(pid: u32, since_ms: u64) -> Vec<String> {
    let own = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if own.as_os_str() != FIRST_PID_NAMESPACE {
        return Vec::new();
    }
    read_records(|record| parse(record, pid, since_ms))
}

/// Milliseconds since boot; zero when it is not known.
#[must_use]
pub fn uptime_ms() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text
        .split_ascii_whitespace()
        .next()
        .and_then(|s| s.parse::<f64>().ok());
    // The cast saturates; uptimes are positive.
    seconds.map_or(0, |seconds| (seconds * 1000.0) as u64)
}

fn read_records(mut take: impl FnMut(&str) -> Option<String>) -> Vec<String> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open("/dev/kmsg");
    let Ok(mut log) = opened else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut buffer = vec![0; RECORD_BYTES];
    for _ in 0..RECORDS_MAX {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => lines.extend(take(&String::from_utf8_lossy(&buffer[..length]))),
            // The ring has moved on below the reader; the next record is whole again.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    let surplus = lines.len().saturating_sub(LINES_MAX);
    lines.split_off(surplus)
}

/// A record is `priority,sequence,microseconds,flags;text` (the kernel's Documentation/ABI/testing/dev-kmsg).
fn parse(record: &str, pid: u32, since_ms: u64) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let at_us: u64 = head.split(',').nth(2)?.parse().ok()?;
    let text = text.lines().next()?;
    (at_us / 1000 >= since_ms && names(text, pid)).then(|| text.to_owned())
}

/// Whether a line names the process, in one of the forms that the kernel uses for it.
fn names(text: &str, pid: u32) -> bool {
    let forms = [
        format!("rocess {pid} "),
        format!("pid={pid},"),
        format!("pid={pid} "),
        format!("[{pid}]:"),
        format!("pid:{pid} "),
        format!("PID: {pid} "),
    ];
    let padded = format!("{text} ");
    forms.iter().any(|form| padded.contains(form.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_name_the_process_since_its_start_are_taken() {
        let killed = "6,1,5000000,-;Memory cgroup out of memory: Killed process 42 (fettle) total-vm:1kB\n SUBSYSTEM=x\n";
        let expected = "Memory cgroup out of memory: Killed process 42 (fettle) total-vm:1kB";
        assert_eq!(parse(killed, 42, 4_000).as_deref(), Some(expected));
        assert_eq!(parse(killed, 4, 4_000), None);
        assert_eq!(parse(killed, 42, 6_000), None);
        let fault = "6,1,5000000,-;fettle[42]: segfault at 0 ip 0 sp 0 error 4";
        assert!(parse(fault, 42, 0).is_some());
        let constraint =
            "6,1,5000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=fettle,pid=42,uid=0";
        assert!(parse(constraint, 42, 0).is_some());
        assert_eq!(parse("no record", 42, 0), None);
    }

    #[test]
    fn the_machine_has_been_up_for_a_while() {
        assert!(uptime_ms() > 0);
        // Whether or not the log may be read, asking does no harm and does not wait.
        assert!(kernel_lines(u32::MAX, 0).is_empty());
    }
}
