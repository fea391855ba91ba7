use bytes::Bytes;
use jobwright_core::outcome::{Output, RetryHint, Usage};

use super::*;

fn ended(outcome: Outcome) -> Ended {
    Ended::new(outcome, Usage::default())
}

fn output(content_type: &str, length: usize) -> Outcome {
    let bytes = Bytes::from(vec![b'x'; length]);
    Outcome::Succeeded { output: Output { content_type: content_type.to_owned(), bytes } }
}

fn asked(limits: &Limits) -> Asked<'_> {
    Asked { limits, stop: None, elapsed: Duration::from_secs(2) }
}

fn refused(code: &str, transient: bool) -> Ended {
    ended(Outcome::Refused { error: AttemptError::new(code, "x"), transient })
}

fn used(usage: Usage) -> Ended {
    Ended { usage, ..ended(output("text/plain", 1)) }
}

#[test]
fn an_impossible_report_of_an_ending_is_refused() {
    let limits = Limits { output_bytes: 10, fuel: Fuel::Units(7), ..Limits::DEFAULT };
    let usage = Usage::default;
    for possible in [
        ended(output("text/plain", 10)),
        refused(HOST_MEMORY, true),
        used(Usage { fuel: Some(7), run_ms: 2_900.0, ..usage() }),
        used(Usage { peak_memory_bytes: limits.memory_bytes, ..usage() }),
    ] {
        assert_eq!(believed(possible.clone(), asked(&limits)), Ok(possible));
    }
    for impossible in [
        ended(output("text/plain", 11)),
        ended(output("text/plain\r\nset-cookie: a=b", 1)),
        ended(Outcome::Lost),
        Ended {
            failed_output: Some(Output::new(vec![b'x'; 11].into(), None)),
            ..ended(output("text/plain", 1))
        },
        refused(HOST_MEMORY, false),
        refused("plugin_unavailable", true),
        used(Usage { run_ms: f64::NAN, ..usage() }),
        used(Usage { run_ms: f64::INFINITY, ..usage() }),
        used(Usage { cpu_ms: -1.0, ..usage() }),
        used(Usage { run_ms: 3_001.0, ..usage() }),
        used(Usage { fuel: Some(8), ..usage() }),
        used(Usage { peak_memory_bytes: limits.memory_bytes + 1, ..usage() }),
    ] {
        assert!(believed(impossible.clone(), asked(&limits)).is_err(), "{impossible:?}");
    }
}

#[test]
fn fuel_is_counted_only_where_it_is_limited() {
    let limits = Limits { fuel: Fuel::Unlimited, ..Limits::DEFAULT };
    let counted = used(Usage { fuel: Some(0), ..Usage::default() });
    assert!(believed(counted, asked(&limits)).is_err());
}

#[test]
fn a_reported_stop_must_be_one_that_the_host_requested() {
    let limits = Limits::DEFAULT;
    for said in [Outcome::Interrupted, Outcome::Cancelled] {
        assert!(believed(ended(said.clone()), asked(&limits)).is_err(), "{said:?}");
        for reason in [StopReason::Cancelled, StopReason::Interrupted, StopReason::Disabled] {
            let asked = Asked { stop: Some(reason), ..asked(&limits) };
            let believed = believed(ended(said.clone()), asked).expect("it was asked for");
            assert_eq!(believed.outcome, stopped(reason), "{said:?} {reason:?}");
        }
    }
}

#[test]
fn an_error_is_cut_to_its_bounds() {
    let long = "é".repeat(100_000);
    let error = AttemptError { code: long.clone(), message: long.clone(), backtrace: Some(long) };
    let failed = ended(Outcome::Failed { error, retry: RetryHint::Never });
    let limits = Limits::DEFAULT;
    let believed = believed(failed, asked(&limits)).expect("it can be true");
    let error = believed.outcome.error().expect("it failed");
    assert!(error.code.len() <= 64, "{}", error.code.len());
    assert!(error.message.len() < 3_000 && error.backtrace.as_ref().expect("frames").len() < 9_000);
}
