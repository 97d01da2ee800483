//! What the deaths of one attempt have in common: who needs the memory.
//!
//! Owns the difference between a steady need, a leak and one big row. It must not size anything.

use fettle_model::evidence::InFlightRow;
use fettle_model::{RowNumber, WorkerDeath};

use super::curve::{CurveShape, shape};

/// Who needs the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern<'a> {
    /// It died while loading, before the first row: every attempt needs this much.
    Loading,
    /// No row was ever finished and different rows were in work: each row needs more than there is.
    EveryRow,
    /// It grew with the rows it finished.
    Leak {
        /// The last row that the worker which grew had finished.
        last_row: RowNumber,
    },
    /// One row took it.
    BigRow {
        /// The row.
        row: &'a InFlightRow,
        /// Whether it killed its worker alone or more than once.
        is_certain: bool,
    },
    /// The evidence does not tell.
    Unclear,
}

/// Finds the pattern; `job_processed` is how many rows of the job were processed at all.
pub(crate) fn find<'a>(deaths: &[&'a WorkerDeath], job_processed: u64) -> Pattern<'a> {
    if deaths.is_empty() {
        return Pattern::Unclear;
    }
    let nothing_done = |death: &&WorkerDeath| death.last_finished_row.is_none();
    if deaths
        .iter()
        .all(|death| !death.ready || (death.in_flight.is_empty() && nothing_done(death)))
    {
        return Pattern::Loading;
    }
    if let Some(row) = repeated_row(deaths) {
        return Pattern::BigRow {
            row,
            is_certain: true,
        };
    }
    if job_processed == 0 && deaths.iter().all(nothing_done) {
        return Pattern::EveryRow;
    }
    if let Some(row) = lonely_row(deaths) {
        return Pattern::BigRow {
            row,
            is_certain: true,
        };
    }
    deaths
        .iter()
        .map(|death| from_curve(death))
        .find(|p| *p != Pattern::Unclear)
        .unwrap_or(Pattern::Unclear)
}

/// A row that was in flight at two deaths at least, and at every death at which rows were: the others were tried without it and lived.
fn repeated_row<'a>(deaths: &[&'a WorkerDeath]) -> Option<&'a InFlightRow> {
    let busy: Vec<&&WorkerDeath> = deaths.iter().filter(|d| !d.in_flight.is_empty()).collect();
    let first: &'a WorkerDeath = deaths.iter().find(|death| !death.in_flight.is_empty())?;
    let holds =
        |death: &WorkerDeath, row: &InFlightRow| death.in_flight.iter().any(|r| r.row == row.row);
    let in_all = |row: &&InFlightRow| busy.iter().all(|death| holds(death, row));
    let mut common = first.in_flight.iter().filter(in_all);
    match (busy.len() >= 2, common.next(), common.next()) {
        (true, Some(row), None) => Some(row),
        _ => None,
    }
}

/// The row that killed a fresh worker alone: nothing else could have filled its memory. With two such rows, no single one is to blame.
fn lonely_row<'a>(deaths: &[&'a WorkerDeath]) -> Option<&'a InFlightRow> {
    let fresh = deaths.iter().filter(|d| d.last_finished_row.is_none());
    let mut lonely = fresh.filter_map(|death| match death.in_flight.as_slice() {
        [row] => Some(row),
        _ => None,
    });
    let first = lonely.next()?;
    lonely.all(|row| row.row == first.row).then_some(first)
}

fn from_curve(death: &WorkerDeath) -> Pattern<'_> {
    let shape = shape(&death.memory, death.at);
    match (shape, death.last_finished_row, death.in_flight.as_slice()) {
        (CurveShape::Climbing, Some(last_row), _) => Pattern::Leak { last_row },
        (CurveShape::Jump, _, [row]) => Pattern::BigRow {
            row,
            is_certain: false,
        },
        _ => Pattern::Unclear,
    }
}
