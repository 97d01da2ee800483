//! Waiting times between tries: exponential with full jitter, so that many callers do not return at once.
//!
//! Owns the growth of the wait only. It must not sleep or decide whether to try again.

use std::time::Duration;

/// Waits that double from `first` to `longest`, each drawn from its upper half.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

/// Doublings beyond this are all `longest`; it keeps the shift in range.
const DOUBLINGS_MAX: u32 = 20;

impl Backoff {
    /// Begins with `first` and never waits longer than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            tries: 0,
        }
    }

    /// The next wait, between half and the whole of the present step.
    pub fn next_wait(&mut self) -> Duration {
        let step = self
            .first
            .saturating_mul(1 << self.tries.min(DOUBLINGS_MAX))
            .min(self.longest);
        self.tries = self.tries.saturating_add(1);
        // Without entropy the wait is the whole step: slower, never wrong.
        let share = getrandom::u32().map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX));
        step.mul_f64(0.5 + share / 2.0)
    }

    /// How many waits were handed out since the last reset.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_in_their_upper_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for step_ms in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait();
            let step = Duration::from_millis(step_ms);
            assert!(wait <= step && wait >= step / 2, "{wait:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
