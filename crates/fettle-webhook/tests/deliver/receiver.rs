//! A receiver that answers as it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// What came in.
#[derive(Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }
}

#[derive(Default)]
struct Shared {
    got: Mutex<Vec<Got>>,
    connections: AtomicUsize,
    elsewhere: AtomicUsize,
    statuses: Vec<u16>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Answers with these statuses in turn, then with the last one for ever; without any, not at all.
    pub(crate) async fn start(statuses: &[u16]) -> Self {
        let shared = Arc::new(Shared {
            statuses: statuses.to_vec(),
            ..Shared::default()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many requests came in.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests came to where redirects lead.
    pub(crate) fn elsewhere(&self) -> usize {
        self.shared.elsewhere.load(Ordering::SeqCst)
    }

    /// The first `count` requests, once they are there.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Got> {
        crate::sender::eventually(|| async {
            let got = self.shared.got.lock().unwrap();
            (got.len() >= count).then(|| got.clone())
        })
        .await
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let before = shared.connections.fetch_add(1, Ordering::SeqCst);
    if uri.path() == "/elsewhere" {
        shared.elsewhere.fetch_add(1, Ordering::SeqCst);
    }
    let got = Got {
        path: uri.path().to_owned(),
        headers,
        body,
    };
    shared.got.lock().unwrap().push(got);
    let Some(last) = shared.statuses.last() else {
        tokio::time::sleep(Duration::from_secs(60)).await;
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    };
    let status = shared.statuses.get(before).unwrap_or(last);
    let location = [(header::LOCATION, "/elsewhere")];
    (StatusCode::from_u16(*status).unwrap(), location).into_response()
}
