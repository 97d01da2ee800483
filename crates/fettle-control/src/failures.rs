//! Effects that fail for now.
//!
//! Owns what is told of them: an outage fails many effects in the same way, many times each. That is told once when it begins, and
//! once when all that it held up is done; a failure of another kind is told for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use fettle_diagnose::fingerprint;
use fettle_ports::EffectId;

/// Kinds that are told apart at a time, so that messages without end cannot fill the memory and the log; what is beyond is one kind.
const KINDS_MAX: usize = 100;

/// Failures of effects that are not done yet, by kind: what is said without the names and numbers in it.
#[derive(Default)]
pub(crate) struct Failures(Mutex<BTreeMap<String, Failure>>);

struct Failure {
    error: String,
    since: Instant,
    /// Effects that have met it and are not done. They may have met others since: those do not end it.
    open: BTreeSet<EffectId>,
    effects: u64,
}

/// All effects that met a failure are done.
#[derive(Debug)]
pub(crate) struct Over {
    /// How it was told when it began.
    pub(crate) error: String,
    pub(crate) effects: u64,
    pub(crate) seconds: u64,
}

impl Failures {
    /// An effect has failed and will be tried again. Says whether this is a kind of failure that is not told yet.
    pub(crate) fn failed(&self, effect: EffectId, error: &str) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kind = fingerprint(error);
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&kind) {
            kind = String::new();
        }
        let mut is_new = false;
        let failure = kinds.entry(kind).or_insert_with(|| {
            is_new = true;
            Failure {
                error: error.to_owned(),
                since: Instant::now(),
                open: BTreeSet::new(),
                effects: 0,
            }
        });
        failure.effects += u64::from(failure.open.insert(effect));
        is_new
    }

    /// An effect is done, or has become pointless; what is over with it.
    pub(crate) fn done(&self, effect: EffectId) -> Vec<Over> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = kinds.extract_if(.., |_, failure| {
            failure.open.remove(&effect) && failure.open.is_empty()
        });
        over.map(|(_, failure)| Over {
            error: failure.error,
            effects: failure.effects,
            seconds: failure.since.elapsed().as_secs(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(effect: i64) -> String {
        let id = format!("job_{effect}k3x9-a1");
        format!(
            "the backend failed on {id}: no answer from Ray at http://head:8265/api/jobs/{id}/stop: connection refused"
        )
    }

    #[test]
    fn an_outage_of_many_effects_is_told_when_it_begins_and_when_it_is_over() {
        let failures = Failures::default();
        let mut told = 0;
        for _round in 0..3 {
            for effect in 0..64 {
                told += u32::from(failures.failed(EffectId(effect), &away(effect)));
            }
        }
        assert_eq!(told, 1);
        for effect in 0..63 {
            assert!(failures.done(EffectId(effect)).is_empty());
        }
        let over = failures.done(EffectId(63));
        assert_eq!((over.len(), over[0].effects), (1, 64));
        assert_eq!(over[0].error, away(0));
        assert!(failures.done(EffectId(63)).is_empty());
        // The next one is another.
        assert!(failures.failed(EffectId(64), &away(64)));
    }

    #[test]
    fn errors_that_differ_are_each_told_once() {
        let failures = Failures::default();
        let full = "the state database has no room left on its disk";
        for is_first in [true, false] {
            assert_eq!(failures.failed(EffectId(1), &away(1)), is_first);
            assert_eq!(failures.failed(EffectId(2), full), is_first);
            // One effect may meet both in turn.
            assert!(!failures.failed(EffectId(1), full));
        }
        assert!(failures.done(EffectId(2)).is_empty());
        assert_eq!(failures.done(EffectId(1)).len(), 2);
    }

    #[test]
    fn kinds_without_end_are_told_as_one() {
        let failures = Failures::default();
        let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
        let words = |n: usize| format!("failed {}{}", letter(n / 26), letter(n));
        let told = (0..2 * KINDS_MAX).filter(|n| failures.failed(EffectId(1), &words(*n)));
        assert_eq!(told.count(), KINDS_MAX + 1);
        assert_eq!(failures.done(EffectId(1)).len(), KINDS_MAX + 1);
    }
}
