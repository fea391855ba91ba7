//! Whether an attempt that was recorded ended by itself. Pure.

use jobwright_core::attempt::AttemptRecord;
use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::OutcomeKind;

use crate::runtime::PROCESS_DIED;

/// What ended an attempt that did not end by itself. Then how far it had come, and what fuel it had
/// used, was chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOff {
    /// Its host, which stopped, or whoever cancelled the job.
    Stopped,
    /// What ran it: it could not be started, or its process ended.
    Broken,
    /// Its time limit.
    Late,
}

/// What has cut the attempt off, if something has.
pub(super) fn cut_off(recorded: &AttemptRecord, limits: &Limits) -> Option<CutOff> {
    // Who counts fuel and did not tell it was gone before the attempt was.
    let is_silent = recorded.usage.fuel.is_none() && limits.fuel != Fuel::Unlimited;
    let died = recorded.error.as_ref().is_some_and(|error| error.code == PROCESS_DIED);
    match (recorded.outcome, recorded.limit) {
        (OutcomeKind::Cancelled | OutcomeKind::Interrupted, _) => Some(CutOff::Stopped),
        (OutcomeKind::Refused | OutcomeKind::Lost, _) => Some(CutOff::Broken),
        _ if died || is_silent => Some(CutOff::Broken),
        (_, Some(Limit::Time)) => Some(CutOff::Late),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;
    use jobwright_core::lifecycle::Lifecycle;
    use jobwright_core::outcome::{AttemptError, Outcome, Output, Usage};

    use super::*;

    #[test]
    fn what_ended_an_attempt_is_told_from_what_it_did_itself() {
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
            (Outcome::Cancelled, None, Some(CutOff::Stopped)),
            (refused(), None, Some(CutOff::Broken)),
            (trapped(PROCESS_DIED), None, Some(CutOff::Broken)),
            // Its process did not answer.
            (late(), None, Some(CutOff::Broken)),
            (late(), Some(7), Some(CutOff::Late)),
            (trapped("unreachable"), Some(7), None),
            (succeeded(), Some(7), None),
        ] {
            assert_eq!(found(outcome.clone(), fuel, &limits), expected, "{outcome:?}");
        }
        let unlimited = Limits { fuel: Fuel::Unlimited, ..limits };
        assert_eq!(found(succeeded(), None, &unlimited), None);
        assert_eq!(found(trapped(PROCESS_DIED), None, &unlimited), Some(CutOff::Broken));
    }
}
