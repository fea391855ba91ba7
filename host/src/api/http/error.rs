//! Errors as HTTP clients see them: problem details (RFC 9457). Each has a [`ProblemCode`], which decides
//! its status. The cause of an internal error goes to the log, not to the client.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jobwright_core::capacity::QueueFull;
use jobwright_core::name::shorten;
use jobwright_core::plugin::NotFound;
use jobwright_core::registry::RegistryError;
use jobwright_core::runtime::{Unprepared, UnusablePlugin};
use jobwright_core::secret::SecretError;
use jobwright_core::store::StoreError;
use jobwright_core::text::cut;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinError;

use super::problem_code::ProblemCode;
use crate::intake::{FieldFault, NotAdmitted, Refused};

/// `Retry-After` of a full queue or a busy host, in seconds: some hundred jobs are finalized by then.
const RETRY_AFTER_S: u64 = 1;

/// `Retry-After` of a full disk, in seconds: an operator has to free space, or old jobs to be pruned.
const DISK_RETRY_AFTER_S: u64 = 60;

/// The longest message about one field, in bytes: some repeat the value, which may be long, and some
/// list the valid values.
const MAX_MESSAGE_BYTES: usize = 1000;

/// An error as the client sees it.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    code: ProblemCode,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// The name of the field; names of inner fields follow a dot.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: cut(message.to_string(), MAX_MESSAGE_BYTES) }
    }
}

/// The members of a problem, as an extension of the response: the outermost layer adds the request's id and
/// writes the body.
#[derive(Debug, Clone)]
pub(crate) struct Problem(pub(crate) Map<String, Value>);

impl ApiError {
    pub(crate) fn new(code: ProblemCode, detail: impl ToString) -> Self {
        Self { code, detail: detail.to_string(), members: Map::new(), headers: vec![] }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// The request is well formed, and these fields are invalid.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        Self::of_fields(ProblemCode::InvalidFields, errors)
    }

    /// An error with the code `code` that lists all invalid fields or parameters.
    pub(crate) fn of_fields(code: ProblemCode, errors: Vec<FieldError>) -> Self {
        let fields: Vec<String> =
            errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        Self::new(code, fields.join("; ")).with("errors", json!(errors))
    }

    /// Adds `hint` to the detail.
    pub(crate) fn explained(mut self, hint: &str) -> Self {
        self.detail.push_str("; ");
        self.detail.push_str(hint);
        self
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path does not support this method";
        Self::new(ProblemCode::MethodNotAllowed, detail)
    }

    /// A prefix that several job ids have; `candidates` are these ids.
    pub(crate) fn ambiguous(detail: impl ToString, candidates: Vec<String>) -> Self {
        Self::new(ProblemCode::AmbiguousJobId, detail).with("candidates", candidates)
    }

    pub(crate) fn too_large(what: &str, most: u64) -> Self {
        let most_text = jobwright_core::limits::show_bytes(most);
        let detail = format!("the {what} is larger than the limit of {most_text}");
        let error = Self::new(ProblemCode::TooLarge, detail);
        let remedy = match what {
            "payload" | "job" => "the operator raises the limit with `payload_bytes`",
            "plugin" => "the operator raises the limit with `plugin_bytes`",
            "batch" => "split it into several requests",
            _ => return error.with("limit_bytes", most),
        };
        error.with("limit_bytes", most).explained(remedy)
    }

    pub(crate) fn encoded(what: &str, encoding: &str) -> Self {
        let encoding = shorten(encoding);
        let detail = format!(
            "the {what} is encoded as `{encoding}`: content encodings are not supported; send it without"
        );
        // RFC 9110, 15.5.16: the response lists the supported encodings.
        Self::new(ProblemCode::UnsupportedEncoding, detail)
            .header(header::ACCEPT_ENCODING, "identity")
    }

    pub(crate) fn busy(detail: impl ToString) -> Self {
        Self::new(ProblemCode::Busy, detail).header(header::RETRY_AFTER, &RETRY_AFTER_S.to_string())
    }

    /// The tenant exceeds its rate limit; it is below the limit again after `wait`.
    pub(crate) fn too_fast(detail: impl ToString, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        Self::new(ProblemCode::TooFast, detail).header(header::RETRY_AFTER, &seconds.to_string())
    }

    pub(crate) fn disk_low(detail: impl ToString) -> Self {
        Self::new(ProblemCode::DiskLow, detail)
            .header(header::RETRY_AFTER, &DISK_RETRY_AFTER_S.to_string())
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "this host requires a valid API key: send `Authorization: Bearer KEY`; an \
                      operator without a key restarts the host with `--api-keys FILE`";
        Self::new(ProblemCode::Unauthorized, detail).header(header::WWW_AUTHENTICATE, "Bearer")
    }

    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside the host");
        Self::new(ProblemCode::Internal, "the host failed; its log has the cause")
    }
}

