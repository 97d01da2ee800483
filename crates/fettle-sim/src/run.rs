//! One run: random events with faults, then none, then the batch must end.

use std::collections::BTreeMap;

use fettle_core::{Advice, Event, FailedRows, JobState, Overrides, Scope, Submission, Wait};
use fettle_model::{AppliedBy, AttemptExit, AttemptId, BatchStatus, Cause, JobId, UnixMillis};

use crate::random::Random;
use crate::world::{Process, World};

/// Random events of a run.
const EVENTS: usize = 400;
/// Rounds without faults in which a batch must end; each moves every job one step on.
const HEALING_ROUNDS_MAX: usize = 2_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How the batch ended.
    pub status: BatchStatus,
    /// Attempts in all.
    pub attempts: usize,
    /// Everything that happened.
    pub trace: Vec<String>,
}

/// Runs a seed. Panics, with the last events, when a law is broken or the batch does not end.
#[must_use]
pub fn run(seed: u64) -> Report {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    for _ in 0..EVENTS {
        act(&mut world, &mut random);
    }
    heal(&mut world);
    Report {
        status: world.memory.status,
        attempts: world.memory.jobs().map(|(_, job)| job.attempts.len()).sum(),
        trace: world.trace,
    }
}

fn act(world: &mut World, random: &mut Random) {
    let commit = !random.chance(5);
    match random.below(16) {
        0..=3 => {
            let pending: Vec<u64> = world.outbox.keys().copied().collect();
            if let Some(effect) = random.pick(&pending) {
                world.carry_out(*effect, !random.chance(10), commit);
            }
        }
        4..=6 => {
            if let Some(attempt) = random.pick(&world.processes(true)).cloned() {
                world.record(&attempt, random);
            }
        }
        7 => {
            if let Some(attempt) = random.pick(&world.processes(true)).cloned() {
                let exit = exit(world, &attempt, random);
                world.processes.insert(attempt, Process::Gone(exit));
            }
        }
        8 | 9 => observe(world, random, commit),
        10 => {
            if let Some(attempt) = random.pick(&world.processes(true)).cloned() {
                // Late and doubled first reports are refused.
                let _ = world.happen(Event::AttemptReported { attempt }, commit);
            }
        }
        11 | 12 => admit(world, random, commit),
        13 => {
            world.now = world.now.plus_ms(random.below(3_000) as u64);
            elapse(world, commit);
        }
        14 if random.chance(20) => world.crash(),
        14 => {}
        _ if random.chance(50) => user(world, random, commit),
        _ => control(world, random, commit),
    }
}

fn exit(world: &mut World, attempt: &AttemptId, random: &mut Random) -> AttemptExit {
    if let Some(habit) = world.habit.clone().filter(|_| random.chance(90)) {
        return habit;
    }
    match random.below(8) {
        0 => AttemptExit::OutOfMemory,
        1 => AttemptExit::WorkersKeepDying,
        2 => AttemptExit::DriverFailed,
        3 => AttemptExit::ExtractorFailed,
        4 | 5 => AttemptExit::DriverDied,
        _ => {
            world.finish_rows(attempt);
            AttemptExit::Finished
        }
    }
}

fn observe(world: &mut World, random: &mut Random, commit: bool) {
    let Some(attempt) = random.pick(&world.processes(false)).cloned() else {
        return;
    };
    let Some(event) = end(world, &attempt, random.chance(10)) else {
        return;
    };
    // An end that was told before is refused.
    let _ = world.happen(event, commit);
}

fn end(world: &World, attempt: &AttemptId, lost: bool) -> Option<Event> {
    let Some(Process::Gone(exit)) = world.processes.get(attempt) else {
        return None;
    };
    let (job, _) = attempt.split()?;
    let counts = world.counts(&job);
    let attempt = attempt.clone();
    Some(if lost {
        Event::AttemptLost { attempt, counts }
    } else {
        Event::AttemptEnded {
            attempt,
            exit: exit.clone(),
            counts,
            summary: format!("{exit:?}"),
            advice: advice(world, &job, exit),
        }
    })
}

