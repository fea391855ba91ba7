//! Parses a submission: its key, and the job or the error of parsing it.

use std::borrow::Cow;

use axum::http::{HeaderMap, Uri, header};
use bytes::Bytes;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::Payload;

use super::{idempotency, reading};
use crate::api::http::error::ApiError;
use crate::api::http::fields::{Fields, utf8};
use crate::api::http::pairs::pairs;
use crate::api::settings::ApiSettings;
use crate::intake::{Accepted, Answer, JobDraft, Refused, RequestKey, Submission};

/// A parsed submission.
pub(super) struct JobRequest {
    /// The submission for intake.
    pub(super) submission: Submission,
    /// The error of parsing the job, which is reported only if the key is new.
    pub(super) unread: Unread,
}

/// The error of parsing a job, if there was one.
pub(super) struct Unread(Option<ApiError>);

impl Unread {
    /// The result for the job, by the answer of intake.
    pub(super) fn answered(self, answer: Option<Answer>) -> Result<Accepted, ApiError> {
        match (answer, self.0) {
            (Some(Err(Refused::Unread)), Some(error)) => Err(error),
            (Some(answer), _) => Ok(answer?),
            (None, _) => Err(ApiError::internal("intake returned too few results")),
        }
    }
}

/// Parses submissions.
pub(super) struct Reader<'a> {
    pub(super) settings: &'a ApiSettings,
    pub(super) now: Timestamp,
}

impl Reader<'_> {
    /// Parses a request with one job: its fields are in the body, or in the query with the payload as the body.
    pub(super) fn one(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<JobRequest, ApiError> {
        let content_type = content_type(headers);
        let mut key = idempotency::of_headers(headers)?;
        let query = pairs(uri);
        let is_json = query.is_empty();
        let fields = if is_json {
            let mut fields = Fields::of_json(utf8(&body, "body")?, "body")?;
            key = idempotency::of_fields(&mut fields, key.as_deref()).or(key);
            fields
        } else {
            Fields::of_query(query, &["arg", "tag"])
        };
        let key = key.map(|key| {
            let kind = content_type.as_deref().unwrap_or_default();
            let said = if is_json { idempotency::without_key(&body) } else { Cow::from(&body[..]) };
            RequestKey { key, fingerprint: idempotency::of_request(uri, kind, &said) }
        });
        let payload = (!is_json).then(|| Payload { content_type, bytes: body });
        Ok(self.request(fields, payload, key))
    }

    /// Parses a job of a batch, as JSON.
    pub(super) fn entry(&self, text: &str) -> Result<JobRequest, ApiError> {
        let mut fields = Fields::of_json(text, "body")?;
        let key = idempotency::of_fields(&mut fields, None);
        let key = key.map(|key| RequestKey { key, fingerprint: idempotency::of_job(text) });
        Ok(self.request(fields, None, key))
    }

    fn request(
        &self,
        fields: Fields,
        payload: Option<Payload>,
        key: Option<RequestKey>,
    ) -> JobRequest {
        let read: Result<JobDraft, ApiError> =
            reading::draft(fields, payload, self.settings, self.now);
        let (draft, unread) = match read {
            Ok(draft) => (Some(draft), None),
            Err(error) => (None, Some(error)),
        };
        JobRequest { submission: Submission { draft, key }, unread: Unread(unread) }
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}
