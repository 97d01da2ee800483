//! Webhooks of a real server: told of batches, and not once too often or too seldom when it is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Server, text, text_files, wait};

/// Objects that are made while the server is killed again and again.
const OBJECTS: usize = 300;
const DELIVERIES: &str = "/v1/organizations/webhook-deliveries";

/// A request that came in.
#[derive(Clone)]
struct Got {
    headers: BTreeMap<String, String>,
    body: Value,
}

/// Takes everything.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let kept = got.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || take(&stream.unwrap(), &kept));
            }
        });
        Self { port, got }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

/// Reads the requests of one connection; a sender that is killed breaks it off anywhere.
fn take(stream: &TcpStream, kept: &Mutex<Vec<Got>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = serde_json::from_slice(&body).ok()?;
        kept.lock().unwrap().push(Got { headers, body });
        let mut writer = stream;
        writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

fn start(dir: &std::path::Path, receiver: &Receiver) -> Server {
    let host = format!("127.0.0.1:{}", receiver.port);
    Server::start(&dir.join("data"), dir, &["--allow-webhook-host", &host])
}

fn listen(server: &Server, receiver: &Receiver, event_types: &[&str]) -> String {
    let body = json!({
        "webhook_name": "told",
        "event_types": event_types,
        "channels": [{"channel": "webhook", "configs": {"url": receiver.url()}}],
    });
    let made = server.post("/v1/organizations/webhooks", body);
    text(&made["channels"][0]["configs"]["signing_secret"])
}

#[test]
fn a_batch_that_ends_is_told_to_webhooks_and_to_its_own_address() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let server = start(dir.path(), &receiver);
    let secret = listen(
        &server,
        &receiver,
        &[
            "batch.submitted",
            "batch.ended",
            "collection.documents.batch_completed",
            "collection.documents.written",
        ],
    );
    let bucket = server.bucket("told");
    let collection = server.collection(
        "lines",
        &bucket,
        "text_extractor",
        json!({"embedding": "lexical"}),
    );
    let files = text_files(&dir.path().join("files"), 3);
    let objects = server.objects(&bucket, &files);
    let own = json!({"webhook_url": format!("{}?own", receiver.url())});
    let batch = server.submit(&bucket, &objects, own);
    server.wait_for_end(&batch);
    let got = wait("all is told", || {
        let got = receiver.got();
        (got.len() >= 5).then_some(got)
    });
    let mut types: Vec<String> = got.iter().map(|it| text(&it.body["type"])).collect();
    types.sort();
    assert_eq!(
        types,
        [
            "batch.ended",
            "batch.ended",
            "batch.submitted",
            "collection.documents.batch_completed",
            "collection.documents.written"
        ]
    );
    let ended = got
        .iter()
        .find(|it| it.body["type"] == "batch.ended")
        .unwrap();
    let data = &ended.body["data"];
    assert_eq!(data["batch_id"], batch);
    assert_eq!(data["status"], "COMPLETED");
    assert_eq!(data["collection_ids"], json!([collection]));
    assert_eq!(data["tiers"][0]["processed"], 3, "{data:#}");
    assert!(ended.headers.contains_key("webhook-signature"));
    let log = wait("the log tells of all", || {
        let log = server.get(&format!("{DELIVERIES}?status=DELIVERED"));
        (log["total_count"] == 5).then_some(log)
    });
    assert_eq!(log["results"][0]["attempts"][0]["status"], 204);
    let of_batch = server.get(&format!("{DELIVERIES}?batch_id={batch}"));
    assert_eq!(of_batch["total_count"], 5);
    let logged = std::fs::read_to_string(server.data_dir().join("serve.log")).unwrap();
    assert!(!logged.contains(&secret), "the secret is in the log");
}

#[test]
fn kills_of_the_server_lose_no_event_and_double_none() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let mut server = start(dir.path(), &receiver);
    listen(&server, &receiver, &["object.created"]);
    let bucket = server.bucket("told");
    let files = text_files(&dir.path().join("files"), OBJECTS);
    let mut objects = BTreeSet::new();
    for chunk in files.chunks(OBJECTS / 6) {
        objects.extend(server.objects(&bucket, chunk));
        server.kill();
        server.restart();
    }
    wait("nothing is left to deliver", || {
        let done = server.get(&format!("{DELIVERIES}?status=DELIVERED&limit=1"));
        (done["total_count"] == OBJECTS).then_some(())
    });
    let all = server.get(&format!("{DELIVERIES}?limit=1000"));
    assert_eq!(
        all["total_count"], OBJECTS,
        "an event has more than one delivery"
    );
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for got in receiver.got() {
        let object = text(&got.body["data"]["object_id"]);
        told.entry(object)
            .or_default()
            .insert(got.headers["webhook-id"].clone());
    }
    let known: BTreeSet<String> = told.keys().cloned().collect();
    assert_eq!(known, objects);
    let doubled = told.values().filter(|ids| ids.len() != 1).count();
    assert_eq!(doubled, 0, "a repeated delivery has the id of the first");
}
