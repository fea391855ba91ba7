//! Plugins: their names, versions, the references that jobs make to them, and their digests.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::exit_codes::ExitCodes;
use crate::grant::{Capability, Grants};
use crate::limits::LimitsRequest;
use crate::name::{InvalidName, name_type, shorten};
use crate::retry::RetryPolicy;
use crate::tenant::TenantName;

name_type! {
    /// The name of a plugin.
    PluginName
}

/// The SHA-256 of a plugin's bytes, shown as `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a digest: use `sha256:` and 64 hex digits")]
pub struct InvalidDigest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of all that is left to read, which is never in memory as a whole.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_all(from: &mut impl Read) -> io::Result<Self> {
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; 64 << 10]);
        loop {
            match from.read(&mut piece)? {
                0 => return Ok(Self(hasher.finalize().into())),
                read => hasher.update(&piece[..read]),
            }
        }
    }

    /// The 64 hex digits alone, as used in file names.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The digest that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        text.strip_prefix("sha256:")
            .filter(|digits| hex::decode_to_slice(digits, &mut bytes).is_ok())
            .map(|_| Self(bytes))
            .ok_or_else(|| InvalidDigest(shorten(text)))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A version: semantic (`1.2.0`), or made from the digest (`sha-` and 12 hex digits).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// `sha-` and 12 hex digits; sorts before every semantic version.
    Digest(String),
    /// As in semver.org, 2.0.0.
    Semantic(semver::Version),
}

/// The longest version, in bytes: fits a file name beside a plugin's name.
pub const MAX_VERSION_BYTES: usize = 64;

/// Text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a version: use a semantic version such as 1.2.0, of at most 64 bytes, or none \
     to have one made from the digest"
)]
pub struct InvalidVersion(String);

impl Version {
    /// The version of an upload that names none.
    #[must_use]
    pub fn from_digest(digest: &Digest) -> Self {
        Self::Digest(format!("sha-{}", &digest.hex()[..12]))
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digest = text.strip_prefix("sha-").is_some_and(|digits| {
            digits.len() == 12 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if is_digest {
            return Ok(Self::Digest(text.to_owned()));
        }
        semver::Version::parse(text)
            .ok()
            .filter(|_| text.len() <= MAX_VERSION_BYTES)
            .map(Self::Semantic)
            .ok_or_else(|| InvalidVersion(shorten(text)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(label) => f.write_str(label),
            Self::Semantic(version) => version.fmt(f),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

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

/// Text that names no plugin.
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

/// How a plugin is called, recognised from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Abi {
    /// A core module that exports `_start` and imports WASI preview 1.
    #[serde(rename = "wasi-command-p1")]
    WasiCommandP1,
    /// A component that exports `wasi:cli/run` of WASI 0.2.
    #[serde(rename = "wasi-command-p2")]
    WasiCommandP2,
    /// A component that exports `wasi:http/incoming-handler` of WASI 0.2.
    #[serde(rename = "wasi-http-p2")]
    WasiHttpP2,
    /// A component that exports the world `jobwright:job`.
    #[serde(rename = "jobwright-job")]
    JobwrightJob,
    /// A core module that imports `extism:host/env`.
    #[serde(rename = "extism")]
    Extism,
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WasiCommandP1 => "wasi-command-p1",
            Self::WasiCommandP2 => "wasi-command-p2",
            Self::WasiHttpP2 => "wasi-http-p2",
            Self::JobwrightJob => "jobwright-job",
            Self::Extism => "extism",
        })
    }
}

/// The most imports, and the most exports, that an [`Inspection`] names: programs have some tens,
/// libraries thousands.
pub const MAX_NAMES: usize = 100;

/// What the bytes of a plugin say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// How it is called.
    pub abi: Abi,
    /// What it imports, sorted: of a core module as `module.name`, of a component its interfaces. At
    /// most [`MAX_NAMES`].
    pub imports: Vec<String>,
    /// What it exports, sorted; at most [`MAX_NAMES`].
    #[serde(default)]
    pub exports: Vec<String>,
    /// Which of its exports a job can name as its entry point, sorted; empty if there is no choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoints: Vec<String>,
    /// What its memories and tables take at the start, in bytes.
    pub minimum_memory_bytes: u64,
}

/// A plugin of which it is not clear what a job is to call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoEntryPoint(String);

impl Inspection {
    /// What it has to be granted to do all that it might; without, it is denied that part.
    #[must_use]
    pub fn grants(&self) -> Vec<Capability> {
        Capability::asked_for(&self.imports)
    }

    /// What a job calls that asks for `asked`: none if there is no choice.
    ///
    /// # Errors
    /// [`NoEntryPoint`], which names what could be asked for.
    pub fn entrypoint(&self, asked: Option<&str>) -> Result<Option<String>, NoEntryPoint> {
        let choice = self.entrypoints.join("`, `");
        match (asked, self.entrypoints.as_slice()) {
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only.clone())),
            (None, _) => Err(NoEntryPoint(format!("is missing: name one of `{choice}`"))),
            (Some(asked), []) => Err(NoEntryPoint(format!(
                "`{}` cannot be chosen: a plugin of the kind {} has one entry point",
                shorten(asked),
                self.abi
            ))),
            (Some(asked), all) if all.iter().any(|name| name == asked) => {
                Ok(Some(asked.to_owned()))
            }
            (Some(asked), _) => {
                Err(NoEntryPoint(format!("`{}` is not one of `{choice}`", shorten(asked))))
            }
        }
    }
}

/// One uploaded version; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// Its name within the plugin.
    pub version: Version,
    /// Its bytes' digest.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// What its bytes say.
    #[serde(flatten)]
    pub inspection: Inspection,
}

/// What an operator sets for all versions of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginSettings {
    /// For jobs that ask for nothing.
    pub limits: LimitsRequest,
    /// Which endings are tried again; absent for the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryPolicy>,
    /// The media type of its outputs; absent to guess from the bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// The version that a bare name means; absent for the one uploaded last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_version: Option<Version>,
    /// Whether its environment has the host's variables, `JOBWRIGHT_…`; absent for yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject_env: Option<bool>,
    /// What its exit codes mean, where that is not the usual.
    #[serde(skip_serializing_if = "ExitCodes::is_empty")]
    pub exit_codes: ExitCodes,
    /// What it may reach.
    #[serde(skip_serializing_if = "Grants::is_empty")]
    pub grants: Grants,
}

/// A plugin: its settings and its versions, in the order of upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// Whose it is.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// Its name.
    pub name: PluginName,
    /// What the operator set.
    pub settings: PluginSettings,
    /// Every version, oldest upload first.
    pub versions: Vec<PluginVersion>,
}

impl Plugin {
    /// The version that `selector` means.
    #[must_use]
    pub fn select(&self, selector: &Selector) -> Option<&PluginVersion> {
        let exact = |wanted: &Version| self.versions.iter().find(|v| &v.version == wanted);
        match selector {
            Selector::Default => match &self.settings.default_version {
                Some(pinned) => exact(pinned),
                None => self.versions.last(),
            },
            Selector::Exact(version) => exact(version),
            Selector::Digest(digest) => self.versions.iter().find(|v| &v.digest == digest),
            Selector::Highest { major, minor } => self
                .versions
                .iter()
                .filter(|v| match &v.version {
                    Version::Semantic(version) => {
                        version.pre.is_empty()
                            && version.major == *major
                            && minor.is_none_or(|minor| version.minor == minor)
                    }
                    Version::Digest(_) => false,
                })
                .max_by(|a, b| a.version.cmp(&b.version)),
        }
    }
}

#[cfg(test)]
mod tests;
