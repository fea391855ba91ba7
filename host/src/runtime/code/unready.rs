//! Why there is no code. The party at fault decides whether a retry can succeed.

use jobwright_core::outcome::{AttemptError, Outcome};
use jobwright_core::runtime::{Unprepared, UnusableCode, UnusablePlugin};

use super::super::abi::fit::Misfit;
use super::super::single_flight::Broken;
use crate::registry::compiler::Failure;

/// The error code of a plugin that no attempt can ever run.
pub(in super::super) const UNUSABLE: &str = UnusableCode::PluginUnusable.as_str();

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Unready {
    pub(in super::super) message: String,
    pub(in super::super) why: Why,
}

/// The party at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Why {
    /// The plugin: no attempt can run it.
    Plugin,
    /// Unknown: compiling exceeded its wall time.
    TooLong,
    /// The host: a retry may succeed.
    Host,
}

impl Unready {
    pub(super) fn unusable(message: impl Into<String>) -> Self {
        Self { message: message.into(), why: Why::Plugin }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), why: Why::Host }
    }

    /// The outcome of an attempt without code.
    pub(super) fn into_outcome(self) -> Outcome {
        // On a busy machine, a compilation that took too long may be fast enough the next time.
        let transient = self.why != Why::Plugin;
        let code = if transient { "plugin_unavailable" } else { UNUSABLE };
        Outcome::Refused { error: AttemptError::new(code, self.message), transient }
    }

    /// The error of an upload without code.
    pub(super) fn into_unprepared(self) -> Unprepared {
        match self.why {
            Why::TooLong => UnusablePlugin::new(UnusableCode::CompileTimeout, self.message).into(),
            Why::Plugin => UnusablePlugin::new(UnusableCode::PluginUnusable, self.message).into(),
            Why::Host => Unprepared::NotNow(self.message),
        }
    }
}

impl From<Broken> for Unready {
    fn from(_: Broken) -> Self {
        Self::transient("the host failed while it made the plugin's code ready")
    }
}

impl From<Failure> for Unready {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(message) => Self::unusable(format!("it does not compile: {message}")),
            Failure::TooLong(message) => Self { message, why: Why::TooLong },
            Failure::Broken(message) => Self::transient(message),
        }
    }
}

impl From<Misfit> for Unready {
    fn from(Misfit(message): Misfit) -> Self {
        Self::unusable(message)
    }
}
