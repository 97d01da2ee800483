//! What the gauntlet under `auto` injects, and what must come of it.

use std::path::Path;

use serde_json::{Value, json};

use super::fault::{Rows, Run};
use super::{inject, table};

/// Rows of a batch.
pub const ROWS: usize = 500;
/// What a row takes, in seconds.
const ROW_S: f64 = 0.03;
/// The row that does harm, or that marks the moment of a shot from outside.
const MARKED: usize = 200;
/// From a death to its verdict, in milliseconds.
const DEATH_MS_MAX: u128 = 1_000;
/// From a standstill to its finding, in milliseconds: the limit of a silent worker is ten seconds where rows are quick.
const HANG_MS_MAX: u128 = 20_000;
/// The same for a driver, which is waited for longer.
const SILENCE_MS_MAX: u128 = 30_000;

/// A fault and what must come of it.
#[derive(Clone, Copy)]
pub struct Trial {
    pub name: &'static str,
    pub extractor: &'static str,
    pub rows: Rows,
    pub memory_mib: u64,
    pub shoot: Option<fn(&Run<'_>) -> bool>,
    /// The fault is found when the diagnosis holds this.
    pub told: &'static str,
    /// From the fault to that, in milliseconds; none where rows come to it in their turn.
    pub found_ms_max: Option<u128>,
    pub status: &'static str,
    pub failed_rows: u64,
}

fn marked(n: usize, deed: Value) -> Option<Value> {
    let work = json!({"deed": "work", "with": ROW_S});
    Some(if n == MARKED { deed } else { work })
}

/// Long enough to be hit.
fn pause(n: usize) -> Option<Value> {
    marked(n, json!({"deed": "sleep", "with": 0.4}))
}

/// Nothing goes wrong.
pub const CLEAN: Trial = Trial {
    status: "COMPLETED",
    failed_rows: 0,
    ..poison(
        "clean",
        |n| marked(n, json!({"deed": "work", "with": ROW_S})),
        "",
        None,
    )
};

/// Rows that fail, one in a batch.
const fn poison(
    name: &'static str,
    deed: fn(usize) -> Option<Value>,
    told: &'static str,
    found_ms_max: Option<u128>,
) -> Trial {
    Trial {
        name,
        extractor: "fault",
        rows: Rows::Deeds(deed),
        memory_mib: 256,
        shoot: None,
        told,
        found_ms_max,
        status: "COMPLETED_WITH_ERRORS",
        failed_rows: 1,
    }
}

/// Something from outside that is outlived.
const fn outlived(
    name: &'static str,
    shoot: fn(&Run<'_>) -> bool,
    told: &'static str,
    found_ms_max: u128,
) -> Trial {
    Trial {
        shoot: Some(shoot),
        status: "COMPLETED",
        failed_rows: 0,
        ..poison(name, pause, told, Some(found_ms_max))
    }
}

/// What no other attempt outlives.
const fn lasting(name: &'static str, extractor: &'static str, told: &'static str) -> Trial {
    Trial {
        extractor,
        status: "FAILED",
        failed_rows: 0,
        ..poison(name, |n| marked(n, json!({"deed": "work"})), told, None)
    }
}

pub const DEATHS: &[Trial] = &[
    outlived(
        "SIGKILL of the worker",
        inject::kill_workers_once,
        "SIGKILL",
        DEATH_MS_MAX,
    ),
    outlived(
        "SIGTERM of the worker",
        inject::terminate_workers_once,
        "SIGTERM",
        DEATH_MS_MAX,
    ),
    outlived(
        "SIGKILL of the driver",
        inject::kill_driver_once,
        "driver_died",
        DEATH_MS_MAX,
    ),
    outlived(
        "SIGTERM of the driver, a preemption",
        inject::terminate_driver_once,
        "stopped",
        DEATH_MS_MAX,
    ),
    outlived(
        "out of memory of the driver",
        inject::starve_driver_once,
        "driver_died",
        2 * DEATH_MS_MAX,
    ),
    poison(
        "exception in a row",
        |n| marked(n, json!({"deed": "refuse"})),
        "ValueError",
        None,
    ),
    poison(
        "wrong vector",
        |n| marked(n, json!({"deed": "wrong vector"})),
        "3 numbers",
        None,
    ),
    poison(
        "segfault of a plugin",
        |n| marked(n, json!({"deed": "segfault"})),
        "SIGSEGV",
        None,
    ),
    poison(
        "abort of a plugin",
        |n| marked(n, json!({"deed": "abort"})),
        "SIGABRT",
        None,
    ),
    poison(
        "exit of a plugin",
        |n| marked(n, json!({"deed": "exit", "with": 3})),
        "exit status 3",
        None,
    ),
    poison(
        "segfault of the worker in a row",
        |n| marked(n, json!({"deed": "hurt worker", "with": "SIGSEGV"})),
        "SIGSEGV",
        Some(DEATH_MS_MAX),
    ),
    poison(
        "disk full in a row",
        |n| marked(n, json!({"deed": "fill disk", "with": "/dev/full"})),
        "No space left",
        None,
    ),
];

pub const MEMORY: &[Trial] = &[
    Trial {
        status: "COMPLETED",
        failed_rows: 0,
        ..poison(
            "out of memory in one row",
            |n| marked(n, json!({"deed": "touch", "with": 400})),
            "oom_kill",
            Some(DEATH_MS_MAX),
        )
    },
    Trial {
        status: "COMPLETED",
        failed_rows: 0,
        memory_mib: 96,
        ..poison(
            "out of memory in every row",
            |_| Some(json!({"deed": "touch", "with": 100})),
            "oom_kill",
            Some(DEATH_MS_MAX),
        )
    },
    Trial {
        extractor: "grows_at_start",
        status: "COMPLETED",
        failed_rows: 0,
        ..poison(
            "out of memory at start",
            |n| marked(n, json!({"deed": "work"})),
            "before the first row",
            None,
        )
    },
];

/// Memory that an rlimit refuses.
pub const RLIMIT: &[Trial] = &[poison(
    "refused allocation in a row",
    |n| marked(n, json!({"deed": "allocate", "with": 4096})),
    "MemoryError",
    None,
)];

/// On a server whose data folder, which holds the plugins' temporary files too, is on a small disk.
pub const DISK: &[Trial] = &[Trial {
    // What is written to a small disk in memory counts as the writer's memory.
    memory_mib: 1024,
    ..poison(
        "disk of the temporary files is full",
        |n| marked(n, json!({"deed": "fill temporary files"})),
        "No space left",
        None,
    )
}];

/// On a server whose blob store takes nothing more, until something is removed there.
pub const BLOB_DISK: &[Trial] = &[Trial {
    shoot: Some(inject::free_blob_disk),
    status: "COMPLETED",
    failed_rows: 0,
    ..poison(
        "disk of the blobs is full for eight seconds",
        pause,
        "no space left in the blob store",
        None,
    )
}];

pub const STANDSTILLS: &[Trial] = &[
    outlived(
        "SIGSTOP of the worker",
        inject::stop_workers_once,
        "was stopped by a signal",
        HANG_MS_MAX,
    ),
    outlived(
        "SIGSTOP of the driver",
        inject::stop_driver_once,
        "has not reported",
        SILENCE_MS_MAX,
    ),
    poison(
        "row that stops its worker",
        |n| marked(n, json!({"deed": "hurt worker", "with": "SIGSTOP"})),
        "was stopped by a signal",
        Some(HANG_MS_MAX),
    ),
    poison(
        "row that hangs",
        |n| marked(n, json!({"deed": "sleep", "with": 3600})),
        "used neither CPU nor IO",
        Some(HANG_MS_MAX),
    ),
];

/// On a server whose floors are a second, as this is tried for a whole limit three times.
pub const SPINNING: &[Trial] = &[poison(
    "row that computes without an end",
    |n| marked(n, json!({"deed": "loop"})),
    "has computed for",
    Some(HANG_MS_MAX),
)];

pub const LASTING: &[Trial] = &[
    lasting("missing module", "lacks_module", "surely_absent_module"),
    lasting("exception at start", "raises_at_start", "licence has ended"),
    lasting("exit at start", "exits_at_start", "SystemExit"),
    Trial {
        memory_mib: 1 << 24,
        ..lasting("too much memory asked for", "fault", "request_refused")
    },
];

pub const BLOBS: &[Trial] = &[
    Trial {
        status: "COMPLETED",
        failed_rows: 0,
        ..of_blob(
            "blob server away for eight seconds",
            |_, http| addresses(http, "away"),
            "status 503",
        )
    },
    of_blob(
        "blob server says 401",
        |_, http| addresses(http, "401"),
        "authentication",
    ),
    of_blob(
        "blob server says 403",
        |_, http| addresses(http, "403"),
        "status 403",
    ),
    of_blob(
        "blob server says 404",
        |_, http| addresses(http, "404"),
        "404",
    ),
    of_blob(
        "blob server says 429",
        |_, http| addresses(http, "429"),
        "status 429",
    ),
    of_blob(
        "blob server says 500",
        |_, http| addresses(http, "500"),
        "status 500",
    ),
    of_blob(
        "blob is gone",
        |dir, http| one_file(dir, http, "gone"),
        "there is nothing at",
    ),
    of_blob(
        "blob may not be read",
        |dir, http| one_file(dir, http, "secret"),
        "is not permitted",
    ),
];

const fn of_blob(
    name: &'static str,
    addresses: fn(&Path, &str) -> Vec<String>,
    told: &'static str,
) -> Trial {
    Trial {
        extractor: "universal_extractor",
        rows: Rows::Addresses(addresses),
        ..poison(name, pause, told, None)
    }
}

/// Blobs of a server, one of them answered otherwise.
fn addresses(http: &str, marked: &str) -> Vec<String> {
    let way = |n: usize| if n == MARKED { marked } else { "200" };
    (0..ROWS)
        .map(|n| format!("{http}/{}/{n}.txt", way(n)))
        .collect()
}

/// Blobs of a server, and a file that cannot be read.
fn one_file(dir: &Path, http: &str, name: &str) -> Vec<String> {
    let mut all = addresses(http, "200");
    all[MARKED] = table::unreadable_file(dir, name);
    all
}