/// Mostly twice the memory, as after a peak that was cut off; and all errors of rows may pass.
fn advice(world: &World, job: &JobId, exit: &AttemptExit) -> Advice {
    let present = world
        .memory
        .job(job)
        .map(|(_, job)| job.resources.memory_bytes);
    Advice {
        overrides: Overrides {
            memory_bytes: present
                .filter(|bytes| *bytes < 64 << 20)
                .map(|bytes| bytes * 2),
            ..Overrides::default()
        },
        transient_rows: match exit {
            AttemptExit::Finished => world.counts(job).failed,
            _ => 0,
        },
        resource_rows: 0,
        memory_enough_bytes: present
            .map(|bytes| bytes / 2)
            .filter(|_| *exit == AttemptExit::Finished),
    }
}

fn waiting(world: &World, backoff: bool) -> Vec<(JobId, UnixMillis)> {
    let job = |job: &fettle_core::Job| match (&job.state, backoff) {
        (JobState::Waiting(Wait::Capacity { since }), false) => Some((job.id.clone(), *since)),
        (JobState::Waiting(Wait::Backoff { until, .. }), true) => Some((job.id.clone(), *until)),
        _ => None,
    };
    world.memory.jobs().filter_map(|(_, it)| job(it)).collect()
}

fn admitted(job: JobId) -> Event {
    Event::JobAdmitted {
        job,
        submission: Submission::default(),
    }
}

fn admit(world: &mut World, random: &mut Random, commit: bool) {
    let Some((job, _)) = random.pick(&waiting(world, false)).cloned() else {
        return;
    };
    let event = if random.chance(2) {
        Event::JobRefused {
            job,
            message: "asks for too much".to_owned(),
        }
    } else {
        admitted(job)
    };
    world
        .happen(event, commit)
        .expect("a waiting job can be admitted or refused");
}

fn elapse(world: &mut World, commit: bool) {
    for (job, until) in waiting(world, true) {
        if until <= world.now {
            // A commit that failed dropped memory; the next look finds the job still waiting.
            let _ = world.happen(Event::BackoffElapsed { job }, commit);
        }
    }
}

fn user(world: &mut World, random: &mut Random, commit: bool) {
    let tier_num = random.below(world.memory.tiers.len()) as u32;
    let jobs: Vec<JobId> = world.memory.jobs().map(|(_, job)| job.id.clone()).collect();
    let event = match random.below(40) {
        0 => cancel(Scope::Batch),
        1 => cancel(Scope::Tier { tier_num }),
        2 => match random.pick(&jobs) {
            Some(job) => cancel(Scope::Job { job: job.clone() }),
            None => return,
        },
        3..=8 => {
            let overrides = Overrides {
                memory_bytes: Some(2 << 20),
                ..Overrides::default()
            };
            Event::RetryRequested {
                tier_num,
                overrides,
            }
        }
        9..=14 => failed_rows(world, random),
        15..=17 => Event::ResubmitRequested {
            from_tier: tier_num,
            hold: random.chance(30),
        },
        18..=23 => submit_held(),
        _ => return,
    };
    // Users ask for what is not possible, too.
    let _ = world.happen(event, commit);
}

/// Failed rows of some tiers, counted now or, sometimes, before the batch moved.
fn failed_rows(world: &World, random: &mut Random) -> Event {
    let which = FailedRows {
        retries_max: random.chance(70).then_some(2),
        ..FailedRows::default()
    };
    let tiers = world.memory.tiers.iter().filter(|_| random.chance(70));
    let jobs: Vec<&JobId> = tiers.flat_map(|t| &t.jobs).map(|job| &job.id).collect();
    let counted = |job: &&JobId| {
        let rows = world.failed_rows(job, &which).len() as u64;
        ((*job).clone(), rows)
    };
    Event::FailedRowsRetryRequested {
        jobs: jobs.iter().map(counted).collect(),
        version: world
            .memory
            .version
            .saturating_sub(u64::from(random.chance(10))),
        which,
    }
}

fn submit_held() -> Event {
    Event::HeldBatchSubmitted {
        overrides: BTreeMap::new(),
    }
}

