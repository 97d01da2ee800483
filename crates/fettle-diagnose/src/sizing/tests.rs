//! Sizes without and with a history, and at the node's limit.

use fettle_model::Sketch;

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn oom() -> SizingInput<'static> {
    SizingInput {
        ended: Ended::OutOfMemory,
        demand: Demand::Unclear,
        limit_bytes: 256 * MIB,
        peak_bytes: 256 * MIB,
        was_still_climbing: true,
        ooms: 1,
        suspects: vec![],
        suspect_bytes: 0,
        workload: Workload::default(),
        history: None,
        workers: 1,
        node_memory_bytes: Some(8 * GIB),
    }
}

/// A history of needs in MiB.
fn needed(peaks_mib: &[u64]) -> MemoryProfile {
    MemoryProfile {
        peak_bytes: Sketch::of(peaks_mib.iter().map(|mib| mib * MIB)),
        ..MemoryProfile::default()
    }
}

/// The grant in MiB, with the number of workers and whether it is capped.
fn granted(input: &SizingInput<'_>) -> (u64, Option<u32>, bool) {
    let next = next_memory(input);
    let grant = next.grant().unwrap_or_else(|| panic!("{next:?}"));
    (grant.memory_bytes / MIB, grant.workers, grant.is_capped)
}

#[test]
fn a_cut_off_peak_doubles_the_limit_and_a_measured_peak_gets_half_more() {
    assert_eq!(granted(&oom()), (512, None, false));
    let measured = SizingInput {
        was_still_climbing: false,
        ..oom()
    };
    assert_eq!(granted(&measured), (384, None, false));
}

#[test]
fn the_limit_is_a_whole_number_of_steps() {
    let odd = SizingInput {
        peak_bytes: 200 * MIB + 1,
        was_still_climbing: false,
        ..oom()
    };
    assert_eq!(granted(&odd).0, 304);
    let large = SizingInput {
        peak_bytes: GIB + 1,
        ..odd
    };
    assert_eq!(granted(&large).0, 1536 + 64);
}

#[test]
fn workers_give_way_before_the_limit_does() {
    let crowded = SizingInput {
        workers: 4,
        node_memory_bytes: Some(GIB),
        ..oom()
    };
    assert_eq!(granted(&crowded), (512, Some(2), false));
}

#[test]
fn the_node_caps_the_limit_and_says_when_it_has_no_more() {
    let on_node = |mib| SizingInput {
        node_memory_bytes: Some(mib * MIB),
        ..oom()
    };
    assert_eq!(granted(&on_node(400)), (400, None, true));
    let full = next_memory(&on_node(270));
    assert!(
        matches!(full, NextMemory::WillNotHelp { most_bytes, .. } if most_bytes == 264 * MIB),
        "{full:?}"
    );
}

#[test]
fn an_unknown_node_does_not_cap_and_huge_numbers_do_not_overflow() {
    let unknown = SizingInput {
        node_memory_bytes: None,
        ..oom()
    };
    assert_eq!(granted(&unknown), (512, None, false));
    let huge = SizingInput {
        limit_bytes: u64::MAX,
        peak_bytes: u64::MAX,
        ..oom()
    };
    assert!(matches!(next_memory(&huge), NextMemory::WillNotHelp { .. }));
}

#[test]
fn a_history_names_the_need_at_once() {
    let history = needed(&[700, 710, 705, 690, 720]);
    let input = SizingInput {
        history: Some(&history),
        ..oom()
    };
    let (mib, ..) = granted(&input);
    assert!((720..=800).contains(&mib), "{mib}");
    assert_eq!(first_memory(&history, Workload::default()), Some(mib * MIB));
    let (again, ..) = granted(&SizingInput {
        limit_bytes: mib * MIB,
        peak_bytes: mib * MIB,
        ..input.clone()
    });
    assert!(again > mib && again <= mib * 4 / 3, "{again}");
    let (third, ..) = granted(&SizingInput {
        limit_bytes: again * MIB,
        peak_bytes: again * MIB,
        ooms: 2,
        ..input
    });
    assert!(
        third >= 2 * again,
        "the history does not hold any more: {third}"
    );
}

