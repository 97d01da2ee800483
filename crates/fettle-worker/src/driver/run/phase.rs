//! How far an attempt is, and how it goes on to its end.
//!
//! Owns the deadlines of an end, and what is left to clean up.

use std::time::{Duration, Instant};

use fettle_model::AttemptExit;

use super::Driver;
use crate::driver::body::Body;
use crate::driver::crew::Killed;
use crate::driver::worker_process::Order;

/// What workers get to end in good order, before they are killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Workers that have nothing left to do end at once; one that does not is killed after this.
const END_GRACE: Duration = Duration::from_secs(30);

/// How far the attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Rows are handed out.
    Working,
    /// All rows have outcomes; workers are told to end.
    Ending { deadline: Instant },
    /// Workers are ended, whatever they do.
    Stopping { deadline: Instant },
}

impl Driver {
    /// Goes on to the next phase when the time has come.
    pub(super) async fn advance(&mut self) {
        if self.phase != Phase::Working || !self.schedule.is_done() || self.unposted > 0 {
            return;
        }
        self.phase = Phase::Ending {
            deadline: Instant::now() + END_GRACE,
        };
        self.ending.exit = Some(AttemptExit::Finished);
        for number in self.crew.keys().copied().collect::<Vec<_>>() {
            let is_elsewhere = self.hosts.has(number);
            if let Some(worker) = self.crew.get_mut(&number) {
                if is_elsewhere && !worker.is_ready {
                    // Nobody waits for what another node still loads.
                    self.crew.remove(&number);
                    self.vacate(number);
                } else {
                    worker.tell_to_end().await;
                }
            }
        }
    }

    /// Ends the attempt before its rows are done. The first reason counts.
    pub(super) fn stop(&mut self, exit: AttemptExit, message: &str) {
        if self.phase != Phase::Working {
            return;
        }
        tracing::warn!(?exit, "{message}");
        self.ending.exit = Some(exit);
        self.ending.message = Some(message.to_owned());
        self.phase = Phase::Stopping {
            deadline: Instant::now() + STOP_GRACE,
        };
        // One that has said why it ends does so by itself, and its own status is the evidence.
        for worker in self.crew.values_mut().filter(|worker| !worker.is_failing) {
            worker.killed.get_or_insert(Killed::Stopped);
            worker.body.order(Order::Terminate);
        }
    }

    pub(super) async fn enforce_deadline(&mut self) {
        let (Phase::Ending { deadline } | Phase::Stopping { deadline }) = self.phase else {
            return;
        };
        if Instant::now() < deadline {
            return;
        }
        for worker in self.crew.values_mut() {
            worker.killed.get_or_insert(Killed::Stopped);
            if matches!(worker.body, Body::Here(_)) {
                worker.body.order(Order::Kill);
                worker.body.kill_all().await;
            }
        }
        // Those on other nodes end with their hosts, which may not answer any more.
        self.hosts.kill();
    }

    pub(super) fn clean_up(&self) {
        for number in 0..self.own_places {
            self.recipe.clean_up(&self.group, number);
        }
    }
}
