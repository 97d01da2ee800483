//! A blob server that answers `/STATUS/…` with that status, and `/away/…` with 503 for some seconds and then as it should.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long it is away for each address, from the first call on.
const AWAY: Duration = Duration::from_secs(8);

static FIRST_CALLS: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

/// Serves until the process ends; its address, such as `http://127.0.0.1:4711`.
pub fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that hangs up is no concern of the others.
            std::thread::spawn(move || answer(&stream));
        }
    });
    address
}

fn is_away(address: &str) -> bool {
    let mut calls = FIRST_CALLS.lock().unwrap();
    calls
        .entry(address.to_owned())
        .or_insert_with(Instant::now)
        .elapsed()
        < AWAY
}

fn answer(mut stream: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let status = match first.split('/').nth(1)? {
        "away" if is_away(&first) => "503",
        "away" => "200",
        status => status,
    };
    let body = "A line about apples.";
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()
}
