//! Numbers in words: sizes and times as people read them.
//!
//! Owns the form of numbers in reasons and evidence. It must not know what they mean.

/// Longest raw excerpt kept in evidence, in characters: a screenful; the whole log is kept elsewhere.
pub(crate) const RAW_CHARS_MAX: usize = 2_000;

/// `512 B`, `64 KiB`, `256 MiB`, `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || (value - value.round()).abs() < 0.05 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `850 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// `row 3 (obj_a, 12 KiB)`; a size that is not known is left out.
pub(crate) fn row(number: u32, source_id: &str, size_bytes: u64) -> String {
    match size_bytes {
        0 => format!("row {number} ({source_id})"),
        known => format!("row {number} ({source_id}, {})", bytes(known)),
    }
}

/// The end of a text, at most `RAW_CHARS_MAX` characters, and where it begins in the text, in bytes; `None` when there is nothing in it.
pub(crate) fn tail(text: &str) -> Option<(usize, &str)> {
    let body = text.trim_end();
    let trimmed = body.trim_start();
    let over = trimmed.chars().count().saturating_sub(RAW_CHARS_MAX);
    let (cut, _) = trimmed.char_indices().nth(over)?;
    Some((body.len() - trimmed.len() + cut, &trimmed[cut..]))
}

/// The sentence without a full stop at its end, so that it can be continued.
pub(crate) fn clause(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(duration(850), "850 ms");
        assert_eq!(duration(200_000), "3 min 20 s");
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(0, "row"), "0 rows");
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        let text = format!("{}end", "x".repeat(RAW_CHARS_MAX));
        let (at, kept) = tail(&text).unwrap();
        assert_eq!(at, 3);
        assert_eq!(kept.chars().count(), RAW_CHARS_MAX);
        assert!(kept.ends_with("end"));
        assert_eq!(tail(" \n "), None);
        assert_eq!(tail("\n é \n"), Some((2, "é")));
    }
}
