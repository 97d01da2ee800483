//! Of a long text the lines that can matter.
//!
//! Owns the choice: lines with fixed text of a rule, their neighbours, and the last ones. It must not judge, and it must find the one
//! telling line among millions of others.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::clean::line_ranges;
use super::rule::Rule;

/// Lines kept before and after a telling line, for messages broken over lines.
const NEIGHBOURS: usize = 2;
/// Most lines kept of each kind at each end: errors stand first (the cause) or last (the end).
const LINES_PER_END_MAX: usize = 2_000;
/// Fixed text of at least so many bytes is telling; shorter ones are often common words.
const TELLING_BYTES_MIN: usize = 8;

/// Chooses lines.
#[derive(Debug)]
pub(super) struct Selection {
    words: Vec<String>,
    /// Built when the first long text comes; none if it cannot be, and then all lines are kept.
    automaton: OnceLock<Option<AhoCorasick>>,
}

impl Selection {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let patterns = rules.iter().flat_map(|rule| &rule.patterns);
        let words: BTreeSet<String> = patterns
            .flat_map(|pattern| pattern.anchors.iter().chain(&pattern.phrases))
            .cloned()
            .collect();
        Self {
            words: words.into_iter().collect(),
            automaton: OnceLock::new(),
        }
    }

    /// The lines that can matter, in their order.
    pub(super) fn lines(&self, text: &str) -> Vec<Range<usize>> {
        let Some(automaton) = self.automaton.get_or_init(|| self.build()) else {
            return line_ranges(text).collect();
        };
        let (telling, common) = self.stretches(automaton, text);
        let mut lines = ends(&lines_of(text, &telling));
        lines.extend(ends(&lines_of(text, &common)));
        lines.sort_by_key(|line| line.start);
        lines.dedup();
        lines
    }

    fn build(&self) -> Option<AhoCorasick> {
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&self.words)
            .ok()
    }

    /// Lines with telling fixed text and their neighbours, and lines with common words only. A word like `error` must not crowd out the
    /// one line that says `out of memory`.
    fn stretches(
        &self,
        automaton: &AhoCorasick,
        text: &str,
    ) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let (mut telling, mut common) = (Vec::new(), Vec::new());
        let mut from = 0;
        let mut common_until = 0;
        while let Some(hit) = automaton.find(Input::new(text).range(from..)) {
            if self.words[hit.pattern().as_usize()].len() >= TELLING_BYTES_MIN {
                // The line is kept whole, so the scan goes on behind it.
                from = line_end(text, hit.end(), 0);
                join(&mut telling, around(text, hit.start()));
            } else {
                from = hit.start() + 1;
                if hit.start() >= common_until {
                    common_until = line_end(text, hit.start(), 0);
                    join(&mut common, line_start(text, hit.start(), 0)..common_until);
                }
            }
        }
        join(
            &mut common,
            line_start(text, text.len(), NEIGHBOURS)..text.len(),
        );
        (telling, common)
    }
}

/// Adds a stretch, joined to the last one if they touch.
fn join(stretches: &mut Vec<Range<usize>>, stretch: Range<usize>) {
    match stretches.last_mut() {
        Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
        _ => stretches.push(stretch),
    }
}

fn lines_of(text: &str, stretches: &[Range<usize>]) -> Vec<Range<usize>> {
    let lines = stretches.iter().flat_map(|stretch| {
        line_ranges(&text[stretch.clone()])
            .map(|line| stretch.start + line.start..stretch.start + line.end)
    });
    lines.collect()
}

/// The line of a byte with its neighbours.
fn around(text: &str, at: usize) -> Range<usize> {
    line_start(text, at, NEIGHBOURS)..line_end(text, at, NEIGHBOURS)
}

/// Where the line of a byte begins, or one so many lines before it.
fn line_start(text: &str, at: usize, lines_before: usize) -> usize {
    let mut start = at;
    for line in 0..=lines_before {
        let before = start.saturating_sub(usize::from(line > 0));
        let line_break = text.get(..before).and_then(|text| text.rfind('\n'));
        start = line_break.map_or(0, |line_break| line_break + 1);
    }
    start
}

/// Where the line of a byte ends, with its line break, or one so many lines after it.
fn line_end(text: &str, at: usize, lines_after: usize) -> usize {
    let mut end = at;
    for _ in 0..=lines_after {
        let line_break = text.get(end..).and_then(|text| text.find('\n'));
        end = line_break.map_or(text.len(), |offset| end + offset + 1);
    }
    end
}

/// The first and the last of many lines.
fn ends(lines: &[Range<usize>]) -> Vec<Range<usize>> {
    if lines.len() <= 2 * LINES_PER_END_MAX {
        return lines.to_vec();
    }
    let (first, last) = (
        &lines[..LINES_PER_END_MAX],
        &lines[lines.len() - LINES_PER_END_MAX..],
    );
    [first, last].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::RuleSet;

    #[test]
    fn of_a_long_text_the_lines_around_hits_and_the_end_are_kept() {
        let rules = RuleSet::builtin();
        let filler = "plain words\n".repeat(30_000);
        let text = format!("{filler}before\nOOMKilled: Out of memory\nafter\n{filler}the end");
        let lines = Selection::new(rules.rules()).lines(&text);
        assert!(lines.len() < 12, "{}", lines.len());
        let kept: Vec<&str> = lines.iter().map(|line| text[line.clone()].trim()).collect();
        assert_eq!(
            kept,
            [
                "plain words",
                "before",
                "OOMKilled: Out of memory",
                "after",
                "plain words",
                "plain words",
                "plain words",
                "the end"
            ]
        );
    }

    #[test]
    fn of_very_many_lines_the_first_and_the_last_are_kept() {
        let text = "OOMKilled: Out of memory\n".repeat(30_000);
        let lines = Selection::new(RuleSet::builtin().rules()).lines(&text);
        assert_eq!(lines.len(), 2 * LINES_PER_END_MAX);
        assert_eq!(lines.last().map(|line| line.end), Some(text.len()));
    }
}
