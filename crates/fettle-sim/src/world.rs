//! The fakes around the core: a store that keeps what was committed, a backend with processes, rows with outcomes.

use std::collections::{BTreeMap, BTreeSet};

use fettle_core::{
    Batch, BatchPlan, Effect, Effects, Event, FailedRows, JobPlan, PreparedRows, Refusal,
    ReopenRows, SkippedRows, TierPlan, TierSource, WhichRows, laws, step,
};
use fettle_model::{
    AppliedBy, AttemptExit, AttemptId, BatchId, BucketId, Cause, CollectionId, ExtractorRef,
    HealingMode, HealingPolicy, JobId, ManifestRef, NamespaceId, Resources, RowCounts, RowOutcome,
    UnixMillis,
};
use serde_json::Map;

use crate::random::Random;

/// A process on the fake backend.
#[derive(Debug, Clone, PartialEq)]
pub enum Process {
    /// It works.
    Alive,
    /// It is gone; nobody has told the core.
    Gone(AttemptExit),
}

/// Everything outside the core.
pub struct World {
    /// The present time.
    pub now: UnixMillis,
    /// The control room's memory.
    pub memory: Batch,
    /// What was committed.
    stored: Batch,
    /// Committed effects that were not marked as done, with their numbers.
    pub outbox: BTreeMap<u64, Effect>,
    next_effect: u64,
    /// Every process that was ever started.
    pub processes: BTreeMap<AttemptId, Process>,
    /// Outcomes of each job's rows.
    pub rows: BTreeMap<JobId, Vec<Option<RowOutcome>>>,
    /// How often failed rows were given back.
    retries: BTreeMap<(JobId, usize), u32>,
    objects: usize,
    /// Each of how many new rows has its documents already; none of them by default.
    skip_each: Option<usize>,
    /// How processes of this run like to end, so that budgets are spent to their limit.
    pub habit: Option<AttemptExit>,
    /// What happened, for comparing two runs of a seed.
    pub trace: Vec<String>,
}

impl World {
    /// A submitted batch of a random shape.
    pub fn new(random: &mut Random) -> Self {
        let now = UnixMillis(1_000_000);
        let (batch, effects) = plan(random).submit(now);
        let mut world = Self {
            now,
            memory: batch.clone(),
            stored: batch,
            outbox: BTreeMap::new(),
            next_effect: 0,
            processes: BTreeMap::new(),
            rows: BTreeMap::new(),
            retries: BTreeMap::new(),
            objects: random.below(12),
            skip_each: random.chance(30).then(|| 1 + random.below(3)),
            habit: habit(random),
            trace: Vec::new(),
        };
        world.keep(effects);
        world
    }

    /// Steps the core; the commit fails when `commit` is false, and then memory is dropped. Checks the laws either way.
    pub fn happen(&mut self, event: Event, commit: bool) -> Result<(), Refusal> {
        let before = self.memory.clone();
        self.trace.push(format!("{event:?} commit={commit}"));
        let remedy = remedied(&event).map(|attempt| (attempt.clone(), event.clone()));
        let effects = match step(&mut self.memory, self.now, event) {
            Ok(effects) => effects,
            Err(refusal) => {
                assert_eq!(
                    before, self.memory,
                    "a refused event changed the batch: {refusal}"
                );
                return Err(refusal);
            }
        };
        self.check_budgets(&before, &effects);
        if let Some((attempt, event)) = remedy {
            self.check_remedy(&before, &attempt, event);
        }
        if commit {
            assert_eq!(
                self.memory.version,
                self.stored.version + 1,
                "a step is one version"
            );
            self.keep(effects);
        } else {
            self.crash();
        }
        self.check();
        Ok(())
    }