#[test]
fn one_earlier_worker_is_better_than_a_search() {
    let history = needed(&[900]);
    assert_eq!(first_memory(&history, Workload::default()), None);
    let steady = SizingInput {
        demand: Demand::Steady,
        history: Some(&history),
        ..oom()
    };
    assert_eq!(granted(&steady), (976, None, false));
    let above_it = SizingInput {
        limit_bytes: GIB,
        peak_bytes: GIB,
        ..steady
    };
    assert_eq!(granted(&above_it), (2048, None, false));
    let big_row = SizingInput {
        demand: Demand::BigRow,
        ..above_it
    };
    assert_eq!(granted(&big_row), (2048, None, false));
}

#[test]
fn two_heaps_of_needs_are_given_one_after_the_other_and_the_larger_only_to_its_rows() {
    let history = needed(&[300, 305, 310, 300, 2_000, 2_050, 2_100]);
    let first = first_memory(&history, Workload::default()).unwrap();
    assert!((310 * MIB..350 * MIB).contains(&first));
    let next = next_memory(&SizingInput {
        limit_bytes: first,
        peak_bytes: first,
        suspects: vec![7],
        history: Some(&history),
        ..oom()
    });
    let NextMemory::RowsLane { grant, rows } = next else {
        panic!("{next:?}")
    };
    assert_eq!(rows, [7]);
    assert!((2_100 * MIB..2_400 * MIB).contains(&grant.memory_bytes));
}

#[test]
fn a_big_row_is_given_what_rows_of_its_size_needed() {
    let mut history = needed(&[]);
    for at in 1..20 {
        history.worker_ended((200 + 10 * at) * MIB, 3, at * MIB);
    }
    let input = SizingInput {
        demand: Demand::BigRow,
        suspects: vec![4],
        suspect_bytes: 100 * MIB,
        history: Some(&history),
        ..oom()
    };
    let next = next_memory(&input);
    let NextMemory::RowsLane { grant, .. } = next else {
        panic!("{next:?}")
    };
    assert!((1_200 * MIB..1_440 * MIB).contains(&grant.memory_bytes));
    let sizes = |p95: u64, max: u64| Workload {
        rows_per_worker: 3,
        row_bytes: Some(RowBytes {
            p95: p95 * MIB,
            max: max * MIB,
        }),
    };
    let first = |sizes| first_memory(&history, sizes).unwrap() / MIB;
    assert!(
        (400..480).contains(&first(sizes(10, 20))),
        "the largest counts"
    );
    assert!(
        (300..360).contains(&first(sizes(10, 100))),
        "an outlier does not"
    );
}

#[test]
fn a_leak_is_followed_to_its_end_or_said_to_have_none() {
    let leak = SizingInput {
        demand: Demand::Leak {
            base_bytes: 56 * MIB,
            rows_finished: 100,
        },
        workload: Workload {
            rows_per_worker: 400,
            row_bytes: None,
        },
        ..oom()
    };
    let (mib, ..) = granted(&leak);
    assert!((856..=1_000).contains(&mib), "{mib}");
    let endless = SizingInput {
        workload: Workload {
            rows_per_worker: 100_000,
            row_bytes: None,
        },
        ..leak
    };
    assert!(matches!(
        next_memory(&endless),
        NextMemory::WillNotHelp { .. }
    ));
}

#[test]
fn raised_memory_stays_after_a_preemption_and_is_lowered_when_needs_stay_far_below() {
    let history = needed(&[300, 305, 310, 300, 320]);
    let raised = SizingInput {
        ended: Ended::Otherwise,
        limit_bytes: 2 * GIB,
        peak_bytes: 310 * MIB,
        history: Some(&history),
        ..oom()
    };
    assert_eq!(next_memory(&raised), NextMemory::Keep);
    let well = SizingInput {
        ended: Ended::Well,
        ..raised
    };
    let (mib, ..) = granted(&well);
    assert!((320..=352).contains(&mib), "{mib}");
    let near = SizingInput {
        limit_bytes: 512 * MIB,
        ..well.clone()
    };
    assert_eq!(next_memory(&near), NextMemory::Keep);
    let alone = SizingInput {
        history: None,
        ..well
    };
    assert_eq!(next_memory(&alone), NextMemory::Keep);
}
