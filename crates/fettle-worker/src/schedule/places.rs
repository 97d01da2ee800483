//! The places of workers: how many there are and may be, and what becomes of the rows of one that is gone.
//!
//! Owns nothing of its own. A place that is gone is no death: nothing is held against its rows.

use super::Schedule;

impl Schedule {
    /// How many workers' places there are.
    #[must_use]
    pub fn places(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// There may be this many places in time: nobody gets so many rows that little is left for them.
    pub fn share_among(&mut self, places: u32) {
        self.shares = places as usize;
    }

    /// There is one more place, for a worker of this number.
    pub fn add_place(&mut self, worker: u32) {
        self.slots.entry(worker).or_default();
    }

    /// A place is gone, with its worker if it had one, and the rows are not to blame: they go back as they were.
    pub fn remove_place(&mut self, worker: u32) {
        let Some(slot) = self.slots.remove(&worker) else {
            return;
        };
        if self.quarantine == Some(worker) {
            self.quarantine = None;
        }
        if let Some(row) = slot.lone {
            self.suspects.push_front(row);
        } else {
            // Walked backwards, so that rows return to the queue's front in their order.
            slot.rows
                .into_keys()
                .rev()
                .for_each(|row| self.queue.push_front(row));
        }
    }
}
