//! Rule: words that must not stand in the code, or not in this room.
//!
//! Words of code are looked for as tokens, so that comments and texts may speak of them; words about the place where the code
//! was written are looked for everywhere.

use proc_macro2::{Span, TokenStream, TokenTree};

use super::source::{Repository, Source, TextFile};

/// Rooms whose code is a pure function of its arguments.
const PURE: &[&str] = &["fettle-core", "fettle-diagnose"];

/// Identifiers that a pure room must not use, and why.
const IMPURE: &[(&str, &str)] = &[
    ("SystemTime", "takes time as an argument"),
    ("Instant", "takes time as an argument"),
    ("HashMap", "iterates in a fixed order; use BTreeMap"),
    ("HashSet", "iterates in a fixed order; use BTreeSet"),
    ("tokio", "has no runtime"),
    ("rusqlite", "has no store"),
    ("rand", "draws nothing by chance"),
    ("getrandom", "draws nothing by chance"),
];

/// Rooms that take time from the port `Clock`, so that tests and the simulation can set it. Waits measured with `Instant` are theirs.
const CLOCKED: &[&str] = &[
    "fettle-api",
    "fettle-control",
    "fettle-index",
    "fettle-store",
];

/// Folders of machines on which the code was written, split so that this file does not hold them.
const PLACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tmp/tar", "get"),
    concat!("/tmp/de", "ps"),
];

/// Findings for all words.
pub(crate) fn check(repository: &Repository) -> Vec<String> {
    let mut findings: Vec<String> = repository.sources.iter().flat_map(check_code).collect();
    findings.extend(repository.texts.iter().flat_map(check_text));
    findings
}

fn check_code(source: &Source) -> Vec<String> {
    let Ok(tokens) = source.text.parse::<TokenStream>() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut finder = |span: Span, word: &str, next: Option<char>| {
        let line = span.start().line;
        if let Some(reason) = refused(source, line, word, next) {
            findings.push(format!("{}:{line}: `{word}`: {reason}", source.path));
        }
    };
    each_word(tokens, &mut finder);
    findings
}

fn refused(source: &Source, line: usize, word: &str, next: Option<char>) -> Option<String> {
    if word == "unsafe" {
        return Some("there is no unsafe code in this repository".to_owned());
    }
    if matches!(word, "todo" | "unimplemented") && next == Some('!') {
        return Some("finish it, or refuse with a typed error".to_owned());
    }
    if source.is_test_line(line) {
        return None;
    }
    if CLOCKED.contains(&source.room()) && word == "SystemTime" {
        return Some(format!(
            "{} asks the port `Clock` for the time",
            source.room()
        ));
    }
    if PURE.contains(&source.room()) {
        let (_, why) = IMPURE.iter().find(|(name, _)| *name == word)?;
        return Some(format!("{} {why}", source.room()));
    }
    None
}

/// Calls `found` with each identifier and the sign that follows it.
fn each_word(tokens: TokenStream, found: &mut impl FnMut(Span, &str, Option<char>)) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => each_word(group.stream(), found),
            TokenTree::Ident(ident) => {
                let next = match tokens.peek() {
                    Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
                    _ => None,
                };
                found(ident.span(), &ident.to_string(), next);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn check_text(file: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let at = format!("{}:{}", file.path, index + 1);
        for place in PLACES.iter().filter(|place| names_place(line, place)) {
            findings.push(format!("{at}: names `{place}`, a folder of one machine"));
        }
        if cites_our_issue(line) {
            findings.push(format!(
                "{at}: cites an issue by number; say what it is about"
            ));
        }
    }
    findings
}

/// Whether the line has an absolute path that begins with `place`.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(index, _)| {
        let before = line[..index].chars().next_back();
        !before.is_some_and(|c| {
            c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/' | '~' | '*')
        })
    })
}

/// Whether the line cites an issue by a bare number; `owner/name#7` is a citation of a public project and is fine.
fn cites_our_issue(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower.match_indices("issue ").any(|(index, word)| {
        let rest = lower[index + word.len()..].trim_start_matches('#');
        rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(room: &str, text: &str) -> Vec<String> {
        let path = format!("crates/{room}/src/a.rs");
        check_code(&Source::parse(&path, text).unwrap())
    }

    #[test]
    fn a_pure_room_reads_no_clock_and_another_may() {
        for word in [
            "std::time::Instant",
            "std::time::SystemTime",
            "std::collections::HashMap<u8, u8>",
        ] {
            let text = format!("type A = {word};");
            assert_eq!(code("fettle-core", &text).len(), 1, "{word}");
            assert_eq!(code("fettle-diagnose", &text).len(), 1, "{word}");
            assert_eq!(code("fettle-exec", &text).len(), 0, "{word}");
        }
    }

    #[test]
    fn a_room_with_a_clock_port_reads_no_other_clock() {
        assert_eq!(
            code("fettle-control", "use std::time::SystemTime;").len(),
            1
        );
        assert_eq!(code("fettle-control", "use std::time::Instant;").len(), 0);
        assert_eq!(code("fettle-worker", "use std::time::SystemTime;").len(), 0);
    }

    #[test]
    fn comments_texts_and_tests_of_a_pure_room_may_speak_of_it() {
        let text = "//! No Instant.\nconst A: &str = \"Instant\";\n#[cfg(test)]\nmod tests { use std::time::Instant; }\n";
        assert_eq!(code("fettle-core", text), Vec::<String>::new());
    }

    #[test]
    fn unsafe_and_unfinished_code_are_findings_everywhere() {
        assert_eq!(code("fettle-exec", "fn a() { unsafe { b() } }").len(), 1);
        assert_eq!(code("fettle-exec", "fn a() { todo!() }").len(), 1);
        assert_eq!(code("fettle-exec", "fn a() { let todo = 1; }").len(), 0);
        assert_eq!(code("fettle-exec", "// unsafe\nfn a() {}").len(), 0);
    }

    fn text(line: &str) -> usize {
        check_text(&TextFile {
            path: "docs/a.md".into(),
            text: line.to_owned(),
        })
        .len()
    }

    #[test]
    fn folders_of_a_machine_are_findings_and_folders_of_ours_are_not() {
        assert_eq!(text(concat!("see /wo", "rk/main")), 1);
        assert_eq!(text(concat!("`/tmp/tar", "get-x`")), 1);
        assert_eq!(text(concat!("data/wo", "rk/x and {dir}/wo", "rk/x")), 0);
    }

    #[test]
    fn our_issues_are_not_cited_and_those_of_public_projects_may_be() {
        assert_eq!(text(concat!("see iss", "ue #7")), 1);
        assert_eq!(text(concat!("Iss", "ue 12 says")), 1);
        assert_eq!(text("ray-project/ray#45257, an issue of theirs"), 0);
    }
}
