//! A request for one job, alone or among many: its key, and the job as far as it can be read.

use std::borrow::Cow;

use axum::http::{HeaderMap, Uri, header};
use bytes::Bytes;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Idempotency, Payload};
use jobwright_core::plugin::Digest;
use jobwright_core::tenant::TenantName;

use super::{idempotency, reading, replay};
use crate::api::http::error::ApiError;
use crate::api::http::fields::{Fields, utf8};
use crate::api::http::pairs::pairs;
use crate::api::settings::ApiSettings;
use crate::intake::{Accepted, Answer, Dedup, JobDraft, Refused, Submission};

/// What was read of a request.
pub(super) struct JobRequest {
    /// What is submitted.
    pub(super) submission: Submission,
    /// Its error, if the job could not be read. Until its key is known to be new, that is none.
    pub(super) unread: Unread,
}

/// Why a job could not be read.
pub(super) struct Unread(Option<ApiError>);

impl Unread {
    /// What became of the job.
    pub(super) fn answered(self, answer: Option<Answer>) -> Result<Accepted, ApiError> {
        match (answer, self.0) {
            (Some(Err(Refused::Unread)), Some(error)) => Err(error),
            (Some(answer), _) => Ok(answer?),
            (None, _) => Err(ApiError::internal("intake answered too few jobs")),
        }
    }
}

/// Reads requests for jobs of a tenant.
pub(super) struct Reader<'a> {
    pub(super) tenant: &'a TenantName,
    pub(super) settings: &'a ApiSettings,
    pub(super) now: Timestamp,
}

impl Reader<'_> {
    /// Reads a request for one job: its fields are in the body or, with the payload as the body, in the query.
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
        let dedup = key.map(|key| {
            let kind = content_type.as_deref().unwrap_or_default();
            let said = if is_json { idempotency::without_key(&body) } else { Cow::from(&body[..]) };
            self.dedup(&key, idempotency::of_request(uri, kind, &said))
        });
        let payload = (!is_json).then(|| Payload { content_type, bytes: body });
        Ok(self.request(fields, payload, dedup))
    }

    /// Reads a job among many, as JSON.
    pub(super) fn entry(&self, text: &str) -> Result<JobRequest, ApiError> {
        let mut fields = Fields::of_json(text, "body")?;
        let key = idempotency::of_fields(&mut fields, None);
        let dedup = key.map(|key| self.dedup(&key, idempotency::of_job(text)));
        Ok(self.request(fields, None, dedup))
    }

    fn dedup(&self, key: &str, fingerprint: Digest) -> Dedup {
        let key = Idempotency::key_of(self.tenant, key);
        Dedup { key, fingerprint, remembered: replay::remembered }
    }

    fn request(
        &self,
        fields: Fields,
        payload: Option<Payload>,
        dedup: Option<Dedup>,
    ) -> JobRequest {
        let read: Result<JobDraft, ApiError> =
            reading::draft(fields, payload, self.settings, self.now);
        let (draft, unread) = match read {
            Ok(draft) => (Some(draft), None),
            Err(error) => (None, Some(error)),
        };
        JobRequest { submission: Submission { draft, dedup }, unread: Unread(unread) }
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}
