//! The client of the public API: base address, key and namespace; JSON in, JSON out.
//!
//! Owns headers and retries of refused idempotent calls. It must not hide an error of the server.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::envelope;
use crate::error::ClientError;
use crate::sse::EventStream;

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `http://host:port`, with or without `/v1` at its end.
    pub base_url: String,
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// Name or id, sent as `X-Namespace`.
    pub namespace: Option<String>,
    /// Limit on one try of a call; streams have none.
    pub timeout: Duration,
    /// How often an idempotent call that was refused with 429 or 503 is tried again.
    pub retries_max: u32,
}

impl ClientConfig {
    /// A server with the usual limits, without key and namespace.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            namespace: None,
            timeout: Duration::from_secs(60),
            retries_max: 4,
        }
    }
}

/// A longer `Retry-After` is not obeyed but reported: a person is waiting.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// The first wait where a refusal names none.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Connecting takes milliseconds; a server that needs longer is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the public API. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    timeout: Duration,
    retries_max: u32,
}

impl Client {
    /// A client for `config`; no connection is made yet.
    ///
    /// # Errors
    /// When the address is not http(s), or key or namespace do not fit into a header.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let (base, is_loopback) = normal_base(&config.base_url)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("fettle/", env!("CARGO_PKG_VERSION")))
            .default_headers(default_headers(&config)?);
        if is_loopback {
            // A proxy cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|source| ClientError::Build { source })?;
        Ok(Self {
            http,
            base,
            timeout: config.timeout,
            retries_max: config.retries_max,
        })
    }

    /// The server's address, without `/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// `GET path?query`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let call = Call {
            query,
            ..Call::new(Method::GET, path)
        };
        self.json(call).await
    }

    /// `POST path` with a body; never repeated by itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.with_body(Method::POST, path, body, false).await
    }

    /// `POST path` of an operation that only reads, such as a list; repeated when refused with 429 or 503.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post_query<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &B,
    ) -> Result<T, ClientError> {
        let body = self.encode(path, body)?;
        let call = Call {
            query,
            body: Some((body, "application/json")),
            ..Call::new(Method::POST, path)
        };
        self.json(call).await
    }

    /// `PATCH path` with a body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn patch<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.with_body(Method::PATCH, path, body, false).await
    }

    /// `PUT path` with a body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.with_body(Method::PUT, path, body, true).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Call::new(Method::DELETE, path)).await
    }

    /// Sends raw bytes, such as a plugin archive or a file.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upload<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        content_type: &str,
        bytes: Bytes,
    ) -> Result<T, ClientError> {
        let is_idempotent = method != Method::POST;
        let call = Call {
            query,
            body: Some((bytes, content_type)),
            is_idempotent,
            ..Call::new(method, path)
        };
        self.json(call).await
    }

    /// `GET path` of something that is not JSON, whole.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_bytes(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Bytes, ClientError> {
        let call = Call {
            query,
            ..Call::new(Method::GET, path)
        };
        let (url, answer) = self.send(call).await?;
        answer
            .bytes()
            .await
            .map_err(|source| ClientError::from_transport(&url, source))
    }

    /// `GET path` of a text of type `accept`, such as `text/markdown`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_text(&self, path: &str, accept: &str) -> Result<String, ClientError> {
        let call = Call {
            accept,
            ..Call::new(Method::GET, path)
        };
        let (url, answer) = self.send(call).await?;
        let received = answer.text().await;
        received.map_err(|source| ClientError::from_transport(&url, source))
    }

    /// `GET path` as a stream of bytes without limit on time.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<ByteStream, ClientError> {
        let call = Call {
            query,
            is_stream: true,
            ..Call::new(Method::GET, path)
        };
        let (url, answer) = self.send(call).await?;
        Ok(ByteStream { url, answer })
    }

    /// `GET path` as server-sent events.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<EventStream, ClientError> {
        let accept = "text/event-stream";
        let call = Call {
            query,
            accept,
            is_stream: true,
            ..Call::new(Method::GET, path)
        };
        let (url, answer) = self.send(call).await?;
        Ok(EventStream::new(ByteStream { url, answer }))
    }

    async fn with_body<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        is_idempotent: bool,
    ) -> Result<T, ClientError> {
        let body = self.encode(path, body)?;
        let call = Call {
            body: Some((body, "application/json")),
            is_idempotent,
            ..Call::new(method, path)
        };
        self.json(call).await
    }

    fn encode<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Result<Bytes, ClientError> {
        let encoded = serde_json::to_vec(body);
        encoded
            .map(Bytes::from)
            .map_err(|source| ClientError::Encode {
                url: self.url(path),
                source,
            })
    }

    async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let (url, answer) = self.send(call).await?;
        let received = answer.bytes().await;
        let body = received.map_err(|source| ClientError::from_transport(&url, source))?;
        // 204 has no body; for a caller that expects nothing that is `null`.
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|source| ClientError::Decode { url, source })
    }

    /// Sends `call`, again where that is safe and the server asks for it.
    async fn send(&self, call: Call<'_>) -> Result<(String, Response), ClientError> {
        let url = self.url(call.path);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_AFTER_MAX);
        loop {
            let sent = self.request(&url, &call).send().await;
            let answer = sent.map_err(|source| ClientError::from_transport(&url, source))?;
            if answer.status().is_success() {
                return Ok((url, answer));
            }
            let again = call.is_idempotent
                && matches!(answer.status().as_u16(), 429 | 503)
                && backoff.tries() < self.retries_max;
            let wait = retry_after(answer.headers());
            if !again || wait.is_some_and(|wait| wait > RETRY_AFTER_MAX) {
                return Err(refusal(url, answer).await);
            }
            let jittered = backoff.next_wait();
            tokio::time::sleep(wait.map_or(jittered, |wait| wait.max(RETRY_FIRST))).await;
        }
    }

    fn request(&self, url: &str, call: &Call<'_>) -> RequestBuilder {
        let request = self.http.request(call.method.clone(), url);
        let mut request = request.query(call.query).header(ACCEPT, call.accept);
        if !call.is_stream {
            request = request.timeout(self.timeout);
        }
        match &call.body {
            Some((body, content_type)) => request
                .header(CONTENT_TYPE, *content_type)
                .body(body.clone()),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}", self.base, path.trim_start_matches('/'))
    }
}

