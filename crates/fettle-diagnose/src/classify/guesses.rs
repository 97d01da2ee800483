//! Phrases that list what might have happened.
//!
//! Owns finding them: a text that says "this can happen if the node was preempted" says nothing about preemption. It must not touch
//! what the text states as a fact.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// Longest list of guesses, in bytes; what follows after so much is the message again.
const GUESS_BYTES_MAX: usize = 2_000;

/// How programs introduce guesses and advice.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i-u)\b(?:",
        r"(?:some|other)?\s*(?:common|possible|potential|likely|typical|probable)\s+(?:root\s+)?(?:causes?|reasons?|explanations?)\b",
        r"|there\s+are\s+some\s+potential\s+root\s+causes",
        r"|(?:this|it|that|which)\s+(?:can|could|may|might)\s+(?:also\s+)?(?:happen|occur|arise|mean|indicate|be\s+(?:because|due|caused|a\s+sign|related|that)|have\s+been)\b",
        r"|(?:this|it|that|which)\s+(?:probably|usually|generally|typically|often|most\s+likely|likely|sometimes)\s+(?:means?|indicates?|happens?|occurs?)\b",
        r"|(?:this|it|which)\s+is\s+(?:most\s+|very\s+)?(?:likely|probably|possibly|usually|often)\b",
        r"|(?:is|are)\s+(?:either|perhaps|maybe)\b|it'?s\s+either\b|it\s+is\s+due\s+to\s+\(1\)",
        r"|it\s+is\s+possible\s+that|may\s+have\s+(?:exceeded|been|run\s+out|crashed)\b|might\s+have\s+(?:exceeded|been|run\s+out|crashed)\b",
        r"|if\s+the\s+(?:process|worker|task|container|pod|node|job)\s+(?:was|were|is|has\s+been)\s+\w+",
        r"|(?:check|verify|make\s+sure|ensure)\s+(?:if|whether|that)\b",
        r"|consider\s+(?:increasing|boosting|setting|using|adding|raising|reducing|provisioning|enabling|lowering)\b",
        r"|was\s+the\s+task\s+killed\s+externally",
        r")",
    ))
    .expect("the pattern is constant and tested")
});

/// Overwrites guesses with spaces; line breaks stay.
pub(super) fn blank(text: &mut [u8]) {
    let mut from = 0;
    while let Some(found) = OPENING.find_at(text, from) {
        let range = found.start()..end_of_guess(text, found.end());
        from = range.end;
        for byte in &mut text[range] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
}

/// The end of the sentence, or of the list that it opens.
fn end_of_guess(text: &[u8], from: usize) -> usize {
    let limit = text.len().min(from + GUESS_BYTES_MAX);
    let mut at = from;
    while at < limit {
        let next = next_word(text, at + 1);
        let stops = match text[at] {
            b'.' | b'?' | b'!' => {
                text.get(at + 1).is_none_or(u8::is_ascii_whitespace)
                    && !goes_on(text, at, next, false)
            }
            b'\n' => !goes_on(text, at, next, true),
            _ => false,
        };
        if stops {
            return at + 1;
        }
        at += 1;
    }
    // Past the limit the guess ends with its line's last whole character.
    (from..=limit)
        .rev()
        .find(|end| text.get(*end).is_none_or(|byte| byte & 0xC0 != 0x80))
        .unwrap_or(limit)
}

fn next_word(text: &[u8], from: usize) -> usize {
    let blanks = text[from.min(text.len())..]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    from + blanks
}

/// Whether what follows a full stop or a line break still belongs to the guess: a list item, or the rest of a broken sentence.
fn goes_on(text: &[u8], at: usize, next: usize, broken_line: bool) -> bool {
    let rest = text.get(next..).unwrap_or_default();
    let on_new_line = broken_line || text[at..next.min(text.len())].contains(&b'\n');
    match rest {
        [b'(', digit, ..] if digit.is_ascii_digit() => true,
        [b'-' | b'*', b' ', ..] => on_new_line,
        [digit, b'.' | b')', b' ', ..] if digit.is_ascii_digit() => true,
        [letter, ..] => broken_line && letter.is_ascii_lowercase(),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        blank(&mut bytes);
        let text = String::from_utf8(bytes).expect("whole characters");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn guesses_are_blanked_and_facts_stay() {
        let cases = [
            (
                "End of file. Some common causes include: (1) the OOM killer, (2) ray stop. The process got SIGTERM.",
                "End of file. The process got SIGTERM.",
            ),
            (
                "died. There are some potential root causes. (1) OOM. (2) stop. (3) SIGSEGV.\nnext",
                "died. next",
            ),
            (
                "dead. This can happen when a (1) raylet crashes (OOM, etc.) \n  (2) slow network.\nBoom",
                "dead. Boom",
            ),
            (
                "fate shares. This can happen because\n- grpcio segfaults.\n- out of memory.\nEnd",
                "fate shares. End",
            ),
            (
                "dead. This can happen if the node was\n  preempted, or its raylet crashed. To see it",
                "dead. To see it",
            ),
            ("was killed: out of memory", "was killed: out of memory"),
        ];
        for (text, expected) in cases {
            assert_eq!(left(text), expected);
        }
    }

    #[test]
    fn a_guess_without_an_end_is_bounded() {
        let text = format!("possible causes {}", "ü".repeat(5_000));
        assert!(left(&text).len() > 5_000);
    }
}
