//! The start page at `/`: HTML for browsers, and JSON for programs. Both are the same for all callers, and have
//! no information about this host.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::json;

/// The page, which is static and has no scripts, styles or images.
const PAGE: &str = include_str!("welcome.html");

/// As for all responses, nothing is executed or loaded. But the page has no `sandbox` directive, which would
/// remove its origin: its links would then be requests of another site, which are refused.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The page or the JSON, by the header `Accept`.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let mut response = if wants_html(&headers) {
        ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response()
    } else {
        Json(json!({
            "name": "jobwright",
            "description": "a job host for WebAssembly",
            "api": "/v1",
            "health": "/healthz",
            "readiness": "/readyz",
        }))
        .into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether `Accept` (RFC 9110, section 12.5.1) names HTML explicitly: programs send wildcards.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |kind| {
            let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
            let html = ["text/html", "application/xhtml+xml"];
            html.iter().any(|html| kind.trim().eq_ignore_ascii_case(html))
                && !is_refused(parameters)
        },
    )
}

/// Whether the weight of a media range is 0: "not acceptable".
fn is_refused(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let weight = parameter.trim().strip_prefix("q=");
        weight.and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_and_programs_are_distinguished() {
        let wants = |accept: &str| {
            wants_html(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]))
        };
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants("Text/HTML; q=0.5") && wants("application/json, text/html"));
        for program in ["*/*", "application/json", "text/*", "", "text/html;q=0", "text/htmlx"] {
            assert!(!wants(program), "{program}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn the_page_executes_and_loads_nothing() {
        for forbidden in
            ["<script", "<style", "<img", "<link", "<iframe", "style=", "src=", "javascript"]
        {
            assert!(!PAGE.to_ascii_lowercase().contains(forbidden), "{forbidden}");
        }
    }
}
