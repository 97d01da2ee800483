//! Texts without what looks like a secret, for answers that are passed on: tickets, chats, comparisons.
//!
//! Owns what a secret looks like. It hides rather too much than too little; it must not be relied on for logs that nobody should read.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands for a secret.
pub const HIDDEN: &str = "<hidden>";

/// Words in names of settings whose values are nobody's business.
const SECRET_WORDS: [&str; 10] = [
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
];

/// `kept` stays, the rest of the match goes: the password of an address, what follows a name that says it, keys of known form.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?<address>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@]+@",
        r"|(?<scheme>\b(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",
        r#"|(?<name>\b(?i:[\w-]*(?:secret|token|passwd|password|passphrase|credential|api[_-]?key|access[_-]?key|private[_-]?key|signature)[\w-]*)["']?(?:\s*=\s*|:\s*)["']?)[^\s"'&,;]{4,}"#,
        r"|\bAKIA[0-9A-Z]{16}\b",
        r"|\b(?:sk|ghp|gho|ghs|glpat|xoxb|xoxp)[-_][A-Za-z0-9_-]{16,}",
        r"|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
        r"|(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))",
    ))
    .expect("the pattern is constant and tested")
});

/// The text with its secrets hidden.
#[must_use]
pub fn redact(text: &str) -> String {
    let hide = |found: &Captures<'_>| {
        let kept = ["address", "scheme", "name"]
            .iter()
            .find_map(|group| found.name(group));
        let end = if found.name("address").is_some() {
            "@"
        } else {
            ""
        };
        format!("{}{HIDDEN}{end}", kept.map_or("", |kept| kept.as_str()))
    };
    SECRET.replace_all(text, hide).into_owned()
}

/// Whether a setting of this name holds a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_its_place_is_still_seen() {
        let forms = [
            (
                "GET https://me:hush@x.test/a",
                "GET https://<hidden>@x.test/a",
            ),
            (
                "Authorization: Bearer abcdef0123456789",
                "Authorization: Bearer <hidden>",
            ),
            ("HF_TOKEN=hf_abcdef and more", "HF_TOKEN=<hidden> and more"),
            (
                "{\"api_key\": \"hush-hush\", \"n\": 1}",
                "{\"api_key\": \"<hidden>\", \"n\": 1}",
            ),
            (
                "key AKIAABCDEFGHIJKLMNOP is unknown",
                "key <hidden> is unknown",
            ),
            (
                "s3://b/k?X-Amz-Signature=0a1b2c3d&x=1",
                "s3://b/k?X-Amz-Signature=<hidden>&x=1",
            ),
            ("openai: sk-abcdefghijklmnopqrstuvwx", "openai: <hidden>"),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nafter",
                "<hidden>\nafter",
            ),
        ];
        for (text, hidden) in forms {
            assert_eq!(redact(text), hidden);
            assert_eq!(redact(hidden), hidden, "a second run changes nothing");
        }
    }

    #[test]
    fn what_is_none_stays() {
        for text in [
            "row 17: bad latitude 999",
            "https://x.test/a@b",
            "unexpected token in JSON at position 3",
            "the secret of its speed",
        ] {
            assert_eq!(redact(text), text);
        }
        assert!(is_secret_name("X-Api-Key") && !is_secret_name("chunk_size"));
    }
}