    fn keep(&mut self, effects: Effects) {
        self.stored = self.memory.clone();
        for reopen in effects.reopen_rows {
            self.reopen(&reopen);
        }
        for (_, job) in self.memory.jobs() {
            let rows = self.rows.entry(job.id.clone()).or_default();
            let known = job.manifest.as_ref().map_or(0, |m| m.rows as usize);
            rows.resize(rows.len().max(known), None);
        }
        for skip in effects.skip_rows {
            let rows = self.rows.entry(skip.job).or_default();
            for row in skip.rows {
                rows[row as usize].get_or_insert(RowOutcome::Skipped);
            }
        }
        for effect in effects.effects {
            self.outbox.insert(self.next_effect, effect);
            self.next_effect += 1;
        }
    }

    fn reopen(&mut self, reopen: &ReopenRows) {
        let WhichRows::Failed(which) = &reopen.which else {
            self.rows.remove(&reopen.job);
            self.retries.retain(|(job, _), _| *job != reopen.job);
            return;
        };
        for row in self.failed_rows(&reopen.job, which) {
            *self.retries.entry((reopen.job.clone(), row)).or_default() += 1;
            self.rows.entry(reopen.job.clone()).or_default()[row] = None;
        }
    }

    /// The failed rows of a job that `which` means; rows here have no classes and no sources.
    #[must_use]
    pub fn failed_rows(&self, job: &JobId, which: &FailedRows) -> Vec<usize> {
        let rows = self.rows.get(job).into_iter().flatten().enumerate();
        let retries = |row| self.retries.get(&(job.clone(), row)).copied().unwrap_or(0);
        rows.filter(|(_, outcome)| **outcome == Some(RowOutcome::Failed))
            .map(|(row, _)| row)
            .filter(|row| which.retries_max.is_none_or(|max| retries(*row) < max))
            .collect()
    }

    /// The control room dies and comes back with what was committed.
    pub fn crash(&mut self) {
        self.trace.push("crash".to_owned());
        self.memory = self.stored.clone();
    }

    /// Carries out an effect; marks it as done unless the control room dies right after it.
    pub fn carry_out(&mut self, number: u64, done: bool, commit: bool) {
        let Some(effect) = self.outbox.get(&number).cloned() else {
            return;
        };
        self.trace.push(format!("{effect:?} done={done}"));
        let settled = match effect {
            Effect::BuildManifest { job } => self.build_manifest(&job, commit),
            Effect::StartAttempt { attempt } => self.start(&attempt, commit),
            Effect::StopAttempt { attempt } => {
                if self.processes.get(&attempt) == Some(&Process::Alive) {
                    self.processes
                        .insert(attempt, Process::Gone(AttemptExit::Cancelled));
                }
                true
            }
            Effect::ForgetAttempt { .. } => true,
        };
        if settled && done {
            self.outbox.remove(&number);
        }
    }

    fn build_manifest(&mut self, job: &JobId, commit: bool) -> bool {
        let Some((at, found)) = self.memory.job(job) else {
            return true;
        };
        let generation = found.generation;
        let sources = match at {
            0 => self.objects,
            _ => self.memory.tiers[at - 1]
                .jobs
                .iter()
                .map(|j| self.counts(&j.id).processed)
                .sum::<u64>() as usize,
        };
        // A manifest only grows, and only new rows can be skipped. Where it is refused, it has no rows.
        let old = found.manifest.as_ref().map_or(0, |m| m.rows as usize);
        let rows = old.max(sources);
        let skips = |row: &usize| self.skip_each.is_some_and(|each| row.is_multiple_of(each));
        let skipped = SkippedRows {
            rows: (old..rows).filter(skips).map(|row| row as u32).collect(),
            ..SkippedRows::default()
        };
        let manifest = ManifestRef {
            key: format!("{job}"),
            rows: rows as u64,
            sizes: None,
            left_out: 0,
        };
        let counts = self.counts(job);
        let event = Event::ManifestBuilt {
            job: job.clone(),
            rows: PreparedRows {
                generation,
                manifest,
                counts,
                skipped,
            },
        };
        let taken = self.happen(event, commit);
        taken.is_err() || commit
    }

