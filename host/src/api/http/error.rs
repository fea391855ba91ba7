//! What an HTTP client is told when something is wrong: RFC 9457 problem details. The only file
//! that knows status codes of failures; the cause of an internal one goes to the log.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobwright_core::capacity::QueueFull;
use jobwright_core::name::shorten;
use jobwright_core::registry::{NotFound, RegistryError};
use jobwright_core::runtime::{Unprepared, UnusablePlugin};
use jobwright_core::secret::SecretError;
use jobwright_core::store::StoreError;
use jobwright_core::text::cut;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinError;

use crate::intake::{FieldFault, NotAdmitted, Refused};

/// Seconds after which a client that was turned away for lack of room may ask again: some hundred
/// jobs are done by then.
const RETRY_AFTER_S: u64 = 1;

/// The same for lack of disk: someone has to clean up, or the oldest to be pruned.
const DISK_RETRY_AFTER_S: u64 = 60;

/// The longest message about one field, in bytes: some repeat the value, which may be long, and some
/// list what there is instead.
const MAX_MESSAGE_BYTES: usize = 1000;

/// A failure as the client sees it.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// Its name; inner fields after a dot.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: cut(message.to_string(), MAX_MESSAGE_BYTES) }
    }
}

/// A problem on its way to the client: the outermost layer adds the request's id and writes it.
#[derive(Debug, Clone)]
pub(crate) struct Problem(pub(crate) Map<String, Value>);

impl ApiError {
    fn new(status: StatusCode, code: &'static str, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self { status, code, detail, members: Map::new(), headers: vec![] }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// 400: the request is malformed.
    pub(crate) fn bad_request(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 422: the request is well formed, and these fields are invalid.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        Self::of_fields(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", &errors)
    }

    /// 400: these parameters of the query are wrong.
    pub(crate) fn invalid_query(code: &'static str, errors: Vec<FieldError>) -> Self {
        Self::of_fields(StatusCode::BAD_REQUEST, code, &errors)
    }

    fn of_fields(status: StatusCode, code: &'static str, errors: &[FieldError]) -> Self {
        let fields: Vec<String> =
            errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        Self::new(status, code, fields.join("; ")).with("errors", json!(errors))
    }

    /// Adds a sentence to what is said.
    pub(crate) fn explained(mut self, hint: &str) -> Self {
        self.detail.push_str("; ");
        self.detail.push_str(hint);
        self
    }

    /// The request is well formed and contradicts an earlier one.
    pub(crate) fn unprocessable(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub(crate) fn forbidden(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub(crate) fn timeout(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, code, detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this address does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(crate) fn not_found(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    pub(crate) fn conflict(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// A name that several things have; `candidates` are their full names.
    pub(crate) fn ambiguous(detail: impl ToString, candidates: Vec<String>) -> Self {
        Self::conflict("ambiguous_job_id", detail).with("candidates", candidates)
    }

    pub(crate) fn too_large(what: &str, most: u64) -> Self {
        let most_text = jobwright_core::limits::show_bytes(most);
        let detail = format!("the {what} is larger than {most_text}, the most that is taken");
        let error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail);
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
            "the {what} is encoded as `{encoding}`: encodings are not supported, send it plain"
        );
        // RFC 9110, 15.5.16: says what would have been taken.
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
            .header(header::ACCEPT_ENCODING, "identity")
    }

    pub(crate) fn busy(detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
            .header(header::RETRY_AFTER, &RETRY_AFTER_S.to_string())
    }

    /// A tenant is faster than it may be.
    pub(crate) fn too_fast(detail: impl ToString, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_fast", detail)
            .header(header::RETRY_AFTER, &seconds.to_string())
    }

    pub(crate) fn disk_low(detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "disk_low", detail)
            .header(header::RETRY_AFTER, &DISK_RETRY_AFTER_S.to_string())
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "this host demands an API key that is valid: send `Authorization: Bearer KEY`; \
                      an operator without one restarts it with `--api-keys FILE`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .header(header::WWW_AUTHENTICATE, "Bearer")
    }

    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside the host");
        let detail = "the host failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl From<QueueFull> for ApiError {
    fn from(full: QueueFull) -> Self {
        let (status, code) = match &full {
            full if full.is_of_tenant() => (StatusCode::TOO_MANY_REQUESTS, "tenant_full"),
            QueueFull::Parked { .. } => (StatusCode::SERVICE_UNAVAILABLE, "parked_full"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "queue_full"),
        };
        let mut error = Self::new(status, code, &full)
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
                tracing::warn!(%error, "turned a request away");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "the job store takes nothing at the moment; /readyz and the host's log say why",
                )
                .header(header::RETRY_AFTER, "10")
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
            NotAdmitted::TenantDisabled(_) => Self::forbidden("disabled", not_admitted),
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
            Refused::KeyReused => Self::unprocessable("idempotency_key_reused", refused),
            Refused::NotFound(missing) => missing.into(),
            Refused::Disabled(_) => Self::conflict("disabled", refused),
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
            NotFound::Plugin(_) => "plugin_not_found",
            NotFound::Version { .. } => "version_not_found",
        };
        Self::not_found(code, missing)
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Full { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::TenantFull { .. }
            | RegistryError::Share { .. }
            | RegistryError::TooManyVersions { .. } => {
                let remedy = error.remedy();
                let full = Self::new(StatusCode::INSUFFICIENT_STORAGE, "registry_full", error);
                remedy.into_iter().fold(full, |full, remedy| full.explained(&remedy))
            }
            RegistryError::Io { source, .. } if is_full(source) => {
                tracing::warn!(%error, "turned an upload away");
                let detail = "the disk under the data directory is full";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
            }
            RegistryError::Io { .. } | RegistryError::Corrupt { .. } => Self::internal(error),
        }
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        match &error {
            SecretError::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "too_many_secrets", error)
            }
            SecretError::Io(source) if is_full(source) => {
                let detail = "the disk under the data directory is full";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
            }
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
        let status = match unusable.code {
            "not_wasm" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, unusable.code, unusable.message)
    }
}

impl ApiError {
    /// Seconds after which the same request may go better, if it may.
    pub(crate) fn retry_after(&self) -> Option<&HeaderValue> {
        self.headers.iter().find_map(|(name, value)| (name == header::RETRY_AFTER).then_some(value))
    }

    /// The problem's members, without the request's id.
    pub(crate) fn problem(self) -> Map<String, Value> {
        let mut members = self.members;
        members.insert("type".to_owned(), "about:blank".into());
        members.insert("title".to_owned(), self.status.canonical_reason().into());
        members.insert("status".to_owned(), self.status.as_u16().into());
        members.insert("code".to_owned(), self.code.into());
        members.insert("detail".to_owned(), self.detail.into());
        members
    }
}

impl IntoResponse for ApiError {
    fn into_response(mut self) -> Response {
        let headers = std::mem::take(&mut self.headers);
        let mut response = self.status.into_response();
        response.headers_mut().extend(headers);
        response.extensions_mut().insert(Problem(self.problem()));
        response
    }
}
