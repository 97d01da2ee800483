//! All faults, by the server that they need.

use std::path::Path;

use serde_json::{Value, json};

use super::fault::{Expect, Fault, ROWS, Rows};
use super::inject;

const MEMORY_MIB: u64 = 256;

/// A fault of the plugin with these deeds, of which nothing is said yet.
const fn of_rows(name: &'static str, deed: fn(usize) -> Option<Value>, expect: Expect) -> Fault {
    Fault {
        name,
        extractor: "fault",
        parameters: "{}",
        rows: Rows::Deeds(deed),
        rows_total: ROWS,
        memory_mib: MEMORY_MIB,
        shoot: None,
        expect,
    }
}

/// A batch that goes on although rows fail.
const fn failed_rows(category: &'static str, evidence: &'static [&'static str]) -> Expect {
    Expect {
        status: "COMPLETED_WITH_ERRORS",
        category: Some(category),
        event: None,
        case: Some("document_errors"),
        evidence,
    }
}

const fn failed(
    category: &'static str,
    event: Option<&'static str>,
    case: &'static str,
    evidence: &'static [&'static str],
) -> Expect {
    Expect {
        status: "FAILED",
        category: Some(category),
        event,
        case: Some(case),
        evidence,
    }
}

/// Two of the rows.
fn two(n: usize, deed: Value) -> Option<Value> {
    (n == 4 || n == 9).then_some(deed)
}

fn rest(_: usize) -> Option<Value> {
    Some(json!({"deed": "sleep", "with": 600}))
}

const fn shot(
    name: &'static str,
    shoot: fn(&super::fault::Run<'_>) -> bool,
    expect: Expect,
) -> Fault {
    Fault {
        shoot: Some(shoot),
        ..of_rows(name, rest, expect)
    }
}

/// Faults of single rows, on a server that gives a row two seconds.
pub const ROW_FAULTS: &[Fault] = &[
    of_rows(
        "exception in a row",
        |n| two(n, json!({"deed": "refuse"})),
        failed_rows("pipeline", &["ValueError: this row is wrong"]),
    ),
    of_rows(
        "segfault of a plugin",
        |n| two(n, json!({"deed": "segfault"})),
        failed_rows("pipeline", &["SIGSEGV"]),
    ),
    of_rows(
        "abort of a plugin",
        |n| two(n, json!({"deed": "abort"})),
        failed_rows("pipeline", &["SIGABRT"]),
    ),
    of_rows(
        "exit of a plugin",
        |n| two(n, json!({"deed": "exit", "with": 3})),
        failed_rows("pipeline", &["exit status 3"]),
    ),
    of_rows(
        "row that hangs",
        |n| two(n, json!({"deed": "sleep", "with": 600})),
        failed_rows("timeout", &["took longer than 2000 ms"]),
    ),
    of_rows(
        "worker that hangs",
        |n| two(n, json!({"deed": "hurt worker", "with": "SIGSTOP"})),
        failed_rows("timeout", &["took longer than 2000 ms"]),
    ),
    of_rows(
        "wrong vector",
        |n| two(n, json!({"deed": "wrong vector"})),
        failed_rows("pipeline", &["3 numbers", "fault_v1"]),
    ),
    of_rows(
        "disk full in a row",
        |n| two(n, json!({"deed": "fill disk", "with": "/dev/full"})),
        failed_rows("infrastructure", &["No space left on device"]),
    ),
];

/// A parameter that only the plugin can know to be bad, on the same server.
pub const PARAMETER_FAULTS: &[Fault] = &[Fault {
    extractor: "picky",
    parameters: r#"{"mode": "sideways"}"#,
    ..of_rows(
        "bad parameters",
        |_| None,
        failed_rows(
            "validation",
            &["mode=\\\"sideways\\\"", "is not one of fast, exact"],
        ),
    )
}];

/// Blobs that cannot be read, on the same server.
pub const BLOB_FAULTS: &[Fault] = &[
    of_status(
        "blob server says 401",
        |_, http| answers(http, 401),
        &["permanent authentication"],
    ),
    of_status(
        "blob server says 403",
        |_, http| answers(http, 403),
        &["permanent authentication"],
    ),
    of_status(
        "blob server says 404",
        |_, http| answers(http, 404),
        &["permanent validation"],
    ),
    of_status(
        "blob server says 429",
        |_, http| answers(http, 429),
        &["transient network", "status 429"],
    ),
    of_status(
        "blob server says 500",
        |_, http| answers(http, 500),
        &["transient network", "status 500"],
    ),
    of_status(
        "blob is gone",
        |dir, http| files(dir, http, "gone"),
        &["there is nothing at"],
    ),
    of_status(
        "blob may not be read",
        |dir, http| files(dir, http, "secret"),
        &["is not permitted"],
    ),
];

const fn of_status(
    name: &'static str,
    addresses: fn(&Path, &str) -> Vec<String>,
    evidence: &'static [&'static str],
) -> Fault {
    Fault {
        extractor: "universal_extractor",
        rows: Rows::Addresses(addresses),
        ..of_rows(name, |_| None, failed_rows("pipeline", evidence))
    }
}

