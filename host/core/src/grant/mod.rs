//! What a plugin may be granted to reach, and which of it its imports ask for.
//!
//! An import alone is no need: the runtimes of many languages import more than their programs call.
//! So every import is linked, and what was not granted is denied when it is called.
//!
//! | module | owns |
//! |---|---|
//! | [`origin`] | where HTTP requests may go, by name |
//! | [`address`] | which addresses such a name may have |
//! | [`bounds`] | how much may be granted at all |
//! | [`determinism`] | whether jobs see the same clock and random bytes at every attempt |

pub mod address;
pub mod bounds;
pub mod determinism;
pub mod origin;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::determinism::Determinism;
pub use self::origin::{InvalidOrigin, Origin};
use crate::name::shorten;

/// Something outside of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// To send HTTP requests.
    Http,
    /// To keep values from one job to the next.
    KeyValue,
    /// To read values that the operator set.
    Config,
}

impl Capability {
    const ALL: [Self; 3] = [Self::Http, Self::KeyValue, Self::Config];

    /// The capabilities that a plugin with these `imports` may ask for.
    #[must_use]
    pub fn asked_for(imports: &[String]) -> Vec<Self> {
        let asks = |capability: &Self| {
            let is_there = |prefix: &&str| imports.iter().any(|import| import.starts_with(prefix));
            capability.imports().iter().any(is_there)
        };
        Self::ALL.into_iter().filter(asks).collect()
    }

    /// How the names of imports begin that are of no use without it.
    fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Http => &[
                "wasi:http/outgoing-handler",
                "extism:host/env.http_request",
                "jobwright.http_send",
            ],
            Self::KeyValue => &["wasi:keyvalue/", "jobwright.value_"],
            Self::Config => &["wasi:config/", "jobwright.config_"],
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::KeyValue => "key-value",
            Self::Config => "config",
        })
    }
}

/// What an operator lets a plugin reach; by default nothing. Looked up at the start of each attempt,
/// so that what is taken back is gone for jobs that wait, too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Where HTTP requests may go: where one of these allows it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// How many and how large they may be.
    #[serde(skip_serializing_if = "HttpLimits::is_default")]
    pub http_limits: HttpLimits,
    /// Values that are kept from one job of the plugin to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_value: Option<KeyValueGrant>,
    /// What `wasi:config` answers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The secrets of which it gets a [placeholder](SecretName::placeholder), as a variable and in its
    /// configuration.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretName>,
    /// Variables, which those of a job overlay.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The step of the clocks that it sees, in microseconds; absent for [`CLOCK_PRECISION_US`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_precision_us: Option<NonZeroU32>,
    /// Whether jobs see a clock and random bytes that are the same at every attempt.
    #[serde(skip_serializing_if = "Determinism::is_never")]
    pub deterministic: Determinism,
}

/// How fine the clocks of a guest are that was granted no other, in microseconds: enough to measure
/// what a job does, and too coarse to measure what others do beside it.
pub const CLOCK_PRECISION_US: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

impl Grants {
    /// Whether nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything is granted that reaches outside of the sandbox, or comes from there: what an
    /// attempt that is made again elsewhere lacks.
    #[must_use]
    pub fn reach_outside(&self) -> bool {
        let Self { http, key_value, config, secrets, env, .. } = self;
        let none = http.is_empty() && config.is_empty() && secrets.is_empty() && env.is_empty();
        !none || key_value.is_some()
    }

    /// The grants that let a request with `method` go to where `to` names. One of them must also let it
    /// reach every address that the name has.
    pub fn allowing<'a>(
        &'a self,
        method: &'a http::Method,
        to: &'a http::Uri,
    ) -> impl Iterator<Item = &'a HttpGrant> {
        self.http.iter().filter(move |grant| grant.allows(method, to))
    }

    /// The variables that an attempt sees of its grants: those set, and a placeholder for each secret.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        Self::with_placeholders(&self.env, &self.secrets)
    }

    /// The variables that an attempt at a job with the variables `env` sees: the job's overlay those
    /// of the grants, but no secret's.
    #[must_use]
    pub fn variables_under(&self, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let is_secret = |name: &String| self.secrets.iter().any(|secret| secret.as_str() == name);
        let of_job = env.iter().filter(|(name, _)| !is_secret(name));
        self.variables().chain(of_job.map(|(name, value)| (name.clone(), value.clone()))).collect()
    }

    /// What `wasi:config` answers: the values set, and a placeholder for each secret.
    pub fn configuration(&self) -> impl Iterator<Item = (String, String)> {
        Self::with_placeholders(&self.config, &self.secrets)
    }

    fn with_placeholders(
        values: &BTreeMap<String, String>,
        secrets: &BTreeSet<SecretName>,
    ) -> impl Iterator<Item = (String, String)> {
        let values = values.iter().map(|(name, value)| (name.clone(), value.clone()));
        values.chain(secrets.iter().map(|name| (name.to_string(), name.placeholder())))
    }
}

/// Where HTTP requests may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// Scheme, host and port.
    pub origin: Origin,
    /// With these methods; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Method>>,
    /// Addresses that the host may have beside public ones: a service of one's own network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
}

impl HttpGrant {
    fn allows(&self, method: &http::Method, to: &http::Uri) -> bool {
        let named = |allowed: &Vec<Method>| allowed.iter().any(|m| m.0 == method.as_str());
        self.origin.matches(to) && self.methods.as_ref().is_none_or(named)
    }
}

