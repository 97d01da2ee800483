//! One pattern of a rule: how it is written, and where it stands in a text.
//!
//! Owns the small language of patterns. A pattern is a regular expression without regard to case in which a space stands for any
//! white space (so that a message broken over lines still matches) and `…` for at most [`GAP_BYTES_MAX`] bytes of anything. It must
//! not know what a match means.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use super::anchors;

/// Widest `…`: long enough for ids and addresses in between, short enough that two unrelated lines do not meet.
const GAP_BYTES_MAX: usize = 120;
/// Largest compiled pattern: a user's file must not take the server's memory.
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// A pattern that was understood. It is compiled when its fixed text is first seen.
#[derive(Debug)]
pub(super) struct Pattern {
    expression: String,
    case_sensitive: bool,
    /// Lower-case literals of which each match contains one.
    pub(super) anchors: Vec<String>,
    /// The same where each white space is one space: longer, and rarer by chance. A message broken over lines does not have it.
    pub(super) phrases: Vec<String>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Understands a pattern, or says what is wrong with it.
    pub(super) fn parse(written: &str, case_sensitive: bool) -> Result<Self, String> {
        let expression = expand(written, r"(?:\s+)");
        let anchors = fixed_text(&expression)?.ok_or_else(|| {
            format!(
                "it has no fixed text of {} letters or more that every match contains",
                anchors::ANCHOR_BYTES_MIN
            )
        })?;
        let phrases = fixed_text(&expand(written, " "))?.unwrap_or_default();
        Ok(Self {
            phrases,
            expression,
            case_sensitive,
            anchors,
            compiled: OnceLock::new(),
        })
    }

    /// The compiled form; none if it is too large.
    pub(super) fn regex(&self) -> Option<&Regex> {
        let compiled = self.compiled.get_or_init(|| {
            RegexBuilder::new(&self.expression)
                .unicode(false)
                .case_insensitive(!self.case_sensitive)
                .multi_line(true)
                .size_limit(PATTERN_BYTES_MAX)
                .build()
                .ok()
        });
        compiled.as_ref()
    }
}

fn fixed_text(expression: &str) -> Result<Option<Vec<String>>, String> {
    let parsed = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(expression);
    let hir = parsed.map_err(|error| error.to_string())?;
    Ok(anchors::of(&hir))
}

/// The regular expression that a written pattern stands for.
fn expand(written: &str, white_space: &str) -> String {
    let mut expression = String::with_capacity(written.len() * 2);
    let mut in_class = false;
    let mut escaped = false;
    for letter in written.chars() {
        match letter {
            ' ' if !in_class && !escaped => expression.push_str(white_space),
            '…' if !escaped => expression.push_str(&format!("(?s-u:.){{0,{GAP_BYTES_MAX}}}?")),
            _ => {
                if !escaped && letter == '[' {
                    in_class = true;
                } else if !escaped && letter == ']' {
                    in_class = false;
                }
                expression.push(letter);
            }
        }
        escaped = letter == '\\' && !escaped;
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::parse(pattern, false).expect("a pattern");
        pattern
            .regex()
            .expect("it is small")
            .is_match(text.as_bytes())
    }

    #[test]
    fn a_space_stands_for_any_white_space() {
        assert!(matches("out of memory", "CUDA Out\n      of\tmemory"));
        assert!(!matches("out of memory", "outofmemory"));
        assert!(matches("exit ?code", "exitcode") && matches("exit ?code", "exit  code"));
    }

    #[test]
    fn a_gap_is_bounded() {
        assert!(matches("killed…memory", "killed by yarn for memory"));
        let far = format!("killed {} memory", "x".repeat(200));
        assert!(!matches("killed…memory", &far));
    }

    #[test]
    fn a_pattern_without_fixed_text_is_refused() {
        let error = Pattern::parse(r"\d+", false).expect_err("nothing fixed");
        assert!(error.contains("no fixed text"), "{error}");
        assert!(Pattern::parse("(", false).is_err());
    }
}
