//! The fixed text that every match of a pattern contains.
//!
//! Owns the choice of literals for the one scan over the text. It must not decide whether a pattern matches.

use regex_syntax::hir::{Hir, HirKind};

/// Shortest fixed text, in bytes: shorter ones stand everywhere and would make the scan slow.
pub(super) const ANCHOR_BYTES_MIN: usize = 3;

/// Literals, in lower case, of which at least one stands in every match; none if there is no such set.
pub(super) fn of(hir: &Hir) -> Option<Vec<String>> {
    let found = required(hir)?;
    let long_enough = found
        .iter()
        .all(|literal| literal.len() >= ANCHOR_BYTES_MIN);
    long_enough.then_some(found)
}

fn required(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            Some(vec![text.to_ascii_lowercase()])
        }
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .filter_map(required)
            .max_by_key(|set| worth(set)),
        HirKind::Alternation(branches) => {
            let sets: Option<Vec<_>> = branches.iter().map(required).collect();
            Some(sets?.into_iter().flatten().collect())
        }
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// The longer the shortest literal, the rarer a chance hit; fewer literals break a tie.
fn worth(set: &[String]) -> (usize, usize) {
    let shortest = set.iter().map(String::len).min().unwrap_or(0);
    (shortest, usize::MAX - set.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors(pattern: &str) -> Option<Vec<String>> {
        of(&regex_syntax::parse(pattern).expect("a pattern"))
    }

    #[test]
    fn the_longest_fixed_text_is_chosen() {
        assert_eq!(anchors(r"Killed\s+by\s+\d+"), Some(vec!["killed".into()]));
        assert_eq!(anchors(r"a\s+memory"), Some(vec!["memory".into()]));
    }

    #[test]
    fn each_branch_brings_its_own_text() {
        assert_eq!(
            anchors(r"(spot|capacity)\s+of"),
            Some(vec!["spot".into(), "capacity".into()])
        );
    }

    #[test]
    fn a_pattern_without_fixed_text_has_none() {
        assert_eq!(anchors(r"\d+\s+\w+"), None);
        assert_eq!(anchors(r"(memory)?\d"), None);
    }
}
