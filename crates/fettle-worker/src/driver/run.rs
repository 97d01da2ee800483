//! The driver's loop: every source becomes one event, every event is dealt with at once.
//!
//! Owns the effects of the schedule's decisions. It must not wait for anything but the next event.

mod hosts;
mod phase;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fettle_client::AttemptClient;
use fettle_confine::{AttemptDir, AttemptGroup};
use fettle_model::{
    AttemptExit, AttemptSpec, KillOrder, ProcessExit, StageTimings, StepHistory, UnixMillis,
};
use fettle_wire::internal::{Heartbeat, RowReport};
use tokio::sync::mpsc;

use super::DriverArgs;
use super::beat::{Answer, Heart, Verdict};
use super::body::{Body, Here, There};
use super::broker::BrokerCommand;
use super::crew::{Crewman, Killed};
use super::death;
use super::distant_log;
use super::finale::{self, Ending};
use super::outbox::{self, Posted};
use super::prepare::{own_group, prepare};
use super::remains::Remains;
use super::sources::Sources;
use super::worker_process::{EVENTS_MAX, Order, Recipe, WorkerEvent};
use crate::clock;
use crate::codes;
use crate::frame::{FromWorker, ToWorker};
use crate::schedule::{Next, Schedule};
use hosts::Hosts;
use phase::Phase;

/// How often memory and ages are looked at; curves thin this out as workers grow old.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often `serve` hears of the attempt.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A plugin fails its row itself when the time is over; the driver steps in only after this, in milliseconds.
const ROW_TIMEOUT_SLACK_MS: u64 = 2000;

/// Drives the attempt to its end; the exit code.
pub(super) async fn drive(args: &DriverArgs, dir: &AttemptDir, group: Option<AttemptGroup>) -> u8 {
    let prepared = prepare(args.worker_program.as_deref(), dir);
    let (spec, client, recipe) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            let ending = Ending::without_work(AttemptExit::DriverFailed, message);
            finale::write_only(dir, ending);
            return codes::BAD_SPEC;
        }
    };
    let group = group.unwrap_or_else(|| own_group(dir, &spec.attempt_id));
    let client = Arc::new(client);
    let broker = args.broker.clone();
    let ending = match Driver::new(Arc::clone(&client), spec, recipe, group, broker) {
        Ok(driver) => driver.run().await,
        Err(error) => Ending::without_work(
            AttemptExit::DriverFailed,
            format!("signals cannot be received: {error}"),
        ),
    };
    finale::write_and_tell(dir, &client, ending).await
}

struct Driver {
    spec: AttemptSpec,
    recipe: Recipe,
    group: AttemptGroup,
    schedule: Schedule,
    /// Places beside this driver; those on other nodes have higher numbers.
    own_places: u32,
    hosts: Hosts,
    crew: BTreeMap<u32, Crewman>,
    heart: Heart,
    phase: Phase,
    ending: Ending,
    unposted: u64,
    rows_total: u64,
    last_progress_at: Option<UnixMillis>,
    steps: StepHistory,
    reports: mpsc::UnboundedSender<RowReport>,
    to_self: mpsc::Sender<WorkerEvent>,
    sources: Option<Sources>,
}

impl Driver {
    fn new(
        client: Arc<AttemptClient>,
        spec: AttemptSpec,
        recipe: Recipe,
        group: AttemptGroup,
        broker: Option<BrokerCommand>,
    ) -> std::io::Result<Self> {
        let (to_self, workers) = mpsc::channel(EVENTS_MAX);
        let (answer, answers) = mpsc::unbounded_channel();
        let (reports, to_post) = mpsc::unbounded_channel();
        let (posted_by, posted) = mpsc::unbounded_channel();
        let sources = Sources::new(workers, answers, posted)?;
        tokio::spawn(outbox::run(Arc::clone(&client), to_post, posted_by));
        let rows_total = spec.pending.count();
        let wanted = u64::from(spec.resources.workers()).min(rows_total.max(1));
        let workers = u32::try_from(wanted).unwrap_or(u32::MAX);
        let mut schedule = Schedule::new(&spec.pending, workers);
        schedule.share_among(broker.as_ref().map_or(0, |broker| broker.workers_max));
        Ok(Self {
            own_places: workers,
            hosts: Hosts::new(broker, &spec, workers),
            schedule,
            heart: Heart::new(client, answer),
            crew: BTreeMap::new(),
            phase: Phase::Working,
            ending: Ending::default(),
            unposted: 0,
            rows_total,
            last_progress_at: None,
            steps: StepHistory::default(),
            reports,
            to_self,
            sources: Some(sources),
            spec,
            recipe: Recipe {
                gpu_sharers: workers,
                ..recipe
            },
            group,
        })
    }

