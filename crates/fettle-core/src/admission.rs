//! Who may start now: a pure choice among all waiting jobs.
//!
//! Higher priority first, then first come, first served. A job that does not fit holds back those after it of lower or equal
//! priority only for the resource it lacks, so a big job is not starved by a stream of small ones.

use std::ops::Add;

use fettle_model::{JobId, NO_NODE_HOLDS, NODES_STAYED_AWAY, Resources, UnixMillis};

/// What a backend has, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
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

impl Add for Room {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            num_cpus: self.num_cpus + other.num_cpus,
            num_gpus: self.num_gpus + other.num_gpus,
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            jobs: self.jobs.saturating_add(other.jobs),
        }
    }
}

/// A machine among several; a job runs on one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, for people.
    pub name: String,
    /// CPU cores.
    pub num_cpus: f64,
    /// GPUs.
    pub num_gpus: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Alive,
    /// It was lost then, and may come back or be replaced: what fits on it alone waits.
    Expected(UnixMillis),
    /// It was lost then, and too long ago to be waited for.
    GivenUp(UnixMillis),
    /// It comes when something that was started asks for it.
    OnDemand,
}

/// What the backend can give.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// What there is now.
    pub now: Room,
    /// What comes in addition when jobs that were started ask for it.
    pub on_demand: Room,
    /// What jobs could use if all that the backend lost came back; what asks for more is refused.
    pub most: Room,
    /// The most memory that a single worker could get, in bytes.
    pub memory_per_worker_max_bytes: u64,
    /// The machines, where there can be more than one.
    pub nodes: Vec<Node>,
}

impl Capacity {
    /// That of a single machine.
    #[must_use]
    pub fn of_machine(all: Room) -> Self {
        Self {
            now: all,
            on_demand: Room::default(),
            most: all,
            memory_per_worker_max_bytes: all.memory_bytes,
            nodes: Vec::new(),
        }
    }

    /// What jobs may use together.
    #[must_use]
    pub fn total(&self) -> Room {
        self.now + self.on_demand
    }
}

impl Node {
    fn holds(&self, asked: &Resources) -> bool {
        let has_gpu = self.num_gpus > 0.0 || !asked.requires_gpu;
        has_gpu
            && asked.num_cpus <= self.num_cpus
            && asked.num_gpus <= self.num_gpus
            && asked.memory_total_bytes() <= self.memory_bytes
    }
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
        /// Whether it waits for a machine that is not there, and not for other jobs to end.
        is_for_nodes: bool,
    },
    /// It can never run here; the text says what is too much.
    Refuse {
        /// For people.
        message: String,
    },
}

/// Whether a machine can hold a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// One that is there, or comes on demand, can.
    ToBeHad,
    /// Only one that was lost and may come back.
    Lost {
        /// What is waited for, for people.
        lacks: String,
    },
    /// None.
    None {
        /// For people.
        message: String,
    },
}

/// Decides about every waiting job. `used` is what running jobs hold.
#[must_use]
pub fn admit(
    waiting: &[Waiting],
    capacity: &Capacity,
    used: Room,
    now: UnixMillis,
) -> Vec<(JobId, Verdict)> {
    let mut queue: Vec<&Waiting> = waiting.iter().collect();
    queue.sort_by(|a, b| {
        let priority = b.resources.priority.cmp(&a.resources.priority);
        priority.then(a.since.cmp(&b.since)).then(a.job.cmp(&b.job))
    });
    let total = capacity.total();
    let mut free = Room {
        num_cpus: total.num_cpus - used.num_cpus,
        num_gpus: total.num_gpus - used.num_gpus,
        memory_bytes: total.memory_bytes.saturating_sub(used.memory_bytes),
        jobs: total.jobs.saturating_sub(used.jobs),
    };
    let verdict = |entry: &&Waiting| {
        let verdict = decide(&entry.resources, capacity, &mut free, now);
        (entry.job.clone(), verdict)
    };
    queue.iter().map(verdict).collect()
}

