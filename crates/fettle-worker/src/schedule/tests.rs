//! One situation a test.

use super::*;

fn schedule(rows: RowNumber, workers: u32) -> Schedule {
    let mut schedule = Schedule::new(&RowRanges::below(rows), workers);
    for worker in 0..workers {
        schedule.ready(worker);
    }
    schedule
}

/// Worker `worker` takes up all that it is given; its rows.
fn take(schedule: &mut Schedule, worker: u32) -> Vec<RowNumber> {
    let rows = schedule.hand_out(worker);
    for row in &rows {
        schedule.begun(worker, *row);
        schedule.entered(worker, *row, Stage::Processing);
    }
    rows
}

fn finish_all(schedule: &mut Schedule, worker: u32, rows: &[RowNumber]) {
    for row in rows {
        assert!(schedule.finished(worker, *row, true));
    }
}

#[test]
fn shards_are_bounded_and_shrink_near_the_end() {
    let mut schedule = schedule(200, 2);
    let lengths: Vec<_> = std::iter::from_fn(|| {
        let rows = take(&mut schedule, 0);
        finish_all(&mut schedule, 0, &rows);
        (!rows.is_empty()).then_some(rows.len())
    })
    .collect();
    assert_eq!(lengths[..3], [50, 38, 28]);
    assert_eq!(lengths.last(), Some(&1));
    assert!(schedule.is_done());
}

#[test]
fn a_worker_with_enough_rows_gets_no_more_but_rows_in_writing_do_not_count() {
    let mut schedule = schedule(1000, 1);
    let rows = take(&mut schedule, 0);
    assert!(schedule.hand_out(0).is_empty());
    for row in &rows[..rows.len() - LOW_WATER_ROWS + 1] {
        schedule.entered(0, *row, Stage::Writing);
    }
    assert!(!schedule.hand_out(0).is_empty());
}

#[test]
fn rows_that_were_not_taken_up_are_queued_again_and_not_suspected() {
    let mut schedule = schedule(100, 1);
    let rows = schedule.hand_out(0);
    schedule.begun(0, rows[0]);
    let aftermath = schedule.died(0, DeathCause::Other);
    assert_eq!(
        aftermath,
        Aftermath {
            condemned: vec![],
            next: Next::Restart
        }
    );
    assert_eq!(schedule.suspects, [rows[0]]);
    assert_eq!(schedule.queue.front(), Some(&rows[1]));
    assert_eq!(schedule.queue.len(), 99);
}

#[test]
fn a_poison_row_is_given_up_after_killing_twice_alone_and_all_others_are_done() {
    let mut schedule = schedule(40, 1);
    let poison = 7;
    let mut deaths = 0;
    let mut condemned = vec![];
    while !schedule.is_done() {
        let rows = take(&mut schedule, 0);
        if rows.contains(&poison) {
            deaths += 1;
            let aftermath = schedule.died(0, DeathCause::OutOfMemory);
            condemned.extend(aftermath.condemned);
            assert!(!matches!(aftermath.next, Next::End(_)));
            schedule.ready(0);
        } else {
            finish_all(&mut schedule, 0, &rows);
        }
    }
    assert_eq!(
        condemned,
        [Condemned {
            row: poison,
            reason: Reason::OutOfMemory
        }]
    );
    assert_eq!(deaths, 3);
}

#[test]
fn without_any_success_a_row_is_not_blamed_and_the_attempt_ends_with_what_killed() {
    for (cause, exit) in [
        (DeathCause::OutOfMemory, AttemptExit::OutOfMemory),
        (DeathCause::Other, AttemptExit::WorkersKeepDying),
    ] {
        let mut schedule = schedule(1, 1);
        for death in 1..=FRUITLESS_DEATHS_MAX {
            assert_eq!(take(&mut schedule, 0), [0]);
            let aftermath = schedule.died(0, cause);
            assert_eq!(aftermath.condemned, []);
            let expected = if death < FRUITLESS_DEATHS_MAX {
                Next::Restart
            } else {
                Next::End(exit.clone())
            };
            assert_eq!(aftermath.next, expected);
            schedule.ready(0);
        }
    }
}

#[test]
fn deaths_before_ready_end_the_attempt_by_their_kind() {
    let mut schedule = Schedule::new(&RowRanges::below(9), 1);
    assert_eq!(
        schedule.died(0, DeathCause::OutOfMemory).next,
        Next::Restart
    );
    assert_eq!(
        schedule.died(0, DeathCause::OutOfMemory).next,
        Next::End(AttemptExit::OutOfMemory)
    );
    let mut schedule = Schedule::new(&RowRanges::below(9), 1);
    assert_eq!(schedule.died(0, DeathCause::Other).next, Next::Restart);
    assert_eq!(schedule.died(0, DeathCause::Other).next, Next::Restart);
    assert_eq!(
        schedule.died(0, DeathCause::Other).next,
        Next::End(AttemptExit::WorkersKeepDying)
    );
}

