//! The pages of docs/ that answers link to, served by this server, so that the links work without a network.
//!
//! Owns which pages there are and the addresses of their sections. It must not say anything that docs/ does not.

mod render;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use fettle_diagnose::CaseKind;
use fettle_model::{DocumentErrorClass, FailureCategory, InfraEventType};

use crate::error::ApiError;
use crate::state::ApiState;

/// The type of Markdown (RFC 7763).
pub(crate) const MARKDOWN: &str = "text/markdown";

/// A page: its address below `/docs`, and its text.
struct Page {
    name: &'static str,
    text: &'static str,
}

macro_rules! pages {
    ($($name:literal = $file:literal,)*) => {
        /// All pages.
        const PAGES: &[Page] = &[$(Page {
            name: $name,
            text: include_str!(concat!("../../../docs/", $file)),
        },)*];
    };
}

pages! {
    "failures" = "failures.md",
    "calibration.svg" = "calibration.svg",
    "exit-codes" = "exit-codes.md",
    "plugins" = "plugins.md",
    "settings" = "settings.md",
    "contract" = "contract.md",
    "webhooks" = "webhooks.md",
    "errors/README" = "errors/README.md",
    "errors/AlreadyExistsError" = "errors/AlreadyExistsError.md",
    "errors/BadRequestError" = "errors/BadRequestError.md",
    "errors/ConflictError" = "errors/ConflictError.md",
    "errors/ForbiddenError" = "errors/ForbiddenError.md",
    "errors/InternalServerError" = "errors/InternalServerError.md",
    "errors/MethodNotAllowedError" = "errors/MethodNotAllowedError.md",
    "errors/NotFoundError" = "errors/NotFoundError.md",
    "errors/NotImplementedError" = "errors/NotImplementedError.md",
    "errors/PayloadTooLargeError" = "errors/PayloadTooLargeError.md",
    "errors/ServiceUnavailableError" = "errors/ServiceUnavailableError.md",
    "errors/TimeoutError" = "errors/TimeoutError.md",
    "errors/TooManyRequestsError" = "errors/TooManyRequestsError.md",
    "errors/UnauthorizedError" = "errors/UnauthorizedError.md",
    "errors/ValidationError" = "errors/ValidationError.md",
}

/// The pages as routes; they need no key, for they tell nothing of anybody.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new().route("/docs/{*page}", get(page))
}

async fn page(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let name = name.strip_suffix(".md").unwrap_or(&name);
    match PAGES.iter().find(|page| page.name == name) {
        Some(page) if page.name.ends_with(".svg") => {
            ([(header::CONTENT_TYPE, "image/svg+xml")], page.text).into_response()
        }
        Some(page) if wants_markdown(&headers) => markdown(page.text.to_owned()),
        Some(page) => Html(render::html(page.text)).into_response(),
        None => ApiError::not_found("page", name).into_response(),
    }
}

/// Where a category is explained.
pub(crate) fn category_url(category: FailureCategory) -> String {
    section(&format!("category-{}", category.as_str()))
}

/// Where an event is explained.
pub(crate) fn event_url(event: InfraEventType) -> String {
    section(&format!("event-{}", event.as_str()))
}

/// Where a finding is explained.
pub(crate) fn case_url(case: CaseKind) -> String {
    section(case.as_str())
}

/// Where a class of document errors is explained.
pub(crate) fn class_url(class: DocumentErrorClass) -> String {
    section(&format!("class-{}", class.as_str()))
}

fn section(anchor: &str) -> String {
    format!("/docs/failures#{anchor}")
}

/// Whether Markdown is asked for, and nothing before it that is always to be had.
pub(crate) fn wants_markdown(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let kinds = accepted.unwrap_or_default().split(',');
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let known = ["application/json", "text/html", "*/*", MARKDOWN];
    kinds.find(|kind| known.contains(kind)) == Some(MARKDOWN)
}

/// An answer in Markdown.
pub(crate) fn markdown(text: String) -> Response {
    let kind = format!("{MARKDOWN}; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The server's address as the caller named it; empty where that is no plain host, so that links stay relative.
pub(crate) fn own_address(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let is_plain = |host: &&str| {
        host.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    };
    let scheme = headers.get("x-forwarded-proto").map(|v| v.as_bytes());
    let scheme = if scheme == Some(b"https") {
        "https"
    } else {
        "http"
    };
    host.filter(is_plain)
        .map_or(String::new(), |host| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn anchors(page: &str) -> BTreeSet<String> {
        let page = PAGES.iter().find(|one| one.name == page).unwrap();
        let html = render::html(page.text);
        let ids = html.split("id=\"").skip(1);
        ids.map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_word_of_an_answer_has_its_section() {
        use DocumentErrorClass::{Permanent, Resource, Transient};
        use FailureCategory::{Infrastructure, Orphaned, Pipeline, Timeout, Unknown, Validation};
        use InfraEventType::{NodeFailure, Oom, Preemption, RayBug, RollingUpdate};
        let categories = [
            Infrastructure,
            Timeout,
            Orphaned,
            Pipeline,
            Validation,
            Unknown,
        ];
        let events = [
            Oom,
            Preemption,
            NodeFailure,
            RayBug,
            RollingUpdate,
            InfraEventType::Unknown,
        ];
        let urls = categories.map(category_url).into_iter();
        let urls = urls.chain(events.map(event_url));
        let urls = urls.chain([Transient, Permanent, Resource].map(class_url));
        let urls = urls.chain(CaseKind::ALL.iter().map(|case| case_url(*case)));
        let known = anchors("failures");
        for url in urls {
            let anchor = url.strip_prefix("/docs/failures#").unwrap();
            assert!(known.contains(anchor), "{url}");
        }
    }

    #[test]
    fn every_link_of_a_page_leads_to_a_page_and_a_section() {
        for page in PAGES.iter().filter(|page| !page.name.ends_with(".svg")) {
            let html = render::html(page.text);
            let linked = html.split("href=\"").skip(1);
            for link in linked.chain(html.split("src=\"").skip(1)) {
                let link = link.split('"').next().unwrap();
                if link.contains("://") || link.contains("adr/") {
                    continue;
                }
                let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
                let folder = page.name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let name = match (target, target.strip_prefix("../")) {
                    ("", _) => page.name.to_owned(),
                    (_, Some(above)) => above.to_owned(),
                    (below, None) => format!("{folder}/{below}")
                        .trim_start_matches('/')
                        .to_owned(),
                };
                assert!(
                    PAGES.iter().any(|one| one.name == name),
                    "{}: {link}",
                    page.name
                );
                assert!(
                    anchor.is_empty() || anchors(&name).contains(anchor),
                    "{}: {link}",
                    page.name
                );
            }
        }
    }

    #[test]
    fn markdown_is_given_to_who_asks_for_it_first() {
        let asks = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            wants_markdown(&headers)
        };
        assert!(asks("text/markdown") && asks("text/markdown;q=0.9, */*"));
        assert!(!asks("*/*") && !asks("application/json, text/markdown"));
        assert!(!wants_markdown(&HeaderMap::new()));
    }

    #[test]
    fn an_address_that_could_be_markup_is_left_out() {
        let of = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            own_address(&headers)
        };
        assert_eq!(of("127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(of("x) [a](b"), "");
    }
}
