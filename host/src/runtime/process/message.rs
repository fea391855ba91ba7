//! What a host and a runner say to each other, and what an attempt is on its way between them.
//!
//! Invariant: what a runner says is only ever data: it may be wrong or too much, and then the runner
//! is given up, but it makes the host do nothing that its attempt was not granted.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::Grants;
use jobwright_core::job::{Job, JobId, JobSpec, Payload};
use jobwright_core::lifecycle::Lifecycle;
use jobwright_core::limits::Limits;
use jobwright_core::log::{LogBuffer, LogPiece};
use jobwright_core::outcome::{AttemptError, Outcome, is_media_type};
use jobwright_core::outside::{Granted, Keep, Kept, Outside, Unkept, Unsent};
use jobwright_core::report::{Progress, Report, Told};
use jobwright_core::runtime::{Ended, StopReason};
use serde::{Deserialize, Serialize};

use super::super::Allocator;
use super::super::code::{self, Key};

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Get ready, for attempts that use at most this. Said first, and once.
    Begin { ceiling: Limits, allocator: Allocator },
    /// Take the code that follows, in a frame of its own.
    Load(Key),
    /// Forget code, of which there would be too much.
    Forget(Key),
    /// Run an attempt.
    Run(Box<Assignment>),
    /// The attempt is to end, or soon will be.
    Stop(Word),
    /// What a call has come to.
    Answer { call: u64, answer: Box<Answer> },
}

/// What an attempt is told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// The host is about to stop.
    Notice,
    /// The attempt is to end.
    Raised(StopReason),
}

/// What a runner says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Telling {
    /// To `Begin`; with what of its sandbox the system does not have.
    Ready { missing: Vec<String> },
    /// To `Load`; with why it cannot be used.
    Loaded(Result<(), String>),
    /// What the attempt has left so far, beyond what was told before.
    Traces(Box<Traces>),
    /// The attempt reaches outside.
    Call { call: u64, ask: Box<Ask>, before: Box<Traces> },
    /// The attempt waits for the answer no more.
    Dropped { call: u64 },
    /// To `Run`.
    Ended { ended: Box<Ended>, last: Box<Traces> },
}

/// An attempt on its way to a runner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) code: Key,
    id: JobId,
    spec: JobSpec,
    created_at: Timestamp,
    attempt: u32,
    limits: Limits,
    content_type: Option<String>,
    payload: Bytes,
    checkpoint: Option<Bytes>,
    /// How much is kept of the log, and how long a checkpoint may be, in bytes.
    traces: (u64, u64),
    grants: Grants,
    /// The longest body of a request, in bytes.
    pub(super) request_bytes: u64,
    start: Start,
}

impl Assignment {
    pub(super) fn new(attempt: &Attempt) -> Self {
        let Attempt { job, limits, payload, granted, .. } = attempt;
        Self {
            code: code::key(attempt),
            id: job.id,
            spec: job.spec.clone(),
            created_at: job.created_at,
            attempt: job.lifecycle.attempt,
            limits: *limits,
            content_type: payload.content_type.clone(),
            payload: payload.bytes.clone(),
            checkpoint: attempt.report.checkpoint(),
            traces: (attempt.log.capacity(), attempt.report.most_bytes()),
            grants: Grants::clone(&granted.grants),
            request_bytes: granted.outside.request_bytes(),
            start: attempt.start,
        }
    }

    /// The longest value that can be kept, in bytes.
    pub(super) fn value_bytes(&self) -> u64 {
        value_bytes(&self.grants)
    }

    /// The attempt that it was, which reaches `outside`.
    pub(super) fn attempt(self, outside: Arc<dyn Outside>) -> Attempt {
        let Self { limits, created_at, .. } = self;
        let lifecycle = Lifecycle { attempt: self.attempt, ..Lifecycle::new(created_at) };
        Attempt {
            job: Job {
                id: self.id,
                spec: self.spec,
                created_at,
                lifecycle,
                attempts: vec![],
                output: None,
                progress: None,
            },
            limits,
            payload: Payload { content_type: self.content_type, bytes: self.payload },
            log: Arc::new(LogBuffer::new(self.traces.0)),
            report: Arc::new(Report::new(self.checkpoint, self.traces.1)),
            granted: Granted { grants: Arc::new(self.grants), outside },
            start: self.start,
        }
    }
}