/// Blobs of a server, two of them answered with `status`.
fn answers(http: &str, status: u16) -> Vec<String> {
    let address = |n: usize| {
        let status = two(n, json!(status)).unwrap_or(json!(200));
        format!("{http}/{status}/{n}.txt")
    };
    (0..ROWS).map(address).collect()
}

/// Blobs of a server, and a file.
fn files(dir: &Path, http: &str, name: &str) -> Vec<String> {
    let mut all = answers(http, 200);
    all[4] = unreadable_file(dir, name);
    all
}

/// The address of a file that may not be read where `name` is `secret`, else of one that is not there.
pub fn unreadable_file(dir: &Path, name: &str) -> String {
    let secret = dir.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let nobody = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(&secret, nobody).unwrap();
    format!("file://{}", dir.join(name).display())
}

/// Faults of workers and drivers, and extractors that do not start, on a server without a limit on a row's time.
pub const PROCESS_FAULTS: &[Fault] = &[
    shot(
        "SIGKILL of workers",
        inject::kill_workers,
        failed(
            "infrastructure",
            Some("unknown"),
            "worker_killed",
            &["SIGKILL", "counted no out-of-memory kill"],
        ),
    ),
    shot(
        "SIGTERM of workers",
        inject::terminate_workers,
        failed(
            "infrastructure",
            Some("unknown"),
            "worker_killed",
            &["SIGTERM", "counted no out-of-memory kill"],
        ),
    ),
    of_rows(
        "segfault of workers",
        |_| Some(json!({"deed": "hurt worker", "with": "SIGSEGV"})),
        failed("pipeline", None, "worker_crashed", &["SIGSEGV"]),
    ),
    of_rows(
        "abort of workers",
        |_| Some(json!({"deed": "hurt worker", "with": "SIGABRT"})),
        failed("pipeline", None, "worker_crashed", &["SIGABRT"]),
    ),
    Fault {
        shoot: Some(inject::kill_one_worker),
        ..of_rows(
            "SIGKILL that is outlived",
            |n| (n == 4).then(|| json!({"deed": "sleep", "with": 2})),
            Expect {
                status: "COMPLETED",
                category: None,
                event: Some("unknown"),
                case: None,
                evidence: &["SIGKILL"],
            },
        )
    },
    shot(
        "SIGKILL of drivers",
        inject::kill_drivers,
        failed(
            "infrastructure",
            Some("unknown"),
            "driver_died",
            &["SIGKILL"],
        ),
    ),
    shot(
        "SIGTERM of drivers",
        inject::terminate_drivers,
        failed(
            "infrastructure",
            Some("unknown"),
            "stopped_from_outside",
            &["stopped on request"],
        ),
    ),
    of_start(
        "missing module",
        "lacks_module",
        failed(
            "pipeline",
            None,
            "extractor_failed",
            &["No module named 'surely_absent_module'", "python.import"],
        ),
    ),
    of_start(
        "exception at start",
        "raises_at_start",
        failed(
            "pipeline",
            None,
            "extractor_failed",
            &["RuntimeError: the licence has ended"],
        ),
    ),
    of_start(
        "exit at start",
        "exits_at_start",
        failed("pipeline", None, "extractor_failed", &["SystemExit: 7"]),
    ),
    Fault {
        memory_mib: 1 << 24,
        ..of_rows(
            "too much memory asked for",
            |_| None,
            failed("validation", None, "request_refused", &[]),
        )
    },
];