fn decide(asked: &Resources, capacity: &Capacity, free: &mut Room, now: UnixMillis) -> Verdict {
    let most = capacity.most;
    match placement(asked, &capacity.nodes, now) {
        Placement::ToBeHad => {}
        Placement::Lost { lacks } => {
            return Verdict::Wait {
                lacks,
                is_for_nodes: true,
            };
        }
        Placement::None { message } => return Verdict::Refuse { message },
    }
    if let Some(message) = never_fits(asked, most, capacity.memory_per_worker_max_bytes) {
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
            is_for_nodes: false,
        }
    }
}

/// Whether one of several machines can hold a job. Without a list of machines there is one, and nothing follows from it.
#[must_use]
pub fn placement(asked: &Resources, nodes: &[Node], now: UnixMillis) -> Placement {
    let is_alive = |node: &&Node| node.presence == Presence::Alive;
    let alive = || nodes.iter().filter(is_alive);
    let holders = || nodes.iter().filter(|node| node.holds(asked));
    let is_to_be_had = |node: &Node| matches!(node.presence, Presence::Alive | Presence::OnDemand);
    if nodes.is_empty() || holders().any(is_to_be_had) {
        return Placement::ToBeHad;
    }
    let expected = holders().filter_map(|node| match node.presence {
        Presence::Expected(at) => Some(away(node, at, now)),
        _ => None,
    });
    let expected: Vec<String> = expected.collect();
    if !expected.is_empty() {
        return Placement::Lost {
            lacks: format!(
                "a node with {}: none of the {} that are there has that; {}",
                amounts(asked),
                alive().count(),
                expected.join(", ")
            ),
        };
    }
    let given_up = holders().filter_map(|node| match node.presence {
        Presence::GivenUp(at) => Some(away(node, at, now)),
        _ => None,
    });
    let given_up: Vec<String> = given_up.collect();
    let to_be_had = || nodes.iter().filter(|node| is_to_be_had(node));
    let most = |amount: fn(&Node) -> f64| to_be_had().map(amount).fold(0.0, f64::max);
    let mut message = format!(
        "{NO_NODE_HOLDS} {}; the most on one node are {} cores, {} GPUs and {}",
        amounts(asked),
        most(|node| node.num_cpus),
        most(|node| node.num_gpus),
        mib(to_be_had().map(|node| node.memory_bytes).max().unwrap_or(0)),
    );
    if !given_up.is_empty() {
        message.push_str(&format!(
            "; what could have held it {NODES_STAYED_AWAY}: {}",
            given_up.join(", ")
        ));
    }
    Placement::None { message }
}

fn away(node: &Node, at: UnixMillis, now: UnixMillis) -> String {
    format!("{} was lost {} s ago", node.name, now.since(at) / 1000)
}

