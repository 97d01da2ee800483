//! Who may start now: a pure choice among all waiting jobs.
//!
//! Higher priority first, then first come, first served. A job that does not fit holds back those after it of lower or equal
//! priority only for the resource it lacks, so a big job is not starved by a stream of small ones.

use fettle_model::{JobId, Resources, UnixMillis};

/// What a backend has, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// CPU cores.
    pub num_cpus: f64,
    /// GPUs.
    pub num_gpus: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Jobs at the same time; `u64::MAX` where they are not counted.
    pub jobs: u64,
}

/// A job that waits for capacity.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The job.
    pub job: JobId,
    /// What it asks for.
    pub resources: Resources,
    /// Since when it waits.
    pub since: UnixMillis,
}

/// What becomes of a waiting job.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may start.
    Admit,
    /// It must wait; the text says for what.
    Wait {
        /// For people, such as `2 CPU cores (1 free)`.
        lacks: String,
    },
    /// It can never run here; the text says what is too much.
    Refuse {
        /// For people.
        message: String,
    },
}

/// Decides about every waiting job. `total` is what the backend has, `used` what running jobs hold, `most` what it could have if all that it
/// lost came back, `per_worker_max_bytes` the most memory one worker could get.
#[must_use]
pub fn admit(
    waiting: &[Waiting],
    total: Room,
    used: Room,
    most: Room,
    per_worker_max_bytes: u64,
) -> Vec<(JobId, Verdict)> {
    let mut queue: Vec<&Waiting> = waiting.iter().collect();
    queue.sort_by(|a, b| {
        let priority = b.resources.priority.cmp(&a.resources.priority);
        priority.then(a.since.cmp(&b.since)).then(a.job.cmp(&b.job))
    });
    let mut free = Room {
        num_cpus: total.num_cpus - used.num_cpus,
        num_gpus: total.num_gpus - used.num_gpus,
        memory_bytes: total.memory_bytes.saturating_sub(used.memory_bytes),
        jobs: total.jobs.saturating_sub(used.jobs),
    };
    let verdict = |entry: &&Waiting| {
        let verdict = decide(&entry.resources, most, &mut free, per_worker_max_bytes);
        (entry.job.clone(), verdict)
    };
    queue.iter().map(verdict).collect()
}

fn decide(asked: &Resources, most: Room, free: &mut Room, per_worker_max: u64) -> Verdict {
    if let Some(message) = never_fits(asked, most, per_worker_max) {
        return Verdict::Refuse { message };
    }
    let memory = asked.memory_total_bytes();
    let mut lacks = Vec::new();
    if asked.num_cpus > free.num_cpus {
        lacks.push(format!(
            "{} CPU core(s) ({} free)",
            asked.num_cpus,
            free.num_cpus.max(0.0)
        ));
    }
    if asked.num_gpus > free.num_gpus {
        lacks.push(format!(
            "{} GPU(s) ({} free)",
            asked.num_gpus,
            free.num_gpus.max(0.0)
        ));
    }
    if memory > free.memory_bytes {
        lacks.push(format!(
            "{} of memory ({} free)",
            mib(memory),
            mib(free.memory_bytes)
        ));
    }
    if free.jobs == 0 {
        lacks.push(format!(
            "a place among the {} job(s) that may run at once",
            most.jobs
        ));
    }
    // Whether it starts or waits, what it asks for is spoken for: later jobs do not overtake it on the resource it lacks.
    let fits = lacks.is_empty();
    if fits || asked.num_cpus > free.num_cpus {
        free.num_cpus -= asked.num_cpus;
    }
    if fits || asked.num_gpus > free.num_gpus {
        free.num_gpus -= asked.num_gpus;
    }
    if fits || memory > free.memory_bytes {
        free.memory_bytes = free.memory_bytes.saturating_sub(memory);
    }
    if fits {
        free.jobs -= 1;
        Verdict::Admit
    } else {
        Verdict::Wait {
            lacks: lacks.join(", "),
        }
    }
}

