//! The attempt's places on other nodes: hosts are asked for while there is work for them, used when they are there, and given back.
//!
//! Owns which of them there are. What a worker there does is dealt with as that of any other; only the loss of a host is told here:
//! it is nobody's fault, so its rows go back as they were.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fettle_model::report::HostsAsked;
use fettle_model::{AttemptSpec, ProcessExit, UnixMillis};

use super::Driver;
use super::phase::Phase;
use crate::clock;
use crate::driver::body::{Body, There};
use crate::driver::broker::{Broker, BrokerCommand, HostResources};
use crate::driver::crew::Crewman;
use crate::driver::death;
use crate::driver::host_frame::ToHost;
use crate::driver::remains::Remains;
use crate::driver::spread::Load;
use crate::schedule::DeathCause;

/// Hosts that are lost without a row that any of them finished between them, before no more are asked for: they do not come up, or
/// take the nodes with them, and the driver's own workers do the rest.
const LOSSES_MAX: u32 = 5;

/// A place on another node.
enum Place {
    /// It is asked for since then.
    Asked(UnixMillis),
    /// It is on this node.
    On(String),
}

impl Place {
    fn is_asked(&self) -> bool {
        matches!(self, Self::Asked(_))
    }
}

/// The pause after a host was lost; it doubles with each that is lost in a row, for a node that comes up needs some time.
const PAUSE: Duration = Duration::from_secs(1);
/// Brokers that are started for an attempt at most: one that is killed is replaced, one that cannot live is done without.
const BROKERS_MAX: u32 = 3;

/// The places on other nodes.
pub(super) struct Hosts {
    command: Option<BrokerCommand>,
    broker: Option<Broker>,
    resources: HostResources,
    hosts_max: u32,
    /// Hosts that `serve` lets it have for now.
    granted: u32,
    /// By the number of its worker.
    places: BTreeMap<u32, Place>,
    next_number: u32,
    losses: u32,
    /// No host is asked for before this.
    pause_until: Instant,
    /// Brokers that have been started.
    brokers: u32,
    /// Time that workers were ready for rows, added up, in milliseconds.
    worked_ms: u64,
    looked_at: Instant,
}

impl Hosts {
    /// None so far. The driver's own workers have the numbers below `own_places`.
    pub(super) fn new(command: Option<BrokerCommand>, spec: &AttemptSpec, own_places: u32) -> Self {
        let workers_max = command.as_ref().map_or(0, |command| command.workers_max);
        let hosts_max = workers_max.saturating_sub(own_places);
        Self {
            command: command.filter(|_| hosts_max > 0),
            broker: None,
            resources: share(spec),
            hosts_max,
            granted: hosts_max,
            places: BTreeMap::new(),
            next_number: own_places,
            losses: 0,
            pause_until: Instant::now(),
            brokers: 0,
            worked_ms: 0,
            looked_at: Instant::now(),
        }
    }

    /// How many workers `serve` lets the attempt have in all, for now; below its own places there are no hosts.
    pub(super) fn grant(&mut self, workers_max: u32, own_places: u32) {
        self.granted = workers_max.saturating_sub(own_places).min(self.hosts_max);
    }

    /// Whether this worker's place is on another node.
    pub(super) fn has(&self, worker: u32) -> bool {
        self.places.contains_key(&worker)
    }

    /// A row was finished on a host, so they do come up.
    pub(super) fn finished(&mut self, worker: u32) {
        if self.has(worker) {
            self.losses = 0;
        }
    }

    /// Gives a place back.
    pub(super) fn release(&mut self, worker: u32) {
        if let (Some(_), Some(broker)) = (self.places.remove(&worker), &self.broker) {
            broker.release(worker);
        }
    }

    /// Starts the worker of a place, if that is on another node.
    pub(super) fn start(&self, worker: u32) -> Option<Body> {
        let Some(Place::On(node)) = self.places.get(&worker) else {
            return None;
        };
        let node = node.clone();
        let there = There {
            number: worker,
            node,
            limit_bytes: self.resources.memory_bytes,
            pid: 0,
            seen: None,
            link: self.broker.as_ref()?.link(),
        };
        there.tell(&ToHost::Start);
        Some(Body::There(Box::new(there)))
    }

