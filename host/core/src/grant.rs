//! What a plugin may be granted to reach, and which of it its imports ask for.
//!
//! An import alone is no need: the runtimes of many languages import more than their programs call.
//! So every import is linked, and what was not granted is denied when it is called.

use std::fmt;

use serde::Serialize;

/// Something outside of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// To send HTTP requests.
    Http,
}

impl Capability {
    const ALL: [Self; 1] = [Self::Http];

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
            Self::Http => &["wasi:http/outgoing-handler", "extism:host/env.http_request"],
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
        })
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
        assert_eq!(asked("wasi:http/types@0.2.0"), []);
    }
}
