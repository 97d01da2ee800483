//! The classifier against labelled texts: how often category, event, document class and root line are right, and how sure it may be.
//!
//! Owns the targets. The texts are in `tests/corpus`; how they were labelled stands in its README.

#[path = "support/measure.rs"]
mod measure;
#[path = "support/noise.rs"]
mod noise;

use std::collections::BTreeMap;

use fettle_diagnose::{FailureText, classify};
use measure::{Measured, Sample, samples};

/// Least macro-F1 of category and of event.
const MACRO_F1_MIN: f64 = 0.95;
/// Least share of exact root lines.
const ROOT_LINE_MIN: f64 = 0.90;
/// Least share of right verdicts among those with confidence above [`SURE`].
const SURE_RIGHT_MIN: f64 = 0.97;
/// A verdict above it counts as sure.
const SURE: f64 = 0.8;

fn measured(samples: &[Sample]) -> Measured {
    let mut measured = Measured::default();
    for sample in samples {
        let verdict = classify(&FailureText {
            text: &sample.text,
            exit_code: sample.exit_code,
            backend: sample.backend.as_deref(),
        });
        measured.add(sample, &verdict);
    }
    measured
}

#[test]
fn the_corpus_is_classified_right() {
    let measured = measured(&samples());
    println!("{measured}");
    for line in &measured.wrong {
        println!("{line}");
    }
    assert!(measured.category.macro_f1() >= MACRO_F1_MIN, "category");
    assert!(measured.event.macro_f1() >= MACRO_F1_MIN, "event");
    assert!(measured.root_share() >= ROOT_LINE_MIN, "root lines");
    assert!(measured.class_share() >= 0.95, "document classes");
    assert!(measured.sure_right(SURE) >= SURE_RIGHT_MIN, "sure verdicts");
}

#[test]
fn noise_around_a_text_does_not_change_what_it_says() {
    for (name, change) in noise::KINDS {
        let noisy: Vec<Sample> = samples().iter().map(change).collect();
        let measured = measured(&noisy);
        println!("== {name}\n{measured}");
        for line in &measured.wrong {
            println!("{line}");
        }
        assert!(
            measured.category.macro_f1() >= MACRO_F1_MIN,
            "{name}: category"
        );
        assert!(measured.event.macro_f1() >= MACRO_F1_MIN, "{name}: event");
        assert!(
            measured.sure_right(SURE) >= SURE_RIGHT_MIN,
            "{name}: sure verdicts"
        );
    }
}

#[test]
fn every_confidence_band_is_at_least_as_right_as_it_says_less_a_margin() {
    let measured = measured(&samples());
    let mut bands: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for (confidence, right) in &measured.verdicts {
        let band = bands.entry((confidence * 10.0) as u32).or_default();
        band.0 += u32::from(*right);
        band.1 += 1;
    }
    for (band, (right, all)) in bands {
        let share = f64::from(right) / f64::from(all);
        println!(
            "confidence {:.1}: {right} of {all} right ({share:.2})",
            f64::from(band) / 10.0
        );
        assert!(
            all < 8 || share >= f64::from(band) / 10.0 - 0.12,
            "band {band}"
        );
    }
}
