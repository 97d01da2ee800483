//! A text without its dress: colours, prefixes of who printed it, suffixes of how often, phrases that only guess.
//!
//! Owns the way from a cleaned byte back to the line as it was printed. It must not drop anything that a verdict may rest on.

use std::ops::Range;

use super::{guesses, quoting};

/// Longest `(name pid=…, ip=…)` in bytes; a bracket that is wider is part of the message.
const PREFIX_BYTES_MAX: usize = 200;
/// Most prefixes of one line: kubectl, compose, torchrun and Ray can stand before each other.
const PREFIXES_MAX: usize = 4;

/// Who speaks in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The job or one of its workers.
    Job,
    /// Ray's node daemon, which also speaks of other jobs.
    Raylet,
    /// Ray's autoscaler or scheduler, which speaks of the whole cluster.
    Autoscaler,
}

/// A line of the text.
#[derive(Debug)]
pub(super) struct Line {
    /// Where it stands in the text, without white space around it.
    pub(super) raw: Range<usize>,
    /// Where it begins in the cleaned text.
    pub(super) start: usize,
    pub(super) speaker: Speaker,
    /// Whether it is program text that a traceback shows, and no message.
    pub(super) program_text: bool,
    /// Its place among causes: `Caused by:` comes before the line that it explains.
    pub(super) order: (usize, usize),
}

/// The cleaned text: one byte string for the scan.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

impl Cleaned {
    /// The line that a byte belongs to.
    pub(super) fn line_of(&self, position: usize) -> Option<&Line> {
        let after = self.lines.partition_point(|line| line.start <= position);
        self.lines.get(after.checked_sub(1)?)
    }

    /// The cleaned text of the line that a byte belongs to.
    pub(super) fn text_of_line(&self, position: usize) -> &[u8] {
        let after = self.lines.partition_point(|line| line.start <= position);
        let start = after.checked_sub(1).map_or(0, |at| self.lines[at].start);
        let end = self
            .lines
            .get(after)
            .map_or(self.bytes.len(), |line| line.start);
        &self.bytes[start..end]
    }
}

/// Cleans those lines of the text that the ranges name, in their order.
pub(super) fn clean(text: &str, ranges: impl Iterator<Item = Range<usize>>) -> Cleaned {
    let mut cleaned = Cleaned::default();
    let mut order = CauseOrder::default();
    let mut plain = String::new();
    let mut after_frame = false;
    for range in ranges {
        let raw = trimmed(text, range);
        plain.clear();
        without_escapes(&text[raw.clone()], &mut plain);
        quoting::undo(&mut plain);
        let (speaker, body) = without_prefixes(&plain);
        let body = without_source_column(without_repetition(body));
        cleaned.lines.push(Line {
            raw,
            start: cleaned.bytes.len(),
            speaker,
            program_text: (after_frame && !names_exception(body))
                || body.starts_with("raise ")
                || body.starts_with("--->"),
            order: order.next(body),
        });
        after_frame = body.starts_with("File \"") && body.contains(", line ");
        cleaned.bytes.extend_from_slice(body.as_bytes());
        cleaned.bytes.push(b'\n');
    }
    guesses::blank(&mut cleaned.bytes);
    cleaned
}

/// Whether a line begins with an exception: tracebacks that were shortened show it where the program's text would stand.
fn names_exception(body: &str) -> bool {
    let name = body.split([':', ' ']).next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._".contains(letter);
    (body.len() == name.len() || body[name.len()..].starts_with(": "))
        && name.chars().all(plain)
        && last.starts_with(|letter: char| letter.is_ascii_uppercase())
        && (last.ends_with("Error") || last.ends_with("Exception") || name.len() > last.len())
}

/// The lines of a text.
pub(super) fn line_ranges(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let range = start..start + line.len();
        start = range.end;
        range
    })
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let line = &text[range.clone()];
    let start = range.start + (line.len() - line.trim_start().len());
    start..start + line.trim().len()
}

/// Copies a line without terminal escape sequences.
fn without_escapes(line: &str, plain: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = after_escape(&rest[at + 1..]);
    }
    plain.push_str(rest);
}

/// What follows an escape sequence whose ESC was just read.
fn after_escape(rest: &str) -> &str {
    let ends_at = match rest.as_bytes().first() {
        Some(b'[') => rest[1..].find(|letter: char| ('@'..='~').contains(&letter)),
        Some(b']') => rest[1..].find('\u{7}'),
        _ => return rest.get(1..).unwrap_or(""),
    };
    ends_at.map_or("", |at| &rest[at + 2..])
}

fn without_prefixes(line: &str) -> (Speaker, &str) {
    let mut speaker = Speaker::Job;
    let mut body = line.trim();
    for _ in 0..PREFIXES_MAX {
        let (found, rest) = without_prefix(body);
        if found != Speaker::Job {
            speaker = found;
        }
        if rest.len() == body.len() {
            break;
        }
        body = rest.trim_start();
    }
    (speaker, body)
}

fn without_prefix(line: &str) -> (Speaker, &str) {
    match line.as_bytes().first() {
        Some(b'(') => without_ray_prefix(line),
        Some(b'[') => (Speaker::Job, without_rank_prefix(line)),
        Some(b'>') => (Speaker::Job, &line[1..]),
        Some(b'0'..=b'9') => (Speaker::Job, without_stream_prefix(line)),
        _ => (Speaker::Job, without_service_prefix(line)),
    }
}

