//! Cuts a text into chunks.
//!
//! Owns the meaning of `split_by`, `chunk_size` and `chunk_overlap`. Every chunk is a slice of the text, so offsets are
//! exact. It must not change the text beyond trimming blanks at a chunk's ends.

use fettle_model::catalogue::{SplitBy, TextParameters};
use unicode_segmentation::UnicodeSegmentation;

use super::PARTS_PER_ROW_MAX;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'t> {
    /// The piece, trimmed.
    pub(super) text: &'t str,
    /// Where it begins, in characters of the whole text.
    pub(super) start_char: usize,
    /// Where it ends, exclusive.
    pub(super) end_char: usize,
}

/// Cuts `text`, which has at least one character that is not blank.
///
/// # Errors
/// What is wrong and what to change, if there were more than [`PARTS_PER_ROW_MAX`] chunks.
pub(super) fn chunks<'t>(
    text: &'t str,
    parameters: &TextParameters,
) -> Result<Vec<Chunk<'t>>, String> {
    let (size, overlap) = (
        parameters.chunk_size as usize,
        parameters.chunk_overlap as usize,
    );
    let found = match parameters.split_by {
        SplitBy::Characters => by_characters(text, size, overlap),
        SplitBy::Words => windows(text, &word_starts(text), size, overlap),
        SplitBy::Sentences => windows(text, &sentence_starts(text), size, overlap),
        SplitBy::Paragraphs => windows(text, &paragraph_starts(text), size, overlap),
        SplitBy::None => windows(text, &[], 1, 0),
    };
    if found.len() > PARTS_PER_ROW_MAX {
        return Err(format!(
            "the text makes more than {PARTS_PER_ROW_MAX} chunks; use a larger chunk_size or a smaller chunk_overlap"
        ));
    }
    Ok(found)
}

/// Chunks of at most `size` characters. Each ends at the end of a paragraph or a sentence if that leaves it at least half
/// full, else of a word, else where it is full. Linear in the text: splitters that weigh all levels against each other take
/// minutes for a book without paragraphs.
fn by_characters(text: &str, size: usize, overlap: usize) -> Vec<Chunk<'_>> {
    let levels = [paragraph_starts(text), sentence_starts(text)];
    let words = word_starts(text);
    let mut found = Found::new(text);
    let mut start = 0;
    while found.chunks.len() <= PARTS_PER_ROW_MAX {
        let full = after_chars(text, start, size);
        // Blanks are trimmed, so those after a full chunk do not count.
        let full = text.len() - text[full..].trim_start().len();
        if full == text.len() {
            found.push(start, full);
            break;
        }
        // A chunk must be longer than what the next one repeats of it, or there would be no next one.
        let least = after_chars(text, start, overlap);
        let half_full = after_chars(text, start, overlap.max(size / 2));
        let coarse = levels
            .iter()
            .find_map(|starts| last_within(starts, half_full, full));
        let end = coarse
            .or_else(|| last_within(&words, least, full))
            .unwrap_or(full);
        found.push(start, end);
        let repeat_from = before_chars(text, end, overlap);
        let word = words.get(words.partition_point(|word| *word < repeat_from));
        start = word
            .copied()
            .filter(|word| *word < end)
            .unwrap_or(repeat_from);
    }
    found.chunks
}

/// The byte offset `count` characters after `start`.
fn after_chars(text: &str, start: usize, count: usize) -> usize {
    text[start..]
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(offset, _)| start + offset)
}

/// The byte offset `count` characters before `end`.
fn before_chars(text: &str, end: usize, count: usize) -> usize {
    match count.checked_sub(1) {
        Some(last) => text[..end]
            .char_indices()
            .nth_back(last)
            .map_or(0, |(offset, _)| offset),
        None => end,
    }
}

/// The last of ascending `starts` that is after `low` and not after `high`.
fn last_within(starts: &[usize], low: usize, high: usize) -> Option<usize> {
    let count = starts.partition_point(|start| *start <= high);
    starts[..count].last().copied().filter(|start| *start > low)
}

