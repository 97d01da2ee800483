//! A log that comes in pieces, without what cannot matter.
//!
//! Owns reading a log of any size in bounded memory: pieces are gathered to windows, and of each window the lines that can matter are
//! kept. It must not judge, and it must not read from anywhere itself.

use super::scan::Scanner;

/// How much is gathered before lines are chosen from it: of a window at most some thousand lines are kept, so it must be much larger.
const WINDOW_BYTES: usize = 32 << 20;
/// When more is kept, lines are chosen from it anew: the first and the last of each kind stay.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Takes a log piece by piece and keeps the lines that can matter.
///
/// What it gives back is judged as the whole log would be: [`super::RuleSet::classify`] chooses lines from a long text in the same way.
#[derive(Debug)]
pub struct Condenser<'a> {
    scanner: &'a Scanner,
    kept: String,
    /// What came and was not looked at.
    window: Vec<u8>,
    window_bytes: usize,
}

impl<'a> Condenser<'a> {
    pub(super) fn new(scanner: &'a Scanner) -> Self {
        Self {
            scanner,
            kept: String::new(),
            window: Vec::new(),
            window_bytes: WINDOW_BYTES,
        }
    }

    /// Takes the next piece, which may end anywhere. What is not UTF-8 is replaced.
    pub fn push(&mut self, piece: &[u8]) {
        self.window.extend_from_slice(piece);
        if self.window.len() >= self.window_bytes {
            let line_break = self.window.iter().rposition(|byte| *byte == b'\n');
            self.look_at(line_break.map_or(self.window.len(), |at| at + 1));
        }
    }

    /// What can matter of all that came.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.look_at(self.window.len());
        self.kept
    }

    /// Chooses lines from the beginning of the window; the rest of it stays, and so does its memory.
    fn look_at(&mut self, end: usize) {
        let mut window = std::mem::take(&mut self.window);
        self.take(&String::from_utf8_lossy(&window[..end]));
        window.drain(..end);
        self.window = window;
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
    use super::Condenser;
    use crate::classify::{FailureText, RuleSet};

    const WINDOW_BYTES: usize = 200_000;
    const FAULT: &str = "kernel: Memory cgroup out of memory: Killed process 4711 (python3) total-vm:712kB, anon-rss:623kB\n";

    fn condensed(log: &[u8], piece_bytes: usize) -> String {
        let mut condenser = Condenser {
            window_bytes: WINDOW_BYTES,
            ..RuleSet::builtin().condenser()
        };
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
        let filler = "2026-03-02 10:11:12,001 plain words\n".repeat(10_000);
        let log = format!("{filler}{FAULT}what follows\n{filler}the end");
        for piece_bytes in [997, 65_521, 1 << 20] {
            let kept = condensed(log.as_bytes(), piece_bytes);
            assert!(kept.len() < log.len() / 4, "{piece_bytes}: {}", kept.len());
            assert!(kept.contains(FAULT) && kept.contains("what follows"));
            assert!(kept.ends_with("the end"));
            assert_eq!(rules_of(&kept), rules_of(&log), "{piece_bytes}");
        }
    }

    #[test]
    fn lines_without_an_end_and_bytes_that_are_no_text_are_taken() {
        let mut log = vec![b'x'; WINDOW_BYTES + 9];
        log.extend_from_slice(b"\xff\xfe\n");
        log.extend_from_slice(FAULT.as_bytes());
        let kept = condensed(&log, 100_000);
        assert!(kept.contains('\u{fffd}') && kept.ends_with(FAULT));
    }
}
