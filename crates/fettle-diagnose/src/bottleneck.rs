//! Where a tier's time goes, and what that means.
//!
//! Owns the reading of stage timings. It must not measure.

use fettle_model::{Stage, StageTimings};

use crate::finding::Bottleneck;

/// Above this share of all busy time one stage decides the speed; below it the stages are near balance and tuning one gains little.
const DOMINANT_SHARE: f64 = 0.5;

/// The stage that takes the time; `None` before any work.
#[must_use]
pub fn bottleneck(stages: &StageTimings) -> Option<Bottleneck> {
    let (stage, share) = stages.bottleneck()?;
    let percent = share * 100.0;
    let meaning = if share < DOMINANT_SHARE {
        format!(
            "No stage dominates: {} comes first with {percent:.0} % of the busy time. More workers speed up all stages alike.",
            stage.as_str()
        )
    } else {
        format!(
            "{percent:.0} % of the busy time is {}",
            meaning(stage, stages)
        )
    };
    Some(Bottleneck {
        stage,
        share,
        meaning,
    })
}

fn meaning(stage: Stage, stages: &StageTimings) -> String {
    let timing = stages.get(stage);
    let rate = match (timing.bytes, timing.busy_ms) {
        (0, _) | (_, 0) => String::new(),
        (bytes, ms) => {
            let mib_s = bytes as f64 / f64::from(1 << 20) / (ms as f64 / 1000.0);
            format!(" ({mib_s:.1} MiB/s for each worker)")
        }
    };
    match stage {
        Stage::Loading => format!(
            "loading{rate}: the network or the disk that the blobs come from. Move the blobs nearer, or raise num_cpus so that more \
             workers wait for them at once; a faster processor will not help."
        ),
        Stage::Processing => format!(
            "processing{rate}: the extractor itself. Raise num_cpus for more workers, use a GPU or a smaller model where the extractor can."
        ),
        Stage::Writing => format!(
            "writing{rate}: the document store is under pressure. More workers make it worse; give the store more memory or faster disks, \
             or lower num_cpus."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(busy_ms: [u64; 3]) -> StageTimings {
        let mut timings = StageTimings::default();
        for (stage, busy) in Stage::ALL.into_iter().zip(busy_ms) {
            timings.get_mut(stage).busy_ms = busy;
        }
        timings
    }

    #[test]
    fn each_stage_has_its_own_meaning() {
        for (busy, stage, word) in [
            ([80, 10, 10], Stage::Loading, "network or the disk"),
            ([10, 80, 10], Stage::Processing, "the extractor"),
            ([10, 10, 80], Stage::Writing, "document store"),
        ] {
            let found = bottleneck(&timings(busy)).unwrap();
            assert_eq!(found.stage, stage);
            assert!((found.share - 0.8).abs() < 1e-9);
            assert!(found.meaning.contains(word), "{}", found.meaning);
        }
    }

    #[test]
    fn stages_near_balance_have_no_culprit() {
        let found = bottleneck(&timings([34, 33, 33])).unwrap();
        assert!(found.meaning.starts_with("No stage dominates"));
        assert_eq!(bottleneck(&timings([0, 0, 0])), None);
    }
}
