//! The repository's files as the rules see them.
//!
//! Owns which files are looked at and what counts as a test. It must not judge anything.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::Visit;

/// Folders that hold nothing of ours: builds, environments, models and downloaded packages.
const FOREIGN_FOLDERS: [&str; 8] = [
    ".git",
    ".venv",
    ".venv-ray",
    ".models",
    ".cache",
    "node_modules",
    "__pycache__",
    "dist",
];

/// Endings of the text files that are searched for forbidden words.
const TEXT_ENDINGS: [&str; 11] = [
    "rs", "md", "toml", "py", "sh", "txt", "json", "yml", "yaml", "ts", "css",
];

/// Text files without an ending.
const TEXT_NAMES: [&str; 3] = ["Makefile", "run", "Dockerfile"];

/// A text file.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

/// A Rust file.
pub(crate) struct Source {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// What it means.
    pub(crate) syntax: syn::File,
    /// Lines of its test modules, both ends included.
    pub(crate) test_lines: Vec<(usize, usize)>,
}

/// Everything that is checked.
#[derive(Default)]
pub(crate) struct Repository {
    /// Rust files.
    pub(crate) sources: Vec<Source>,
    /// `Cargo.toml` of each crate below `crates/`.
    pub(crate) manifests: Vec<TextFile>,
    /// All text files, Rust among them.
    pub(crate) texts: Vec<TextFile>,
    /// Findings about files that do not parse.
    pub(crate) unparsed: Vec<String>,
}

impl Source {
    /// Reads a Rust file's text.
    pub(crate) fn parse(path: &str, text: &str) -> syn::Result<Self> {
        let syntax = syn::parse_file(text)?;
        let mut finder = TestModules::default();
        finder.visit_file(&syntax);
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            syntax,
            test_lines: finder.lines,
        })
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "testing.rs"))
    }

    /// Whether the line stands in a test.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test()
            || self
                .test_lines
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// The crate it belongs to: the folder's name below `crates/`.
    pub(crate) fn room(&self) -> &str {
        let mut parts = self.path.split('/');
        match (parts.next(), parts.next()) {
            (Some("crates"), Some(room)) => room,
            (Some(first), _) => first,
            (None, _) => "",
        }
    }
}

impl Repository {
    /// Reads everything below `root`.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let mut repository = Self::default();
        for path in walk(root)? {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let name = relative.to_string_lossy().replace('\\', "/");
            let text = std::fs::read(&path).with_context(|| format!("failed to read {name}"))?;
            if let Ok(text) = String::from_utf8(text) {
                repository.add(TextFile { path: name, text });
            }
        }
        Ok(repository)
    }

    /// Takes one file in.
    pub(crate) fn add(&mut self, file: TextFile) {
        if file.path.ends_with(".rs") {
            match Source::parse(&file.path, &file.text) {
                Ok(source) => self.sources.push(source),
                Err(error) => {
                    let line = error.span().start().line;
                    self.unparsed
                        .push(format!("{}:{line}: does not parse: {error}", file.path));
                }
            }
        }
        if file.path.starts_with("crates/") && file.path.ends_with("/Cargo.toml") {
            self.manifests.push(file.clone());
        }
        self.texts.push(file);
    }
}

/// Lines that a piece of syntax spans, both ends included.
pub(crate) fn lines(span: Span) -> (usize, usize) {
    (span.start().line, span.end().line)
}

/// Whether attributes say that something is compiled for tests only.
pub(crate) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => list
            .tokens
            .to_string()
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == "test"),
        meta => meta
            .path()
            .segments
            .last()
            .is_some_and(|last| last.ident == "test"),
    })
}

#[derive(Default)]
struct TestModules {
    lines: Vec<(usize, usize)>,
}

impl<'ast> Visit<'ast> for TestModules {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_for_tests(&module.attrs) {
            self.lines.push(lines(module.span()));
        } else {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_for_tests(&function.attrs) {
            self.lines.push(lines(function.span()));
        }
    }
}

fn walk(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry
                .file_type()
                .with_context(|| format!("failed to look at {name}"))?;
            if kind.is_dir() && !is_foreign(&name) {
                folders.push(entry.path());
            } else if kind.is_file() && is_text(&name) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_foreign(folder: &str) -> bool {
    FOREIGN_FOLDERS.contains(&folder) || folder == "target" || folder.starts_with("target-")
}

fn is_text(name: &str) -> bool {
    TEXT_NAMES.contains(&name)
        || name
            .rsplit_once('.')
            .is_some_and(|(_, ending)| TEXT_ENDINGS.contains(&ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_module_is_known_by_its_lines_and_other_code_is_not() {
        let source = Source::parse(
            "crates/fettle-x/src/a.rs",
            "//! A.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n",
        )
        .unwrap();
        assert!(!source.is_test_line(2));
        assert!(source.is_test_line(3));
        assert!(source.is_test_line(6));
        assert_eq!(source.room(), "fettle-x");
    }

    #[test]
    fn files_of_tests_are_tests_as_a_whole() {
        for path in ["crates/a/tests/it.rs", "crates/a/src/b/tests.rs"] {
            assert!(
                Source::parse(path, "fn a() {}").unwrap().is_test(),
                "{path}"
            );
        }
        assert!(
            !Source::parse("crates/a/src/latests.rs", "fn a() {}")
                .unwrap()
                .is_test()
        );
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_finding() {
        let mut repository = Repository::default();
        repository.add(TextFile {
            path: "crates/a/src/b.rs".into(),
            text: "fn {".into(),
        });
        assert_eq!(repository.unparsed.len(), 1);
    }
}
