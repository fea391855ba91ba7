//! Grants of HTTP requests: their origins, methods, number and size.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::origin::Origin;
use crate::text::shorten;

/// A grant to send HTTP requests to an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The methods that are allowed; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Method>>,
    /// Addresses in addition to public ones, for services of a private network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
}

impl HttpGrant {
    /// Whether it allows a request with `method` to the address `to`.
    pub(super) fn allows(&self, method: &http::Method, to: &http::Uri) -> bool {
        let named = |allowed: &Vec<Method>| allowed.iter().any(|m| m.0 == method.as_str());
        self.origin.matches(to) && self.methods.as_ref().is_none_or(named)
    }
}

/// A method of HTTP: `GET`, `POST`, … in capitals, as they are compared exactly (RFC 9110, 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// A string that is not an HTTP method.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an HTTP method: use an upper-case name such as GET or POST")]
pub struct InvalidMethod(String);

impl TryFrom<String> for Method {
    type Error = InvalidMethod;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let capitals = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if capitals && (1..=32).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(InvalidMethod(shorten(&text)))
        }
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}

/// Limits on the HTTP requests of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// The number of requests.
    pub requests: u32,
    /// The number of concurrent requests; more wait.
    pub concurrent: u32,
    /// The body of one request, in bytes.
    pub request_bytes: u64,
    /// The body of one response, in bytes.
    pub response_bytes: u64,
}

impl HttpLimits {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for HttpLimits {
    /// Enough for a job of a web application: some pages of some API, each as large as a default payload or
    /// the largest output.
    fn default() -> Self {
        Self { requests: 100, concurrent: 4, request_bytes: 1 << 20, response_bytes: 16 << 20 }
    }
}
