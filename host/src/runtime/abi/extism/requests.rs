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

/// Why the call of a plug-in failed that sent a request.
#[derive(Debug, Error)]
#[error("http_request failed: {why}")]
pub(super) struct RequestFailed {
    why: String,
    /// Whether another try may go better.
    again: bool,
}

impl RequestFailed {
    fn refused(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false }
    }

    fn of(unsent: &HttpRequestError) -> Self {
        // What the request is, and not what became of it on the way.
        let refused = matches!(
            unsent,
            HttpRequestError::Denied(_)
                | HttpRequestError::DeniedAddress(_)
                | HttpRequestError::RequestTooLong(_)
                | HttpRequestError::HeadTooLong(_)
        );
        Self { why: unsent.to_string(), again: !refused }
    }

    /// What it means for the job.
    pub(super) fn error(&self) -> (AttemptError, RetryHint) {
        let retry = if self.again { RetryHint::Backoff } else { RetryHint::Never };
        (AttemptError::new("http_request", self.to_string()), retry)
    }
}

/// Offers it.
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
    /// Sends a request; answers the block of the response's body.
    async fn http_request(&mut self, request: u64, body: u64) -> wasmtime::Result<u64> {
        let (request, body) = (self.taken_block(request)?, self.taken_block(body)?);
        if request.len() > MAX_JSON_BYTES {
            // Before it is read: what is made of it takes several times as much.
            let (found, most) = (request.len(), MAX_JSON_BYTES);
            let why = format!("its JSON has {found} bytes: {most} at most, and the body apart");
            return Err(self.failed(RequestFailed::refused(why)));
        }
        let request =
            read(&request, body).map_err(|why| self.failed(RequestFailed::refused(why)))?;
        let shown = shown(request.method(), request.uri());
        let services = self.services();
        // What refuses it has written why to the log.
        let failed = |unsent: HttpRequestError| {
            let RequestFailed { why, again } = RequestFailed::of(&unsent);
            RequestFailed { why: format!("{shown}: {why}"), again }
        };
        let response = services.send(request, Timeouts::default()).await.map_err(failed)?;
        let (head, mut body) = response.into_parts();
        let body = body.rest().await.map_err(failed)?;
        let block = self.keep(body.to_vec());
        if !body.is_empty() && block == 0 {
            // A limit is final: that the memory was refused is remembered, and says how to raise it.
            let bytes = body.len();
            let why = format!("there is no memory left for the {bytes} bytes of its response");
            let error = wasmtime::format_err!("http_request failed: {why}");
            self.channel().log(Level::Warn, "jobwright", error.to_string().as_bytes());
            return Err(error);
        }
        self.extism().answered = Answered::of(&head);
        Ok(block)
    }

    /// Says in the log why a request failed here.
    fn failed(&self, failed: RequestFailed) -> wasmtime::Error {
        self.channel().log(Level::Warn, "jobwright", failed.to_string().as_bytes());
        failed.into()
    }
}