fn value_bytes(grants: &Grants) -> u64 {
    grants.key_value.map_or(0, |grant| grant.bytes)
}

/// What one message of a runner takes beside what guests choose the length of: names, headers, error
/// messages, and what encodes them.
const MESSAGE_BYTES: u64 = 1 << 20;

/// The longest message that a runner may send about `attempt`, in bytes.
pub(super) fn longest(attempt: &Attempt) -> usize {
    let traces = attempt.log.capacity().saturating_add(attempt.report.most_bytes());
    let outside = attempt
        .granted
        .outside
        .request_bytes()
        .saturating_add(value_bytes(&attempt.granted.grants));
    let parts = [attempt.limits.output_bytes, traces, outside];
    let sum = parts.into_iter().fold(MESSAGE_BYTES, u64::saturating_add);
    usize::try_from(sum).unwrap_or(usize::MAX)
}

/// What an attempt leaves while it runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Traces {
    log: LogPiece,
    told: Told,
}

impl Traces {
    /// What `attempt` has left since its log was `position` bytes long; moves that on.
    pub(super) fn since(position: &mut u64, log: &LogBuffer, report: &Report) -> Self {
        let written = log.written();
        let log = if written == *position { LogPiece::default() } else { log.since(*position) };
        let length = log.first.len() as u64 + log.dropped + log.last.len() as u64;
        *position += length;
        Self { log, told: report.take_unsaved() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log == LogPiece::default() && self.told.is_empty()
    }

    /// Adds them to those of `attempt`.
    pub(super) fn add_to(self, attempt: &Attempt) {
        attempt.log.add(&self.log);
        let Told { progress, checkpoint } = self.told;
        if let Some(Progress { fraction, message }) = progress {
            attempt.report.progress(Progress::new(fraction, &message));
        }
        if let Some(checkpoint) = checkpoint {
            // One that is too long is not kept, as if the guest itself had tried.
            let _ = attempt.report.save(checkpoint);
        }
    }
}

/// What an attempt wants from outside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Send(Request),
    Keep(Keep),
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Sent(Result<Response, Unsent>),
    Kept(Result<Kept, Unkept>),
}

type Headers = Vec<(String, Bytes)>;

/// A request of HTTP.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    method: String,
    uri: String,
    headers: Headers,
    body: Bytes,
}

impl From<http::Request<Bytes>> for Request {
    fn from(request: http::Request<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        let (method, uri) = (head.method.to_string(), head.uri.to_string());
        Self { method, uri, headers: listed(&head.headers), body }
    }
}

impl TryFrom<Request> for http::Request<Bytes> {
    type Error = http::Error;

    fn try_from(request: Request) -> Result<Self, http::Error> {
        let Request { method, uri, headers, body } = request;
        let mut builder = http::Request::builder().method(method.as_str()).uri(uri);
        for (name, value) in headers {
            builder = builder.header(name, value.as_ref());
        }
        builder.body(body)
    }
}

/// A response of HTTP.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Response {
    status: u16,
    headers: Headers,
    body: Bytes,
}

impl From<http::Response<Bytes>> for Response {
    fn from(response: http::Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status.as_u16(), headers: listed(&head.headers), body }
    }
}

impl TryFrom<Response> for http::Response<Bytes> {
    type Error = http::Error;

    fn try_from(response: Response) -> Result<Self, http::Error> {
        let Response { status, headers, body } = response;
        let mut builder = http::Response::builder().status(status);
        for (name, value) in headers {
            builder = builder.header(name, value.as_ref());
        }
        builder.body(body)
    }
}

fn listed(headers: &http::HeaderMap) -> Headers {
    let listed = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))
    };
    headers.iter().map(listed).collect()
}

/// How an attempt ended by the word of a runner, or what cannot be true of it: guests have broken out
/// of sandboxes before, and what is recorded must stay readable all the same.
pub(super) fn believed(mut ended: Ended, limits: &Limits) -> Result<Ended, &'static str> {
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
