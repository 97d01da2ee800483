//! What a log tail says beyond doubt: a few phrases that programs only print when the thing happened.
//!
//! Owns the reading of text as far as the engines need it without the classifier. It must not guess: lines that list possible causes
//! are skipped, because crash messages name the OOM killer whatever happened.

use std::sync::LazyLock;

use fettle_model::ProcessExit;
use regex::Regex;

/// An allocation that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllocationFailure {
    /// The line that says so.
    pub(crate) line: String,
    /// How much was asked for, in bytes, where it is said.
    pub(crate) requested_bytes: Option<u64>,
}

/// Phrases of runtimes whose allocator gave up: Rust, libtorch, numpy, CPython, C++, the JVM, and errno ENOMEM.
static ALLOCATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"memory allocation of (?<rust>\d+) bytes failed",
        r"|you tried to allocate (?<torch>\d+) bytes",
        r"|Unable to allocate (?<numpy>[\d.]+) (?<unit>[KMGTP]?i?B)\b",
        r"|^\s*MemoryError\b|\bMemoryError:",
        r"|std::bad_alloc",
        r"|java\.lang\.OutOfMemoryError",
        r"|Cannot allocate memory",
    ))
    .expect("the pattern is constant and tested")
});

/// Words of lines that list what may have happened.
const SPECULATION: [&str; 4] = [
    "common causes",
    "potential causes",
    "possible causes",
    "may have been",
];

/// The first refused allocation in a log tail.
pub(crate) fn allocation_failure(tail: &str) -> Option<AllocationFailure> {
    let told = |line: &&str| !SPECULATION.iter().any(|word| line.contains(word));
    tail.lines().filter(told).find_map(|line| {
        let found = ALLOCATION.captures(line)?;
        let plain = found.name("rust").or(found.name("torch"));
        let requested = plain.and_then(|m| m.as_str().parse().ok());
        let scaled = || scale(found.name("numpy")?.as_str(), found.name("unit")?.as_str());
        Some(AllocationFailure {
            line: line.trim().to_owned(),
            requested_bytes: requested.or_else(scaled),
        })
    })
}

fn scale(number: &str, unit: &str) -> Option<u64> {
    let power = match unit.chars().next()? {
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        'P' => 5,
        _ => 0,
    };
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    // The cast saturates; a text may hold any number.
    Some(bytes as u64)
}

/// The line with which a Rust program says that it broke its own rules.
pub(crate) fn panic_line(text: &str) -> Option<&str> {
    text.lines()
        .find(|line| line.contains("panicked at"))
        .map(str::trim)
}

/// The last line that says something; of a Python traceback that is the exception.
pub(crate) fn last_line(tail: &str) -> Option<&str> {
    let says = |line: &&str| !line.is_empty() && !line.starts_with("note: ");
    tail.lines().map(str::trim).rev().find(says)
}

/// Signals that a process brings upon itself: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS.
pub(crate) const OWN_FAULTS: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// The signal that ended a process, also where a shell has turned it into an exit status of 128 plus the signal's number.
pub(crate) fn signal_of(exit: &ProcessExit) -> Option<i32> {
    let from_shell = exit.code.filter(|code| (129..=159).contains(code));
    exit.signal.or(from_shell.map(|code| code - 128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_allocation_is_read_with_its_size() {
        let sizes = [
            (
                "memory allocation of 1073741824 bytes failed",
                Some(1 << 30),
            ),
            (
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.",
                Some(4096),
            ),
            (
                "numpy: Unable to allocate 1.50 GiB for an array with shape (3,)",
                Some(3 << 29),
            ),
            ("MemoryError", None),
            (
                "terminate called after throwing an instance of 'std::bad_alloc'",
                None,
            ),
            ("OSError: [Errno 12] Cannot allocate memory", None),
        ];
        for (text, size) in sizes {
            let found = allocation_failure(&format!("before\n{text}\nafter")).expect(text);
            assert_eq!((found.line.as_str(), found.requested_bytes), (text, size));
        }
    }

    #[test]
    fn a_list_of_possible_causes_is_not_evidence() {
        let boilerplate = "Some common causes include: (1) Cannot allocate memory, (2) SIGSEGV";
        assert_eq!(allocation_failure(boilerplate), None);
        assert_eq!(
            allocation_failure("killed by the OOM killer due to high memory usage"),
            None
        );
    }

    #[test]
    fn a_shell_s_status_is_read_as_the_signal() {
        let exit = |code, signal| ProcessExit { code, signal };
        assert_eq!(signal_of(&exit(Some(137), None)), Some(9));
        assert_eq!(signal_of(&exit(None, Some(11))), Some(11));
        assert_eq!(signal_of(&exit(Some(1), None)), None);
        assert_eq!(signal_of(&exit(Some(255), None)), None);
    }

    #[test]
    fn the_last_line_passes_over_notes() {
        let tail = "Traceback:\n  x\nValueError: bad\n\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(last_line(tail), Some("ValueError: bad"));
    }
}
