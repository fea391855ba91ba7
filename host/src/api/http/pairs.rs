//! The parameters of a query string, decoded as forms are.

use axum::http::Uri;

/// Whether values of this parameter may have spaces. In all others a `+` is a plus sign: `p@1.0.0+build`,
/// `1e+9`; but for the one between a date and a time.
fn may_have_spaces(name: &str) -> bool {
    matches!(name, "tag" | "arg") || name.starts_with("env.")
}

/// A parameter.
#[derive(Debug)]
pub(in crate::api) struct Pair {
    /// Its name.
    pub(in crate::api) name: String,
    /// Its value.
    pub(in crate::api) value: String,
    /// Whether a `+` in it was read as a space.
    pub(in crate::api) has_plus: bool,
}

/// The parameters of a request, in their order.
pub(in crate::api) fn pairs(uri: &Uri) -> Vec<Pair> {
    let parts = uri.query().unwrap_or_default().split('&');
    parts.filter(|part| !part.is_empty()).filter_map(pair).collect()
}

fn pair(part: &str) -> Option<Pair> {
    let decoded = |part: &str| {
        let pair = form_urlencoded::parse(part.as_bytes()).next()?;
        Some((pair.0.into_owned(), pair.1.into_owned()))
    };
    let (name, value) = decoded(part)?;
    let has_plus = part.split_once('=').is_some_and(|(_, value)| value.contains('+'));
    if !has_plus || may_have_spaces(&name) {
        return Some(Pair { name, value, has_plus });
    }
    let (_, mut value) = decoded(&part.replace('+', "%2B"))?;
    if name == "scheduled_at" && !value.contains(['T', 't', ' ']) {
        // As a form encodes `2027-01-31 09:30:00+02:00`.
        value = value.replacen('+', " ", 1);
    }
    Some(Pair { name, value, has_plus: false })
}