impl From<QueueFull> for ApiError {
    fn from(full: QueueFull) -> Self {
        let code = match &full {
            full if full.is_of_tenant() => ProblemCode::TenantFull,
            QueueFull::Parked { .. } => ProblemCode::ParkedFull,
            _ => ProblemCode::QueueFull,
        };
        let mut error = Self::new(code, &full)
            .explained(&full.remedy())
            .header(header::RETRY_AFTER, &RETRY_AFTER_S.to_string());
        if let Ok(Value::Object(members)) = serde_json::to_value(&full) {
            error.members.extend(members);
        }
        error
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => {
                tracing::warn!(%error, "rejected a request: the store is unavailable");
                let detail = "the store is unavailable; the host's log has the cause";
                Self::new(ProblemCode::StoreUnavailable, detail).header(header::RETRY_AFTER, "10")
            }
            StoreError::Corrupt { .. } => Self::internal(error),
        }
    }
}

impl From<FieldFault> for FieldError {
    fn from(FieldFault { field, message }: FieldFault) -> Self {
        Self::new(field, message)
    }
}

impl From<NotAdmitted> for ApiError {
    fn from(not_admitted: NotAdmitted) -> Self {
        match not_admitted {
            NotAdmitted::KeyInvalid => Self::unauthorized(),
            NotAdmitted::TenantDisabled(_) => Self::new(ProblemCode::TenantDisabled, not_admitted),
            NotAdmitted::Store(error) => error.into(),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::PayloadTooLarge { most_bytes } => Self::too_large("payload", most_bytes),
            Refused::Fields(faults) => {
                Self::invalid(faults.into_iter().map(FieldError::from).collect())
            }
            Refused::KeyReused => Self::new(ProblemCode::IdempotencyKeyReused, refused),
            Refused::NotFound(missing) => missing.into(),
            Refused::Disabled(_) => Self::new(ProblemCode::PluginDisabled, refused),
            Refused::NotAdmitted(not_admitted) => not_admitted.into(),
            Refused::DiskLow(detail) => Self::disk_low(detail),
            Refused::TooFast { wait, .. } => Self::too_fast(refused, wait),
            Refused::QueueFull(full) => full.into(),
            Refused::TooManyWaiters(too_many) => Self::busy(too_many),
            Refused::Store(error) => error.into(),
            Refused::Unread | Refused::Broken(_) => Self::internal(refused),
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(panicked: JoinError) -> Self {
        Self::internal(panicked)
    }
}

impl From<NotFound> for ApiError {
    fn from(missing: NotFound) -> Self {
        let code = match missing {
            NotFound::Plugin(_) => ProblemCode::PluginNotFound,
            NotFound::Version { .. } => ProblemCode::VersionNotFound,
        };
        Self::new(code, missing)
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn disk_full(error: &dyn std::error::Error) -> ApiError {
    tracing::warn!(%error, "rejected a request: the disk is full");
    ApiError::new(ProblemCode::DiskFull, "the disk under the data directory is full")
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Store(error) => error.clone().into(),
            RegistryError::Full { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::TenantFull { .. }
            | RegistryError::Share { .. }
            | RegistryError::TooManyVersions { .. } => {
                let remedy = error.remedy();
                let full = Self::new(ProblemCode::RegistryFull, error);
                remedy.into_iter().fold(full, |full, remedy| full.explained(&remedy))
            }
            RegistryError::Io { source, .. } if is_full(source) => disk_full(&error),
            RegistryError::Io { .. } | RegistryError::Corrupt { .. } => Self::internal(error),
        }
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        match &error {
            SecretError::Full => Self::new(ProblemCode::TooManySecrets, error),
            SecretError::Store(error) => error.clone().into(),
            SecretError::Io(source) if is_full(source) => disk_full(&error),
            SecretError::Io(_) => Self::internal(error),
        }
    }
}

impl From<Unprepared> for ApiError {
    fn from(unprepared: Unprepared) -> Self {
        match unprepared {
            Unprepared::Unusable(unusable) => unusable.into(),
            Unprepared::NotNow(reason) => Self::busy(reason),
        }
    }
}

impl From<UnusablePlugin> for ApiError {
    fn from(unusable: UnusablePlugin) -> Self {
        Self::new(ProblemCode::UnusablePlugin(unusable.code), unusable.message)
    }
}

impl ApiError {
    /// The header `Retry-After`, if the same request may succeed later.
    pub(crate) fn retry_after(&self) -> Option<&HeaderValue> {
        self.headers.iter().find_map(|(name, value)| (name == header::RETRY_AFTER).then_some(value))
    }

    /// The problem's members, without the request's id.
    pub(crate) fn problem(self) -> Map<String, Value> {
        let mut members = self.members;
        members.insert("type".to_owned(), "about:blank".into());
        let status = self.code.status();
        members.insert("title".to_owned(), status.canonical_reason().into());
        members.insert("status".to_owned(), status.as_u16().into());
        members.insert("code".to_owned(), self.code.as_str().into());
        members.insert("detail".to_owned(), self.detail.into());
        members
    }
}

impl IntoResponse for ApiError {
    fn into_response(mut self) -> Response {
        let headers = std::mem::take(&mut self.headers);
        let mut response = self.code.status().into_response();
        response.headers_mut().extend(headers);
        response.extensions_mut().insert(Problem(self.problem()));
        response
    }
}
