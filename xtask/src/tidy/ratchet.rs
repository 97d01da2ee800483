//! Rule: nothing is longer than its limit, and what already is may only shrink.
//!
//! Owns the ratchet file. It must not raise a number in it.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::length::{FILE_MAX, FUNCTION_MAX, Measured};

/// Where the ratchet lies.
pub(crate) const FILE: &str = "xtask/tidy-ratchet.toml";

const HEAD: &str = "# What is longer than its limit today. Numbers may only go down: `cargo xtask tidy --shrink` lowers them.
";

/// What is allowed beyond the limits.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Path → lines.
    pub(crate) files: BTreeMap<String, usize>,
    /// `path::function` → lines.
    pub(crate) functions: BTreeMap<String, usize>,
}

/// Reads the ratchet.
pub(crate) fn parse(text: &str) -> anyhow::Result<Allowed> {
    let table: toml::Table = text.parse().context("failed to parse the ratchet")?;
    let read = |key: &str| -> anyhow::Result<BTreeMap<String, usize>> {
        let Some(section) = table.get(key) else {
            return Ok(BTreeMap::new());
        };
        let section = section
            .as_table()
            .with_context(|| format!("`{key}` is no table"))?;
        section
            .iter()
            .map(|(name, value)| {
                let lines = value
                    .as_integer()
                    .and_then(|lines| usize::try_from(lines).ok());
                Ok((
                    name.clone(),
                    lines.with_context(|| format!("`{name}` has no number of lines"))?,
                ))
            })
            .collect()
    };
    Ok(Allowed {
        files: read("files")?,
        functions: read("functions")?,
    })
}

/// Writes the ratchet.
pub(crate) fn render(allowed: &Allowed) -> String {
    let mut out = HEAD.to_owned();
    for (key, entries) in [("files", &allowed.files), ("functions", &allowed.functions)] {
        out.push_str(&format!("\n[{key}]\n"));
        for (name, lines) in entries {
            out.push_str(&format!("\"{name}\" = {lines}\n"));
        }
    }
    out
}

/// Findings for what is too long and for entries that are out of date.
pub(crate) fn check(allowed: &Allowed, measured: &Measured) -> Vec<String> {
    let mut findings = compare(&allowed.files, &measured.files, FILE_MAX, "a file");
    findings.extend(compare(
        &allowed.functions,
        &measured.functions,
        FUNCTION_MAX,
        "a function",
    ));
    findings
}

fn compare(
    allowed: &BTreeMap<String, usize>,
    measured: &BTreeMap<String, usize>,
    max: usize,
    what: &str,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, lines) in measured {
        match allowed.get(name) {
            None if *lines > max => {
                findings.push(format!(
                    "{name}: {lines} lines; {what} has at most {max}; split it"
                ));
            }
            Some(limit) if lines > limit => {
                findings.push(format!(
                    "{name}: {lines} lines; it had {limit} and may only shrink"
                ));
            }
            Some(limit) if lines < limit => {
                findings.push(format!("{name}: {lines} lines, fewer than the {limit} in {FILE}; run `cargo xtask tidy --shrink`"));
            }
            _ => {}
        }
    }
    let gone = allowed.keys().filter(|name| !measured.contains_key(*name));
    findings.extend(gone.map(|name| {
        format!("{name}: stands in {FILE} and is gone; run `cargo xtask tidy --shrink`")
    }));
    findings
}

/// The ratchet with every number lowered to what is there, and without what is within its limit.
pub(crate) fn shrink(allowed: &Allowed, measured: &Measured) -> Allowed {
    let lower =
        |allowed: &BTreeMap<String, usize>, measured: &BTreeMap<String, usize>, max: usize| {
            allowed
                .iter()
                .filter_map(|(name, limit)| Some((name.clone(), *limit.min(measured.get(name)?))))
                .filter(|(_, lines)| *lines > max)
                .collect()
        };
    Allowed {
        files: lower(&allowed.files, &measured.files, FILE_MAX),
        functions: lower(&allowed.functions, &measured.functions, FUNCTION_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(name: &str, lines: usize) -> BTreeMap<String, usize> {
        BTreeMap::from([(name.to_owned(), lines)])
    }

    fn findings(allowed: Option<usize>, lines: usize) -> usize {
        let allowed = Allowed {
            files: allowed
                .map(|lines| lengths("a.rs", lines))
                .unwrap_or_default(),
            functions: BTreeMap::new(),
        };
        let measured = Measured {
            files: lengths("a.rs", lines),
            functions: BTreeMap::new(),
        };
        check(&allowed, &measured).len()
    }

    #[test]
    fn a_file_may_have_the_most_and_no_line_more() {
        assert_eq!(findings(None, FILE_MAX), 0);
        assert_eq!(findings(None, FILE_MAX + 1), 1);
    }

    #[test]
    fn a_function_may_have_the_most_and_no_line_more() {
        let findings = |lines| {
            let measured = Measured {
                files: BTreeMap::new(),
                functions: lengths("a.rs::f", lines),
            };
            check(&Allowed::default(), &measured).len()
        };
        assert_eq!(findings(FUNCTION_MAX), 0);
        assert_eq!(findings(FUNCTION_MAX + 1), 1);
    }

    #[test]
    fn what_is_too_long_may_stay_but_neither_grow_nor_shrink_unnoticed() {
        assert_eq!(findings(Some(600), 600), 0);
        assert_eq!(findings(Some(600), 601), 1);
        assert_eq!(findings(Some(600), 599), 1);
    }

    #[test]
    fn an_entry_without_a_file_is_a_finding() {
        let allowed = Allowed {
            files: lengths("gone.rs", 600),
            functions: BTreeMap::new(),
        };
        assert_eq!(check(&allowed, &Measured::default()).len(), 1);
    }

    #[test]
    fn shrinking_lowers_drops_and_never_raises() {
        let allowed = Allowed {
            files: BTreeMap::from([
                ("a".into(), 600),
                ("b".into(), 600),
                ("c".into(), 600),
                ("d".into(), 600),
            ]),
            functions: BTreeMap::new(),
        };
        let measured = Measured {
            files: BTreeMap::from([("a".into(), 550), ("b".into(), 400), ("c".into(), 700)]),
            functions: BTreeMap::new(),
        };
        let shrunk = shrink(&allowed, &measured);
        assert_eq!(
            shrunk.files,
            BTreeMap::from([("a".into(), 550), ("c".into(), 600)])
        );
    }

    #[test]
    fn the_ratchet_survives_being_written_and_read() {
        let allowed = Allowed {
            files: lengths("a.rs", 600),
            functions: lengths("a.rs::f", 80),
        };
        assert_eq!(parse(&render(&allowed)).unwrap(), allowed);
        assert!(parse("[files]\n\"a\" = \"x\"").is_err());
    }
}
