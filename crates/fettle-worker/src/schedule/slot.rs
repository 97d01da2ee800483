//! One worker's place in the schedule: what the worker in it holds.

use std::collections::BTreeMap;

use fettle_model::{RowNumber, Stage};

/// How far a row has come that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Handed out, not taken up.
    Given,
    /// Taken up.
    Working(Stage),
}

/// A worker's place.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Whether its worker has loaded its extractor.
    pub(super) is_ready: bool,
    /// Whether it stays empty.
    pub(super) is_retired: bool,
    /// Deaths before being ready, since the last worker in this place that was.
    pub(super) startup_deaths: u32,
    /// What its worker holds.
    pub(super) rows: BTreeMap<RowNumber, Held>,
    /// The row that its worker has alone.
    pub(super) lone: Option<RowNumber>,
}

impl Slot {
    /// Rows that are not yet in writing.
    pub(super) fn ahead_of_writing(&self) -> usize {
        let is_ahead = |held: &&Held| **held != Held::Working(Stage::Writing);
        self.rows.values().filter(is_ahead).count()
    }

    /// Gives it a row and nothing else until that is done.
    pub(super) fn give_alone(&mut self, row: RowNumber) {
        self.rows.insert(row, Held::Given);
        self.lone = Some(row);
    }

    /// What the dead worker held; the place is empty again.
    pub(super) fn die(&mut self) -> Self {
        let empty = Self {
            startup_deaths: self.startup_deaths,
            is_retired: self.is_retired,
            ..Self::default()
        };
        std::mem::replace(self, empty)
    }
}
