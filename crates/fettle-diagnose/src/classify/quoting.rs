//! A message that a collector wrote as a string: `"msg":"said \"no\"\nand left"`.
//!
//! Owns giving the message its quotes and line breaks back, so that patterns see what the program printed. It must not touch paths
//! like `C:\new`.

/// Takes the quoting off a line, and makes the carriage returns of a progress bar line breaks.
pub(super) fn undo(line: &mut String) {
    if line.contains('\r') {
        *line = line.replace('\r', "\n");
    }
    if is_quoted(line) {
        *line = unquoted(line);
    }
}

/// Whether escapes stand inside of a string, and not in a path or a pattern.
fn is_quoted(line: &str) -> bool {
    let after_quote = |escape: &str| {
        let at = line.find(escape);
        at.is_some_and(|at| line[..at].contains(['"', '\'']) && !line[..at].ends_with(':'))
    };
    after_quote(r#"\""#) || after_quote(r"\n") || after_quote(r"\t")
}

fn unquoted(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (meaning, width) = meaning(escape);
        plain.push_str(meaning);
        rest = &escape[width..];
    }
    plain.push_str(rest);
    plain
}

/// What an escape stands for, and how many bytes it has.
fn meaning(escape: &str) -> (&str, usize) {
    if escape.starts_with(r"\u001b") || escape.starts_with(r"\u001B") {
        return ("\u{1b}", 6);
    }
    match escape.as_bytes().get(1) {
        Some(b'n' | b'r') => ("\n", 2),
        Some(b't') => ("\t", 2),
        Some(b'"') => ("\"", 2),
        Some(b'\'') => ("'", 2),
        Some(b'/') => ("/", 2),
        Some(b'\\') => ("\\", 2),
        _ => (&escape[..1], 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(line: &str) -> String {
        let mut line = line.to_owned();
        undo(&mut line);
        line
    }

    #[test]
    fn messages_get_their_quotes_and_line_breaks_back() {
        let cases = [
            (r#"{"msg":"a \"b\"\n\tc"}"#, "{\"msg\":\"a \"b\"\n\tc\"}"),
            (r"b'first\nsecond'", "b'first\nsecond'"),
            (r#""https:\/\/x\/y \"z\"""#, "\"https://x/y \"z\"\""),
            ("10%\r20%", "10%\n20%"),
        ];
        for (line, expected) in cases {
            assert_eq!(undone(line), expected);
        }
    }

    #[test]
    fn what_is_no_quoted_message_stays() {
        for line in [
            r"C:\new\table",
            r#"open "C:\new""#,
            r"a\nb",
            r"\",
            r#""\"#,
            "é\\é",
        ] {
            assert_eq!(undone(line), line);
        }
    }
}
