//! When deaths end an attempt, and when they must not.
//!
//! Owns the counting of deaths against the limits. Which rows are to blame is not its matter.

use fettle_model::AttemptExit;

use super::{
    CONDEMNED_IN_A_ROW_MAX, DeathCause, FRUITLESS_DEATHS_MAX, Next, STARTUP_OOM_DEATHS_MAX,
    STARTUP_OTHER_DEATHS_MAX, Schedule,
};

impl Schedule {
    /// Another death without a finished row between would end the attempt. While there are rows that nothing is held against, they are
    /// heard first: what dies at once must not end what takes long.
    pub(super) fn is_at_the_brink(&self, worker: u32) -> bool {
        let mut others = self.slots.iter().filter(|(number, _)| **number != worker);
        let has_more = !self.queue.is_empty() || others.any(|(_, slot)| !slot.rows.is_empty());
        has_more && self.fruitless_deaths + 1 >= self.fruitless_deaths_max()
    }

    fn fruitless_deaths_max(&self) -> u32 {
        FRUITLESS_DEATHS_MAX.saturating_add(self.places().saturating_sub(1))
    }

    pub(super) fn died_at_startup(&mut self, worker: u32, cause: DeathCause) -> Next {
        let is_oom = cause == DeathCause::OutOfMemory;
        if self.was_ever_ready {
            return self.retire_after_startup_deaths(worker, is_oom);
        }
        self.startup_oom_deaths += u32::from(is_oom);
        self.startup_other_deaths += u32::from(!is_oom);
        if self.startup_oom_deaths >= STARTUP_OOM_DEATHS_MAX {
            Next::End(AttemptExit::OutOfMemory)
        } else if self.startup_other_deaths >= STARTUP_OTHER_DEATHS_MAX {
            Next::End(AttemptExit::WorkersKeepDying)
        } else {
            Next::Restart
        }
    }

    /// Where workers have been ready, one place that stays dead costs only itself.
    fn retire_after_startup_deaths(&mut self, worker: u32, is_oom: bool) -> Next {
        let Some(slot) = self.slots.get_mut(&worker) else {
            return Next::Retire;
        };
        slot.startup_deaths += 1;
        let limit = if is_oom {
            STARTUP_OOM_DEATHS_MAX
        } else {
            STARTUP_OTHER_DEATHS_MAX
        };
        if slot.startup_deaths < limit {
            return Next::Restart;
        }
        slot.is_retired = true;
        if self.slots.values().any(|slot| !slot.is_retired) {
            Next::Retire
        } else if is_oom {
            Next::End(AttemptExit::OutOfMemory)
        } else {
            Next::End(AttemptExit::WorkersKeepDying)
        }
    }

    pub(super) fn next_after_death(&self) -> Next {
        if self.is_done() {
            Next::Retire
        } else if self.fruitless_deaths >= self.fruitless_deaths_max() {
            let is_memory = 2 * self.fruitless_oom_deaths > self.fruitless_deaths;
            Next::End(if is_memory {
                AttemptExit::OutOfMemory
            } else {
                AttemptExit::WorkersKeepDying
            })
        } else if self.condemned_in_a_row >= CONDEMNED_IN_A_ROW_MAX {
            Next::End(AttemptExit::WorkersKeepDying)
        } else {
            Next::Restart
        }
    }
}