/// What the control room itself asks for: restarts, also of attempts that are over, another policy, a look at failed rows.
fn control(world: &mut World, random: &mut Random, commit: bool) {
    let event = match random.below(5) {
        4 => return adopt(world, random),
        0 => Event::PolicySet {
            policy: crate::world::policy(random),
        },
        1 => {
            let jobs: Vec<JobId> = world.memory.jobs().map(|(_, job)| job.id.clone()).collect();
            let Some(job) = random.pick(&jobs).cloned() else {
                return;
            };
            Event::RowsCounted {
                counts: world.counts(&job),
                job,
            }
        }
        _ => {
            let attempts: Vec<AttemptId> = world.processes.keys().cloned().collect();
            let Some(attempt) = random.pick(&attempts).cloned() else {
                return;
            };
            Event::RestartRequested {
                attempt,
                cause: Cause::Stuck,
                by: if random.chance(50) {
                    AppliedBy::User
                } else {
                    AppliedBy::Policy
                },
                reason: "simulated".to_owned(),
            }
        }
    };
    // What is over, or has no budget left, is refused.
    let _ = world.happen(event, commit);
}

/// A run is found that a memory which was lost had begun: the next attempt of some job, or one that was superseded long ago.
fn adopt(world: &mut World, random: &mut Random) {
    let jobs: Vec<&fettle_core::Job> = world.memory.jobs().map(|(_, job)| job).collect();
    let Some(job) = random.pick(&jobs) else {
        return;
    };
    let number = 1 + random.below(job.next_number() as usize) as u32;
    let attempt = AttemptId::of(&job.id, number);
    let event = Event::AttemptAdopted {
        attempt: attempt.clone(),
        submission: Submission::default(),
    };
    // What the job cannot take over is refused.
    if world.happen(event, true).is_ok() {
        world.processes.insert(attempt, Process::Alive);
    }
}

fn cancel(scope: Scope) -> Event {
    Event::CancelRequested {
        scope,
        reason: Some("simulated".to_owned()),
    }
}

/// No more faults: every effect is carried out, every process finishes, every end is told.
fn heal(world: &mut World) {
    for _ in 0..HEALING_ROUNDS_MAX {
        if world.memory.status.is_terminal() && world.processes(true).is_empty() {
            return;
        }
        world.now = world.now.plus_ms(60_000);
        // Only its user can let a held batch go on, so refusals are those of batches that are not held.
        let _ = world.happen(submit_held(), true);
        let pending: Vec<u64> = world.outbox.keys().copied().collect();
        for effect in pending {
            world.carry_out(effect, true, true);
        }
        for attempt in world.processes(true) {
            world.finish_rows(&attempt);
            world
                .processes
                .insert(attempt, Process::Gone(AttemptExit::Finished));
        }
        tell_ends(world);
        elapse(world, true);
        for (job, _) in waiting(world, false) {
            world
                .happen(admitted(job), true)
                .expect("a waiting job can be admitted");
        }
    }
    panic!("the batch did not end: {:#?}", world.memory);
}

/// Ends of processes, and of attempts that never became one.
fn tell_ends(world: &mut World) {
    let live: Vec<AttemptId> = world
        .memory
        .jobs()
        .filter_map(|(_, job)| job.live_attempt())
        .map(|a| a.id.clone())
        .collect();
    for attempt in live {
        let event = match world.processes.get(&attempt) {
            Some(_) => end(world, &attempt, false),
            None => attempt.split().map(|(job, _)| {
                let counts = world.counts(&job);
                Event::AttemptLost {
                    attempt: attempt.clone(),
                    counts,
                }
            }),
        };
        if let Some(event) = event {
            world.happen(event, true).expect("a live attempt can end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `FETTLE_SIM_SEEDS` asks for more than the usual few seconds' worth.
    fn seeds() -> u64 {
        let asked = std::env::var("FETTLE_SIM_SEEDS").ok();
        asked.and_then(|text| text.parse().ok()).unwrap_or(1_000)
    }

    #[test]
    fn no_seed_breaks_a_law_and_every_batch_ends() {
        let mut ends: BTreeMap<BatchStatus, usize> = BTreeMap::new();
        for seed in 0..seeds() {
            *ends.entry(run(seed).status).or_default() += 1;
        }
        for status in [
            BatchStatus::Completed,
            BatchStatus::CompletedWithErrors,
            BatchStatus::Failed,
            BatchStatus::Canceled,
        ] {
            assert!(
                ends.contains_key(&status),
                "no run ended {status:?}: {ends:?}"
            );
        }
    }

    #[test]
    fn a_seed_gives_the_same_run_twice() {
        for seed in 0..20 {
            assert_eq!(run(seed), run(seed));
        }
    }
}
