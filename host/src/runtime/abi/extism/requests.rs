//! `http_request` of Extism: a request as JSON in one block, its body in another, and the body of the
//! response in a third.
//!
//! Invariant: a request that is refused, or gets no whole response, fails the call of the plug-in, as by
//! Extism's own hosts; the error and the log say why.

use jobwright_core::outcome::{AttemptError, RetryHint};
use jobwright_core::services::{HttpRequestError, Timeouts, shown};
use thiserror::Error;
use wasmtime::{Caller, Linker};

use super::super::super::capability::channel::Level;
use super::super::super::capability::request_json::{MAX_JSON_BYTES, read};
use super::super::super::guest::Guest;
use super::names::ENV;
use super::state::Answered;

/// Why a call that sent a request failed.
#[derive(Debug, Error)]
#[error("http_request failed: {why}")]
pub(super) struct RequestFailed {
    why: String,
    /// Whether a retry may succeed.
    again: bool,
}

impl RequestFailed {
    fn refused(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false }
    }

    fn of(unsent: &HttpRequestError) -> Self {
        // Faults of the request itself, not of the connection.
        let refused = matches!(
            unsent,
            HttpRequestError::Denied(_)
                | HttpRequestError::DeniedAddress(_)
                | HttpRequestError::RequestTooLong(_)
                | HttpRequestError::HeadTooLong(_)
        );
        Self { why: unsent.to_string(), again: !refused }
    }

    /// The error and the retry hint of the attempt.
    pub(super) fn error(&self) -> (AttemptError, RetryHint) {
        let retry = if self.again { RetryHint::Backoff } else { RetryHint::Never };
        (AttemptError::new("http_request", self.to_string()), retry)
    }
}

/// Adds the function to `linker`.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        ENV,
        "http_request",
        |mut p: Caller<'_, Guest>, (request, body): (u64, u64)| {
            Box::new(async move { p.data_mut().http_request(request, body).await })
        },
    )?;
    linker.func_wrap(ENV, "http_status_code", |mut p: Caller<'_, Guest>| {
        i32::from(p.data_mut().extism().answered.status)
    })?;
    linker.func_wrap(ENV, "http_headers", |mut p: Caller<'_, Guest>| {
        let headers = p.data_mut().extism().answered.headers.clone();
        p.data_mut().keep(headers.into_bytes())
    })?;
    Ok(())
}

impl Guest {
    /// Sends a request; returns the handle of the block with the response's body.
    async fn http_request(&mut self, request: u64, body: u64) -> wasmtime::Result<u64> {
        let (request, body) = (self.taken_block(request)?, self.taken_block(body)?);
        if request.len() > MAX_JSON_BYTES {
            // Before the JSON is parsed: its parsed form takes several times as much memory.
            let (found, most) = (request.len(), MAX_JSON_BYTES);
            let why = format!(
                "the request's JSON has {found} bytes, more than the maximum of {most} without the \
                 body"
            );
            return Err(self.failed(RequestFailed::refused(why)));
        }
        let request =
            read(&request, body).map_err(|why| self.failed(RequestFailed::refused(why)))?;
        let shown = shown(request.method(), request.uri());
        let services = self.services();
        // The service that refuses a request logs the reason.
        let failed = |unsent: HttpRequestError| {
            let RequestFailed { why, again } = RequestFailed::of(&unsent);
            RequestFailed { why: format!("{shown}: {why}"), again }
        };
        let response = services.send(request, Timeouts::default()).await.map_err(failed)?;
        let (head, mut body) = response.into_parts();
        let body = body.rest().await.map_err(failed)?;
        let block = self.keep(body.to_vec());
        if !body.is_empty() && block == 0 {
            // A limit is final: the refusal of memory is recorded, and the error states how the
            // limit is raised.
            let bytes = body.len();
            let why =
                format!("the memory limit leaves no room for the {bytes} bytes of its response");
            let error = wasmtime::format_err!("http_request failed: {why}");
            self.channel().log(Level::Warn, "jobwright", error.to_string().as_bytes());
            return Err(error);
        }
        self.extism().answered = Answered::of(&head);
        Ok(block)
    }

    /// Logs why a request failed here.
    fn failed(&self, failed: RequestFailed) -> wasmtime::Error {
        self.channel().log(Level::Warn, "jobwright", failed.to_string().as_bytes());
        failed.into()
    }
}
