//! The wall clock of drivers and workers.
//!
//! Owns the one place where they read it; durations are measured with `Instant`.

use std::time::{SystemTime, UNIX_EPOCH};

use fettle_model::UnixMillis;

/// The present time; a clock before 1970 reads as 1970.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// An instant as RFC 3339 in UTC.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_utc() {
        assert_eq!(rfc3339(UnixMillis(1_500)), "1970-01-01T00:00:01.5Z");
        assert!(now() > UnixMillis(1_700_000_000_000));
    }
}