/// One call, as it is sent and sent again.
struct Call<'a> {
    method: Method,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    body: Option<(Bytes, &'a str)>,
    accept: &'a str,
    is_idempotent: bool,
    is_stream: bool,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            query: &[],
            body: None,
            accept: "application/json",
            is_idempotent: true,
            is_stream: false,
        }
    }
}

/// An answer that is read piece by piece.
#[derive(Debug)]
pub struct ByteStream {
    url: String,
    answer: Response,
}

impl ByteStream {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        let read = self.answer.chunk().await;
        read.map_err(|source| ClientError::from_transport(&self.url, source))
    }

    /// A header of the answer, when it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.headers().get(name)?.to_str().ok()
    }
}

/// The address without `/v1` and trailing slashes, and whether it is this machine's loopback.
fn normal_base(given: &str) -> Result<(String, bool), ClientError> {
    let bad = || ClientError::BadUrl {
        url: given.to_owned(),
    };
    let url = Url::parse(given.trim()).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        return Err(bad());
    }
    let host = url.host_str().ok_or_else(bad)?;
    let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let base = url.as_str().trim_end_matches('/');
    let base = base
        .strip_suffix("/v1")
        .unwrap_or(base)
        .trim_end_matches('/');
    Ok((base.to_owned(), is_loopback))
}

fn default_headers(config: &ClientConfig) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &config.api_key {
        let value = HeaderValue::from_str(&format!("Bearer {key}"));
        let mut value = value.map_err(|_| ClientError::BadHeader { what: "API key" })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(namespace) = &config.namespace {
        let value = HeaderValue::from_str(namespace);
        headers.insert(
            "x-namespace",
            value.map_err(|_| ClientError::BadHeader { what: "namespace" })?,
        );
    }
    Ok(headers)
}

/// `Retry-After` in seconds; the other form, a date, is not used by Fettle.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The `x-request-id` of an answer.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-request-id")?.to_str().ok()?.to_owned())
}