#[test]
fn a_place_that_stays_dead_is_left_empty_while_others_work() {
    let mut schedule = Schedule::new(&RowRanges::below(9), 2);
    schedule.ready(0);
    assert_eq!(
        schedule.died(1, DeathCause::OutOfMemory).next,
        Next::Restart
    );
    assert_eq!(schedule.died(1, DeathCause::OutOfMemory).next, Next::Retire);
    assert!(!take(&mut schedule, 0).is_empty());
}

#[test]
fn one_of_several_workers_tries_suspects_while_the_others_go_on() {
    let mut schedule = schedule(1000, 2);
    let first = take(&mut schedule, 0);
    let other = take(&mut schedule, 1);
    assert_eq!(schedule.died(0, DeathCause::Other).next, Next::Restart);
    schedule.ready(0);
    assert_eq!(take(&mut schedule, 0), [first[0]], "alone");
    assert!(schedule.hand_out(0).is_empty());
    finish_all(&mut schedule, 1, &other);
    assert!(take(&mut schedule, 1).len() > 1, "the other goes on");
    finish_all(&mut schedule, 0, &first[..1]);
    assert_eq!(take(&mut schedule, 0), [first[1]]);
}

#[test]
fn a_worker_that_is_to_try_suspects_ends_its_rows_first() {
    let mut schedule = schedule(1000, 2);
    take(&mut schedule, 0);
    assert_eq!(schedule.died(0, DeathCause::Other).next, Next::Restart);
    let rows = take(&mut schedule, 1);
    assert!(rows.is_empty() || rows.len() == 1, "{rows:?}");
}

#[test]
fn rows_in_writing_are_suspected_only_when_it_happens_again() {
    let mut schedule = schedule(300, 1);
    let rows = take(&mut schedule, 0);
    schedule.entered(0, rows[0], Stage::Writing);
    assert_eq!(schedule.died(0, DeathCause::Other).condemned, []);
    assert!(!schedule.suspects.contains(&rows[0]) && schedule.suspects.contains(&rows[1]));
    schedule.ready(0);
    let again = take(&mut schedule, 0);
    assert_eq!(again[0], rows[0]);
    schedule.entered(0, rows[0], Stage::Writing);
    assert_eq!(schedule.died(0, DeathCause::Other).condemned, []);
    assert!(schedule.suspects.contains(&rows[0]));
}

#[test]
fn a_row_that_takes_too_long_among_others_is_tried_alone_and_then_given_up() {
    let mut schedule = schedule(40, 1);
    let rows = take(&mut schedule, 0);
    schedule.entered(0, rows[0], Stage::Writing);
    let aftermath = schedule.died(0, DeathCause::RowTimeout);
    assert_eq!(
        aftermath,
        Aftermath {
            condemned: vec![],
            next: Next::Restart
        }
    );
    assert!(!schedule.suspects.contains(&rows[0]));
    schedule.ready(0);
    while !schedule.is_done() {
        let rows = take(&mut schedule, 0);
        if rows == [3] {
            let aftermath = schedule.died(0, DeathCause::RowTimeout);
            assert_eq!(
                aftermath.condemned,
                [Condemned {
                    row: 3,
                    reason: Reason::Timeout
                }]
            );
            schedule.ready(0);
        } else {
            finish_all(&mut schedule, 0, &rows);
        }
    }
}

#[test]
fn a_row_that_stops_its_worker_twice_is_given_up_and_one_that_was_stopped_once_is_done() {
    let mut schedule = schedule(40, 1);
    let (endless, stopped_once) = (3, 8);
    let mut deaths = 0;
    let mut condemned = vec![];
    let mut was_stopped = false;
    while !schedule.is_done() {
        let rows = take(&mut schedule, 0);
        let is_stopped = rows.contains(&stopped_once) && !std::mem::replace(&mut was_stopped, true);
        if rows.contains(&endless) || is_stopped {
            deaths += 1;
            let aftermath = schedule.died(0, DeathCause::Stuck);
            condemned.extend(aftermath.condemned);
            assert!(!matches!(aftermath.next, Next::End(_)));
            schedule.ready(0);
        } else {
            finish_all(&mut schedule, 0, &rows);
        }
    }
    let expected = Condemned {
        row: endless,
        reason: Reason::Stuck,
    };
    assert_eq!(condemned, [expected]);
    assert!(deaths <= 4, "{deaths}");
}

