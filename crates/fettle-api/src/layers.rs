//! What holds for every request: an id, a limit on time, panics caught, misses in the envelope.
//!
//! Owns the outermost behaviour. It must not know any operation.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fettle_wire::error::ErrorType;
use futures_util::FutureExt;

use crate::error::{ApiError, fault_id};
use crate::uploads::{RECEIVE_ROUTE, RECEIVE_TIMEOUT};

/// A request that takes longer has met a fault; nothing that the API does needs as long.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The header with a request's id.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client; longer ones would bloat logs.
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// Gives the request an id, a limit on time and a net under panics, and writes one line to the log.
pub(crate) async fn frame(mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let method = request.method().clone();
    let path = matched(&request);
    request.headers_mut().insert(REQUEST_ID.clone(), id.clone());
    let begun = Instant::now();
    let timeout = match path.as_str() {
        RECEIVE_ROUTE => RECEIVE_TIMEOUT,
        _ => REQUEST_TIMEOUT,
    };
    let work = tokio::time::timeout(timeout, next.run(request));
    let mut response = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_elapsed)) => too_long(timeout).into_response(),
        Err(panic) => ApiError::internal(panic_words(panic.as_ref())).into_response(),
    };
    response
        .headers_mut()
        .insert(REQUEST_ID.clone(), id.clone());
    let elapsed_ms = begun.elapsed().as_millis();
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, elapsed_ms, request_id = ?id, "answered");
    response
}

/// The route, or the path's first part where there is none: a whole path may hold what should not be in logs.
fn matched(request: &Request) -> String {
    match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => "(no route)".to_owned(),
    }
}

fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(&REQUEST_ID);
    let is_fit = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= REQUEST_ID_LENGTH_MAX
            && bytes.iter().all(u8::is_ascii_graphic)
    };
    given.filter(is_fit).cloned().unwrap_or_else(|| {
        let id = fault_id().replacen("fault_", "req_", 1);
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("req_unnamed"))
    })
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "a handler panicked: {}",
        text.unwrap_or_else(|| "no words".to_owned())
    )
}

fn too_long(timeout: Duration) -> ApiError {
    let seconds = timeout.as_secs();
    ApiError::new(ErrorType::TimeoutError, format!("the request took longer than {seconds} s; look at what it asked for before sending it again"))
        .with("retryable", false)
}

/// No such path.
pub(crate) async fn no_route(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(
        ErrorType::NotFoundError,
        format!("there is no operation {method} {path}"),
    )
}

/// The path exists with other methods.
pub(crate) async fn no_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(
        ErrorType::MethodNotAllowedError,
        format!("{path} does not take {method}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    async fn panics() {
        panic!("a secret");
    }

    #[tokio::test]
    async fn a_panic_becomes_an_answer_without_its_words() {
        let router = Router::new().route("/x", get(panics)).layer(from_fn(frame));
        let request = Request::builder().uri("/x").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(&REQUEST_ID));
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(
            body.contains("fault_") && !body.contains("secret"),
            "{body}"
        );
    }
}
