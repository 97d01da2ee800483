//! Rule: every error type that the API can answer with has a page in docs/errors, and every page is of such a type.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};

use super::source::{Repository, Source};

/// The room that owns the error types.
const ROOM: &str = "fettle-wire";
const FOLDER: &str = "docs/errors/";
/// The folder's table of contents.
const INDEX: &str = "README";

/// Findings for types without a page and pages without a type.
pub(crate) fn check(repository: &Repository) -> Vec<String> {
    let types: BTreeSet<String> = repository
        .sources
        .iter()
        .filter(|source| source.room() == ROOM && !source.is_test())
        .flat_map(error_types)
        .collect();
    let pages: BTreeSet<String> = repository
        .texts
        .iter()
        .filter_map(|file| file.path.strip_prefix(FOLDER)?.strip_suffix(".md"))
        .filter(|name| *name != INDEX)
        .map(str::to_owned)
        .collect();
    let missing = types
        .difference(&pages)
        .map(|name| format!("{FOLDER}{name}.md:1: is missing"));
    let stale = pages
        .difference(&types)
        .map(|name| format!("{FOLDER}{name}.md:1: no answer has this type"));
    // Before the types exist there is nothing to compare with.
    if types.is_empty() {
        Vec::new()
    } else {
        missing.chain(stale).collect()
    }
}

/// Names in the code's list of error types, such as `NotFoundError = 404`.
fn error_types(source: &Source) -> Vec<String> {
    let Ok(tokens) = source.text.parse::<TokenStream>() else {
        return Vec::new();
    };
    let mut types = Vec::new();
    collect(tokens, &mut types);
    let fresh = types
        .into_iter()
        .filter(|(line, _)| !source.is_test_line(*line));
    fresh.map(|(_, name)| name).collect()
}

fn collect(tokens: TokenStream, types: &mut Vec<(usize, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for token in &tokens {
        if let TokenTree::Group(group) = token {
            collect(group.stream(), types);
        }
    }
    for window in tokens.windows(3) {
        if let [
            TokenTree::Ident(name),
            TokenTree::Punct(sign),
            TokenTree::Literal(status),
        ] = window
        {
            let is_status = status
                .to_string()
                .parse::<u16>()
                .is_ok_and(|status| (400..600).contains(&status));
            if sign.as_char() == '=' && is_status && name.to_string().ends_with("Error") {
                types.push((name.span().start().line, name.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::TextFile;
    use super::*;

    fn repository(pages: &[&str]) -> Repository {
        let mut repository = Repository::default();
        let text = "//! E.\nerror_types! { NotFoundError = 404, Other = 404, SizeError = 4, }\n#[cfg(test)]\nmod tests { error_types! { OldError = 404, } }\n";
        repository.add(TextFile {
            path: "crates/fettle-wire/src/error.rs".into(),
            text: text.into(),
        });
        for page in pages {
            repository.add(TextFile {
                path: format!("docs/errors/{page}.md"),
                text: "# It\n".into(),
            });
        }
        repository
    }

    #[test]
    fn a_type_without_a_page_and_a_page_without_a_type_are_findings() {
        assert_eq!(
            check(&repository(&["NotFoundError", "README"])),
            Vec::<String>::new()
        );
        assert_eq!(check(&repository(&[])).len(), 1);
        assert_eq!(check(&repository(&["NotFoundError", "GoneError"])).len(), 1);
    }
}
