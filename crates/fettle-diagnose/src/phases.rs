//! How a tier's time divides into waiting, starting, running and finalising.
//!
//! Owns the reading of recorded times. The parts add up to the tier's duration; it must not measure anything itself.

use fettle_model::{AttemptExit, UnixMillis};

use crate::facts::{AttemptFacts, JobFacts, TierFacts};
use crate::finding::Phases;

/// What a job is doing; where jobs of a tier differ, the highest counts for the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Waiting,
    Finalising,
    Starting,
    Running,
}

/// A job was in a phase from one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    phase: Phase,
    from: UnixMillis,
    until: UnixMillis,
}

/// The parts of a tier's duration so far; all zero before it was begun.
#[must_use]
pub(crate) fn phases(tier: &TierFacts, now: UnixMillis) -> Phases {
    let Some(begun) = tier.started_at else {
        return Phases::default();
    };
    let over = tier.ended_at.unwrap_or(now).max(begun);
    let spans: Vec<Span> = tier.jobs.iter().flat_map(|job| spans(job, now)).collect();
    let within = |at: UnixMillis| at > begun && at < over;
    let mut edges: Vec<UnixMillis> = spans
        .iter()
        .flat_map(|span| [span.from, span.until])
        .filter(|at| within(*at))
        .chain([begun, over])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    let mut phases = Phases::default();
    for pair in edges.windows(2) {
        let (from, until) = (pair[0], pair[1]);
        let covering = spans
            .iter()
            .filter(|span| span.from <= from && span.until >= until);
        let phase = covering.map(|span| span.phase).max();
        let part = match phase.unwrap_or(Phase::Waiting) {
            Phase::Waiting => &mut phases.waiting_ms,
            Phase::Starting => &mut phases.starting_ms,
            Phase::Running => &mut phases.running_ms,
            Phase::Finalising => &mut phases.finalising_ms,
        };
        *part += until.since(from);
    }
    phases
}

/// What a job did when; what no span covers it waited: for its rows, for room, for the end of a back-off or for a retry.
fn spans(job: &JobFacts, now: UnixMillis) -> Vec<Span> {
    let mut spans: Vec<Span> = job
        .attempts
        .iter()
        .flat_map(|one| of_attempt(one, now))
        .collect();
    let last = job.attempts.last().and_then(|last| last.ended_at);
    if let (Some(from), Some(until)) = (last, job.ended_at) {
        spans.push(Span {
            phase: Phase::Finalising,
            from,
            until,
        });
    }
    spans
}

fn of_attempt(attempt: &AttemptFacts, now: UnixMillis) -> [Span; 3] {
    let ended = attempt.ended_at.unwrap_or(now);
    let started = attempt.started_at.unwrap_or(ended);
    // An attempt that ended otherwise worked on its rows to the end, also when none was finished any more.
    let last_row = attempt
        .stages
        .and_then(|stages| stages.writing.ended_at)
        .filter(|_| attempt.exit == Some(AttemptExit::Finished))
        .map_or(ended, |at| at.clamp(started.min(ended), ended));
    [
        (Phase::Starting, attempt.planned_at, started),
        (Phase::Running, started, last_row),
        (Phase::Finalising, last_row, ended),
    ]
    .map(|(phase, from, until)| Span { phase, from, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use fettle_model::StageTimings;

    /// A tier that began at second 0, with the times of its attempt in seconds.
    fn tier(times: [i64; 5]) -> TierFacts {
        let at = |seconds: i64| UnixMillis(seconds * 1000);
        let [planned, started, last_row, ended, over] = times;
        let mut tier = fixture::failed(AttemptExit::Finished, vec![])
            .tiers
            .remove(0);
        (tier.started_at, tier.ended_at) = (Some(at(0)), Some(at(over)));
        let job = &mut tier.jobs[0];
        (job.started_at, job.ended_at) = (Some(at(0)), Some(at(over)));
        let attempt = &mut job.attempts[0];
        attempt.planned_at = at(planned);
        attempt.started_at = Some(at(started));
        attempt.ended_at = Some(at(ended));
        let mut stages = StageTimings::default();
        stages.writing.ended_at = Some(at(last_row));
        attempt.stages = Some(stages);
        tier
    }

    fn seconds(phases: Phases) -> [u64; 4] {
        [
            phases.waiting_ms,
            phases.starting_ms,
            phases.running_ms,
            phases.finalising_ms,
        ]
        .map(|ms| ms / 1000)
    }

    const NOW: UnixMillis = UnixMillis(100_000);

    #[test]
    fn the_parts_follow_each_other_and_add_up() {
        let tier = tier([10, 13, 40, 42, 43]);
        assert_eq!(seconds(phases(&tier, NOW)), [10, 3, 27, 3]);
    }

    #[test]
    fn an_attempt_that_was_cut_off_was_running_to_its_end() {
        let mut tier = tier([10, 13, 20, 42, 43]);
        tier.jobs[0].attempts[0].exit = Some(AttemptExit::OutOfMemory);
        assert_eq!(seconds(phases(&tier, NOW)), [10, 3, 29, 1]);
    }

    #[test]
    fn the_pause_between_attempts_is_waiting_and_what_runs_lasts_until_now() {
        let mut tier = tier([1, 2, 10, 10, 100]);
        tier.ended_at = None;
        let job = &mut tier.jobs[0];
        job.ended_at = None;
        job.attempts[0].exit = Some(AttemptExit::DriverDied);
        let mut next = job.attempts[0].clone();
        next.planned_at = UnixMillis(40_000);
        next.started_at = Some(UnixMillis(41_000));
        (next.ended_at, next.exit, next.stages) = (None, None, None);
        job.attempts.push(next);
        assert_eq!(seconds(phases(&tier, NOW)), [31, 2, 67, 0]);
    }

    #[test]
    fn of_jobs_side_by_side_the_one_that_is_further_counts() {
        let mut both = tier([10, 13, 40, 42, 43]);
        both.jobs.push(tier([0, 1, 12, 12, 43]).jobs.remove(0));
        assert_eq!(seconds(phases(&both, NOW)), [0, 2, 38, 3]);
    }

    #[test]
    fn a_tier_that_has_not_begun_has_no_time() {
        let mut tier = tier([1, 2, 3, 4, 5]);
        tier.started_at = None;
        assert_eq!(phases(&tier, NOW), Phases::default());
    }
}