fn amounts(asked: &Resources) -> String {
    format!(
        "{} CPU core(s), {} GPU(s) and {} of memory",
        asked.num_cpus,
        asked.num_gpus,
        mib(asked.memory_total_bytes())
    )
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

    fn machine() -> Capacity {
        Capacity::of_machine(TOTAL)
    }

    fn node(num_cpus: f64, num_gpus: f64, presence: Presence) -> Node {
        Node {
            name: format!("n{num_cpus}"),
            num_cpus,
            num_gpus,
            memory_bytes: 1024 << 20,
            presence,
        }
    }

    /// What becomes of a job with a core and a GPU on these machines.
    fn with_gpu(nodes: Vec<Node>) -> Verdict {
        let capacity = Capacity {
            nodes,
            most: Room {
                num_gpus: 9.0,
                ..TOTAL
            },
            ..machine()
        };
        let mut job = waiting(1, 1.0, 100, 0);
        job.resources.num_gpus = 1.0;
        admit(&[job], &capacity, Room::default(), UnixMillis(20_000))
            .remove(0)
            .1
    }

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
        let decided = admit(list, &machine(), Room::default(), UnixMillis(0));
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
        let used = Room {
            jobs: 1,
            ..Room::default()
        };
        let list = [waiting(1, 0.5, 100, 0), waiting(2, 0.5, 100, 0)];
        let capacity = Capacity {
            now: total,
            most: total,
            ..machine()
        };
        let decided = admit(&list, &capacity, used, UnixMillis(0));
        assert_eq!(decided[0].1, Verdict::Admit);
        let lacks = "a place among the 2 job(s) that may run at once".to_owned();
        let expected = Verdict::Wait {
            lacks,
            is_for_nodes: false,
        };
        assert_eq!(decided[1].1, expected);
    }

    #[test]
    fn what_can_never_fit_is_refused_and_not_left_waiting() {
        let list = [waiting(1, 3.0, 100, 0), waiting(2, 1.0, 5000, 0)];
        let decided = admit(&list, &machine(), Room::default(), UnixMillis(0));
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
        let capacity = Capacity { most, ..machine() };
        let decided = admit(&list, &capacity, Room::default(), UnixMillis(0));
        assert!(
            matches!(&decided[0].1, Verdict::Wait { lacks, .. } if lacks.contains("3 CPU core(s)")),
            "{decided:?}"
        );
    }

    #[test]
    fn what_only_a_lost_node_holds_waits_for_it_and_not_for_other_jobs() {
        let alive = || node(2.0, 0.0, Presence::Alive);
        let lost = node(3.0, 1.0, Presence::Expected(UnixMillis(8_000)));
        let verdict = with_gpu(vec![alive(), lost]);
        let Verdict::Wait {
            lacks,
            is_for_nodes,
        } = verdict
        else {
            panic!("{verdict:?}");
        };
        assert!(is_for_nodes);
        assert!(
            lacks.contains("1 GPU(s)") && lacks.contains("n3 was lost 12 s ago"),
            "{lacks}"
        );
    }

    #[test]
    fn what_a_node_holds_that_comes_on_demand_starts_up_to_the_number_of_those() {
        let nodes = vec![
            node(1.0, 0.0, Presence::Alive),
            node(2.0, 1.0, Presence::OnDemand),
        ];
        let room = |num_cpus, num_gpus| Room {
            num_cpus,
            num_gpus,
            ..TOTAL
        };
        let capacity = Capacity {
            now: room(1.0, 0.0),
            on_demand: room(2.0, 1.0),
            most: room(3.0, 1.0),
            nodes,
            ..machine()
        };
        let with_gpus = |n: u8, num_gpus| {
            let mut job = waiting(n, 1.0, 100, 0);
            job.resources.num_gpus = num_gpus;
            job
        };
        let list = [with_gpus(1, 1.0), with_gpus(2, 1.0), with_gpus(3, 2.0)];
        let decided = admit(&list, &capacity, Room::default(), UnixMillis(0));
        assert_eq!(decided[0].1, Verdict::Admit);
        let waits = matches!(&decided[1].1, Verdict::Wait { lacks, is_for_nodes: false } if lacks.contains("1 GPU(s) (0 free)"));
        assert!(waits, "{decided:?}");
        let refused = matches!(&decided[2].1, Verdict::Refuse { message } if message.contains("are 2 cores, 1 GPUs"));
        assert!(refused, "{decided:?}");
    }

    #[test]
    fn what_no_node_holds_is_refused_and_says_when_the_node_for_it_stayed_away() {
        // A core here, a GPU there: a job runs on one node.
        let apart = vec![
            node(2.0, 0.0, Presence::Alive),
            node(0.5, 1.0, Presence::Alive),
        ];
        let gone = node(3.0, 1.0, Presence::GivenUp(UnixMillis(8_000)));
        for (nodes, stayed_away) in [(apart.clone(), false), ([apart, vec![gone]].concat(), true)] {
            let verdict = with_gpu(nodes);
            let Verdict::Refuse { message } = verdict else {
                panic!("{verdict:?}");
            };
            assert_eq!(
                message.contains(NODES_STAYED_AWAY),
                stayed_away,
                "{message}"
            );
        }
    }
}