    fn start(&mut self, attempt: &AttemptId, commit: bool) -> bool {
        let Some((job, _)) = attempt.split() else {
            return true;
        };
        let planned = self
            .memory
            .job(&job)
            .and_then(|(_, job)| job.live_attempt())
            .is_some_and(|live| {
                live.id == *attempt && live.status != fettle_model::AttemptStatus::Cancelling
            });
        if !planned {
            return true;
        }
        let is_found = self.processes.contains_key(attempt);
        self.processes
            .entry(attempt.clone())
            .or_insert(Process::Alive);
        let taken = self.happen(
            Event::AttemptSubmitted {
                attempt: attempt.clone(),
                is_found,
            },
            commit,
        );
        taken.is_err() || commit
    }

    /// A process gives a row an outcome. Reports of an attempt that does not count are refused, as the fence does.
    pub fn record(&mut self, attempt: &AttemptId, random: &mut Random) {
        let Some((job, _)) = attempt.split() else {
            return;
        };
        let counts = self
            .memory
            .job(&job)
            .is_some_and(|(_, job)| job.is_current(attempt));
        if !counts {
            return;
        }
        let outcome = match random.below(10) {
            0 => RowOutcome::Failed,
            1 => RowOutcome::Skipped,
            _ => RowOutcome::Processed,
        };
        let rows = self.rows.entry(job).or_default();
        if !rows.is_empty() {
            let row = random.below(rows.len());
            // The first outcome stays.
            rows[row].get_or_insert(outcome);
        }
    }

