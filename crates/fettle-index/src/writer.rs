//! Group commit: writers of one collection share flushes.
//!
//! A flush costs several syncs of the disk, whatever was written. So writers queue up; one of them leads: it applies what
//! waits, flushes once, and tells all of them. While it does, the next group gathers. Nothing is acknowledged before a
//! flush that covers it has returned.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use qdrant_edge::PointStructPersisted;
use qdrant_edge::external::uuid::Uuid;
use tokio::sync::oneshot;

use crate::convert;
use crate::disk;
use crate::fault::Fault;
use crate::layout;
use crate::registry::{Busy, Registry};
use crate::shard::Shard;
use crate::space::Space;

/// Requests that are applied between two flushes. More would save little and let the first wait long. `NUMBER_GAP` in
/// `layout` must stay above it.
const GROUP_REQUESTS_MAX: usize = 256;

/// Bytes that are applied between two flushes: what is not flushed is held in memory by the library.
const GROUP_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A change to a collection.
#[derive(Debug)]
pub(crate) enum Change {
    /// Points to write.
    Upsert(Vec<PointStructPersisted>),
    /// Points to remove.
    Delete(Vec<Uuid>),
}

impl Change {
    fn weight_bytes(&self) -> u64 {
        match self {
            Self::Upsert(points) => points.iter().map(convert::weight_bytes).sum(),
            Self::Delete(ids) => ids.len() as u64 * 16,
        }
    }
}

/// A change that waits, and who waits for it.
#[derive(Debug)]
struct Request {
    change: Change,
    weight_bytes: u64,
    done: oneshot::Sender<Result<u64, Fault>>,
}

/// The changes of a collection that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Request>,
    /// Whether somebody applies them.
    led: bool,
}

/// Makes a change durable; returns how many points there were before, for deletions.
pub(crate) async fn submit(
    registry: &Arc<Registry>,
    space: &Arc<Space>,
    change: Change,
) -> Result<u64, Fault> {
    let (done, outcome) = oneshot::channel();
    let request = Request {
        weight_bytes: change.weight_bytes(),
        change,
        done,
    };
    let lead = {
        let mut queue = space.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push_back(request);
        !std::mem::replace(&mut queue.led, true)
    };
    if lead {
        let leader = Leader {
            registry: Busy::on(registry),
            space: Arc::clone(space),
            finished: false,
        };
        tokio::task::spawn_blocking(move || leader.lead());
    }
    outcome.await.unwrap_or_else(|_| {
        Err(Fault::Broken(
            "the writer of the collection stopped".to_owned(),
        ))
    })
}

/// The one who applies changes, until none waits.
struct Leader {
    registry: Busy,
    space: Arc<Space>,
    /// Whether nothing waits any more.
    finished: bool,
}

impl Drop for Leader {
    /// Should the runtime end before it leads, or should it ever panic, this lets waiting callers go and others write.
    fn drop(&mut self) {
        if !self.finished {
            let mut queue = self.queue();
            queue.waiting.clear();
            queue.led = false;
        }
    }
}

impl Leader {
    fn lead(mut self) {
        while let Some(group) = self.next_group() {
            self.registry.make_room_for(&self.space);
            self.commit(group);
            self.registry.make_room(0);
        }
        self.finished = true;
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.space
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is applied next: at least one request, if one waits.
    fn next_group(&self) -> Option<Vec<Request>> {
        let mut queue = self.queue();
        let mut group = Vec::new();
        let mut bytes = 0_u64;
        while let Some(request) = queue.waiting.front() {
            bytes = bytes.saturating_add(request.weight_bytes);
            let full = group.len() >= GROUP_REQUESTS_MAX || bytes > GROUP_BYTES_MAX;
            if full && !group.is_empty() {
                break;
            }
            group.extend(queue.waiting.pop_front());
        }
        if group.is_empty() {
            queue.led = false;
            return None;
        }
        Some(group)
    }

    fn commit(&self, group: Vec<Request>) {
        let outcomes = match self.apply(&group) {
            Ok(outcomes) => outcomes,
            // One of them may have broken it; alone, only that one fails.
            Err(Fault::Broken(_) | Fault::Full) if group.len() > 1 => group
                .iter()
                .map(|request| self.apply(std::slice::from_ref(request))?.remove(0))
                .collect(),
            Err(fault) => group.iter().map(|_| Err(fault.clone())).collect(),
        };
        for (request, outcome) in group.into_iter().zip(outcomes) {
            // A caller who has gone does not need the answer.
            let _ = request.done.send(outcome);
        }
        self.bound_log();
    }

    /// Applies and flushes requests; each gets its own outcome, unless the shard failed.
    fn apply(&self, group: &[Request]) -> Result<Vec<Result<u64, Fault>>, Fault> {
        let bytes = group.iter().map(|request| request.weight_bytes).sum();
        self.space.with(|shard| {
            disk::ensure_space(
                self.space.dir(),
                bytes,
                self.registry.limits().disk_reserve_bytes,
            )?;
            let mut outcomes = Vec::with_capacity(group.len());
            for request in group {
                match apply_one(shard, &request.change) {
                    Err(fault) if fault.spoils_shard() => return Err(fault),
                    outcome => outcomes.push(outcome),
                }
            }
            shard.flush()?;
            Ok(outcomes)
        })
    }

    /// Gives back what the log occupies, and closes the shard when the log has many files; opening it begins a new one.
    fn bound_log(&self) {
        let long = layout::release_log(self.space.dir())
            .is_ok_and(|files| files > self.registry.limits().log_files_max);
        if long {
            self.space.close();
        }
    }
}

fn apply_one(shard: &Shard, change: &Change) -> Result<u64, Fault> {
    match change {
        Change::Upsert(points) => {
            points
                .iter()
                .try_for_each(|point| convert::check_vectors(point, shard.vectors()))?;
            if !points.is_empty() {
                shard.upsert(points.clone())?;
            }
            Ok(0)
        }
        Change::Delete(ids) => shard.delete(ids),
    }
}