/// Windows of `size` units that begin at `starts` (byte offsets, ascending). The first window begins with the text, the last
/// ends with it, so nothing between units is lost.
fn windows<'t>(text: &'t str, starts: &[usize], size: usize, overlap: usize) -> Vec<Chunk<'t>> {
    let step = size.saturating_sub(overlap).max(1);
    let mut found = Found::new(text);
    let mut first = 0;
    loop {
        let start = if first == 0 { 0 } else { starts[first] };
        let end = starts.get(first + size).copied().unwrap_or(text.len());
        found.push(start, end);
        if first + size >= starts.len() || found.chunks.len() > PARTS_PER_ROW_MAX {
            return found.chunks;
        }
        first += step;
    }
}

/// The chunks so far, and how many characters lie before a byte of the text, so that offsets cost one pass in all.
struct Found<'t> {
    text: &'t str,
    chunks: Vec<Chunk<'t>>,
    byte: usize,
    chars: usize,
}

impl<'t> Found<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            chunks: Vec::new(),
            byte: 0,
            chars: 0,
        }
    }

    /// Adds a piece without the blanks around it; nothing if it is only blanks.
    fn push(&mut self, start: usize, end: usize) {
        let piece = &self.text[start..end];
        let text = piece.trim();
        if text.is_empty() {
            return;
        }
        let start_char = self.chars_before(end - piece.trim_start().len());
        let end_char = start_char + text.chars().count();
        self.chunks.push(Chunk {
            text,
            start_char,
            end_char,
        });
    }

    fn chars_before(&mut self, byte: usize) -> usize {
        if byte >= self.byte {
            self.chars += self.text[self.byte..byte].chars().count();
        } else {
            self.chars -= self.text[byte..self.byte].chars().count();
        }
        self.byte = byte;
        self.chars
    }
}

fn word_starts(text: &str) -> Vec<usize> {
    text.unicode_word_indices()
        .map(|(start, _)| start)
        .collect()
}

/// Sentences by Unicode's rules, except that a line end within a sentence does not end it: text is often wrapped.
fn sentence_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut goes_on = false;
    for (start, segment) in text.split_sentence_bound_indices() {
        let trimmed = segment.trim_end();
        if trimmed.is_empty() {
            // A blank line ends a sentence that lacks its full stop, such as a heading.
            goes_on = false;
            continue;
        }
        if !goes_on {
            starts.push(start);
        }
        let wrapped = segment.ends_with(['\n', '\r']);
        goes_on = wrapped
            && !trimmed.ends_with(['.', '!', '?', '…', '。', '！', '？', ':', '"', '”', ')']);
    }
    starts
}

/// Paragraphs are parted by lines that are blank.
fn paragraph_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut offset = 0;
    let mut after_blank = true;
    for line in text.split_inclusive('\n') {
        let blank = line.trim().is_empty();
        if !blank && after_blank {
            starts.push(offset);
        }
        after_blank = blank;
        offset += line.len();
    }
    starts
}

#[cfg(test)]
mod tests {
    use fettle_model::catalogue::Embedding;

    use super::*;

    fn cut(text: &str, split_by: SplitBy, chunk_size: u32, chunk_overlap: u32) -> Vec<&str> {
        let parameters = TextParameters {
            split_by,
            chunk_size,
            chunk_overlap,
            embedding: Embedding::None,
        };
        let found = chunks(text, &parameters).unwrap();
        for chunk in &found {
            let slice: String = text
                .chars()
                .skip(chunk.start_char)
                .take(chunk.end_char - chunk.start_char)
                .collect();
            assert_eq!(slice, chunk.text, "offsets are exact");
        }
        found.iter().map(|chunk| chunk.text).collect()
    }

