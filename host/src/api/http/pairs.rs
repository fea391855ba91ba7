//! The parameters of a query string, decoded like forms.

use axum::http::Uri;

/// Whether a `+` in the value of this parameter is a space. In all others it is a plus sign, as in
/// `p@1.0.0+build` and `1e+9`, except between a date and a time.
fn may_have_spaces(name: &str) -> bool {
    matches!(name, "tag" | "arg") || name.starts_with("env.")
}

/// A parameter.
#[derive(Debug)]
pub(in crate::api) struct Pair {
    /// The decoded name.
    pub(in crate::api) name: String,
    /// The decoded value.
    pub(in crate::api) value: String,
    /// Whether a `+` in the value was read as a space.
    pub(in crate::api) has_plus: bool,
}

/// The parameters of a request, in order.
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
        // A form encodes `2027-01-31 09:30:00+02:00` this way.
        value = value.replacen('+', " ", 1);
    }
    Some(Pair { name, value, has_plus: false })
}