    async fn run(mut self) -> Ending {
        let Some(mut sources) = self.sources.take() else {
            return self.ending;
        };
        if !self.schedule.is_done() {
            for worker in 0..self.own_places {
                self.start(worker);
            }
        }
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut beat = tokio::time::interval(BEAT_EVERY);
        loop {
            self.advance().await;
            if self.crew.is_empty() && self.phase != Phase::Working {
                break;
            }
            tokio::select! {
                Some(event) = sources.workers.recv() => self.on_worker(event).await,
                Some(answer) = sources.answers.recv() => self.on_answer(answer).await,
                Some(posted) = sources.posted.recv() => self.on_posted(posted),
                _ = look.tick() => self.on_look().await,
                _ = beat.tick() => self.on_beat(),
                _ = sources.terminate.recv() => self.stop(AttemptExit::Cancelled, "told to end by a signal"),
                _ = sources.interrupt.recv() => self.stop(AttemptExit::Cancelled, "told to end by a signal"),
            }
        }
        self.ending.stages = self.stages();
        self.ending.keep_steps(std::mem::take(&mut self.steps));
        self.clean_up();
        self.ending
    }

    fn start(&mut self, number: u32) {
        if let Some(body) = self.hosts.start(number) {
            self.crew.insert(number, Crewman::new(body, clock::now()));
            return;
        }
        let started = Here::start(
            &self.recipe,
            &self.group,
            number,
            self.spec.resources.memory_bytes,
            self.to_self.clone(),
        );
        match started {
            Ok(here) => {
                tracing::info!(worker = number, pid = here.process.pid, "worker started");
                let worker = Crewman::new(Body::Here(here), clock::now());
                self.crew.insert(number, worker);
            }
            Err(error) => self.stop(
                AttemptExit::DriverFailed,
                &format!("worker {number} cannot be started: {error}"),
            ),
        }
    }

