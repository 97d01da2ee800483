//! How fast a large log is read, with all rules loaded and on one core, beside `rg -F -i -c -j1` with the same fixed texts from a file.
//!
//! Owns the made-up log: the lines of a busy ingest with a few errors in it. It must not measure anything but reading.
//!
//! `cargo bench -p fettle-diagnose` prints a table; `FETTLE_BENCH_MIB` is the size of the log (512).

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints its table, and stops where it cannot go on"
)]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fettle_diagnose::{FailureText, RuleSet};

/// Lines of a run that goes well; `#` becomes a number.
const INNOCENT: [&str; 12] = [
    "2026-03-02 10:11:#,420 INFO loader: opened shard # of 2000, 512 rows in 0.41 s",
    "2026-03-02 10:11:#,433 DEBUG pool: memory in use #.2 GiB of 8 GiB, 4 workers busy",
    "2026-03-02T10:11:#.733Z INFO metrics: flushed 12 series to http://metrics.internal:9090/api/v1/write (204, # ms)",
    "(Extract pid=#, ip=10.1.2.3) INFO page # rendered at 300 dpi, 1.2 MB",
    "{\"ts\":\"2026-03-02T10:11:#.001Z\",\"level\":\"info\",\"logger\":\"writer\",\"msg\":\"upserted 256 points\",\"collection\":\"docs\",\"took_ms\":#}",
    "httpx - INFO - HTTP Request: POST https://api.example.org/v1/embeddings \"HTTP/1.1 200 OK\" # tokens",
    " 47%|####7     | #/200000 [1:32:11<2:28:13, 21.05it/s, loss=0.31]",
    "time=\"2026-03-02T10:11:#Z\" level=info msg=\"Processing workflow\" namespace=ingest workflow=embed-# phase=Running",
    "Mar 02 10:11:# node-17 kubelet[2188]: I0302 10:11:#.445968 2188 kubelet_getters.go:187] \"Pod status updated\" pod=\"kube-system/proxy-#\" status=\"Running\"",
    "[2026-03-02 10:11:#,012: INFO/ForkPoolWorker-3] Task ingest.page[#] succeeded in 0.4s: None",
    "I 2026-03-02 10:11:#.120 tokenizer.rs:88 document # split into 41 chunks, 1000 characters each",
    "GET /collections/docs/points/# 200 1843 0.004 \"fettle/1.0\" trace=7f3c91ab42#",
];
/// What went wrong; one of these every some ten thousand lines, and one at the end.
const ERRORS: [&str; 5] = [
    "2026-03-02 10:12:#,001 WARNING writer: retry 1/5 after ConnectionResetError: [Errno 104] Connection reset by peer",
    "PIL.UnidentifiedImageError: cannot identify image file '/data/in/#.jpg'",
    "2026-03-02 10:12:#,009 ERROR loader: row # failed: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position #",
    "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Rate limit reached for requests'}}",
    "httpx.ReadTimeout: timed out",
];
const LAST: &str = "kernel: Memory cgroup out of memory: Killed process 4711 (python3) total-vm:71231232kB, anon-rss:62312004kB";
const LINES_BETWEEN_ERRORS: u64 = 20_000;
/// How much is read at once, as by `fettle classify`.
const PIECE_BYTES: usize = 256 << 10;

fn main() {
    let mebibytes: usize = std::env::var("FETTLE_BENCH_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(512);
    let dir = std::env::temp_dir().join(format!("fettle-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder for the log");
    let (log, words) = (dir.join("job.log"), dir.join("words"));
    std::fs::write(&log, made_up(mebibytes << 20)).expect("room for the log");
    std::fs::write(&words, RuleSet::builtin().fixed_texts().join("\n")).expect("room");
    compare(&log, &words);
    std::fs::remove_dir_all(&dir).expect("it was made above");
}

fn made_up(bytes: usize) -> Vec<u8> {
    let mut log = Vec::with_capacity(bytes + 4_096);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for line in 0_u64.. {
        if log.len() >= bytes {
            break;
        }
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let lines: &[&str] = if line % LINES_BETWEEN_ERRORS == LINES_BETWEEN_ERRORS - 1 {
            &ERRORS
        } else {
            &INNOCENT
        };
        let template = lines[(seed % lines.len() as u64) as usize];
        let number = (seed >> 32) % 100_000;
        writeln!(log, "{}", template.replace('#', &number.to_string())).expect("into memory");
    }
    writeln!(log, "{LAST}").expect("into memory");
    log
}

fn compare(log: &Path, words: &Path) {
    let rules = RuleSet::builtin();
    let bytes = std::fs::metadata(log).expect("it was written above").len();
    // The first text builds the automaton, and the file comes into the page cache.
    let text = std::fs::read_to_string(log).expect("it was written above");
    judge(rules, &text[..1 << 20]);
    let from_memory = timed(|| judge(rules, &text));
    drop(text);
    let from_file = timed(|| judge(rules, &condensed(rules, log)));
    let ripgrep = timed(|| {
        let args = ["-F", "-i", "-c", "-j1", "-f"];
        let status = Command::new("rg")
            .args(args)
            .args([words, log])
            .stdout(Stdio::null())
            .status();
        status.expect("ripgrep is installed (apt-get install ripgrep)");
    });
    println!(
        "{} rules, {} fixed texts, {} MiB of log\n",
        rules.len(),
        rules.fixed_texts().len(),
        bytes >> 20
    );
    println!("| what | MB/s | ratio to ripgrep |\n|---|---|---|");
    let speed = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    for (name, took) in [
        ("classify, text in memory", from_memory),
        ("classify, read from the file", from_file),
        ("rg -F -i -c -j1 -f words", ripgrep),
    ] {
        let ratio = ripgrep.as_secs_f64() / took.as_secs_f64();
        println!("| {name} | {:.0} | {ratio:.2} |", speed(took));
    }
}

/// As `fettle classify` reads a file.
fn condensed(rules: &RuleSet, log: &Path) -> String {
    let mut file = std::fs::File::open(log).expect("it is still there");
    let mut condenser = rules.condenser();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).expect("it can be read") {
            0 => return condenser.finish(),
            bytes => condenser.push(&piece[..bytes]),
        }
    }
}

fn judge(rules: &RuleSet, text: &str) {
    let verdict = rules.classify(&FailureText {
        text,
        exit_code: Some(137),
        backend: Some("local"),
    });
    std::hint::black_box(verdict);
}

/// Processor time of the best of three, of this thread and of the children that it waited for: other work on the machine would blur the
/// clock on the wall.
fn timed(work: impl Fn()) -> Duration {
    let runs = (0..3).map(|_| {
        let start = processor_time();
        work();
        processor_time() - start
    });
    runs.min().unwrap_or_default()
}

/// Processor time so far. Of children the kernel tells it in hundredths of a second.
fn processor_time() -> Duration {
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let own = own.split(' ').next().and_then(|text| text.parse().ok());
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells it");
    let (_, fields) = stat
        .rsplit_once(") ")
        .expect("a name in brackets comes first");
    // Fields 16 and 17 of proc(5); the first two stand before the bracket.
    let ticks = fields.split(' ').skip(13).take(2);
    let ticks: u64 = ticks.filter_map(|text| text.parse::<u64>().ok()).sum();
    Duration::from_nanos(own.expect("a number")) + Duration::from_millis(ticks * 10)
}