    #[test]
    fn units_are_what_split_by_says() {
        use SplitBy::{Characters, None, Paragraphs, Sentences, Words};
        let cases: &[(&str, SplitBy, u32, u32, &[&str])] = &[
            (
                "One two, three four. Five",
                Words,
                2,
                0,
                &["One two,", "three four.", "Five"],
            ),
            ("a b c d", Words, 3, 2, &["a b c", "b c d"]),
            (
                "“Zitat” größer—als ß",
                Words,
                1,
                0,
                &["“Zitat”", "größer—", "als", "ß"],
            ),
            ("!!! ???", Words, 5, 0, &["!!! ???"]),
            (
                "One. Two is\nwrapped here. Three",
                Sentences,
                1,
                0,
                &["One.", "Two is\nwrapped here.", "Three"],
            ),
            (
                "A heading\n\nThen text. More.",
                Sentences,
                2,
                0,
                &["A heading\n\nThen text.", "More."],
            ),
            (
                "これは文です。次の文です。",
                Sentences,
                1,
                0,
                &["これは文です。", "次の文です。"],
            ),
            (
                "a\nb\n\n \n\nc\r\n\r\nd",
                Paragraphs,
                1,
                0,
                &["a\nb", "c", "d"],
            ),
            (
                "a\n\nb\n\nc\n\nd",
                Paragraphs,
                2,
                1,
                &["a\n\nb", "b\n\nc", "c\n\nd"],
            ),
            ("  all of it \n", None, 1, 0, &["all of it"]),
            ("one two three", Characters, 7, 0, &["one two", "three"]),
            ("äöü äöü äöü", Characters, 7, 0, &["äöü äöü", "äöü"]),
        ];
        for (text, split_by, size, overlap, expected) in cases {
            assert_eq!(
                cut(text, *split_by, *size, *overlap),
                *expected,
                "{text:?} {split_by:?}"
            );
        }
    }

    #[test]
    fn too_many_chunks_are_an_error_that_says_what_to_change() {
        let text = "a ".repeat(PARTS_PER_ROW_MAX + 1);
        for split_by in [SplitBy::Characters, SplitBy::Words] {
            let parameters = TextParameters {
                split_by,
                chunk_size: 1,
                chunk_overlap: 0,
                embedding: Embedding::None,
            };
            let error = chunks(&text, &parameters).unwrap_err();
            assert!(error.contains("chunk_size"), "{error}");
        }
    }

    #[test]
    fn characters_never_exceed_the_size_and_overlap_repeats() {
        let text =
            "The first sentence is here. The second one follows it! And a third? ".repeat(20);
        let plain = cut(&text, SplitBy::Characters, 80, 0);
        assert!(plain.iter().all(|chunk| chunk.chars().count() <= 80));
        let overlapping = cut(&text, SplitBy::Characters, 80, 40);
        assert!(overlapping.len() > plain.len());
        for pair in overlapping.windows(2) {
            let begin: String = pair[1].chars().take(10).collect();
            assert!(pair[0].contains(&begin), "{pair:?}");
        }
    }

    #[test]
    fn characters_break_at_the_best_place_that_leaves_half_a_chunk() {
        let cases: &[(&str, u32, &[&str])] = &[
            (
                "First part.\n\nSecond. Third",
                20,
                &["First part.", "Second. Third"],
            ),
            (
                "One is long enough. Two is too",
                25,
                &["One is long enough.", "Two is too"],
            ),
            (
                "A. Then a long sentence follows",
                20,
                &["A. Then a long", "sentence follows"],
            ),
            (
                "unbreakableunbreakable",
                10,
                &["unbreakabl", "eunbreakab", "le"],
            ),
            ("\n\n  x  \n\n", 1, &["x"]),
        ];
        for (text, size, expected) in cases {
            assert_eq!(
                cut(text, SplitBy::Characters, *size, 0),
                *expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn odd_texts_with_every_overlap_come_to_an_end() {
        let texts = [
            "a  \n\n   b   c",
            "\u{1f468}\u{200d}\u{1f469}x\u{301}y",
            "....\n....",
            "語語語。語",
        ];
        for text in texts {
            for size in 1..8 {
                for overlap in 0..size {
                    for split_by in [SplitBy::Characters, SplitBy::Words, SplitBy::Sentences] {
                        let found = cut(text, split_by, size, overlap);
                        assert!(!found.is_empty(), "{text:?} {size} {overlap}");
                    }
                }
            }
        }
    }
}
