//! Measures files and functions. Tests are not counted.

use std::collections::BTreeMap;

use syn::spanned::Spanned as _;
use syn::visit::Visit;

use super::source::{Source, is_for_tests, lines};

/// Lines that a file aims at: what fits in a reader's head.
pub(crate) const FILE_AIM: usize = 300;
/// Lines that a file may have at most.
pub(crate) const FILE_MAX: usize = 500;
/// Lines that a function aims at: a screen.
pub(crate) const FUNCTION_AIM: usize = 40;
/// Lines that a function may have at most, from `fn` to its closing brace.
pub(crate) const FUNCTION_MAX: usize = 70;

/// What stands above or in a flat exhaustive `match` that is longer for a reason.
const REASON: &str = "// tidy: long because ";

/// Lengths by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Path → lines.
    pub(crate) files: BTreeMap<String, usize>,
    /// `path::function` → lines.
    pub(crate) functions: BTreeMap<String, usize>,
}

impl Measured {
    /// How many files and functions are longer than the aim.
    pub(crate) fn over_the_aim(&self) -> (usize, usize) {
        let over =
            |lengths: &BTreeMap<String, usize>, aim| lengths.values().filter(|n| **n > aim).count();
        (
            over(&self.files, FILE_AIM),
            over(&self.functions, FUNCTION_AIM),
        )
    }
}

/// Measures everything but tests.
pub(crate) fn measure(sources: &[Source]) -> Measured {
    let mut measured = Measured::default();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let tests: usize = source
            .test_lines
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum();
        let all = source.text.lines().count();
        measured
            .files
            .insert(source.path.clone(), all.saturating_sub(tests));
        let mut functions = Functions {
            source,
            scope: Vec::new(),
            measured: &mut measured,
        };
        functions.visit_file(&source.syntax);
    }
    measured
}

struct Functions<'a> {
    source: &'a Source,
    scope: Vec<String>,
    measured: &'a mut Measured,
}

impl Functions<'_> {
    fn add(&mut self, name: &syn::Ident, signature: proc_macro2::Span, body: proc_macro2::Span) {
        let (first, _) = lines(signature);
        let (_, last) = lines(body);
        if self.has_reason(first, last) {
            return;
        }
        let mut path = vec![self.source.path.clone()];
        path.extend(self.scope.iter().cloned());
        path.push(name.to_string());
        // Two functions of one name in one scope (trait impls for several types): the longer counts.
        let length = self.measured.functions.entry(path.join("::")).or_default();
        *length = (*length).max(last - first + 1);
    }

    /// Looks for the reason in the function and in the comment block right above it.
    fn has_reason(&self, first: usize, last: usize) -> bool {
        let all: Vec<&str> = self.source.text.lines().map(str::trim).collect();
        let is_lead = |line: &&&str| line.starts_with("//") || line.starts_with('#');
        let above = all[..first.saturating_sub(1)]
            .iter()
            .rev()
            .take_while(is_lead);
        let inside = all[first.saturating_sub(1)..last.min(all.len())].iter();
        above.chain(inside).any(|line| {
            line.strip_prefix(REASON)
                .is_some_and(|reason| !reason.trim().is_empty())
        })
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            self.scope.push(module.ident.to_string());
            syn::visit::visit_item_mod(self, module);
            self.scope.pop();
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let name = match &*block.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.scope.push(name.unwrap_or_else(|| "impl".to_owned()));
        syn::visit::visit_item_impl(self, block);
        self.scope.pop();
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.add(
                &function.sig.ident,
                function.sig.span(),
                function.block.span(),
            );
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(
            &function.sig.ident,
            function.sig.span(),
            function.block.span(),
        );
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig.ident, function.sig.span(), block.span());
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure_one(text: &str) -> Measured {
        measure(&[Source::parse("a.rs", text).unwrap()])
    }

    #[test]
    fn test_modules_do_not_count_towards_a_file() {
        let measured = measure_one("//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n\n\n}\n");
        assert_eq!(measured.files["a.rs"], 3);
    }

    #[test]
    fn a_function_counts_from_fn_to_its_closing_brace() {
        let measured =
            measure_one("//! A.\n/// Doc.\n#[inline]\nfn a(\n    x: u8,\n) {\n    let _ = x;\n}\n");
        assert_eq!(measured.functions["a.rs::a"], 5);
    }

    #[test]
    fn methods_are_named_by_their_type_and_tests_are_left_out() {
        let text = "struct S;\nimpl S {\n    fn m(&self) {\n    }\n}\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        let names: Vec<_> = measure_one(text).functions.into_keys().collect();
        assert_eq!(names, ["a.rs::S::m"]);
    }

    #[test]
    fn a_reason_excuses_a_function_and_an_empty_reason_does_not() {
        let excused = measure_one("// tidy: long because it is a flat match\nfn a() {}\n");
        assert!(excused.functions.is_empty());
        let empty = measure_one("// tidy: long because \nfn a() {}\n");
        assert_eq!(empty.functions.len(), 1);
        let of_another = measure_one("// tidy: long because it is flat\nfn a() {}\nfn b() {}\n");
        assert_eq!(
            of_another.functions.into_keys().collect::<Vec<_>>(),
            ["a.rs::b"]
        );
    }
}