    async fn on_worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Said { worker, frame } => self.on_frame(worker, frame).await,
            WorkerEvent::Stood {
                worker,
                pid,
                last_step_at,
                stand,
            } => {
                let standing = self.crew.get_mut(&worker);
                if let Some(worker) = standing.filter(|worker| worker.body.pid() == pid) {
                    worker.carry_out(last_step_at, stand);
                }
            }
            WorkerEvent::Ended {
                worker,
                exit,
                remains,
            } => self.on_end(worker, exit, *remains).await,
            WorkerEvent::Wrote { worker, text } => {
                let attempt = self.spec.attempt_id.as_str();
                distant_log::keep(&self.recipe.dir, attempt, worker, &text);
            }
            WorkerEvent::Placed { worker, node } => self.on_placed(worker, node),
            WorkerEvent::Lost { worker, message } => self.on_lost(worker, message).await,
            WorkerEvent::BrokerEnded { message } => self.on_broker_ended(&message).await,
            WorkerEvent::Started { worker, pid } => {
                self.on_elsewhere(worker, |there| there.pid = pid)
            }
            WorkerEvent::Seen { worker, glimpse } => {
                self.on_elsewhere(worker, |there| there.seen = Some(*glimpse));
            }
            WorkerEvent::Killed { worker, threads } => {
                if let Some(worker) = self.crew.get_mut(&worker) {
                    worker.threads_at_kill.get_or_insert(threads);
                }
            }
        }
    }

    /// Keeps what its host says of a worker on another node.
    fn on_elsewhere(&mut self, number: u32, keep: impl FnOnce(&mut There)) {
        let worker = self.crew.get_mut(&number);
        if let Some(Body::There(there)) = worker.map(|worker| &mut worker.body) {
            keep(there);
        }
    }

    async fn on_frame(&mut self, number: u32, frame: FromWorker) {
        let now = clock::now();
        let Some(worker) = self.crew.get_mut(&number) else {
            return;
        };
        let is_progress = matches!(frame, FromWorker::Finished { .. });
        match frame {
            FromWorker::Ready { version, gpus } => {
                worker.ready(now);
                if let Some(gpus) = gpus.filter(|_| self.spec.resources.num_gpus > 0.0) {
                    self.ending.keep_gpus(worker.body.node(), &gpus);
                }
                self.ending.worker_version.get_or_insert(version);
                self.schedule.ready(number);
            }
            FromWorker::Begun(begun) => {
                self.schedule.begun(number, begun.row);
                worker.begun(begun, now, &mut self.steps);
            }
            FromWorker::Sized { row, size_bytes } => worker.sized(row, size_bytes),
            FromWorker::Entered { rows, stage } => {
                rows.iter()
                    .for_each(|row| self.schedule.entered(number, *row, stage));
                worker.entered(&rows, stage, now, &mut self.steps);
            }
            FromWorker::Finished { rows } => {
                for finished in rows {
                    worker.finished(&self.spec.attempt_id, finished.row, now, &mut self.steps);
                    self.hosts.finished(number);
                    if self
                        .schedule
                        .finished(number, finished.row, finished.is_success)
                    {
                        self.last_progress_at = Some(now);
                    }
                }
            }
            FromWorker::Timings { stages, work } => {
                worker.worked(stages, work.map(|work| *work));
            }
            FromWorker::Superseded { message } => self.stop(AttemptExit::Cancelled, &message),
            FromWorker::Fatal { cause, message } => {
                worker.is_failing = true;
                self.stop(cause.exit(), &message);
            }
        }
        if is_progress {
            // Rows may have been held back for want of it.
            self.feed_all().await;
        } else {
            self.feed(number).await;
        }
    }

    /// Gives a worker what the schedule has for it.
    async fn feed(&mut self, number: u32) {
        let worker = self.crew.get(&number);
        if self.phase != Phase::Working || worker.is_some_and(|worker| worker.has_been_told_to_end)
        {
            return;
        }
        let had_none = self.schedule.held_rows(number) == 0;
        let rows = self.schedule.hand_out(number);
        if rows.is_empty() {
            return self.leave_if_idle(number).await;
        }
        if let Some(worker) = self.crew.get_mut(&number) {
            if had_none {
                worker.given_first_rows(clock::now());
            }
            worker.body.send(ToWorker::Run { rows }).await;
        }
    }

    /// A worker has ended: its evidence is taken, its rows are settled, its place is filled again or not.
    async fn on_end(&mut self, number: u32, exit: ProcessExit, remains: Remains) {
        let Some(worker) = self.crew.remove(&number) else {
            return;
        };
        let now = clock::now();
        // Before anything else: the counters are gone when the group is used again.
        let memory = worker.body.memory();
        self.ending.add_worker(&worker, now);
        if exit.is_success() && worker.is_done() {
            self.ending.keep_memory(&worker, &memory);
            self.vacate(number);
            // It may have let rows go.
            return self.feed_all().await;
        }
        let death = death::evidence(number, &worker, exit, &memory, remains, now);
        let cause = death::cause_of(exit, &memory, worker.killed, &death.log_tail);
        tracing::warn!(worker = number, pid = death.pid, exit = %exit.describe(), ?cause, in_flight = death.in_flight.len(), "worker died");
        worker.body.kill_all().await;
        let aftermath = self.schedule.died(number, cause);
        for condemned in aftermath.condemned {
            if let Some(taken) = worker.rows.get(&condemned.row) {
                let component = self.spec.extractor.id();
                let report = death::report(
                    condemned,
                    taken,
                    &death,
                    &component,
                    self.spec.row_timeout_ms,
                    now,
                );
                self.unposted += 1;
                self.last_progress_at = Some(now);
                // The receiver lives as long as the runtime.
                let _ = self.reports.send(report);
            }
        }
        self.heart.death(death.clone());
        self.ending.keep_death(death, cause);
        self.after_end(number, exit, aftermath.next);
        self.feed_all().await;
        // A death is told at once: whoever asks why must not wait for the next beat.
        self.on_beat();
    }

    fn after_end(&mut self, number: u32, exit: ProcessExit, next: Next) {
        if self.phase != Phase::Working {
            return;
        }
        let code = exit.code.and_then(|code| u8::try_from(code).ok());
        match (code, next) {
            (Some(codes::EXTRACTOR_FAILED), _) => self.stop(
                AttemptExit::ExtractorFailed,
                "the extractor keeps failing; the worker's log says how",
            ),
            (Some(codes::ENVIRONMENT_FAILED), _) => self.stop(
                AttemptExit::DriverFailed,
                "what the worker needs is gone; its log says what",
            ),
            (_, Next::End(exit)) => self.stop(exit, "workers keep dying"),
            (_, Next::Retire) => self.vacate(number),
            (_, Next::Restart) => self.start(number),
        }
    }

    async fn feed_all(&mut self) {
        let crew: Vec<u32> = self.crew.keys().copied().collect();
        for number in crew {
            self.feed(number).await;
        }
    }

    async fn on_answer(&mut self, answer: Answer) {
        let is_taken = answer.result.is_ok();
        match self.heart.answered(answer) {
            Verdict::Continue { kills, workers_max } => {
                kills.iter().for_each(|order| self.on_order(order));
                if let Some(workers_max) = workers_max {
                    self.hosts.grant(workers_max, self.own_places);
                    self.shrink().await;
                }
            }
            Verdict::Stop(message) => self.stop(AttemptExit::Cancelled, &message),
            Verdict::Refused(message) => self.stop(AttemptExit::DriverFailed, &message),
        }
        if is_taken && self.heart.has_more_to_tell() {
            self.on_beat();
        }
    }

    /// Asks where a stuck worker stands; it is ended when that is known.
    fn on_order(&mut self, order: &KillOrder) {
        let Some(worker) = self.crew.get_mut(&order.worker) else {
            return;
        };
        if self.phase != Phase::Working || !worker.take_order(order, clock::now()) {
            return;
        }
        tracing::warn!("ordered {}: {}", order.id, order.reason);
        let to_self = self.to_self.clone();
        worker
            .body
            .ask_stand(order.worker, order.last_step_at, to_self);
    }

    fn on_posted(&mut self, posted: Posted) {
        match posted {
            Posted::Row(row) => {
                tracing::info!(row, "the row is given up, and serve knows");
                self.unposted -= 1;
            }
            Posted::Superseded => self.stop(AttemptExit::Cancelled, "the attempt no longer counts"),
            Posted::Refused(message) => self.stop(AttemptExit::DriverFailed, &message),
        }
    }

    /// Memory, ages and deadlines.
    async fn on_look(&mut self) {
        let now = clock::now();
        let limit_ms = self
            .spec
            .row_timeout_ms
            .map(|limit| limit.saturating_add(ROW_TIMEOUT_SLACK_MS));
        for worker in self.crew.values_mut() {
            let is_over_limit = worker
                .look(now)
                .is_some_and(|reading| reading.is_over_limit());
            let is_overdue = limit_ms.is_some_and(|limit_ms| worker.is_overdue(limit_ms, now));
            let killed = match (is_over_limit, is_overdue) {
                (true, _) => Killed::OverLimit,
                (false, true) => Killed::RowTimeout,
                (false, false) => continue,
            };
            let is_woken = killed == Killed::RowTimeout && worker.wake(now);
            if worker.killed.is_none() && !is_woken {
                worker.killed = Some(killed);
                worker.threads_at_kill = worker.body.threads();
                worker.body.order(Order::Kill);
            }
        }
        self.spread();
        self.enforce_deadline().await;
    }

    fn on_beat(&mut self) {
        let stages = self.stages();
        let (crew, schedule, steps) = (&mut self.crew, &self.schedule, &self.steps);
        let rows_finished = self.schedule.ended_rows().saturating_sub(self.unposted);
        let (rows_total, last_progress_at) = (self.rows_total, self.last_progress_at);
        let hosts_asked = self.hosts.asked();
        self.heart.beat(|seq, worker_deaths| Heartbeat {
            seq,
            at: clock::now(),
            rows_finished,
            rows_total,
            last_progress_at,
            stages,
            workers: crew
                .iter_mut()
                .map(|(number, worker)| worker.beat(*number, schedule))
                .collect(),
            steps: steps.clone(),
            worker_deaths,
            hosts_asked,
        });
    }

    /// Of workers that have ended and of those that live.
    fn stages(&self) -> StageTimings {
        let mut stages = self.ending.stages;
        self.crew
            .values()
            .for_each(|worker| stages.add(&worker.stages));
        stages
    }
}
