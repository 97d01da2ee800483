//! What is done to processes from outside.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::fault::{Run, now_ms};
use crate::server::signal;

/// Kills every worker as soon as it has a row.
pub fn kill_workers(run: &Run<'_>) -> bool {
    shoot_workers(run, "KILL")
}

/// Asks every worker to end as soon as it has a row.
pub fn terminate_workers(run: &Run<'_>) -> bool {
    shoot_workers(run, "TERM")
}

fn shoot_workers(run: &Run<'_>, name: &str) -> bool {
    for_each_deed(run, || {
        for worker in run.workers() {
            run.shot();
            signal(name, worker);
        }
    })
}

/// One worker, once.
pub fn kill_one_worker(run: &Run<'_>) -> bool {
    let Some(worker) = run.workers().first().copied().filter(|_| run.deeds() > 0) else {
        return false;
    };
    run.shot();
    signal("KILL", worker);
    true
}

/// What a signal hits once, as soon as the marked row is taken up.
#[derive(Clone, Copy)]
enum Target {
    Workers,
    Driver,
}

fn once(run: &Run<'_>, target: Target, name: &str) -> bool {
    let targets = match target {
        Target::Workers => run.workers(),
        Target::Driver => run.drivers(),
    };
    if run.deeds() == 0 || targets.is_empty() {
        return false;
    }
    run.shot();
    targets.iter().for_each(|pid| signal(name, *pid));
    true
}

/// All workers, once.
pub fn kill_workers_once(run: &Run<'_>) -> bool {
    once(run, Target::Workers, "KILL")
}

/// The same with a request.
pub fn terminate_workers_once(run: &Run<'_>) -> bool {
    once(run, Target::Workers, "TERM")
}

/// Stops all workers where they are, once.
pub fn stop_workers_once(run: &Run<'_>) -> bool {
    once(run, Target::Workers, "STOP")
}

/// The driver, once.
pub fn kill_driver_once(run: &Run<'_>) -> bool {
    once(run, Target::Driver, "KILL")
}

/// The same with a request, as a preemption is.
pub fn terminate_driver_once(run: &Run<'_>) -> bool {
    once(run, Target::Driver, "TERM")
}

/// Stops the driver where it is, once.
pub fn stop_driver_once(run: &Run<'_>) -> bool {
    once(run, Target::Driver, "STOP")
}

/// Lets the driver's own group run out of memory, once.
pub fn starve_driver_once(run: &Run<'_>) -> bool {
    let Some(driver) = run.drivers().first().copied().filter(|_| run.deeds() > 0) else {
        return false;
    };
    starve(run, driver);
    true
}

/// Every driver, as soon as its workers have a row.
pub fn kill_drivers(run: &Run<'_>) -> bool {
    shoot_drivers(run, "KILL")
}

/// The same with a request.
pub fn terminate_drivers(run: &Run<'_>) -> bool {
    shoot_drivers(run, "TERM")
}

fn shoot_drivers(run: &Run<'_>, name: &str) -> bool {
    for_each_deed(run, || {
        for driver in run.drivers() {
            run.shot();
            signal(name, driver);
        }
    })
}

/// The plugin writes down each row that it takes up; whatever holds it is shot once for each.
fn for_each_deed(run: &Run<'_>, mut shoot: impl FnMut()) -> bool {
    let deeds = run.deeds();
    if run.shots.swap(deeds, Ordering::Relaxed) < deeds {
        shoot();
    }
    false
}

/// Fills the driver's memory group until the kernel ends the driver: a process that the kernel may not choose joins the group, takes what
/// the group may have and asks for more.
const BALLOON: &str = r#"
import os, sys, time
leaf, limit_file, driver = sys.argv[1], sys.argv[2], int(sys.argv[3])
open("/proc/self/oom_score_adj", "w").write("-1000")
open(leaf + "/cgroup.procs", "w").write(str(os.getpid()))
usage = int(open(leaf + ("/memory.current" if "max" in limit_file else "/memory.usage_in_bytes")).read())
limit = usage + (16 << 20)
open(leaf + "/" + limit_file, "w").write(str(limit))
held = []
while os.path.exists(f"/proc/{driver}"):
    held.append(b"x" * (1 << 18))
    time.sleep(0.002)
"#;

/// Lets the driver's own group run out of memory.
pub fn starve_drivers(run: &Run<'_>) -> bool {
    for_each_deed(run, || {
        for driver in run.drivers() {
            starve(run, driver);
        }
    })
}

fn starve(run: &Run<'_>, driver: u32) {
    let Some((leaf, limit_file)) = group_of(run) else {
        return;
    };
    run.shot();
    let mut balloon = Command::new("python3")
        .args(["-c", BALLOON, &leaf, limit_file, &driver.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // What is left in the group of a dead driver is ended by the server, the balloon too.
    balloon.wait().unwrap();
}

/// The driver's group of the newest attempt, and its file for the limit.
fn group_of(run: &Run<'_>) -> Option<(String, &'static str)> {
    let attempts = std::fs::read_dir(run.server.data_dir().join("attempts")).ok()?;
    let mut folders: Vec<_> = attempts
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.display().to_string().contains(&run.job))
        .collect();
    folders.sort();
    let newest = folders.pop()?;
    let group: Value =
        serde_json::from_slice(&std::fs::read(newest.join("group.json")).ok()?).ok()?;
    let path = group["path"].as_str()?;
    let limit_file = match group["enforcement"].as_str()? {
        "cgroup_v2" => "memory.max",
        _ => "memory.limit_in_bytes",
    };
    Some((format!("{path}/driver"), limit_file))
}

/// How long the disk of the blobs stays full.
const FULL_MS: u128 = 8_000;

/// Makes room on the disk of the blobs some seconds after the batch has met it full.
pub fn free_blob_disk(run: &Run<'_>) -> bool {
    run.shot();
    let since = run.fault_at().map_or(0, |at| now_ms() - at);
    since >= FULL_MS && std::fs::remove_file(run.root().join("blobs/filler")).is_ok()
}