async fn refusal(url: String, answer: Response) -> ClientError {
    let status = answer.status().as_u16();
    let request_id = request_id(answer.headers());
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(source) => return ClientError::from_transport(&url, source),
    };
    match envelope::parse(status, request_id, &body) {
        Some(error) => ClientError::Api(Box::new(error)),
        None => ClientError::Foreign {
            url,
            status,
            excerpt: envelope::excerpt(&body),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::http::{HeaderMap as ServerHeaders, StatusCode};
    use axum::routing::{get, post};
    use serde_json::{Value, json};

    use super::*;

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn client(base: &str) -> Client {
        let config = ClientConfig {
            api_key: Some("sk".into()),
            namespace: Some("demo".into()),
            ..ClientConfig::new(format!("{base}/v1/"))
        };
        Client::new(config).unwrap()
    }

    #[tokio::test]
    async fn a_call_carries_key_namespace_and_query() {
        let echo = |headers: ServerHeaders, uri: axum::http::Uri| async move {
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            axum::Json(json!([
                header("authorization"),
                header("x-namespace"),
                uri.to_string()
            ]))
        };
        let base = serve(Router::new().route("/v1/x", get(echo))).await;
        let answer: Value = client(&base).get("/v1/x", &[("limit", "2")]).await.unwrap();
        assert_eq!(answer, json!(["Bearer sk", "demo", "/v1/x?limit=2"]));
    }

    #[tokio::test]
    async fn an_error_of_the_server_keeps_type_details_and_request_id() {
        let refuse = || async {
            let body = json!({"success": false, "status": 404, "error": {"type": "NotFoundError", "message": "no batch", "details": {"hint": "list them"}}});
            (
                StatusCode::NOT_FOUND,
                [("x-request-id", "r7")],
                axum::Json(body),
            )
        };
        let base = serve(Router::new().route("/v1/x", get(refuse))).await;
        let error = client(&base).get::<Value>("/v1/x", &[]).await.unwrap_err();
        let api = error.api().unwrap();
        assert_eq!(
            (api.status, api.error_type.as_str()),
            (404, "NotFoundError")
        );
        assert_eq!(
            (api.hint(), api.request_id.as_deref()),
            (Some("list them"), Some("r7"))
        );
    }

    #[tokio::test]
    async fn a_refused_read_is_tried_again_and_a_refused_write_is_not() {
        let count = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&count);
        let busy_once = move || {
            let seen = Arc::clone(&seen);
            async move {
                match seen.fetch_add(1, Ordering::SeqCst) {
                    0 => (
                        StatusCode::SERVICE_UNAVAILABLE,
                        [("retry-after", "0")],
                        "{}".to_owned(),
                    ),
                    _ => (StatusCode::OK, [("retry-after", "0")], "7".to_owned()),
                }
            }
        };
        let base =
            serve(Router::new().route("/v1/x", get(busy_once.clone()).merge(post(busy_once))))
                .await;
        let client = client(&base);
        assert_eq!(client.get::<u32>("/v1/x", &[]).await.unwrap(), 7);
        count.store(0, Ordering::SeqCst);
        let refused = client
            .post::<_, u32>("/v1/x", &json!({}))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, ClientError::Foreign { status: 503, .. }),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_and_an_address_that_is_none_say_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = listener.local_addr().unwrap();
        drop(listener);
        let away = client(&format!("http://{free}"))
            .get::<Value>("/v1/x", &[])
            .await
            .unwrap_err();
        assert!(
            away.is_away() && away.to_string().contains("fettle serve"),
            "{away}"
        );
        assert!(Client::new(ClientConfig::new("localhost:80")).is_err());
        assert!(Client::new(ClientConfig::new("")).is_err());
    }

    #[tokio::test]
    async fn events_come_one_by_one() {
        let body = || async {
            ": hello\n\nid: 1\nevent: batch\ndata: {\"a\":\ndata: 1}\n\ndata: x\r\n\r\ndata: cut"
        };
        let base = serve(Router::new().route("/v1/e", get(body))).await;
        let mut events = client(&base).events("/v1/e", &[]).await.unwrap();
        let first = events.next().await.unwrap().unwrap();
        assert_eq!(
            (first.event.as_deref(), first.id.as_deref()),
            (Some("batch"), Some("1"))
        );
        assert_eq!(first.data, "{\"a\":\n1}");
        assert_eq!(events.next().await.unwrap().unwrap().data, "x");
        assert!(events.next().await.unwrap().is_none());
    }
}