    /// Outcomes of a job's rows.
    #[must_use]
    pub fn counts(&self, job: &JobId) -> RowCounts {
        let mut counts = RowCounts::default();
        for outcome in self.rows.get(job).into_iter().flatten().flatten() {
            match outcome {
                RowOutcome::Processed => counts.processed += 1,
                RowOutcome::Failed => counts.failed += 1,
                RowOutcome::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// Whether a row of the job has no outcome.
    #[must_use]
    pub fn unfinished(&self, attempt: &AttemptId) -> bool {
        let job = attempt.split().map(|(job, _)| job);
        job.and_then(|job| self.rows.get(&job))
            .is_some_and(|rows| rows.contains(&None))
    }

    /// Gives every unfinished row of the attempt's job an outcome.
    pub fn finish_rows(&mut self, attempt: &AttemptId) {
        if let Some((job, _)) = attempt.split() {
            for row in self.rows.entry(job).or_default() {
                row.get_or_insert(RowOutcome::Processed);
            }
        }
    }

    /// Processes in one state.
    #[must_use]
    pub fn processes(&self, alive: bool) -> Vec<AttemptId> {
        let wanted = |process: &Process| (*process == Process::Alive) == alive;
        self.processes
            .iter()
            .filter(|(_, p)| wanted(p))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The laws, of the core and of the world.
    fn check(&self) {
        let broken = laws::broken(&self.memory);
        assert!(broken.is_empty(), "{broken:?}\n{}", self.tail());
        let mut busy = BTreeSet::new();
        for attempt in self.processes(true) {
            let (job, _) = attempt
                .split()
                .expect("processes are started by attempt ids");
            assert!(
                busy.insert(job.clone()),
                "two live processes of {job}\n{}",
                self.tail()
            );
        }
        for (_, job) in self.memory.jobs() {
            let has = self.counts(&job.id);
            if job.manifest.is_some() && job.live_attempt().is_none() {
                assert_eq!(
                    job.counts,
                    has,
                    "counts of {} are not the rows'\n{}",
                    job.id,
                    self.tail()
                );
            }
        }
    }

    /// A budget is spent by one, within the limit of its cause, and for the end of the attempt that was the last; nothing else is a remedy.
    fn check_budgets(&self, before: &Batch, effects: &Effects) {
        for (_, job) in self.memory.jobs() {
            let Some((_, was)) = before.job(&job.id) else {
                continue;
            };
            let applied = effects
                .remedies
                .iter()
                .find(|remedy| remedy.job_id == job.id && remedy.outcome.is_none());
            for cause in Cause::ALL {
                let (now, earlier) = (job.budgets.spent(*cause), was.budgets.spent(*cause));
                if now <= earlier {
                    continue;
                }
                let remedy = applied.expect("a budget is spent for a remedy");
                assert_eq!(
                    (now, remedy.cause),
                    (earlier + 1, *cause),
                    "{}",
                    self.tail()
                );
                let limit = match remedy.by {
                    AppliedBy::Policy => before.healing.limit(*cause),
                    AppliedBy::User => before.healing.budget(*cause),
                };
                assert!(
                    now <= limit,
                    "{now} of {limit} for {cause:?}\n{}",
                    self.tail()
                );
                let last = was.live_attempt().map(|attempt| &attempt.id);
                assert_eq!(
                    remedy.after.as_ref(),
                    last.or(was.last_attempt().map(|a| &a.id))
                );
                assert!(job.live_attempt().is_none(), "{}", self.tail());
            }
        }
    }

    /// A remedy is for an attempt that counts, or for one that begins to, never for one that is superseded; and asked for a second time it
    /// changes nothing.
    fn check_remedy(&self, before: &Batch, attempt: &AttemptId, event: Event) {
        let (job, number) = attempt.split().expect("remedies name attempts");
        let (_, was) = before.job(&job).expect("remedies name jobs that are there");
        assert!(
            was.is_current(attempt) || number == was.next_number(),
            "a remedy for {attempt}, which is superseded\n{}",
            self.tail()
        );
        let mut again = self.memory.clone();
        let refused = step(&mut again, self.now, event).is_err();
        assert!(refused && again == self.memory, "{}", self.tail());
    }

    fn tail(&self) -> String {
        let from = self.trace.len().saturating_sub(30);
        self.trace[from..].join("\n")
    }
}

/// The attempt that a remedy is about, if the event is one.
fn remedied(event: &Event) -> Option<&AttemptId> {
    match event {
        Event::RestartRequested { attempt, .. } | Event::AttemptAdopted { attempt, .. } => {
            Some(attempt)
        }
        _ => None,
    }
}

fn habit(random: &mut Random) -> Option<AttemptExit> {
    match random.below(6) {
        0 => Some(AttemptExit::DriverFailed),
        1 => Some(AttemptExit::DriverDied),
        2 => Some(AttemptExit::OutOfMemory),
        _ => None,
    }
}

/// Any mode, often with budgets and limits of its own.
pub fn policy(random: &mut Random) -> HealingPolicy {
    let mode = [HealingMode::Off, HealingMode::Suggest, HealingMode::Auto][random.below(3)];
    let causes = Cause::ALL.iter().filter(|_| random.chance(20));
    let causes: Vec<Cause> = causes.copied().collect();
    HealingPolicy {
        mode,
        budgets: causes
            .into_iter()
            .map(|cause| (cause, random.below(6) as u32))
            .collect(),
        memory_bytes_max: random.chance(30).then_some(8 << 20),
        failed_percent_max: random.chance(30).then_some(20.0),
        memory_shrinks: random.chance(30),
        ..HealingPolicy::default()
    }
}

fn plan(random: &mut Random) -> BatchPlan {
    let mut number = 0_u8;
    let mut bytes = move || {
        number += 1;
        [number; 15]
    };
    let tiers = (0..=random.below(3)).map(|_| TierPlan {
        source: TierSource::Bucket,
        jobs: (0..=random.below(2))
            .map(|_| JobPlan {
                id: JobId::from_entropy(bytes()),
                extractor: ExtractorRef {
                    name: "passthrough_extractor".to_owned(),
                    version: "v1".to_owned(),
                    parameters: Map::new(),
                },
                collection_ids: vec![CollectionId::from_entropy(bytes())],
                resources: Resources {
                    num_cpus: 1.0,
                    num_gpus: 0.0,
                    memory_bytes: 1 << 20,
                    requires_gpu: false,
                    priority: 0,
                },
            })
            .collect(),
    });
    BatchPlan {
        tiers: tiers.collect(),
        healing: policy(random),
        id: BatchId::from_entropy([0; 15]),
        namespace_id: NamespaceId::from_entropy([0; 15]),
        bucket_id: BucketId::from_entropy([0; 15]),
    }
}