/// `(raylet, ip=…) `, `(autoscaler +32s) `, `(Worker pid=7, ip=…) `.
fn without_ray_prefix(line: &str) -> (Speaker, &str) {
    let Some(end) = line.find(')').filter(|end| *end <= PREFIX_BYTES_MAX) else {
        return (Speaker::Job, line);
    };
    let (inner, rest) = (&line[1..end], &line[end + 1..]);
    let name = inner.split([',', ' ', '+']).next().unwrap_or_default();
    match name {
        "raylet" | "pid=raylet" | "gcs_server" => (Speaker::Raylet, rest),
        "autoscaler" | "scheduler" => (Speaker::Autoscaler, rest),
        _ if inner.contains("pid=") => (Speaker::Job, rest),
        _ => (Speaker::Job, line),
    }
}

/// `[rank3]: `, `[default0]:` as torchrun prints before each line.
fn without_rank_prefix(line: &str) -> &str {
    let Some(end) = line.find("]:").filter(|end| *end <= 16) else {
        return line;
    };
    let name = line[1..end].trim_end_matches(|letter: char| letter.is_ascii_digit());
    match name {
        "rank" | "default" => &line[end + 2..],
        _ => line,
    }
}

/// `2026-01-01T00:00:00.1Z stderr F ` as container runtimes write before each line of their log files.
fn without_stream_prefix(line: &str) -> &str {
    let mut words = line.splitn(4, ' ');
    let (time, stream, tag) = (words.next(), words.next(), words.next());
    let is_prefix = time.is_some_and(|time| time.contains('T') && time.contains(':'))
        && matches!(stream, Some("stdout" | "stderr"))
        && matches!(tag, Some("F" | "P"));
    match words.next() {
        Some(body) if is_prefix => body,
        _ => without_service_prefix(line),
    }
}

/// `worker-1  | ` as compose prints before each line.
fn without_service_prefix(line: &str) -> &str {
    let Some(end) = line.find(" | ").filter(|end| *end <= 48) else {
        return line;
    };
    let name = line[..end].trim_end();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if !name.is_empty() && name.chars().all(plain) {
        &line[end + 3..]
    } else {
        line
    }
}

/// Without `[repeated 12x across cluster]` and Ray's remark after it.
fn without_repetition(line: &str) -> &str {
    let at = line
        .rfind("[repeated ")
        .or_else(|| line.find("(Ray deduplicates logs"));
    match at {
        Some(at) if line[at..].contains("across cluster") => line[..at].trim_end(),
        _ => line,
    }
}

/// Without the right-hand column `module.py:574` of console log handlers, which stands in the middle of wrapped messages.
fn without_source_column(line: &str) -> &str {
    let Some(at) = line.rfind("  ") else {
        return line;
    };
    let column = &line[at + 2..];
    let is_source = column.rsplit_once(".py:").is_some_and(|(module, number)| {
        !module.contains(' ')
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_source {
        line[..at].trim_end()
    } else {
        line
    }
}

/// Gives lines their place among causes. A Java trace names the cause of what stands above it.
#[derive(Debug, Default)]
struct CauseOrder {
    line: usize,
    head: usize,
    depth: usize,
}

impl CauseOrder {
    fn next(&mut self, body: &str) -> (usize, usize) {
        self.line += 1;
        if body.starts_with("Caused by:") {
            self.depth += 1;
        } else if !(body.starts_with("at ") || body.starts_with("... ")) {
            self.head = self.line;
            self.depth = 0;
        }
        (self.head, usize::MAX - self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> (String, Vec<Speaker>) {
        let cleaned = clean(text, line_ranges(text));
        let speakers = cleaned.lines.iter().map(|line| line.speaker).collect();
        (String::from_utf8(cleaned.bytes).expect("text"), speakers)
    }

    #[test]
    fn colours_prefixes_and_suffixes_are_taken_off() {
        let cases = [
            (
                "\u{1b}[36m(f pid=7, ip=10.0.0.1)\u{1b}[0m boom\u{1b}[32m [repeated 4x across cluster]\u{1b}[0m",
                "boom",
            ),
            ("[rank2]: RuntimeError: x", "RuntimeError: x"),
            ("worker-1   | Killed", "Killed"),
            ("> > [ 12.3] EXT4-fs error", "[ 12.3] EXT4-fs error"),
            ("ERROR: CUDA   batch_handler.py:574", "ERROR: CUDA"),
            ("(1) not a prefix", "(1) not a prefix"),
            ("| `reason` | gone |", "| `reason` | gone |"),
            ("2026-01-01T00:00:00.1Z stderr F Killed", "Killed"),
            (
                "2026-01-01T00:00:00.1Z stderr found",
                "2026-01-01T00:00:00.1Z stderr found",
            ),
            ("50%|##  | 1/2\rKilled", "50%|##  | 1/2\nKilled"),
            (
                r#"{"msg":"died: \"OOM\"\n\u001b[31mat x"}"#,
                "{\"msg\":\"died: \"OOM\"\n\u{1b}[31mat x\"}",
            ),
            ("\u{1b}", ""),
            ("\u{1b}[31", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(cleaned(text).0.trim_end(), expected, "{text:?}");
        }
    }

    #[test]
    fn who_speaks_is_kept() {
        let (_, speakers) = cleaned("(raylet, ip=1.2.3.4) a\n(autoscaler +3s) b\n(f pid=1) c\n");
        assert_eq!(
            speakers,
            [Speaker::Raylet, Speaker::Autoscaler, Speaker::Job]
        );
    }

    #[test]
    fn a_byte_leads_back_to_its_line() {
        let text = "  first \n(f pid=3) second\n";
        let cleaned = clean(text, line_ranges(text));
        let line = cleaned.line_of(7).expect("in the second line");
        assert_eq!(&text[line.raw.clone()], "(f pid=3) second");
    }
}
