//! `docs/settings.md`, written from the command line's definition.
//!
//! Owns the form of that page. It must not describe anything that the definition does not hold.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, Command};

const PAGE: &str = "docs/settings.md";

const HEAD: &str = "# Settings

Written by `cargo xtask gen` from the command line's definition; `cargo xtask tidy` fails when it is out of date.
An option wins over its environment variable.
";

/// Writes the page.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let path = root.join(PAGE);
    std::fs::write(&path, page()).with_context(|| format!("failed to write {}", path.display()))
}

/// What is wrong with the page that is there.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let there = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    compare(&there, &page())
}

fn compare(there: &str, wanted: &str) -> Vec<String> {
    if there == wanted {
        return Vec::new();
    }
    vec![format!("{PAGE}:1: out of date; run `cargo xtask gen`")]
}

fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "\n## Environment variables that are no option\n\n| variable | effect |\n|---|---|\n",
    );
    for (name, effect) in fettle_cli::VARIABLES {
        out.push_str(&format!("| `{name}` | {effect} |\n"));
    }
    let mut command = fettle_cli::command();
    command.build();
    out.push_str("\n## For every command\n");
    table(&mut out, command.get_arguments().filter(|arg| shown(arg)));
    section(&mut out, &command, "fettle");
    out
}

fn section(out: &mut String, command: &Command, path: &str) {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = format!("{path} {}", sub.get_name());
        let hidden = if sub.is_hide_set() { " (internal)" } else { "" };
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        // A String never refuses to be written to.
        let _ = write!(out, "\n## `{name}`{hidden}\n\n{about}\n");
        table(
            out,
            sub.get_arguments()
                .filter(|arg| shown(arg) && !arg.is_global_set()),
        );
        section(out, sub, &name);
    }
}

fn shown(arg: &Arg) -> bool {
    !matches!(arg.get_id().as_str(), "help" | "version")
}

fn table<'a>(out: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let rows: Vec<String> = args.map(row).collect();
    if rows.is_empty() {
        return;
    }
    out.push_str("\n| option | variable | default | meaning |\n|---|---|---|---|\n");
    rows.iter().for_each(|row| out.push_str(row));
}

fn row(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .and_then(|names| names.first())
        .map_or(String::new(), ToString::to_string);
    let option = match arg.get_long() {
        Some(long) if value.is_empty() => format!("`--{long}`"),
        Some(long) => format!("`--{long} {value}`"),
        None => format!("`{value}`"),
    };
    let variable = arg.get_env().map_or(String::new(), |name| {
        format!("`{}`", name.to_string_lossy())
    });
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace('\n', " ").replace('|', "\\|");
    format!(
        "| {option} | {variable} | {} | {help} |\n",
        defaults.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_differs_is_a_finding_and_one_that_agrees_is_none() {
        assert_eq!(compare("old", "new").len(), 1);
        assert_eq!(compare("same", "same"), Vec::<String>::new());
    }

    #[test]
    fn every_option_stands_on_the_page_with_its_variable_and_default() {
        let page = page();
        assert!(page.contains("`--url URL` | `FETTLE_URL`"), "{page}");
        assert!(
            page.contains("`--listen ADDRESS` |  | `127.0.0.1:8420`"),
            "{page}"
        );
        assert!(page.contains("## `fettle batch diagnose`"), "{page}");
        assert!(page.contains("## `fettle worker` (internal)"), "{page}");
    }
}
