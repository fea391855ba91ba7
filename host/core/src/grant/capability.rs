//! Capabilities, and which of them the imports of a plugin ask for.

use std::fmt;

use serde::Serialize;

/// A capability beyond the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Sending HTTP requests.
    Http,
    /// A key-value store that persists from one job to the next.
    KeyValue,
    /// Reading configuration values that the operator set.
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

    /// The prefixes of the imports that need it.
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
