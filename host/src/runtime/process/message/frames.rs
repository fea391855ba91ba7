//! The maximum length of a runner's messages, checked before anything is decoded.
//!
//! A message is data from a process that may be under the control of a guest. Decoding it takes
//! memory of the host, so each kind is bounded by the longest message of a runner that follows the
//! protocol.

use jobwright_core::attempt::Attempt;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::assignment::value_bytes;

/// The maximum size of a message without the parts whose length guests choose: names, headers,
/// error messages, and the encoding.
const MESSAGE_BYTES: u64 = 1 << 20;

/// The longest messages that a runner may send about one attempt, in bytes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Longest {
    /// Of messages with traces.
    traces: u64,
    /// Of messages with traces and a call.
    call: u64,
    /// Of messages with traces and the output.
    ended: u64,
}

/// The kind of a message. Decoding it takes no memory: the contents are skipped.
#[derive(Debug, Deserialize)]
enum Kind {
    Ready(IgnoredAny),
    Loaded(IgnoredAny),
    Asks,
    Traces(IgnoredAny),
    Call(IgnoredAny),
    Dropped(IgnoredAny),
    Ended(IgnoredAny),
}

impl Longest {
    /// The bounds on messages about `attempt`.
    pub(in super::super) fn of(attempt: &Attempt) -> Self {
        let left = attempt.log.capacity().saturating_add(attempt.report.most_bytes());
        let traces = MESSAGE_BYTES.saturating_add(left);
        // A call sends a request or changes a value.
        let values = value_bytes(&attempt.granted.grants);
        let sent = attempt.granted.services.request_bytes().max(values);
        let call = traces.saturating_add(sent);
        let ended = traces.saturating_add(attempt.limits.output_bytes);
        Self { traces, call, ended }
    }

    /// The bound on messages of any kind.
    pub(in super::super) fn of_any(self) -> usize {
        usize::try_from(self.call.max(self.ended)).unwrap_or(usize::MAX)
    }

    /// Refuses a frame that is longer than the bound of its kind, or that is no message.
    ///
    /// # Errors
    /// With what is wrong.
    pub(in super::super) fn check(self, frame: &[u8]) -> Result<(), String> {
        let kind: Kind = rmp_serde::from_slice(frame).map_err(|error| error.to_string())?;
        let (what, most) = match kind {
            Kind::Ready(_) | Kind::Loaded(_) | Kind::Asks | Kind::Dropped(_) => {
                ("an answer", MESSAGE_BYTES)
            }
            Kind::Traces(_) => ("a report", self.traces),
            Kind::Call(_) => ("a call", self.call),
            Kind::Ended(_) => ("an ending", self.ended),
        };
        if frame.len() as u64 > most {
            return Err(format!(
                "{what} of {} bytes, more than the maximum of {most} bytes",
                frame.len()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jobwright_core::outcome::{Outcome, Output, Usage};
    use jobwright_core::runtime::Ended;
    use jobwright_core::services::KeyValueCall;

    use super::super::{FromRunner, HostCall, Traces};
    use super::*;

    fn check(telling: &FromRunner) -> Result<(), String> {
        let longest = Longest { traces: 1_000, call: 2_000, ended: 3_000 };
        longest.check(&rmp_serde::to_vec_named(telling).expect("it can be encoded"))
    }

    fn call(length: usize) -> FromRunner {
        let value = Bytes::from(vec![7; length]);
        let host_call = HostCall::KeyValue(KeyValueCall::Set {
            bucket: String::new(),
            key: String::new(),
            value,
        });
        FromRunner::Call { call: 7, host_call: Box::new(host_call), before: Box::default() }
    }

    fn ended(length: usize) -> FromRunner {
        let bytes = Bytes::from(vec![7; length]);
        let output = Output { content_type: "text/plain".to_owned(), bytes };
        let (outcome, usage) = (Outcome::Succeeded { output }, Usage::default());
        FromRunner::Ended { ended: Box::new(Ended::new(outcome, usage)), last: Box::default() }
    }

    #[test]
    fn each_kind_of_message_has_a_bound_of_its_own() {
        for fits in [
            FromRunner::Asks,
            FromRunner::Ready(Ok(vec![])),
            FromRunner::Loaded(Ok(())),
            FromRunner::Dropped { call: 1 },
            FromRunner::Traces(Box::<Traces>::default()),
            call(1_500),
            ended(2_000),
        ] {
            check(&fits).unwrap_or_else(|wrong| panic!("{fits:?}: {wrong}"));
        }
        // What would fit into an ending does not fit into a call.
        let error = check(&call(2_000)).expect_err("it is too long");
        assert!(
            error.starts_with("a call of 2") && error.ends_with("maximum of 2000 bytes"),
            "{error}"
        );
        assert!(check(&ended(3_000)).is_err());
    }

    #[test]
    fn invalid_messages_are_refused() {
        let longest = Longest { traces: 1_000, call: 2_000, ended: 3_000 };
        for frame in [&b""[..], b"\xc1", b"\x81\xa4Cell\xc0", b"\xa4Call", b"\x93\x01\x02\x03"] {
            assert!(longest.check(frame).is_err(), "{frame:?}");
        }
    }
}