    /// What is asked for and not there yet.
    pub(super) fn asked(&self) -> Option<HostsAsked> {
        let asked = self.places.values().filter_map(|place| match place {
            Place::Asked(since) => Some(*since),
            Place::On(_) => None,
        });
        let since = asked.clone().min()?;
        Some(HostsAsked {
            hosts: u32::try_from(asked.count()).unwrap_or(u32::MAX),
            since,
            num_cpus: self.resources.num_cpus,
            num_gpus: self.resources.num_gpus,
            memory_bytes: self.resources.memory_bytes,
        })
    }

    /// Ends all of them at once.
    pub(super) fn kill(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.kill();
        }
    }
}

/// What each worker of the attempt takes.
fn share(spec: &AttemptSpec) -> HostResources {
    let workers = f64::from(spec.resources.workers());
    let num_gpus = spec.resources.num_gpus / workers;
    HostResources {
        num_cpus: spec.resources.num_cpus / workers,
        // More than one GPU is a whole number of them.
        num_gpus: if num_gpus > 1.0 {
            num_gpus.ceil()
        } else {
            num_gpus
        },
        memory_bytes: spec.resources.memory_bytes,
    }
}

impl Driver {
    /// Asks for as many hosts as are worth it, and takes back what was asked for and is not needed any more.
    pub(super) fn spread(&mut self) {
        let elapsed_ms = self.hosts.looked_at.elapsed().as_millis();
        self.hosts.looked_at = Instant::now();
        if self.hosts.command.is_none() || self.phase != Phase::Working {
            return;
        }
        let ready = self.crew.values().filter(|worker| worker.is_ready).count() as u64;
        let elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(u64::MAX);
        self.hosts.worked_ms += ready.saturating_mul(elapsed_ms);
        let load = Load {
            waiting_rows: self.schedule.waiting_rows() as u64,
            ended_rows: self.schedule.ended_rows(),
            worked_ms: self.hosts.worked_ms,
            own_workers: u64::from(self.own_places),
        };
        let wanted = load.hosts_wanted(u64::from(self.hosts.granted)) as usize;
        let may_ask = Instant::now() >= self.hosts.pause_until;
        while may_ask && self.hosts.places.len() < wanted && self.ask() {}
        let waiting = self
            .hosts
            .places
            .iter()
            .rev()
            .filter(|(_, place)| place.is_asked());
        let there = self.hosts.places.len();
        // An estimate that wavers must not make them come and go.
        let surplus = if wanted * 2 <= there {
            there - wanted
        } else {
            0
        };
        let unneeded: Vec<u32> = waiting.map(|(worker, _)| *worker).take(surplus).collect();
        unneeded
            .into_iter()
            .for_each(|worker| self.hosts.release(worker));
    }

    /// Lets those end that are more than `serve` grants, when they have done the rows that they are at: others need the room.
    pub(super) async fn shrink(&mut self) {
        let placed = self.hosts.places.iter().filter(|(_, it)| !it.is_asked());
        let placed: Vec<u32> = placed.map(|(worker, _)| *worker).collect();
        for worker in placed.into_iter().skip(self.hosts.granted as usize) {
            if let Some(worker) = self.crew.get_mut(&worker)
                && !worker.has_been_told_to_end
            {
                tracing::info!(
                    pid = worker.body.pid(),
                    "a host is given back: others need the room"
                );
                worker.tell_to_leave().await;
            }
        }
    }

