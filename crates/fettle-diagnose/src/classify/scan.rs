//! One scan over a text for the fixed text of all patterns, and a bounded look around each hit.
//!
//! Owns the cost: every byte is scanned once, and no pattern looks at a byte more than a few times, so time grows with the length of
//! the text. It must not judge.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::clean::{Cleaned, line_ranges};
use super::rule::Rule;
use super::selection::Selection;

/// Bytes before a hit in which its match may begin: a message broken over lines, or ids before the fixed text.
const BEFORE_BYTES: usize = 400;
/// Bytes after a hit in which its match may end.
const AFTER_BYTES: usize = 600;
/// Most matches of one pattern that are kept. The first ones and the last say what a thousand say.
const MATCHES_MAX: usize = 16;
/// Texts up to this size are looked at whole. In longer ones only lines with a hit and their neighbours are cleaned.
const WHOLE_BYTES_MAX: usize = 128 * 1024;

/// How much was looked at, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanWork {
    /// Bytes that went through the automaton.
    pub scanned_bytes: u64,
    /// Bytes that patterns looked at around hits.
    pub verified_bytes: u64,
}

/// Where a rule matched in the cleaned text.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) rule: usize,
    /// Which of the rule's patterns.
    pub(super) pattern: usize,
    pub(super) range: Range<usize>,
}

/// The automaton of all fixed texts.
#[derive(Debug)]
pub(super) struct Scanner {
    automaton: AhoCorasick,
    /// For each fixed text the patterns that it belongs to, as (rule, pattern).
    owners: Vec<Vec<(usize, usize)>>,
    selection: Selection,
}

impl Scanner {
    pub(super) fn new(rules: &[Rule]) -> Result<Self, String> {
        let mut owners_of: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (rule_index, rule) in rules.iter().enumerate() {
            for (pattern_index, pattern) in rule.patterns.iter().enumerate() {
                for anchor in &pattern.anchors {
                    let owners = owners_of.entry(anchor).or_default();
                    if owners.last() != Some(&(rule_index, pattern_index)) {
                        owners.push((rule_index, pattern_index));
                    }
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(owners_of.keys())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            automaton,
            selection: Selection::new(rules),
            owners: owners_of.into_values().collect(),
        })
    }

    /// The fixed texts of all patterns, in lower case.
    pub(super) fn words(&self) -> &[String] {
        self.selection.words()
    }

    /// The lines of a text that can matter: all of a short one, those around hits of a long one.
    pub(super) fn lines(&self, text: &str, work: &mut ScanWork) -> Vec<Range<usize>> {
        if text.len() <= WHOLE_BYTES_MAX {
            return line_ranges(text).collect();
        }
        work.scanned_bytes += text.len() as u64;
        self.selection.lines(text)
    }

    /// Texts up to so many bytes are looked at whole.
    pub(super) fn whole_bytes_max(&self) -> usize {
        WHOLE_BYTES_MAX
    }

    /// The lines that can matter of a piece of a text.
    pub(super) fn lines_of_piece(&self, piece: &str) -> Vec<Range<usize>> {
        self.selection.lines_of_piece(piece)
    }

    /// All matches of all patterns, in no particular order.
    pub(super) fn matches(
        &self,
        rules: &[Rule],
        cleaned: &Cleaned,
        work: &mut ScanWork,
    ) -> Vec<Match> {
        work.scanned_bytes += cleaned.bytes.len() as u64;
        let mut looks: BTreeMap<(usize, usize), Look> = BTreeMap::new();
        for hit in self.automaton.find_overlapping_iter(&cleaned.bytes) {
            for owner in &self.owners[hit.pattern().as_usize()] {
                let look = looks.entry(*owner).or_default();
                if hit.start() >= look.done {
                    look.around(*owner, hit.start(), rules, &cleaned.bytes, work);
                }
            }
        }
        looks.into_values().flat_map(|look| look.matches).collect()
    }
}

/// How far one pattern has looked, and what it found.
#[derive(Debug, Default)]
struct Look {
    done: usize,
    matches: Vec<Match>,
}

impl Look {
    fn around(
        &mut self,
        (rule, pattern): (usize, usize),
        at: usize,
        rules: &[Rule],
        bytes: &[u8],
        work: &mut ScanWork,
    ) {
        let Some(regex) = rules[rule].patterns[pattern].regex() else {
            return;
        };
        let window = window(bytes, at);
        let after_last = self.matches.last().map_or(0, |found| found.range.end);
        let start = window.start.max(after_last);
        work.verified_bytes += (window.end - start) as u64;
        // Hits near the end of the window are looked at again with room after them.
        self.done = window.end.saturating_sub(BEFORE_BYTES / 2).max(at + 1);
        let mut from = start;
        while let Some(found) = regex.find_at(&bytes[..window.end], from) {
            from = found.end().max(found.start() + 1);
            if self.matches.len() == MATCHES_MAX {
                self.matches.pop();
            }
            let range = found.range();
            self.matches.push(Match {
                rule,
                pattern,
                range,
            });
            if from > window.end {
                break;
            }
        }
    }
}

/// The bytes around a hit, from the beginning of a line if one is near.
fn window(bytes: &[u8], at: usize) -> Range<usize> {
    let earliest = at.saturating_sub(BEFORE_BYTES);
    let line_start = bytes[earliest..at]
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|offset| earliest + offset + 1);
    let start = match line_start {
        Some(line_start) if earliest > 0 => line_start,
        _ => earliest,
    };
    let end = bytes.len().min(at + AFTER_BYTES);
    start..end
}
