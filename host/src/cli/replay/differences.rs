//! Compares a recorded attempt with its replay. Pure.

use bytes::Bytes;
use jobwright_core::attempt::AttemptRecord;
use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::{AttemptError, Outcome, OutcomeKind};
use jobwright_core::plugin::Digest;
use jobwright_core::runtime::Ended;
use serde::Serialize;

use super::cut_off::cut_off;
use crate::cli::receipt::{grouped, words};

/// A property that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The property.
    pub(super) what: &'static str,
    /// Its value in the recorded attempt.
    pub(super) recorded: String,
    /// Its value in the replay.
    pub(super) replayed: String,
}

/// The differences of two attempts with these `limits`. `output` is the output of the recorded one, if
/// it is known.
pub(super) fn differences(
    recorded: &AttemptRecord,
    limits: &Limits,
    output: Option<&Bytes>,
    ended: &Ended,
) -> Vec<Difference> {
    let Ended { outcome, usage, .. } = ended;
    let (error, now) = (recorded.error.as_ref(), outcome.error());
    let code = |error: Option<&AttemptError>| text(error.map(|error| error.code.as_str()));
    let message = |error: Option<&AttemptError>| text(error.map(|error| error.message.as_str()));
    let frames = |error: Option<&AttemptError>| text(error.and_then(|e| e.backtrace.as_deref()));
    let uncounted = if limits.fuel == Fuel::Unlimited { "not metered" } else { "not known" };
    let fuel = |fuel: Option<u64>| fuel.map_or(uncounted.to_owned(), grouped);
    let length = |bytes: u64| format!("{} bytes", grouped(bytes));
    let mut pairs = vec![
        (
            "outcome",
            ending(recorded.outcome, recorded.limit),
            ending(outcome.kind(), outcome.limit()),
        ),
        ("error code", code(error), code(now)),
        ("error message", message(error), message(now)),
        ("backtrace", frames(error), frames(now)),
        ("output length", length(recorded.usage.output_bytes), length(usage.output_bytes)),
    ];
    if cut_off(recorded, limits).is_none() {
        pairs.push(("fuel", fuel(recorded.usage.fuel), fuel(usage.fuel)));
    }
    if let (Some(before), Outcome::Succeeded { output }) = (output, outcome) {
        let digest = |bytes: &Bytes| Digest::of(bytes).to_string();
        pairs.push(("output", digest(before), digest(&output.bytes)));
    }
    let differ = pairs.into_iter().filter(|(_, recorded, replayed)| recorded != replayed);
    differ.map(|(what, recorded, replayed)| Difference { what, recorded, replayed }).collect()
}

fn ending(kind: OutcomeKind, limit: Option<Limit>) -> String {
    limit.map_or_else(|| words(kind), |limit| format!("{} ({limit})", words(kind)))
}

fn text(found: Option<&str>) -> String {
    found.unwrap_or("none").to_owned()
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;
    use jobwright_core::job::Lifecycle;
    use jobwright_core::outcome::{Output, Usage};

    use super::*;

    fn ended(outcome: Outcome, fuel: u64) -> Ended {
        let usage = Usage { fuel: Some(fuel), run_ms: fuel as f64, ..Usage::default() };
        Ended::new(outcome, usage)
    }

    fn record(ended: &Ended) -> AttemptRecord {
        let lifecycle = Lifecycle::new(Timestamp::UNIX_EPOCH);
        AttemptRecord::new(&lifecycle, &ended.outcome, ended.usage, Timestamp::UNIX_EPOCH)
    }

    fn succeeded(output: &'static str) -> Outcome {
        Outcome::Succeeded { output: Output::new(Bytes::from_static(output.as_bytes()), None) }
    }

    fn named(recorded: &AttemptRecord, output: Option<&str>, now: &Ended) -> Vec<&'static str> {
        let output = output.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        differences(recorded, &Limits::DEFAULT, output.as_ref(), now)
            .iter()
            .map(|found| found.what)
            .collect()
    }

    #[test]
    fn the_time_that_an_attempt_took_is_not_compared() {
        let one = ended(succeeded("a"), 7);
        let mut again = one.clone();
        again.usage.run_ms = 99.0;
        assert_eq!(named(&record(&one), Some("a"), &again), Vec::<&str>::new());
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let one = record(&ended(succeeded("a"), 7));
        assert_eq!(named(&one, Some("b"), &ended(succeeded("a"), 7)), ["output"]);
        assert_eq!(named(&one, None, &ended(succeeded("a"), 7)), Vec::<&str>::new());
        let found = differences(&one, &Limits::DEFAULT, None, &ended(succeeded("a"), 1_234));
        let (recorded, replayed) = ("7".to_owned(), "1 234".to_owned());
        assert_eq!(found, [Difference { what: "fuel", recorded, replayed }]);
        let trapped =
            |message| Outcome::Trapped { error: AttemptError::new("unreachable", message) };
        let trap = record(&ended(trapped("here"), 7));
        assert_eq!(named(&trap, None, &ended(trapped("there"), 7)), ["error message"]);
        let all = ["outcome", "error code", "error message"];
        assert_eq!(named(&trap, None, &ended(succeeded("a"), 7)), all);
    }

    #[test]
    fn the_fuel_of_an_attempt_that_timed_out_is_not_compared() {
        let error = AttemptError::new("time", "time limit 1 s exceeded");
        let late =
            |fuel| ended(Outcome::LimitExceeded { limit: Limit::Time, error: error.clone() }, fuel);
        assert_eq!(named(&record(&late(7)), None, &late(8)), Vec::<&str>::new());
    }

    #[test]
    fn unreported_fuel_is_not_known() {
        let mut unreported = ended(Outcome::Cancelled, 0);
        unreported.usage.fuel = None;
        let one = record(&ended(succeeded("a"), 7));
        let replayed = |limits| {
            let found = differences(&one, limits, None, &unreported);
            found.into_iter().find(|found| found.what == "fuel").map(|found| found.replayed)
        };
        assert_eq!(replayed(&Limits::DEFAULT).as_deref(), Some("not known"));
        let unlimited = Limits { fuel: Fuel::Unlimited, ..Limits::DEFAULT };
        assert_eq!(replayed(&unlimited).as_deref(), Some("not metered"));
    }
}
