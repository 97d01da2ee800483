//! Reading of `/proc`: one parser for `stat`, and the list of processes.
//!
//! Owns the text formats of proc(5). It must not signal anything.

use std::fs;
use std::io;
use std::time::Duration;

/// The fields of `/proc/PID/stat` that Fettle uses (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    pub(crate) cpu_ticks: u64,
    pub(crate) threads: u64,
    pub(crate) start_ticks: u64,
    pub(crate) rss_pages: u64,
}

impl Stat {
    /// Whether the process can still do anything: zombies (Z) and the dead (X) cannot.
    pub(crate) fn is_running(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// CPU time used in user and kernel mode, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        self.cpu_ticks.saturating_mul(1000) / per_second
    }

    /// Resident set, in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.rss_pages
            .saturating_mul(rustix::param::page_size() as u64)
    }
}

/// Reads and parses `/proc/PID/stat`.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    stat_file(&format!("/proc/{pid}/stat"))
}

/// Reads and parses a file in the format of `/proc/PID/stat`.
pub(crate) fn stat_file(path: &str) -> io::Result<Stat> {
    // A process name may hold any bytes, so the file need not be UTF-8.
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    parse_stat(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} has an unexpected form"),
        )
    })
}

/// The name stands in brackets and may itself hold brackets and blanks, so fields are counted from the last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let pid = text.get(..open)?.trim().parse().ok()?;
    let fields: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
    // `fields[0]` is field 3 of the manual page.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let id = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    Some(Stat {
        pid,
        name: text.get(open + 1..close)?.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: id(4)?,
        group: id(5)?,
        session: id(6)?,
        cpu_ticks: number(14)?.saturating_add(number(15)?),
        threads: number(20)?,
        start_ticks: number(22)?,
        rss_pages: number(24)?,
    })
}

/// All process ids that this PID namespace shows; those that vanish meanwhile are left out later.
pub(crate) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The state of all processes that can be read.
pub(crate) fn all() -> Vec<Stat> {
    pids()
        .into_iter()
        .filter_map(|pid| stat(pid).ok())
        .collect()
}

/// Whether the environment with which a process was started has `entry` (`NAME=value`); `None` when it may not be read.
pub(crate) fn has_environment(pid: u32, entry: &str) -> Option<bool> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    Some(
        bytes
            .split(|byte| *byte == 0)
            .any(|part| part == entry.as_bytes()),
    )
}

/// The value of a variable of the environment with which a process was started; `None` also when it may not be read.
pub(crate) fn environment(pid: u32, name: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = bytes.split(|byte| *byte == 0);
    let value =
        entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The value of a line `Name:   123 kB` in a status-like text, in bytes.
pub(crate) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The value of a line `name 123` in a flat keyed text such as `memory.events`.
pub(crate) fn flat_field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

/// How often a state of `/proc` or of a cgroup that is about to change is looked at: well below what a person notices,
/// and one look costs less than a millisecond.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 1 40 41 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 7 0 12345 1000 77 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.name, "a) b (c");
        assert_eq!(
            (stat.pid, stat.parent, stat.group, stat.session),
            (42, 1, 40, 41)
        );
        assert_eq!((stat.cpu_ticks, stat.threads), (110, 7));
        assert_eq!((stat.start_ticks, stat.rss_pages), (12345, 77));
        assert!(stat.is_running());
    }

    #[test]
    fn a_cut_line_is_no_state() {
        assert_eq!(parse_stat("42 (x) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(
            kib_field("VmHWMx: 1 kB\nVmHWM:\t  12 kB\n", "VmHWM"),
            Some(12 * 1024)
        );
        assert_eq!(flat_field("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(flat_field("oom 3\n", "oom_kill"), None);
    }

    #[test]
    fn this_process_is_in_the_list() {
        assert!(all().iter().any(|stat| stat.pid == std::process::id()));
    }
}
