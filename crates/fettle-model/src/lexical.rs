//! The hashed lexical vector: text search without a model.
//!
//! Owns the one definition that documents and queries share; both sides must compute it here. Changing it changes what
//! stored vectors mean, so a change needs a new vector name.

use std::collections::BTreeMap;

use unicode_segmentation::UnicodeSegmentation;

/// Length of a lexical vector.
pub const LEXICAL_DIMENSIONS: u32 = 384;

/// The lexical vector of `text`: lower-cased words and neighbouring pairs, each hashed to a place and a sign, weighted by
/// `1 + ln(count)`, of length one. It is never zero: a text without words counts as one word.
#[must_use]
pub fn lexical_vector(text: &str) -> Vec<f32> {
    let lower = text.to_lowercase();
    let mut words: Vec<&str> = lower.unicode_words().collect();
    if words.is_empty() {
        words.push(lower.trim());
    }
    // Ordered, so that sums of floats come out the same on every machine.
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (position, word) in words.iter().enumerate() {
        *counts.entry((word, "")).or_default() += 1;
        if let Some(next) = words.get(position + 1) {
            *counts.entry((word, next)).or_default() += 1;
        }
    }
    normalised(&counts)
}

fn normalised(counts: &BTreeMap<(&str, &str), u32>) -> Vec<f32> {
    let mut sums = vec![0_f64; LEXICAL_DIMENSIONS as usize];
    for ((first, second), count) in counts {
        let (place, sign) = place(first, second);
        sums[place] += sign * (1.0 + f64::from(*count).ln());
    }
    let length = sums.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length == 0.0 {
        // All terms cancelled each other, which takes two that collide with opposite signs and nothing else.
        sums[0] = 1.0;
        return sums.iter().map(|value| *value as f32).collect();
    }
    sums.iter().map(|value| (value / length) as f32).collect()
}

/// Where a word (or pair) goes, and with which sign.
fn place(first: &str, second: &str) -> (usize, f64) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(first.as_bytes());
    // A byte that no word contains keeps ("ab", "c") and ("a", "bc") apart.
    hasher.update(&[0]);
    hasher.update(second.as_bytes());
    let hash = hasher.finalize();
    let [a, b, c, d, sign, ..] = *hash.as_bytes();
    let place = u32::from_le_bytes([a, b, c, d]) % LEXICAL_DIMENSIONS;
    (place as usize, if sign & 1 == 0 { 1.0 } else { -1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        lexical_vector(a)
            .iter()
            .zip(lexical_vector(b))
            .map(|(x, y)| x * y)
            .sum()
    }

    #[test]
    fn vectors_have_length_one_whatever_the_text() {
        for text in [
            "",
            "   ",
            "!?",
            "one",
            "One two, two three.",
            "日本語のテキスト",
            "🙂",
        ] {
            let vector = lexical_vector(text);
            assert_eq!(vector.len(), LEXICAL_DIMENSIONS as usize);
            let length: f32 = vector.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text}: {length}");
        }
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        assert!(cosine("The quick, brown fox!", "the QUICK brown fox") > 0.999);
    }

    #[test]
    fn shared_words_bring_texts_together_and_order_counts_a_little() {
        let near = cosine(
            "invoice for the solar panels",
            "the invoice for solar panels in march",
        );
        let far = cosine(
            "invoice for the solar panels",
            "a recipe with leeks and butter",
        );
        assert!(near > 0.5 && far < 0.25, "{near} {far}");
        let same_words = cosine("dog bites man", "man bites dog");
        assert!(same_words > 0.4 && same_words < 0.95, "{same_words}");
    }

    #[test]
    fn the_definition_does_not_change_by_accident() {
        let vector = lexical_vector("stored vectors depend on this");
        let digest: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(blake3::hash(&digest).to_hex()[..16], *"4699320cf1a97bfa");
    }
}
