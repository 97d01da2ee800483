//! Whatever the order of deaths and finishes: every row ends exactly once, and bad rows cost a bounded number of deaths.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What a row does to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Good,
    Fails,
    Kills,
    KillsByMemory,
    KillsOnce,
    KillsInWriting,
    Hangs,
    Stuck,
    StuckOnce,
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        30 => Just(Nature::Good),
        2 => Just(Nature::Fails),
        1 => Just(Nature::Kills),
        1 => Just(Nature::KillsByMemory),
        1 => Just(Nature::KillsOnce),
        1 => Just(Nature::KillsInWriting),
        1 => Just(Nature::Hangs),
        1 => Just(Nature::Stuck),
        1 => Just(Nature::StuckOnce),
    ]
}

/// Drives a schedule with simulated workers.
struct World {
    schedule: Schedule,
    natures: Vec<Nature>,
    workers: Vec<Worker>,
    outcomes: BTreeMap<RowNumber, &'static str>,
    killed_once: Vec<bool>,
    deaths: u32,
    exit: Option<AttemptExit>,
}

#[derive(Default, Clone)]
struct Worker {
    is_ready: bool,
    is_retired: bool,
    rows: Vec<(RowNumber, u8)>,
}

impl World {
    fn new(natures: Vec<Nature>, workers: u32) -> Self {
        let rows = natures.len() as RowNumber;
        Self {
            schedule: Schedule::new(&RowRanges::below(rows), workers),
            killed_once: vec![false; natures.len()],
            natures,
            workers: vec![Worker::default(); workers as usize],
            outcomes: BTreeMap::new(),
            deaths: 0,
            exit: None,
        }
    }

    fn is_over(&self) -> bool {
        self.schedule.is_done() || self.exit.is_some()
    }

    /// One step of worker `index`; `pick` chooses among its rows.
    fn step(&mut self, index: usize, pick: usize) {
        let number = index as u32;
        if self.workers[index].is_retired {
            return;
        }
        if !self.workers[index].is_ready {
            self.workers[index].is_ready = true;
            self.schedule.ready(number);
            return;
        }
        let given = self.schedule.hand_out(number);
        self.workers[index]
            .rows
            .extend(given.into_iter().map(|row| (row, 0)));
        if self.workers[index].rows.is_empty() {
            return;
        }
        let at = pick % self.workers[index].rows.len();
        let (row, progress) = self.workers[index].rows[at];
        self.workers[index].rows[at].1 += 1;
        match progress {
            0 => self.schedule.begun(number, row),
            1 => self.process(index, row),
            2 => self.write(index, row),
            _ => {
                self.workers[index].rows.remove(at);
                assert!(self.schedule.finished(
                    number,
                    row,
                    self.natures[row as usize] != Nature::Fails
                ));
                assert_eq!(
                    self.outcomes.insert(row, "finished"),
                    None,
                    "row {row} ended twice"
                );
            }
        }
    }

    fn process(&mut self, index: usize, row: RowNumber) {
        self.schedule.entered(index as u32, row, Stage::Processing);
        match self.natures[row as usize] {
            Nature::Kills => self.die(index, DeathCause::Other),
            Nature::KillsByMemory => self.die(index, DeathCause::OutOfMemory),
            Nature::Hangs => self.die(index, DeathCause::RowTimeout),
            Nature::Stuck => self.die(index, DeathCause::Stuck),
            Nature::StuckOnce if !std::mem::replace(&mut self.killed_once[row as usize], true) => {
                self.die(index, DeathCause::Stuck);
            }
            Nature::KillsOnce if !std::mem::replace(&mut self.killed_once[row as usize], true) => {
                self.die(index, DeathCause::Other);
            }
            _ => {}
        }
    }

    fn write(&mut self, index: usize, row: RowNumber) {
        self.schedule.entered(index as u32, row, Stage::Writing);
        if self.natures[row as usize] == Nature::KillsInWriting {
            self.die(index, DeathCause::Other);
        }
    }

    fn die(&mut self, index: usize, cause: DeathCause) {
        self.deaths += 1;
        self.workers[index] = Worker::default();
        let aftermath = self.schedule.died(index as u32, cause);
        for condemned in aftermath.condemned {
            assert_eq!(
                self.outcomes.insert(condemned.row, "condemned"),
                None,
                "row {} ended twice",
                condemned.row
            );
            let nature = self.natures[condemned.row as usize];
            assert!(
                !matches!(nature, Nature::Good | Nature::Fails | Nature::StuckOnce),
                "row {} is innocent",
                condemned.row
            );
        }
        match aftermath.next {
            Next::Restart => {}
            Next::Retire => self.workers[index].is_retired = true,
            Next::End(exit) => self.exit = Some(exit),
        }
    }

    fn deaths_allowed(&self) -> u32 {
        let bad = self
            .natures
            .iter()
            .filter(|nature| !matches!(nature, Nature::Good | Nature::Fails))
            .count() as u32;
        // Found among others, once more in writing, then alone; and what an attempt without success may cost.
        4 * bad + FRUITLESS_DEATHS_MAX + self.workers.len() as u32
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_row_ends_once_and_bad_rows_cost_few_deaths(
        natures in prop::collection::vec(nature(), 1..300),
        workers in 1_u32..5,
        steps in prop::collection::vec((0_usize..4, any::<prop::sample::Index>()), 64),
    ) {
        let mut world = World::new(natures, workers);
        let limit = 200 * (world.natures.len() + 64);
        for turn in 0..limit {
            if world.is_over() {
                break;
            }
            let (worker, pick) = &steps[turn % steps.len()];
            // Every worker gets its turn, whatever the drawn order.
            let index = if turn.is_multiple_of(3) { turn / 3 } else { *worker };
            world.step(index % workers as usize, pick.index(1 << 16));
        }
        prop_assert!(world.is_over(), "no progress: {:?}", world.schedule);
        prop_assert!(world.deaths <= world.deaths_allowed(), "{} deaths", world.deaths);
        if world.exit.is_none() {
            prop_assert_eq!(world.outcomes.len(), world.natures.len());
        } else {
            let held: usize = world.workers.iter().map(|worker| worker.rows.len()).sum();
            let kept = world.outcomes.len() + held + world.schedule.waiting_rows();
            prop_assert_eq!(kept, world.natures.len(), "a row was lost");
        }
    }

    #[test]
    fn a_few_bad_rows_never_end_an_attempt(
        bad in prop::collection::btree_set(0_usize..400, 0..6),
        workers in 1_u32..5,
        pick in any::<prop::sample::Index>(),
    ) {
        let natures = (0..400).map(|row| if bad.contains(&row) { Nature::Kills } else { Nature::Good }).collect();
        let mut world = World::new(natures, workers);
        for turn in 0..200_000 {
            if world.is_over() {
                break;
            }
            world.step(turn % workers as usize, pick.index(1 << 16).wrapping_mul(turn));
        }
        prop_assert!(world.schedule.is_done() && world.exit.is_none(), "{:?}", world.exit);
        let condemned = world.outcomes.values().filter(|outcome| **outcome == "condemned").count();
        prop_assert_eq!(condemned, bad.len());
    }
}
