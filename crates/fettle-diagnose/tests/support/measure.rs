//! Counting right and wrong verdicts.

use std::collections::BTreeMap;
use std::fmt;

use fettle_diagnose::TextVerdict;
use serde::Deserialize;

/// A labelled text.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) backend: Option<String>,
    pub(crate) category: String,
    pub(crate) event: String,
    pub(crate) document_error_class: Option<String>,
    pub(crate) root_cause_line: Option<String>,
}

/// All labelled texts.
pub(crate) fn samples() -> Vec<Sample> {
    let files = [
        include_str!("../corpus/failures.jsonl"),
        include_str!("../corpus/ray.jsonl"),
        include_str!("../corpus/field.jsonl"),
    ];
    files
        .iter()
        .flat_map(|file| file.lines())
        .map(|line| serde_json::from_str(line).expect("a labelled text"))
        .collect()
}

/// How often which label was read as which.
#[derive(Debug, Default)]
pub(crate) struct Confusion(BTreeMap<(String, String), u32>);

impl Confusion {
    fn add(&mut self, label: &str, read: &str) {
        *self
            .0
            .entry((label.to_owned(), read.to_owned()))
            .or_default() += 1;
    }

    fn labels(&self) -> Vec<&String> {
        let mut labels: Vec<&String> = self.0.keys().map(|(label, _)| label).collect();
        labels.dedup();
        labels
    }

    fn count(&self, wanted: impl Fn(&str, &str) -> bool) -> f64 {
        let counts = self
            .0
            .iter()
            .filter(|((label, read), _)| wanted(label, read));
        counts.map(|(_, count)| f64::from(*count)).sum()
    }

    fn f1(&self, class: &str) -> f64 {
        let both = self.count(|label, read| label == class && read == class);
        let either = self.count(|label, _| label == class) + self.count(|_, read| read == class);
        2.0 * both / either
    }

    /// The mean of the classes' F1.
    pub(crate) fn macro_f1(&self) -> f64 {
        let labels = self.labels();
        labels.iter().map(|label| self.f1(label)).sum::<f64>() / labels.len() as f64
    }
}

impl fmt::Display for Confusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            write!(f, "  {label:15} F1 {:.3} ", self.f1(label))?;
            for ((_, read), count) in self.0.iter().filter(|((of, _), _)| of == label) {
                write!(f, " {read}={count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The count over many texts.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) category: Confusion,
    pub(crate) event: Confusion,
    /// Confidence, and whether category and event are right.
    pub(crate) verdicts: Vec<(f64, bool)>,
    /// What is wrong, a line a text.
    pub(crate) wrong: Vec<String>,
    roots: (u32, u32),
    classes: (u32, u32),
}

impl Measured {
    pub(crate) fn add(&mut self, sample: &Sample, verdict: &TextVerdict) {
        let category = verdict.category.as_str();
        let event = verdict.event.map_or("none", |event| event.as_str());
        let class = verdict
            .document_error_class
            .map_or("none", |class| class.as_str());
        let right = category == sample.category && event == sample.event;
        self.category.add(&sample.category, category);
        self.event.add(&sample.event, event);
        self.verdicts.push((verdict.confidence, right));
        let mut faults = Vec::new();
        if !right {
            faults.push(format!(
                "{}/{} read as {category}/{event}",
                sample.category, sample.event
            ));
        }
        if let Some(expected) = &sample.document_error_class {
            self.classes.0 += u32::from(class == expected);
            self.classes.1 += 1;
            if class != expected {
                faults.push(format!("class {expected} read as {class}"));
            }
        }
        if let Some(expected) = &sample.root_cause_line {
            let found = verdict.root_cause_line.as_deref().unwrap_or_default();
            self.roots.0 += u32::from(found == expected.trim());
            self.roots.1 += 1;
            if found != expected.trim() {
                faults.push(format!("root {:.60} read as {:.60}", expected, found));
            }
        }
        if !faults.is_empty() {
            self.wrong.push(format!(
                "{} {:.2} {:?}: {}",
                sample.id,
                verdict.confidence,
                verdict.rule_ids,
                faults.join("; ")
            ));
        }
    }

    pub(crate) fn root_share(&self) -> f64 {
        f64::from(self.roots.0) / f64::from(self.roots.1.max(1))
    }

    pub(crate) fn class_share(&self) -> f64 {
        f64::from(self.classes.0) / f64::from(self.classes.1.max(1))
    }

    /// Share of right verdicts among those above this confidence.
    pub(crate) fn sure_right(&self, above: f64) -> f64 {
        let sure: Vec<bool> = self
            .verdicts
            .iter()
            .filter(|(confidence, _)| *confidence > above)
            .map(|(_, right)| *right)
            .collect();
        sure.iter().filter(|right| **right).count() as f64 / sure.len().max(1) as f64
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "category: macro-F1 {:.3}\n{}",
            self.category.macro_f1(),
            self.category
        )?;
        writeln!(
            f,
            "event: macro-F1 {:.3}\n{}",
            self.event.macro_f1(),
            self.event
        )?;
        let sure = self
            .verdicts
            .iter()
            .filter(|(confidence, _)| *confidence > 0.8)
            .count();
        writeln!(
            f,
            "root lines {:.3}, document classes {:.3}, sure verdicts right {:.3} ({sure} of {})",
            self.root_share(),
            self.class_share(),
            self.sure_right(0.8),
            self.verdicts.len()
        )
    }
}
