//! Pieces of Markdown made of texts that others wrote.
//!
//! Owns the escaping: no text can become markup, a link, a mention or raw HTML, and none breaks a table.

use fettle_diagnose::redact::redact;

/// Characters that mean something in Markdown or in chats wherever they stand.
const SPECIAL: &str = r"\`*_{}[]<>#|~&@$";

/// A text within a sentence or cell, on one line, without secrets.
pub(crate) fn text(raw: &str) -> String {
    let shown = redact(raw);
    let line = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        let before = &line[..at];
        let opens_list = match c {
            '-' | '+' => at == 0,
            '.' | ')' => at > 0 && before.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        };
        let is_address = line[at..].starts_with("://");
        if opens_list || is_address || SPECIAL.contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A text as code on one line, without secrets: nothing in it is read as markup. `limit` is in characters.
pub(crate) fn code(raw: &str, limit: usize) -> String {
    let shown = redact(raw);
    let mut line = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(limit) {
        line.truncate(cut);
        line.push('…');
    }
    if line.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&line) + 1);
    let pad = if line.starts_with('`') || line.ends_with('`') {
        " "
    } else {
        ""
    };
    // In a table a bar ends the cell, also within code.
    format!("{fence}{pad}{}{pad}{fence}", line.replace('|', "\\|"))
}

/// A block of code, without secrets; `language` is a constant.
pub(crate) fn block(raw: &str, language: &str) -> String {
    let shown = redact(raw);
    let fence = "`".repeat(longest_run(&shown).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", shown.trim_end())
}

/// A table; cells are Markdown already. Nothing where there are no rows.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{body}", line(&head))
}

fn longest_run(text: &str) -> usize {
    let (longest, _) = text.chars().fold((0, 0), |(longest, run), c| {
        let run = if c == '`' { run + 1 } else { 0 };
        (longest.max(run), run)
    });
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            text("<img src=x> [a](http://b) **c** @all\n# d | e `f`"),
            r"\<img src=x\> \[a\](http\://b) \*\*c\*\* \@all \# d \| e \`f\`"
        );
        assert_eq!(text("1. no list - nor this"), r"1\. no list - nor this");
        assert_eq!(
            text("A sentence (with 3.5 MiB), ok."),
            "A sentence (with 3.5 MiB), ok."
        );
        assert_eq!(text("token=hush-hush"), r"token=\<hidden\>");
    }

    #[test]
    fn code_is_closed_by_more_backticks_than_it_holds() {
        assert_eq!(code("a `b` | c\nd", 99), "``a `b` \\| c d``");
        assert_eq!(code("`x", 99), "`` `x ``");
        assert_eq!(code("abcdef", 3), "`abc…`");
        assert_eq!(code("", 9), "");
        assert_eq!(block("a\n```\nb\n", "text"), "````text\na\n```\nb\n````\n");
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(table(&["a"], &[]), "");
        let rows = [vec!["1".to_owned(), "2".to_owned()]];
        assert_eq!(
            table(&["a", "b"], &rows),
            "| a | b |\n|---|---|\n| 1 | 2 |\n"
        );
    }
}
