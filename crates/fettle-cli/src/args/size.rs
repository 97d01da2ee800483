//! Sizes as people write them: `512MiB`, `2GB`, `1048576`.

use std::fmt;

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize {
    /// The size, in bytes.
    pub(crate) bytes: u64,
}

impl MemorySize {
    /// The size, in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

/// Units by their ending in lower case; longer endings first, since `mib` ends with `b` too.
const UNITS: [(&str, u64); 13] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
];

/// Reads a size. Fractions are allowed before a unit, as in `1.5GiB`.
pub(crate) fn parse_size(text: &str) -> Result<MemorySize, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(ending, factor)| Some((lower.strip_suffix(ending)?.trim_end(), *factor)))
        .unwrap_or((&lower, 1));
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => fraction(number, factor),
    };
    match bytes {
        Some(bytes) if bytes > 0 => Ok(MemorySize { bytes }),
        _ => Err("give a size such as 512MiB, 2GB, 1.5GiB or a number of bytes".to_owned()),
    }
}

/// Fractions are read by hand: a float would take `1e9`, `inf` and `nan` too.
fn fraction(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.')?;
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Nine digits behind the point are finer than any size needs.
    if !is_digits(whole) || !is_digits(part) || part.len() > 9 || factor == 1 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part = part.parse::<u128>().ok()? * u128::from(factor) / scale;
    whole.checked_add(u64::try_from(part).ok()?)
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::text::size(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("512mib", 512 << 20),
            ("2GB", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("64 MiB", 64 << 20),
            ("1g", 1 << 30),
            ("100663296", 100_663_296),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(MemorySize { bytes }), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "0",
            "-1",
            "MiB",
            "1e9",
            "1.5",
            "inf",
            "1.GiB",
            "99999999999TiB",
            "5 apples",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
