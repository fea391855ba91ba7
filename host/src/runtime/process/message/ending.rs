//! How far a runner's word is believed of how an attempt ended.

use jobwright_core::limits::Limits;
use jobwright_core::outcome::{AttemptError, Outcome, is_media_type};
use jobwright_core::runtime::Ended;

/// How an attempt ended by the word of a runner, or what cannot be true of it: guests have broken out
/// of sandboxes before, and what is recorded must stay readable all the same.
pub(in super::super) fn believed(mut ended: Ended, limits: &Limits) -> Result<Ended, &'static str> {
    let usage = &ended.usage;
    let times =
        [usage.queue_ms, usage.compile_ms, usage.instantiate_ms, usage.run_ms, usage.cpu_ms];
    if !times.iter().all(|time| time.is_finite() && *time >= 0.0) {
        return Err("a receipt with a time that is none");
    }
    match &mut ended.outcome {
        Outcome::Succeeded { output } if output.bytes.len() as u64 > limits.output_bytes => {
            return Err("an output over its limit");
        }
        Outcome::Succeeded { output } if !is_media_type(&output.content_type) => {
            return Err("an output without a media type");
        }
        Outcome::Lost => return Err("an attempt that was lost"),
        Outcome::Failed { error, .. }
        | Outcome::Trapped { error }
        | Outcome::LimitExceeded { error, .. }
        | Outcome::Refused { error, .. } => *error = cut(std::mem::take(&mut error.code), error),
        _ => {}
    }
    Ok(ended)
}

/// The error within its bounds.
fn cut(mut code: String, error: &AttemptError) -> AttemptError {
    /// As long as the longest of our own, and some more.
    const CODE_BYTES: usize = 64;
    code.truncate(code.floor_char_boundary(CODE_BYTES));
    let cut = AttemptError::new(&code, error.message.clone());
    match &error.backtrace {
        Some(frames) => cut.with_backtrace(frames.clone()),
        None => cut,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jobwright_core::outcome::{Output, RetryHint, Usage};

    use super::*;

    fn ended(outcome: Outcome) -> Ended {
        Ended { outcome, usage: Usage::default() }
    }

    fn output(content_type: &str, length: usize) -> Outcome {
        let bytes = Bytes::from(vec![b'x'; length]);
        Outcome::Succeeded { output: Output { content_type: content_type.to_owned(), bytes } }
    }

    #[test]
    fn an_ending_is_believed_only_as_far_as_it_can_be_true() {
        let limits = Limits { output_bytes: 10, ..Limits::DEFAULT };
        assert!(believed(ended(output("text/plain", 10)), &limits).is_ok());
        for impossible in [
            ended(output("text/plain", 11)),
            ended(output("text/plain\r\nset-cookie: a=b", 1)),
            ended(Outcome::Lost),
            Ended {
                usage: Usage { run_ms: f64::NAN, ..Usage::default() },
                ..ended(Outcome::Cancelled)
            },
            Ended {
                usage: Usage { cpu_ms: -1.0, ..Usage::default() },
                ..ended(Outcome::Cancelled)
            },
        ] {
            assert!(believed(impossible.clone(), &limits).is_err(), "{impossible:?}");
        }
    }

    #[test]
    fn an_error_is_brought_into_its_bounds() {
        let long = "é".repeat(100_000);
        let error =
            AttemptError { code: long.clone(), message: long.clone(), backtrace: Some(long) };
        let failed = ended(Outcome::Failed { error, retry: RetryHint::Never });
        let believed = believed(failed, &Limits::DEFAULT).expect("it can be true");
        let error = believed.outcome.error().expect("it failed");
        assert!(error.code.len() <= 64, "{}", error.code.len());
        assert!(
            error.message.len() < 3_000 && error.backtrace.as_ref().expect("frames").len() < 9_000
        );
    }
}