fn never_fits(asked: &Resources, total: Room, per_worker_max: u64) -> Option<String> {
    let workers = asked.workers();
    if asked.num_gpus > total.num_gpus {
        let have = total.num_gpus;
        return Some(format!(
            "asks for {} GPU(s); there are {have}",
            asked.num_gpus
        ));
    }
    if asked.requires_gpu && total.num_gpus <= 0.0 {
        return Some("requires a GPU; there is none".to_owned());
    }
    if asked.num_cpus > total.num_cpus {
        let have = total.num_cpus;
        return Some(format!(
            "asks for {} CPU core(s); there are {have}",
            asked.num_cpus
        ));
    }
    if asked.memory_bytes > per_worker_max {
        let have = mib(per_worker_max);
        return Some(format!(
            "asks for {} of memory a worker; at most {have} can be given",
            mib(asked.memory_bytes)
        ));
    }
    if asked.memory_total_bytes() > total.memory_bytes {
        let (need, have) = (mib(asked.memory_total_bytes()), mib(total.memory_bytes));
        return Some(format!(
            "asks for {need} of memory for {workers} worker(s); there are {have}"
        ));
    }
    None
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: Room = Room {
        num_cpus: 2.0,
        num_gpus: 0.0,
        memory_bytes: 4096 << 20,
        jobs: 8,
    };
    const NOTHING: Room = Room {
        num_cpus: 0.0,
        num_gpus: 0.0,
        memory_bytes: 0,
        jobs: 0,
    };

    fn waiting(n: u8, cpus: f64, mib: u64, priority: i32) -> Waiting {
        let resources = Resources {
            num_cpus: cpus,
            num_gpus: 0.0,
            memory_bytes: mib << 20,
            requires_gpu: false,
            priority,
        };
        Waiting {
            job: JobId::from_entropy([n; 15]),
            resources,
            since: UnixMillis(i64::from(n)),
        }
    }

    fn verdicts(list: &[Waiting]) -> Vec<(u8, bool)> {
        let decided = admit(list, TOTAL, NOTHING, TOTAL, TOTAL.memory_bytes);
        let number = |job: &JobId| {
            (1..9)
                .find(|n| JobId::from_entropy([*n; 15]) == *job)
                .unwrap()
        };
        decided
            .iter()
            .map(|(job, v)| (number(job), *v == Verdict::Admit))
            .collect()
    }

    #[test]
    fn higher_priority_goes_first_and_the_machine_is_not_overbooked() {
        let list = [
            waiting(1, 1.0, 100, 0),
            waiting(2, 1.0, 100, 0),
            waiting(3, 1.0, 100, 5),
        ];
        assert_eq!(verdicts(&list), vec![(3, true), (1, true), (2, false)]);
    }

    #[test]
    fn small_jobs_do_not_starve_a_big_one() {
        let list = [
            waiting(1, 1.0, 100, 0),
            waiting(2, 2.0, 100, 0),
            waiting(3, 1.0, 100, 0),
        ];
        assert_eq!(verdicts(&list), vec![(1, true), (2, false), (3, false)]);
    }

    #[test]
    fn no_more_jobs_run_at_once_than_may() {
        let total = Room { jobs: 2, ..TOTAL };
        let used = Room { jobs: 1, ..NOTHING };
        let list = [waiting(1, 0.5, 100, 0), waiting(2, 0.5, 100, 0)];
        let decided = admit(&list, total, used, total, TOTAL.memory_bytes);
        assert_eq!(decided[0].1, Verdict::Admit);
        let lacks = "a place among the 2 job(s) that may run at once".to_owned();
        assert_eq!(decided[1].1, Verdict::Wait { lacks });
    }

    #[test]
    fn what_can_never_fit_is_refused_and_not_left_waiting() {
        let list = [waiting(1, 3.0, 100, 0), waiting(2, 1.0, 5000, 0)];
        let decided = admit(&list, TOTAL, NOTHING, TOTAL, TOTAL.memory_bytes);
        assert!(
            decided
                .iter()
                .all(|(_, v)| matches!(v, Verdict::Refuse { .. })),
            "{decided:?}"
        );
    }

    #[test]
    fn what_fits_when_a_lost_machine_comes_back_waits() {
        let most = Room {
            num_cpus: 4.0,
            ..TOTAL
        };
        let list = [waiting(1, 3.0, 100, 0)];
        let decided = admit(&list, TOTAL, NOTHING, most, TOTAL.memory_bytes);
        assert!(
            matches!(&decided[0].1, Verdict::Wait { lacks } if lacks.contains("3 CPU core(s)")),
            "{decided:?}"
        );
    }
}