/// A method of HTTP: `GET`, `POST`, … in capitals, as they are compared exactly (RFC 9110, 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// Text that is no method.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a method of HTTP: use GET, POST and the like, in capitals")]
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

/// How many HTTP requests an attempt may make, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// In all.
    pub requests: u32,
    /// At one time; more wait.
    pub concurrent: u32,
    /// The body of one request, in bytes.
    pub request_bytes: u64,
    /// The body of one response, in bytes.
    pub response_bytes: u64,
}

impl HttpLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for HttpLimits {
    /// What a job of a web application needs: some pages of some API, each as large as a payload may
    /// be by default and as an output may be at most.
    fn default() -> Self {
        Self { requests: 100, concurrent: 4, request_bytes: 1 << 20, response_bytes: 16 << 20 }
    }
}

/// How much a plugin may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValueGrant {
    /// All keys and values together, in bytes, with what an entry takes beside them.
    pub bytes: u64,
}

/// The name of a secret: `[A-Za-z_][A-Za-z0-9_]{0,63}`, since it becomes that of a variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// Text that names no secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not the name of a secret: use 1 to 64 of A-Z, a-z, 0-9 and `_`, the first no digit"
)]
pub struct InvalidSecretName(String);

impl SecretName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the guest holds in place of the secret: the host replaces it in the headers of requests
    /// to where the secret belongs, and nowhere else. It is no secret itself.
    #[must_use]
    pub fn placeholder(&self) -> String {
        format!("jobwright-secret({self})")
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let first = text.as_bytes().first().is_some_and(|b| plain(b) && !b.is_ascii_digit());
        if first && text.len() <= 64 && text.as_bytes().iter().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSecretName(shorten(text)))
        }
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidSecretName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_ask_for_capabilities() {
        let asked = |import: &str| Capability::asked_for(&[import.to_owned()]);
        assert_eq!(asked("wasi:http/outgoing-handler@0.2.6"), [Capability::Http]);
        assert_eq!(asked("extism:host/env.http_request"), [Capability::Http]);
        assert_eq!(asked("wasi:keyvalue/store@0.2.0-draft"), [Capability::KeyValue]);
        assert_eq!(asked("wasi:config/store@0.2.0-rc.1"), [Capability::Config]);
        assert_eq!(asked("jobwright.value_add"), [Capability::KeyValue]);
        assert_eq!(asked("jobwright.config_get"), [Capability::Config]);
        assert_eq!(asked("jobwright.http_send"), [Capability::Http]);
        assert_eq!(asked("jobwright.log"), []);
        assert_eq!(asked("wasi:http/types@0.2.0"), []);
    }

    fn grants(json: &str) -> Grants {
        serde_json::from_str(json).expect("grants")
    }

    #[test]
    fn a_request_goes_where_one_grant_allows_origin_and_method() {
        let grants = grants(
            r#"{ "http": [
                { "origin": "https://api.example.com", "methods": ["GET", "PUT"] },
                { "origin": "http://*.example.org:8080" }
            ] }"#,
        );
        let allowed = |method: &str, to: &str| {
            let (method, to) = (method.parse().expect("a method"), to.parse().expect("a URI"));
            grants.allowing(&method, &to).next().is_some()
        };
        assert!(allowed("GET", "https://api.example.com/v1?q"));
        assert!(allowed("PUT", "https://API.example.com:443/"));
        assert!(allowed("DELETE", "http://a.example.org:8080/"));
        for (method, to) in [
            ("POST", "https://api.example.com/v1"),
            ("get", "https://api.example.com/v1"),
            ("GET", "http://api.example.com/v1"),
            ("GET", "https://api.example.com:8443/v1"),
            ("GET", "http://a.example.org/"),
        ] {
            assert!(!allowed(method, to), "{method} {to}");
        }
    }

    #[test]
    fn what_is_misspelt_grants_nothing() {
        for bad in [
            r#"{ "htp": [] }"#,
            r#"{ "http": [{ "origin": "https://a.example.com", "method": ["GET"] }] }"#,
            r#"{ "http": [{ "origin": "https://a.example.com", "methods": ["get"] }] }"#,
            r#"{ "secrets": ["A-B"] }"#,
            r#"{ "secrets": ["1A"] }"#,
            r#"{ "key_value": {} }"#,
            r#"{ "clock_precision_us": 0 }"#,
        ] {
            assert!(serde_json::from_str::<Grants>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_seen_as_its_placeholder() {
        let grants = grants(r#"{ "env": { "A": "1" }, "secrets": ["API_KEY"] }"#);
        let seen: Vec<_> = grants.variables().collect();
        let placeholder = "jobwright-secret(API_KEY)".to_owned();
        assert_eq!(seen, [("A".into(), "1".into()), ("API_KEY".into(), placeholder)]);
    }

    #[test]
    fn a_job_overlays_variables_and_no_secret() {
        let grants = grants(r#"{ "env": { "A": "1", "B": "2" }, "secrets": ["KEY"] }"#);
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let job = BTreeMap::from([("B", "3"), ("C", "4"), ("KEY", "5")].map(text));
        let seen = [("A", "1"), ("B", "3"), ("C", "4"), ("KEY", "jobwright-secret(KEY)")];
        assert_eq!(grants.variables_under(&job), BTreeMap::from(seen.map(text)));
    }
}
