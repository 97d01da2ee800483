//! The same texts in other dress: what other systems, other names and other log collectors make of them.

use super::measure::Sample;

type Change = fn(&Sample) -> Sample;

/// The kinds of noise, by name.
pub(crate) const KINDS: [(&str, Change); 6] = [
    ("renamed", renamed),
    ("renumbered", renumbered),
    ("coloured", coloured),
    ("prefixed", prefixed),
    ("broken lines", broken),
    ("among other lines", among_others),
];

fn with_text(sample: &Sample, text: String) -> Sample {
    Sample {
        text,
        root_cause_line: None,
        ..sample.clone()
    }
}

fn each_line(sample: &Sample, change: impl Fn(usize, &str) -> String) -> Sample {
    let lines: Vec<String> = sample
        .text
        .lines()
        .enumerate()
        .map(|(number, line)| change(number, line))
        .collect();
    with_text(sample, lines.join("\n"))
}

/// Words with digits in them, paths and host names become others.
fn renamed(sample: &Sample) -> Sample {
    each_line(sample, |_, line| {
        let words = line.split(' ').map(|word| {
            let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
            let digits = word.bytes().filter(u8::is_ascii_digit).count();
            let plain = word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if plain && letters >= 3 && digits >= 5 {
                "renamed-7f3c91ab42".to_owned()
            } else {
                word.replace("/home/ray", "/srv/app")
                    .replace("site-packages", "dist-packages")
            }
        });
        words.collect::<Vec<_>>().join(" ")
    })
}

/// Long numbers become others of the same length; short ones are statuses, signals and counts that mean something.
fn renumbered(sample: &Sample) -> Sample {
    let mut text = String::with_capacity(sample.text.len());
    let mut number = String::new();
    for letter in sample.text.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        // Ports and exit codes stay; ids, sizes and times change.
        if number.len() >= 6 {
            text.extend(
                number
                    .bytes()
                    .map(|digit| char::from(b'1' + (digit - b'0' + 3) % 9)),
            );
        } else {
            text.push_str(&number);
        }
        number.clear();
        if letter != '\0' {
            text.push(letter);
        }
    }
    with_text(sample, text)
}

fn coloured(sample: &Sample) -> Sample {
    each_line(sample, |_, line| format!("\u{1b}[31m{line}\u{1b}[0m"))
}

fn prefixed(sample: &Sample) -> Sample {
    each_line(sample, |number, line| {
        if line.starts_with('(') || line.starts_with('[') {
            line.to_owned()
        } else {
            format!("(Extract pid={}, ip=10.1.2.{number}) {line}", 4000 + number)
        }
    })
}

/// Long lines are broken once, at a space near their middle.
fn broken(sample: &Sample) -> Sample {
    each_line(sample, |_, line| {
        let middle = line.len() / 2;
        let at = line
            .match_indices(' ')
            .map(|(at, _)| at)
            .find(|at| *at >= middle);
        match at {
            Some(at) if line.len() > 60 && !line.starts_with("  File") => {
                format!("{}\n    {}", &line[..at], &line[at + 1..])
            }
            _ => line.to_owned(),
        }
    })
}

fn among_others(sample: &Sample) -> Sample {
    const BEFORE: &str = "2026-03-02 10:11:12,001 INFO loader: opened shard 14 of 200\n2026-03-02 10:11:12,420 INFO loader: 512 rows in 0.41 s\n2026-03-02 10:11:13,020 DEBUG pool: memory in use 3.2 GiB\n";
    const AFTER: &str = "\n2026-03-02 10:11:15,733 INFO metrics: flushed 12 series\n2026-03-02 10:11:16,002 DEBUG http: keep-alive ping";
    Sample {
        root_cause_line: sample.root_cause_line.clone(),
        ..with_text(sample, format!("{BEFORE}{}{AFTER}", sample.text))
    }
}