const fn of_start(name: &'static str, extractor: &'static str, expect: Expect) -> Fault {
    Fault {
        extractor,
        ..of_rows(name, |_| None, expect)
    }
}

/// Memory that the kernel limits and counts.
pub const CGROUP_FAULTS: &[Fault] = &[
    of_rows(
        "out of memory in every row",
        |_| Some(json!({"deed": "touch", "with": 400})),
        failed(
            "infrastructure",
            Some("oom"),
            "out_of_memory",
            &["oom_kill 1", "exit status 86"],
        ),
    ),
    of_rows(
        "out of memory in one row",
        |n| (n == 4).then(|| json!({"deed": "touch", "with": 400})),
        Expect {
            event: Some("oom"),
            ..failed_rows("infrastructure", &["oom_kill 1", "out of memory"])
        },
    ),
    of_start(
        "out of memory at start",
        "eats_at_start",
        failed(
            "infrastructure",
            Some("oom"),
            "out_of_memory",
            &["oom_kill 1", "before the first row"],
        ),
    ),
    shot(
        "out of memory of drivers",
        inject::starve_drivers,
        failed(
            "infrastructure",
            Some("oom"),
            "out_of_memory",
            &["attempt's memory group"],
        ),
    ),
];

/// Memory that an rlimit refuses.
pub const RLIMIT_FAULTS: &[Fault] = &[
    of_rows(
        "refused allocation in a row",
        |n| two(n, json!({"deed": "allocate", "with": 4096})),
        Expect {
            event: Some("oom"),
            ..failed_rows("infrastructure", &["MemoryError"])
        },
    ),
    of_start(
        "refused allocation at start",
        "eats_at_start",
        failed(
            "infrastructure",
            Some("oom"),
            "out_of_memory",
            &["MemoryError"],
        ),
    ),
    Fault {
        extractor: "grabs",
        ..of_rows(
            "refused allocation of a native plugin",
            |_| None,
            Expect {
                event: Some("oom"),
                ..failed_rows("infrastructure", &["SIGABRT", "std::bad_alloc"])
            },
        )
    },
    Fault {
        extractor: "universal_extractor",
        rows: Rows::Addresses(one_large_blob),
        memory_mib: 64,
        ..of_rows(
            "worker above its limit",
            |_| None,
            Expect {
                event: Some("oom"),
                // Whether its allocation is refused or it is found above its limit is a matter of milliseconds.
                ..failed_rows(
                    "infrastructure",
                    &["ran its worker out of memory", "sampled resident set"],
                )
            },
        )
    },
];

/// Small blobs and one that does not fit into the worker's memory.
fn one_large_blob(dir: &Path, http: &str) -> Vec<String> {
    const BYTES: u64 = 200 << 20;
    let path = dir.join("large.txt");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(BYTES)
        .unwrap();
    let mut all = answers(http, 200);
    all[4] = format!("file://{}", path.display());
    all
}

/// A disk that is full: that of the data folder, which holds the plugins' temporary files too.
pub const DISK_FAULTS: &[Fault] = &[Fault {
    // What is written to a small disk in memory counts as the writer's memory.
    memory_mib: 1024,
    ..of_rows(
        "disk of the temporary files is full",
        |n| two(n, json!({"deed": "fill temporary files"})),
        failed_rows("infrastructure", &["No space left on device"]),
    )
}];

/// A blob store that takes nothing more.
pub const BLOB_DISK_FAULTS: &[Fault] = &[of_rows(
    "disk of the blobs is full",
    |_| None,
    failed(
        "infrastructure",
        None,
        "rows_not_prepared",
        &["no space left in the blob store"],
    ),
)];
