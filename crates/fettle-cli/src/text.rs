//! Numbers, times and bars as text, and tables of them.

/// A size with a unit of 1024, such as `96.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// A duration such as `0.4 s`, `12.3 s` or `4 min 05 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    // A batch lasts less than 2^53 seconds; the cast drops the fraction on purpose.
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A number with a space every three digits.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 file` or `2 files`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", count(number)),
    }
}

/// A bar of `width` cells, filled to `share` (0 to 1), fine to an eighth of a cell.
pub(crate) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    // A width is a terminal's; the casts are exact.
    let filled = (share * width as f64 * 8.0).round() as usize;
    let mut out = "█".repeat(filled / 8);
    let part = filled % 8;
    if part > 0 {
        out.push(EIGHTHS[part]);
    }
    let cells = out.chars().count();
    out.push_str(&"·".repeat(width.saturating_sub(cells)));
    out
}

/// The beginning of a text, on one line, at most `width` characters.
pub(crate) fn short(text: &str, width: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let mut out: String = line.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Columns, each as wide as its widest cell; numbers are not treated apart.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(visible(cell));
        }
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width.saturating_sub(visible(cell))))
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(line(&head))
        .chain(rows.iter().map(|row| line(row)))
        .collect()
}

/// Characters of a text without its colour codes.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut in_code = false;
    for character in text.chars() {
        match (in_code, character) {
            (false, '\u{1b}') => in_code = true,
            (true, 'm') => in_code = false,
            (false, _) => count += 1,
            (true, _) => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_durations_and_counts_read_well() {
        assert_eq!(size(100_663_296), "96.0 MiB");
        assert_eq!(size(512), "512 B");
        assert_eq!(duration(0.42), "0.4 s");
        assert_eq!(duration(245.0), "4 min 05 s");
        assert_eq!(duration(7_380.0), "2 h 03 min");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(plural(1, "file"), "1 file");
        assert_eq!(plural(1_200, "file"), "1 200 files");
    }

    #[test]
    fn a_bar_is_as_wide_as_asked_at_any_share() {
        for share in [-1.0, 0.0, 0.01, 0.5, 0.99, 1.0, 7.0, f64::NAN] {
            assert_eq!(bar(share, 10).chars().count(), 10, "{share}");
        }
        assert_eq!(bar(0.5, 4), "██··");
        assert_eq!(bar(1.0, 4), "████");
    }

    #[test]
    fn long_texts_are_cut_to_one_line() {
        assert_eq!(short("a\n b", 10), "a b");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn columns_line_up_and_colour_takes_no_room() {
        let rows = vec![
            vec!["\u{1b}[31mab\u{1b}[0m".to_owned(), "x".to_owned()],
            vec!["abcd".into(), "y".into()],
        ];
        let lines = table(&["a", "b"], &rows);
        assert_eq!(lines[0], "a     b");
        assert_eq!(lines[1], "\u{1b}[31mab\u{1b}[0m    x");
        assert_eq!(lines[2], "abcd  y");
    }
}
