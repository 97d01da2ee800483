//! How many workers an attempt may have, where the backend can spread it over more nodes than its driver's.
//!
//! Owns the sharing of what no job has asked for. Jobs that wait go first: while one waits for room, nobody has more than was asked for.

use std::sync::{Arc, PoisonError};

use fettle_core::admission::Room;
use fettle_core::{Batch, Job, JobState, Wait};
use fettle_model::{AttemptId, Resources};

use crate::control::Shared;
use crate::reconcile::used;

/// The most workers that an attempt may have for now; `None` when it is not known any more.
pub(crate) fn workers_max(shared: &Shared, attempt: &AttemptId) -> Option<u32> {
    let (id, _) = attempt.split()?;
    let active = shared.active.read().unwrap_or_else(PoisonError::into_inner);
    let jobs: Vec<(&Arc<Batch>, &Job)> = active
        .values()
        .flat_map(|batch| batch.jobs().map(move |(_, job)| (batch, job)))
        .collect();
    let (_, job) = jobs.iter().find(|(_, job)| job.id == id)?;
    let own = job.resources.workers();
    let waits = |state: &JobState| matches!(state, JobState::Waiting(Wait::Capacity { .. }));
    if jobs.iter().any(|(_, job)| waits(&job.state)) {
        return Some(own);
    }
    let running = jobs
        .iter()
        .filter(|(_, job)| matches!(job.state, JobState::Active));
    let sharers = u32::try_from(running.count()).unwrap_or(u32::MAX).max(1);
    let room = shared.ports.executor.capacity().total();
    Some(own.saturating_add(more(&job.resources, room, used(&jobs)) / sharers))
}

/// Workers like these that fit into what is left of `room`.
fn more(asked: &Resources, room: Room, used: Room) -> u32 {
    let workers = f64::from(asked.workers());
    let memory_left = room.memory_bytes.saturating_sub(used.memory_bytes);
    let fits = [
        (room.num_cpus - used.num_cpus, asked.num_cpus / workers),
        (room.num_gpus - used.num_gpus, asked.num_gpus / workers),
        // Whole bytes far below 2^53.
        (memory_left as f64, asked.memory_bytes as f64),
    ]
    .into_iter()
    .filter(|(_, each)| *each > 0.0)
    .map(|(left, each)| left / each);
    // A count of workers is far below 2^32; the cast saturates, also below zero.
    fits.fold(f64::from(u32::MAX), f64::min) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(num_cpus: f64, num_gpus: f64, gib: u64) -> Room {
        Room {
            num_cpus,
            num_gpus,
            memory_bytes: gib << 30,
            jobs: 8,
        }
    }

    #[test]
    fn what_is_left_is_counted_by_the_scarcest_resource() {
        let asked = |num_cpus, num_gpus| Resources {
            num_cpus,
            num_gpus,
            memory_bytes: 1 << 30,
            requires_gpu: false,
            priority: 0,
        };
        let check = |asked: &Resources, used: Room, expected: u32| {
            assert_eq!(more(asked, room(8.0, 2.0, 6), used), expected);
        };
        check(&asked(1.0, 0.0), room(1.0, 0.0, 1), 5);
        check(&asked(2.0, 0.0), room(5.0, 0.0, 2), 3);
        check(&asked(0.5, 0.0), room(7.0, 0.0, 1), 2);
        check(&asked(1.0, 1.0), room(1.0, 1.0, 1), 1);
        check(&asked(1.0, 0.0), room(9.0, 0.0, 1), 0);
    }
}
