//! How a job names its plugin: `name`, `name@1`, `name@1.2.0` or `name@sha256:…`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::name::PluginName;
use super::version::Version;
use crate::digest::Digest;
use crate::name::InvalidName;
use crate::text::shorten;

/// Which version of a plugin a job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The bare name: the pinned version, else the one uploaded last.
    Default,
    /// `name@1`, `name@1.2`: the highest version that begins so; no pre-releases.
    Highest {
        /// The major number.
        major: u64,
        /// The minor number, if given.
        minor: Option<u64>,
    },
    /// `name@1.2.0`, `name@sha-…`: this one.
    Exact(Version),
    /// `name@sha256:…`: a version with these bytes.
    Digest(Digest),
}

/// How a job names its plugin: `name`, `name@1`, `name@1.2.0` or `name@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRef {
    /// The plugin.
    pub name: PluginName,
    /// The version.
    pub selector: Selector,
}

/// A string that does not name a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPluginRef {
    /// Before the `@`.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// After it.
    #[error("`{0}` selects no version: use `name`, `name@1`, `name@1.2.0` or `name@sha256:…`")]
    Selector(String),
}

impl FromStr for PluginRef {
    type Err = InvalidPluginRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, selector) = match text.split_once('@') {
            None => (text, Selector::Default),
            Some((name, wanted)) => {
                let selector = parse_selector(wanted)
                    .ok_or_else(|| InvalidPluginRef::Selector(shorten(wanted)))?;
                (name, selector)
            }
        };
        Ok(Self { name: name.parse()?, selector })
    }
}

fn parse_selector(wanted: &str) -> Option<Selector> {
    if wanted.starts_with("sha256:") {
        return wanted.parse().ok().map(Selector::Digest);
    }
    if let Ok(version) = wanted.parse() {
        return Some(Selector::Exact(version));
    }
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| n.to_string() == text);
    match wanted.split_once('.') {
        None => Some(Selector::Highest { major: number(wanted)?, minor: None }),
        Some((major, minor)) => {
            Some(Selector::Highest { major: number(major)?, minor: Some(number(minor)?) })
        }
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.selector {
            Selector::Default => write!(f, "{name}"),
            Selector::Highest { major, minor: None } => write!(f, "{name}@{major}"),
            Selector::Highest { major, minor: Some(minor) } => write!(f, "{name}@{major}.{minor}"),
            Selector::Exact(version) => write!(f, "{name}@{version}"),
            Selector::Digest(digest) => write!(f, "{name}@{digest}"),
        }
    }
}