    /// Asks for one more host; whether that was possible.
    fn ask(&mut self) -> bool {
        let hosts = &mut self.hosts;
        let Some(command) = &hosts.command else {
            return false;
        };
        if hosts.broker.is_none() {
            let (attempt, url) = (self.spec.attempt_id.as_str(), &self.spec.control_url);
            match Broker::start(command, attempt, url, self.to_self.clone()) {
                Ok(broker) => {
                    hosts.broker = Some(broker);
                    hosts.brokers += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, "no hosts can be asked for; the work is done on this node");
                    hosts.command = None;
                    return false;
                }
            }
        }
        let worker = hosts.next_number;
        hosts.next_number += 1;
        hosts.places.insert(worker, Place::Asked(clock::now()));
        if let Some(broker) = &hosts.broker {
            broker.ask(worker, &hosts.resources);
        }
        tracing::info!(worker, "a host on another node is asked for");
        true
    }

    /// There is a host. It is used if there still is work for it.
    pub(super) fn on_placed(&mut self, number: u32, node: String) {
        if self.phase != Phase::Working || self.schedule.waiting_rows() == 0 {
            return self.hosts.release(number);
        }
        let Some(place) = self.hosts.places.get_mut(&number) else {
            return;
        };
        tracing::info!(worker = number, node, "a host is there");
        self.ending.keep_node(&node);
        *place = Place::On(node);
        self.schedule.add_place(number);
        self.start(number);
    }

    /// A worker elsewhere has nothing left to do, so its place goes to others.
    pub(super) async fn leave_if_idle(&mut self, number: u32) {
        let is_idle = self.schedule.held_rows(number) == 0 && self.schedule.waiting_rows() == 0;
        if !is_idle || !self.hosts.has(number) {
            return;
        }
        if let Some(worker) = self.crew.get_mut(&number).filter(|worker| worker.is_ready) {
            worker.tell_to_end().await;
        }
    }

    /// A worker's place elsewhere is not used any more.
    pub(super) fn vacate(&mut self, number: u32) {
        if self.hosts.has(number) {
            self.schedule.remove_place(number);
            self.hosts.release(number);
        }
    }

    /// A host is gone with its worker.
    pub(super) async fn on_lost(&mut self, number: u32, message: String) {
        if !self.hosts.has(number) {
            return;
        }
        self.hosts.losses += 1;
        self.hosts.pause_until = Instant::now() + PAUSE * (1 << self.hosts.losses.min(LOSSES_MAX));
        if self.hosts.losses >= LOSSES_MAX && self.hosts.command.take().is_some() {
            tracing::warn!("{LOSSES_MAX} hosts were lost in a row; no more are asked for");
        }
        self.lose(number, message).await;
    }

    /// A worker elsewhere is gone with its place. The rows are not to blame.
    async fn lose(&mut self, number: u32, message: String) {
        let node = match self.hosts.places.remove(&number) {
            Some(Place::On(node)) => node,
            Some(Place::Asked(_)) => String::new(),
            None => return,
        };
        self.schedule.remove_place(number);
        let worker = self.crew.remove(&number);
        let now = clock::now();
        if let Some(worker) = &worker {
            self.ending.add_worker(worker, now);
        }
        if self.phase != Phase::Working {
            return;
        }
        tracing::warn!(worker = number, node, "a host is lost: {message}");
        self.ending
            .keep_backend_message(format!("host of worker {number} on {node}: {message}"));
        if let Some(worker) = worker {
            // Also where it was to leave: `serve` may see that the node is gone before Ray says that the host is lost.
            self.keep_loss(number, &worker, message);
        }
        self.feed_all().await;
        self.on_beat();
    }

    fn keep_loss(&mut self, number: u32, worker: &Crewman, message: String) {
        let memory = worker.body.memory();
        let exit = ProcessExit::default();
        let mut remains = Remains::default();
        remains.log.tail = message;
        let death = death::evidence(number, worker, exit, &memory, remains, clock::now());
        self.heart.death(death.clone());
        self.ending.keep_death(death, DeathCause::Other);
    }

    /// There are no hosts any more. Another broker may have others placed; without one the driver's own workers do the rest.
    pub(super) async fn on_broker_ended(&mut self, message: &str) {
        self.hosts.broker = None;
        if self.hosts.brokers >= BROKERS_MAX && self.hosts.command.take().is_some() {
            tracing::warn!("{BROKERS_MAX} brokers have ended; no hosts are asked for any more");
        }
        let lost: Vec<u32> = self.hosts.places.keys().copied().collect();
        for worker in lost {
            self.lose(worker, message.to_owned()).await;
        }
    }
}
