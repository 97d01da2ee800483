//! Of a long text the lines that can matter.
//!
//! Owns the choice: lines with fixed text of a rule, their neighbours, and the last ones. It must not judge, and it must find the one
//! telling line among millions of others.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, StartKind};

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
    automaton: OnceLock<Option<Words>>,
}

/// The automaton that walks over a long text once, a step a byte.
#[derive(Debug)]
struct Words {
    dfa: DFA,
    start: StateID,
    /// For each word whether it is telling.
    telling: Vec<bool>,
}

/// Where lines with a hit are: the first ones and the last ones, however many there are.
#[derive(Debug, Default)]
struct Hits {
    first: Vec<usize>,
    last: VecDeque<usize>,
}

impl Hits {
    fn push(&mut self, at: usize) {
        if self.first.len() < LINES_PER_END_MAX {
            return self.first.push(at);
        }
        if self.last.len() == LINES_PER_END_MAX {
            self.last.pop_front();
        }
        self.last.push_back(at);
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.first.iter().chain(&self.last).copied()
    }
}

impl Selection {
    pub(super) fn new(rules: &[Rule]) -> Self {
        // Words that count only together are common ones, and the last resort.
        let single = rules.iter().filter(|rule| rule.at_least == 1);
        let patterns = single.flat_map(|rule| &rule.patterns);
        let words: BTreeSet<String> = patterns
            .flat_map(|pattern| pattern.anchors.iter().chain(&pattern.phrases))
            .cloned()
            .collect();
        Self {
            words: words.into_iter().collect(),
            automaton: OnceLock::new(),
        }
    }

    /// The fixed texts that lines are chosen by, in lower case.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// The lines that can matter of a piece of a text: also its first ones, which may belong to a message at the end of the piece before.
    pub(super) fn lines_of_piece(&self, piece: &str) -> Vec<Range<usize>> {
        let mut lines: Vec<Range<usize>> = line_ranges(piece).take(NEIGHBOURS).collect();
        lines.extend(self.lines(piece));
        lines.sort_by_key(|line| line.start);
        lines.dedup();
        lines
    }

    /// The lines that can matter, in their order.
    pub(super) fn lines(&self, text: &str) -> Vec<Range<usize>> {
        let words = self.automaton.get_or_init(|| Words::new(&self.words));
        let Some(words) = words else {
            return line_ranges(text).collect();
        };
        let (telling, common) = words.hits(text);
        let mut lines = lines_around(text, &telling, NEIGHBOURS);
        lines.extend(lines_around(text, &common, 0));
        let end = line_start(text, text.len(), NEIGHBOURS)..text.len();
        lines.extend(lines_of(text, std::slice::from_ref(&end)));
        lines.sort_by_key(|line| line.start);
        lines.dedup();
        lines
    }
}

impl Words {
    fn new(words: &[String]) -> Option<Self> {
        let dfa = DFA::builder()
            .ascii_case_insensitive(true)
            .start_kind(StartKind::Unanchored)
            .prefilter(false)
            .build(words)
            .ok()?;
        Some(Self {
            start: dfa.start_state(Anchored::No).ok()?,
            telling: words
                .iter()
                .map(|word| word.len() >= TELLING_BYTES_MIN)
                .collect(),
            dfa,
        })
    }

    /// Where lines with telling fixed text are, and lines with common words only. A word like `error` must not crowd out the one line
    /// that says `out of memory`.
    fn hits(&self, text: &str) -> (Hits, Hits) {
        let (mut telling, mut common) = (Hits::default(), Hits::default());
        let (mut state, mut at, mut common_until) = (self.start, 0, 0);
        while let Some(steps) = self.walk(&mut state, &text.as_bytes()[at..]) {
            at += steps;
            if !self.dfa.is_match(state) {
                continue;
            }
            if self.is_telling(state) {
                // The line is kept whole, so the walk goes on behind it.
                telling.push(at - 1);
                at = line_end(text, at - 1, 0);
                state = self.start;
            } else if at > common_until {
                common.push(at - 1);
                common_until = line_end(text, at - 1, 0);
            }
        }
        (telling, common)
    }

    /// Steps until the automaton is in a special state, the last byte included; none if the text ends before.
    fn walk(&self, state: &mut StateID, text: &[u8]) -> Option<usize> {
        let steps = text.iter().position(|byte| {
            *state = self.dfa.next_state(Anchored::No, *state, *byte);
            self.dfa.is_special(*state)
        });
        steps.map(|before| before + 1)
    }

    fn is_telling(&self, state: StateID) -> bool {
        (0..self.dfa.match_len(state))
            .any(|index| self.telling[self.dfa.match_pattern(state, index).as_usize()])
    }
}

/// The lines of hits with their neighbours, the first and the last of them.
fn lines_around(text: &str, hits: &Hits, neighbours: usize) -> Vec<Range<usize>> {
    let mut stretches = Vec::new();
    for at in hits.iter() {
        let at = text.floor_char_boundary(at);
        let stretch = line_start(text, at, neighbours)..line_end(text, at, neighbours);
        join(&mut stretches, stretch);
    }
    ends(&lines_of(text, &stretches))
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

/// Where the line of a byte ends, with its line break, or one so many lines after it. The byte begins a character.
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
