//! Why there is no code: what is at fault decides whether another try can succeed.

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

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Why {
    /// The plugin: no attempt can ever run it.
    Plugin,
    /// Either: compiling it took too long by the clock.
    TooLong,
    /// The host: another try may succeed.
    Host,
}

impl Unready {
    pub(super) fn unusable(message: impl Into<String>) -> Self {
        Self { message: message.into(), why: Why::Plugin }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), why: Why::Host }
    }

    /// How an attempt ends that has no code.
    pub(super) fn into_outcome(self) -> Outcome {
        // On a busy machine, what takes too long now may be fast enough another time.
        let transient = self.why != Why::Plugin;
        let code = if transient { "plugin_unavailable" } else { UNUSABLE };
        Outcome::Refused { error: AttemptError::new(code, self.message), transient }
    }

    /// The answer to an upload that has no code.
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
