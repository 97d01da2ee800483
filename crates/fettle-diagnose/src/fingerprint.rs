//! Messages without what differs from row to row, so that like errors can be counted together.
//!
//! Owns the normal form of an error message. It must not interpret it.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Longest fingerprint, in characters: two messages that agree this far are the same error.
pub const FINGERPRINT_CHARS_MAX: usize = 240;

/// What differs from row to row, the widest form first: addresses, quoted values, paths, ids, hexadecimal, numbers.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?<url>\b[a-z][a-z0-9+.-]*://[^\s"'`<>)\]]+)"#,
        r#"|(?<text>"[^"\n]*"|`[^`\n]*`|(?:^|\B)'[^'\n]*')"#,
        r"|(?<path>(?:^|\B)/[\w.@%+~-]+(?:/[\w.@%+~-]*)+)",
        r"|(?<id>\b(?:ns|bkt|obj|blob|col|doc|btch|job|task|plg)_[\w.-]*\w)",
        r"|(?<hex>\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b)",
        r"|(?<number>\d+(?:[.,:]\d+)*)",
    ))
    .expect("the pattern is constant and tested")
});

/// The message in its normal form. Applying it twice changes nothing.
#[must_use]
pub fn fingerprint(message: &str) -> String {
    let first_line = message.trim().lines().next().unwrap_or_default();
    let words: Vec<&str> = first_line.split_whitespace().collect();
    let joined = words.join(" ");
    let plain = VARIABLE.replace_all(&joined, |found: &Captures<'_>| {
        const MARKS: [(&str, &str); 6] = [
            ("url", "<url>"),
            ("text", "<text>"),
            ("path", "<path>"),
            ("id", "<id>"),
            ("hex", "<hex>"),
            ("number", "<n>"),
        ];
        let mark = MARKS.iter().find(|(group, _)| found.name(group).is_some());
        mark.map_or("", |(_, mark)| mark)
    });
    plain.chars().take(FINGERPRINT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_row_to_row_is_left_out() {
        let forms = [
            ("row 17: bad latitude 999.5", "row <n>: bad latitude <n>"),
            ("cannot open /data/in/a.png", "cannot open <path>"),
            ("GET https://x.test/a?b=1 gave 503", "GET <url> gave <n>"),
            (
                "field \"size\" of obj_1a2b is missing",
                "field <text> of <id> is missing",
            ),
            ("can't read 'a b'", "can't read <text>"),
            (
                "hash 0123456789abcdef0123 differs\n  at line 4",
                "hash <hex> differs",
            ),
        ];
        for (message, form) in forms {
            assert_eq!(fingerprint(message), form);
            assert_eq!(fingerprint(form), form, "a second run changes nothing");
        }
    }

    #[test]
    fn any_text_has_a_fingerprint() {
        assert_eq!(fingerprint(""), "");
        assert!(fingerprint(&"é ".repeat(1000)).chars().count() <= FINGERPRINT_CHARS_MAX);
    }
}
