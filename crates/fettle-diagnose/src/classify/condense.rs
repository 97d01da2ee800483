//! A log that comes in pieces, without what cannot matter.
//!
//! Owns reading a log of any size in bounded memory: of each piece the lines that can matter are kept, and a piece that fits the
//! processor's caches is looked at while it is there. It must not judge, and it must not read from anywhere itself.

use std::borrow::Cow;

use super::scan::Scanner;

/// A line that is longer is taken in parts.
const LINE_BYTES_MAX: usize = 4 << 20;
/// When more is kept, lines are chosen from it anew: the first and the last of each kind stay.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Takes a log piece by piece and keeps the lines that can matter.
///
/// What it gives back is judged as the whole log would be: [`super::RuleSet::classify`] chooses lines from a long text in the same way.
#[derive(Debug)]
pub struct Condenser<'a> {
    scanner: &'a Scanner,
    kept: String,
    /// The last line, as far as it came.
    rest: Vec<u8>,
}

impl<'a> Condenser<'a> {
    pub(super) fn new(scanner: &'a Scanner) -> Self {
        Self {
            scanner,
            kept: String::new(),
            rest: Vec::new(),
        }
    }

    /// Takes the next piece, which may end anywhere. What is not UTF-8 is replaced.
    pub fn push(&mut self, piece: &[u8]) {
        let mut piece = piece;
        if !self.rest.is_empty() {
            let end = piece.iter().position(|byte| *byte == b'\n');
            let (head, tail) = piece.split_at(end.map_or(piece.len(), |end| end + 1));
            self.rest.extend_from_slice(head);
            piece = tail;
            if end.is_some() || self.rest.len() > LINE_BYTES_MAX {
                self.take_rest();
            }
        }
        let end = piece.iter().rposition(|byte| *byte == b'\n');
        let (lines, rest) = piece.split_at(end.map_or(0, |end| end + 1));
        self.take(&String::from_utf8_lossy(lines));
        self.rest.extend_from_slice(rest);
    }

    /// What can matter of all that came.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.take_rest();
        self.kept
    }

    fn take_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        let line: Cow<'_, str> = String::from_utf8_lossy(&rest);
        self.take(&line);
    }

    fn take(&mut self, lines: &str) {
        if self.kept.len() + lines.len() <= self.scanner.whole_bytes_max() {
            return self.kept.push_str(lines);
        }
        for line in self.scanner.lines_of_piece(lines) {
            self.kept.push_str(&lines[line]);
        }
        if self.kept.len() > KEPT_BYTES_MAX {
            let all = std::mem::take(&mut self.kept);
            for line in self.scanner.lines_of_piece(&all) {
                self.kept.push_str(&all[line]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::classify::{FailureText, RuleSet};

    const FAULT: &str = "kernel: Memory cgroup out of memory: Killed process 4711 (python3) total-vm:712kB, anon-rss:623kB\n";

    fn condensed(log: &[u8], piece_bytes: usize) -> String {
        let mut condenser = RuleSet::builtin().condenser();
        for piece in log.chunks(piece_bytes) {
            condenser.push(piece);
        }
        condenser.finish()
    }

    fn rules_of(text: &str) -> Vec<String> {
        let verdict = RuleSet::builtin().classify(&FailureText {
            text,
            exit_code: Some(137),
            backend: None,
        });
        verdict.rule_ids
    }

    #[test]
    fn a_short_log_is_kept_whole_however_it_comes() {
        let log = "first\n\nzweite Zeile ü\nthe last one without an end";
        for piece_bytes in 1..log.len() {
            assert_eq!(condensed(log.as_bytes(), piece_bytes), log);
        }
    }

    #[test]
    fn of_a_long_log_little_is_kept_and_it_says_the_same() {
        let filler = "2026-03-02 10:11:12,001 plain words\n".repeat(40_000);
        let log = format!("{filler}{FAULT}what follows\n{filler}the end");
        for piece_bytes in [997, 65_536, 1 << 20] {
            let kept = condensed(log.as_bytes(), piece_bytes);
            assert!(kept.len() < log.len() / 4, "{piece_bytes}: {}", kept.len());
            assert!(kept.contains(FAULT) && kept.contains("what follows"));
            assert!(kept.ends_with("the end"));
            assert_eq!(rules_of(&kept), rules_of(&log), "{piece_bytes}");
        }
    }

    #[test]
    fn lines_without_an_end_and_bytes_that_are_no_text_are_taken() {
        let mut log = vec![b'x'; 9 << 20];
        log.extend_from_slice(b"\xff\xfe\n");
        log.extend_from_slice(FAULT.as_bytes());
        let kept = condensed(&log, 100_000);
        assert!(kept.contains('\u{fffd}') && kept.ends_with(FAULT));
    }
}