#[test]
fn an_extractor_that_stands_still_on_every_row_ends_the_attempt() {
    let mut schedule = schedule(40, 1);
    let exit = loop {
        assert!(!take(&mut schedule, 0).is_empty());
        let aftermath = schedule.died(0, DeathCause::Stuck);
        assert_eq!(
            aftermath.condemned,
            [],
            "without any success no row is blamed"
        );
        match aftermath.next {
            Next::End(exit) => break exit,
            _ => schedule.ready(0),
        }
    };
    assert_eq!(exit, AttemptExit::WorkersKeepDying);
}

#[test]
fn rows_given_up_in_long_runs_end_the_attempt() {
    let mut schedule = schedule(2000, 1);
    let rows = take(&mut schedule, 0);
    finish_all(&mut schedule, 0, &rows[..1]);
    let mut condemned = 0;
    let exit = loop {
        take(&mut schedule, 0);
        let cause = if condemned % 2 == 0 {
            DeathCause::RowTimeout
        } else {
            DeathCause::Other
        };
        let aftermath = schedule.died(0, cause);
        condemned += aftermath.condemned.len();
        match aftermath.next {
            Next::End(exit) => break exit,
            _ => schedule.ready(0),
        }
    };
    assert_eq!(exit, AttemptExit::WorkersKeepDying);
    assert!(condemned <= CONDEMNED_IN_A_ROW_MAX as usize);
}

#[test]
fn a_row_counts_once_whatever_is_said_of_it() {
    let mut schedule = schedule(3, 1);
    let rows = take(&mut schedule, 0);
    assert!(schedule.finished(0, rows[0], true));
    assert!(!schedule.finished(0, rows[0], true));
    assert!(!schedule.finished(0, 77, true));
    assert!(!schedule.finished(9, rows[0], true));
    assert_eq!(schedule.ended_rows(), 1);
}

#[test]
fn the_rows_of_a_lost_place_go_back_as_they_were_and_no_death_is_counted() {
    let mut schedule = schedule(40, 1);
    schedule.add_place(1);
    schedule.ready(1);
    let mine = take(&mut schedule, 0);
    let rows = take(&mut schedule, 1);
    assert!(rows.len() > 1);
    schedule.remove_place(1);
    assert_eq!((schedule.places(), schedule.fruitless_deaths), (1, 0));
    assert_eq!(schedule.waiting_rows(), 40 - mine.len());
    assert!(schedule.suspects.is_empty());
    assert_eq!(schedule.queue.front(), rows.first());
    // Its last words come too late.
    assert!(!schedule.finished(1, rows[0], true));
}

#[test]
fn a_row_that_was_tried_alone_is_tried_alone_again_when_its_place_is_lost() {
    let mut schedule = schedule(1, 1);
    schedule.add_place(1);
    schedule.ready(1);
    assert_eq!(take(&mut schedule, 1), [0]);
    schedule.remove_place(1);
    assert_eq!(take(&mut schedule, 0), [0]);
    assert!(schedule.finished(0, 0, true));
    assert!(schedule.is_done());
}

#[test]
fn rows_are_shared_out_among_places_that_are_still_to_come() {
    let mut schedule = schedule(100, 1);
    schedule.share_among(10);
    assert_eq!(schedule.hand_out(0).len(), 5);
}

#[test]
fn a_row_that_kills_at_once_does_not_end_an_attempt_whose_other_rows_take_long() {
    let mut schedule = schedule(2, 2);
    let (bad, slow) = (take(&mut schedule, 0), take(&mut schedule, 1));
    assert_eq!((bad.len(), slow.len()), (1, 1));
    let mut rows = bad;
    for _ in 1..FRUITLESS_DEATHS_MAX {
        assert_eq!(rows.len(), 1);
        let aftermath = schedule.died(0, DeathCause::Other);
        assert_eq!(
            (aftermath.condemned, aftermath.next),
            (vec![], Next::Restart)
        );
        schedule.ready(0);
        rows = take(&mut schedule, 0);
    }
    let aftermath = schedule.died(0, DeathCause::Other);
    assert_eq!(aftermath.next, Next::Restart);
    schedule.ready(0);
    assert!(take(&mut schedule, 0).is_empty(), "one more would end it");
    finish_all(&mut schedule, 1, &slow);
    assert_eq!(take(&mut schedule, 0), rows);
    let aftermath = schedule.died(0, DeathCause::Other);
    assert_eq!(aftermath.condemned.len(), 1);
    assert!(schedule.is_done());
}
