//! When a delivery is tried again.

use fettle_model::UnixMillis;

/// A delivery is given up after so many tries; with the waits between them, after about a day.
pub(crate) const ATTEMPTS_MAX: usize = 12;
/// The wait after the first try; a receiver that restarts is back after it or the next.
const WAIT_FIRST_MS: u64 = 1_000;
/// Each wait is so many times the one before.
const WAIT_FACTOR: u64 = 4;
/// No wait is longer: six hours.
const WAIT_MAX_MS: u64 = 6 * 3_600 * 1_000;

/// When to try again after `attempts` tries, none of which was taken. `random` spreads the tries of many deliveries over the
/// second half of the wait, so that a receiver that comes back is not hit by all of them at once. None: give up.
pub(crate) fn next_attempt(now: UnixMillis, attempts: usize, random: u64) -> Option<UnixMillis> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let wait_ms = WAIT_FACTOR
        .saturating_pow(doublings)
        .saturating_mul(WAIT_FIRST_MS)
        .min(WAIT_MAX_MS);
    let half_ms = wait_ms / 2;
    Some(now.plus_ms(half_ms + random % (half_ms + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attempts: usize, random: u64, expected_ms: Option<i64>) {
        let next = next_attempt(UnixMillis(0), attempts, random);
        assert_eq!(next.map(|at| at.0), expected_ms);
    }

    #[test]
    fn waits_grow_to_a_limit_and_end() {
        check(1, 0, Some(500));
        check(1, 500, Some(1_000));
        check(1, 501, Some(500));
        check(2, 0, Some(2_000));
        check(3, 0, Some(8_000));
        check(11, 0, Some(10_800_000));
        check(12, 0, None);
    }

    #[test]
    fn all_tries_together_take_about_a_day() {
        let longest: i64 = (1..ATTEMPTS_MAX)
            .map(|n| {
                let wait = next_attempt(UnixMillis(0), n, 0).unwrap().0;
                wait * 2
            })
            .sum();
        let hours = longest / 3_600_000;
        assert!((12..=36).contains(&hours), "{hours} h");
    }
}
