//! The engines: each looks at the facts for one kind of trouble and returns typed cases.
//!
//! Owns the list of engines. An engine must not know of the others' cases; where two could claim the same death, the one that asks for
//! the stronger proof is asked first through its `judge`.

pub(crate) mod canceled;
pub(crate) mod documents;
pub(crate) mod driver;
pub(crate) mod extractor;
pub(crate) mod log_text;
pub(crate) mod memory;
pub(crate) mod never_started;
pub(crate) mod parameters;
pub(crate) mod process_death;
pub(crate) mod waiting;
pub(crate) mod worker_stuck;

use crate::case::Case;
use crate::facts::BatchFacts;

/// Runs all engines.
pub(crate) fn all_cases(facts: &BatchFacts) -> Vec<Case> {
    const ENGINES: [fn(&BatchFacts) -> Vec<Case>; 9] = [
        canceled::cases,
        memory::cases,
        process_death::cases,
        worker_stuck::cases,
        extractor::cases,
        driver::cases,
        never_started::cases,
        documents::cases,
        waiting::cases,
    ];
    ENGINES.iter().flat_map(|engine| engine(facts)).collect()
}
