//! Rule: every Rust file opens with `//!`.

use super::source::Source;

/// Findings for files that do not say what they are for.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !opens_with_purpose(&source.text))
        .map(|source| {
            format!(
                "{}:1: opens without `//!`; say what the file is for, owns and must not do",
                source.path
            )
        })
        .collect()
}

fn opens_with_purpose(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().is_some_and(|line| {
        line.strip_prefix("//!")
            .is_some_and(|rest| !rest.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&[Source::parse("crates/a/src/b.rs", text).unwrap()]).len()
    }

    #[test]
    fn a_file_must_open_with_its_purpose() {
        assert_eq!(count("//! Does this.\nfn a() {}"), 0);
        assert_eq!(count("\n//! Does this.\n"), 0);
        assert_eq!(count("// Does this.\nfn a() {}"), 1);
        assert_eq!(count("//!\nfn a() {}"), 1);
        assert_eq!(count("use std::fmt;\n"), 1);
        assert_eq!(count(""), 1);
    }
}
