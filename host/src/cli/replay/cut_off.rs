//! Whether a recorded attempt was ended from outside the guest. Pure.

use jobwright_core::attempt::AttemptRecord;
use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::OutcomeKind;

use crate::runtime::PROCESS_DIED;

/// What ended an attempt before the guest did. Its progress and fuel then depend on timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOff {
    /// The job was cancelled, or the host stopped.
    Cancelled,
    /// The attempt could not be started, or its process ended.
    HostFailed,
    /// The time limit.
    TimedOut,
}

/// What ended the attempt, if not the guest.
pub(super) fn cut_off(recorded: &AttemptRecord, limits: &Limits) -> Option<CutOff> {
    // Fuel was metered and not reported: the process ended before the attempt did.
    let is_unreported = recorded.usage.fuel.is_none() && limits.fuel != Fuel::Unlimited;
    let died = recorded.error.as_ref().is_some_and(|error| error.code == PROCESS_DIED);
    match (recorded.outcome, recorded.limit) {
        (OutcomeKind::Cancelled | OutcomeKind::Interrupted, _) => Some(CutOff::Cancelled),
        (OutcomeKind::Refused | OutcomeKind::Lost, _) => Some(CutOff::HostFailed),
        _ if died || is_unreported => Some(CutOff::HostFailed),
        (_, Some(Limit::Time)) => Some(CutOff::TimedOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;
    use jobwright_core::job::Lifecycle;
    use jobwright_core::outcome::{AttemptError, Outcome, Output, Usage};

    use super::*;

    #[test]
    fn attempts_that_the_guest_did_not_end_are_recognized() {
        let limits = Limits::DEFAULT;
        let error = |code: &str| AttemptError::new(code, "no more");
        let refused = || Outcome::Refused { error: error("process_unavailable"), transient: true };
        let late = || Outcome::LimitExceeded { limit: Limit::Time, error: error("time") };
        let trapped = |code| Outcome::Trapped { error: error(code) };
        let succeeded = || Outcome::Succeeded { output: Output::new("a".into(), None) };
        let found = |outcome, fuel, limits| {
            let usage = Usage { fuel, ..Usage::default() };
            let lifecycle = Lifecycle::new(Timestamp::UNIX_EPOCH);
            let now = Timestamp::UNIX_EPOCH;
            cut_off(&AttemptRecord::new(&lifecycle, &outcome, usage, now), limits)
        };
        for (outcome, fuel, expected) in [
            (Outcome::Cancelled, None, Some(CutOff::Cancelled)),
            (refused(), None, Some(CutOff::HostFailed)),
            (trapped(PROCESS_DIED), None, Some(CutOff::HostFailed)),
            // Its process did not respond.
            (late(), None, Some(CutOff::HostFailed)),
            (late(), Some(7), Some(CutOff::TimedOut)),
            (trapped("unreachable"), Some(7), None),
            (succeeded(), Some(7), None),
        ] {
            assert_eq!(found(outcome.clone(), fuel, &limits), expected, "{outcome:?}");
        }
        let unlimited = Limits { fuel: Fuel::Unlimited, ..limits };
        assert_eq!(found(succeeded(), None, &unlimited), None);
        assert_eq!(found(trapped(PROCESS_DIED), None, &unlimited), Some(CutOff::HostFailed));
    }
}
